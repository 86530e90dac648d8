"""What tables of the configuration are made of."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field

from pbal_host.tables import Table

TopicId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=604_800)]
MailAddress = Annotated[str, Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")]
# Where people reach the portal: no path; "" is none.
PortalUrl = Annotated[str, Field(pattern=r"^(https?://[^\s/]+)?$")]


def is_conninfo(text: str) -> bool:
    """Whether it is a connection string or URL as libpq reads it."""
    try:
        conninfo_to_dict(text)
    except ProgrammingError:
        return False
    return True


def is_private(url: str) -> bool:
    """Whether what is sent there can be read by nobody on the way: HTTPS, or on this computer."""
    parts = urlsplit(url)
    here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return parts.scheme == "https" or (parts.scheme == "http" and here)


__all__ = [
    "MailAddress",
    "Port",
    "PortalUrl",
    "Seconds",
    "Table",
    "TopicId",
    "is_conninfo",
    "is_private",
]
