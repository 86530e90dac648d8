"""Whether a database that did not take us is not there yet, or is there and refuses us.

libpq gives a failed connection no code, and a server's words may be of any language. So we ask as
libpq's PQping does, which would let the whole process stand still meanwhile: a start-up message
without TLS, and the first answer to it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from dataclasses import dataclass

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pbal_hq.config import DatabaseConfig
from pbal_hq.database.migrate import pending
from pbal_hq.database.pool import connected
from pbal_hq.errors import DatabaseAway, DatabaseError

_VERSION = 196_608  # of the protocol: 3.0
# PostgreSQL's code while it starts, recovers or stops (cannot_connect_now).
_NOT_NOW = "57P03"
_LONGEST = 10_000  # bytes of an answer


@dataclass(frozen=True)
class Place:
    """Where a server is. `host`: a name, an address, or the folder of its socket."""

    host: str
    port: str


async def ready(config: DatabaseConfig) -> None:
    """The database takes us and has our schema.

    Raises DatabaseAway while that may still become so by itself, else DatabaseError: a wrong URL,
    password or certificate, no such database, a schema that is older or newer.
    """
    refused = DatabaseError("")
    for _ in range(2):  # a server that was there only after the first failure refused nobody
        try:
            async with connected(config) as db:
                if left := await pending(db):
                    raise DatabaseError(
                        f"the database lacks {len(left)} steps of the schema: pbal-hq db migrate"
                    )
                return
        except DatabaseError as error:
            cause = error.__cause__
            if not isinstance(cause, psycopg.OperationalError):
                raise
            if await is_away(config, cause):
                raise DatabaseAway(str(error)) from cause
            refused = error
    raise refused


async def is_away(config: DatabaseConfig, error: psycopg.OperationalError) -> bool:
    """Whether this failure to connect means that no server is ready yet."""
    if error.sqlstate is not None:  # the connection was made, and is gone
        return error.sqlstate[:3] in ("57P", "08")
    given = conninfo_to_dict(config.url)
    user, name = str(given.get("user") or "pbal-hq"), str(given.get("dbname") or "postgres")
    where = places(config.url, error)
    if where and all([await _is_away(each, user, name, config.timeout_s) for each in where]):
        return True
    return "target_session_attrs" in given and await _takes_readers(config)


def places(url: str, error: psycopg.OperationalError) -> list[Place]:
    """All that the URL names; without a name that which libpq tried."""
    known = {
        each.keyword.decode(): each.val.decode() if each.val else ""
        for each in psycopg.pq.Conninfo.get_defaults()
    }
    known |= {name: str(value) for name, value in conninfo_to_dict(url).items()}
    hosts = (known.get("hostaddr") or known.get("host") or "").split(",")
    ports = (known.get("port") or "5432").split(",")
    if hosts == [""] and error.pgconn is not None:
        hosts = [error.pgconn.host.decode()]
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    return [Place(host, port or "5432") for host, port in zip(hosts, ports, strict=True) if host]


async def _is_away(place: Place, user: str, name: str, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await _answer(place, user, name) in ("", _NOT_NOW)
    except (TimeoutError, ConnectionError, FileNotFoundError):
        return True
    except socket.gaierror as error:
        return error.errno == socket.EAI_AGAIN  # while the network comes up
    except OSError as error:
        # A network that comes up; no right to the socket, and others, do not pass by themselves.
        return error.errno in (errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH)


async def _answer(place: Place, user: str, name: str) -> str:
    """The code of its error; "-": it asked who we are; "": it went away without a word."""
    if place.host[0] in "/@":
        path = f"{place.host}/.s.PGSQL.{place.port}"
        reader, writer = await asyncio.open_unix_connection(
            "\0" + path[1:] if path[0] == "@" else path
        )
    else:
        reader, writer = await asyncio.open_connection(place.host, int(place.port))
    try:
        words = f"user\0{user}\0database\0{name}\0\0".encode()
        writer.write(struct.pack("!II", 8 + len(words), _VERSION) + words)
        kind = await reader.readexactly(1)
        if kind != b"E":
            return "-"
        (length,) = struct.unpack("!I", await reader.readexactly(4))
        fields = (await reader.readexactly(min(length - 4, _LONGEST))).split(b"\0")
        return next((each[1:].decode() for each in fields if each[:1] == b"C"), "-")
    except asyncio.IncompleteReadError:
        return ""
    finally:
        writer.close()


async def _takes_readers(config: DatabaseConfig) -> bool:
    """Whether one of several servers is there, and only none that we asked for."""
    url = make_conninfo(config.url, target_session_attrs="any")
    try:
        async with connected(config.model_copy(update={"url": url})):
            return True
    except DatabaseError:
        return False
