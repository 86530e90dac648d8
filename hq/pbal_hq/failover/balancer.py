"""HAProxy's configuration for several instances of the portal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pbal_hq.errors import ConfigError
from pbal_hq.failover.files import template
from pbal_hq.failover.members import check_path

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


def balancer(
    instances: Sequence[str], listen: str, certificate: Path | None, authority: Path | None
) -> str:
    """HAProxy's configuration. Raises ConfigError.

    Parameters
    ----------
    instances : HOST:PORT of each portal.
    listen : where browsers come in, ADDRESS:PORT; an empty address is every one.
    certificate : PEM of certificate and key for browsers; None: plain HTTP, for a proxy before it.
    authority : who signed the portals' own certificates; None: they speak plain HTTP.
    """
    if len(instances) < 2:
        raise ConfigError("a balancer has two instances or more: --instance HOST:PORT, twice")
    if len(set(instances)) < len(instances):
        raise ConfigError("an instance is named twice")
    for each in (*instances, listen if not listen.startswith(":") else f"x{listen}"):
        found = _ADDRESS.fullmatch(each)
        if not found or not 0 < int(found[2]) < 65_536:
            raise ConfigError(f"{each}: is no HOST:PORT")
    for path in (certificate, authority):
        if path is not None:
            check_path(path)
    return template("haproxy.cfg").substitute(
        bind=listen + (f" ssl crt {certificate} alpn h2,http/1.1" if certificate else ""),
        tls=f"ssl verify required ca-file {authority}" if authority else "",
        servers="\n".join(f"    server portal{n} {each}" for n, each in enumerate(instances, 1)),
    )
