"""The HTTP API: the functions of the pages, for programs. Its schema: /api/v1/openapi.json."""

from pbal_hq.api.app import API, make_app
from pbal_hq.api.bounds import LIST_BYTES
from pbal_hq.api.declare import (
    Conn,
    Declared,
    Open,
    Routes,
    TheDesk,
    desk_of,
    table,
)
from pbal_hq.api.desk import Desk
from pbal_hq.api.people import address_of

__all__ = [
    "API",
    "LIST_BYTES",
    "Conn",
    "Declared",
    "Desk",
    "Open",
    "Routes",
    "TheDesk",
    "address_of",
    "desk_of",
    "make_app",
    "table",
]
