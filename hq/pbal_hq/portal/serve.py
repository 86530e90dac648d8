"""The portal as a role: the web server, and the periodic tasks beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import uvicorn
from psycopg_pool import PoolTimeout

from pbal_host import check_cancelled
from pbal_hq import alarms, commands, fleet
from pbal_hq.api import Desk
from pbal_hq.api.desk import Answering
from pbal_hq.auth import Keyring, make_master, passwords, read_masters, sessions
from pbal_hq.commands import Signer
from pbal_hq.config import Config
from pbal_hq.database import Database, listening, notified
from pbal_hq.errors import ConfigError

log = logging.getLogger(__name__)
EVERY_S = 5.0
_BURST_S = 0.2  # events that come together are taken together
WATCH_EVERY_S = 60.0


def secret_file(settings: Config) -> Path:
    """Where the master secret of logins is."""
    return settings.portal.secret_file or settings.data / "portal.secret"


def command_key(settings: Config) -> Path:
    """Where the key that signs orders is."""
    return settings.portal.command_key or settings.data / "command.key"


def set_up(settings: Config) -> list[str]:
    """Make the two secrets that are not there yet; lines for a person. Raises ConfigError,
    CertificateError."""
    lines = []
    secret = secret_file(settings)
    try:
        if not secret.exists():
            with os.fdopen(
                os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w"
            ) as out:
                out.write(make_master() + "\n")
            lines.append(f"secret of logins: {secret}")
    except OSError as error:
        raise ConfigError(f"{secret}: {error.strerror}") from None
    key = command_key(settings)
    if not key.exists():
        commands.make_key(key)
        lines.append(f"command key: {key}")
    lines.append(f"for uplink.hq_keys of every site: {Signer.read(key).public_hex}")
    return lines


def desk(settings: Config, database: Database) -> Desk:
    """What the routes work with. Raises ConfigError, CertificateError."""
    secret = secret_file(settings)
    try:
        masters = read_masters(secret)
    except OSError as error:
        raise ConfigError(f"{secret}: {error.strerror}; pbal-hq portal init makes it") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    provider = None
    if settings.oidc.issuer:
        from pbal_hq.auth.oidc import Provider

        provider = Provider(settings.oidc)
    return Desk(database, Keyring(masters), Signer.read(command_key(settings)), settings.portal,
                alarms=settings.alarms, provider=provider,
                reported_by=reported_by(settings))  # fmt: skip


def reported_by(settings: Config) -> Answering | None:
    """Who answers reports and trends in the place of the store: Druid, or the lake."""
    if not (settings.druid.broker or settings.lake.url):
        return None
    try:
        from pbal_hq import lake
        from pbal_hq.trends import Elsewhere
    except ImportError as error:
        log.warning("the store answers reports and trends: pip install pbal[hq,lake]",
                    extra={"missing": error.name})  # fmt: skip
        return None
    opened = (lambda: lake.lake_of(settings.lake)) if settings.lake.url else None
    return Elsewhere(settings.druid, opened)


class _Server(uvicorn.Server):
    """Leaves signals to the program that started it; `up` is set when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


async def run(
    settings: Config,
    database: Database,
    ready: Callable[[int], None] | None = None,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Serve until cancelled; `ready` hears the port, `beat` of each pass of the chores.

    Raises ConfigError, CertificateError.
    """
    from pbal_hq.portal import make

    mine = desk(settings, database)
    c = settings.portal
    if (c.certificate is None) != (c.key is None):
        raise ConfigError("portal: certificate and key are given both or neither")
    how = uvicorn.Config(
        make(mine), host=c.listen, port=c.port, log_config=None, access_log=False,
        proxy_headers=True, forwarded_allow_ips=list(c.proxies), server_header=False,
        ssl_certfile=c.certificate, ssl_keyfile=c.key, timeout_graceful_shutdown=5,
    )  # fmt: skip
    try:
        how.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"portal.certificate, portal.key: {error}") from None
    if how.ssl is not None:
        how.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    await asyncio.to_thread(passwords.nobody)
    server = _Server(how)
    serving = asyncio.create_task(_serve(server, c.listen, c.port), name="portal")
    loops = [
        asyncio.create_task(_persist(lambda: _hear(mine)), name="portal's events"),
        asyncio.create_task(_persist(lambda: _tidy(mine, beat), EVERY_S), name="portal's chores"),
        asyncio.create_task(
            _persist(_Watching(mine).once, WATCH_EVERY_S), name="portal's detectors"
        ),
    ]
    told = asyncio.create_task(_tell(server, ready), name="portal's start")
    try:
        done, _ = await asyncio.wait([serving, *loops], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        for task in (*loops, told):
            task.cancel()
        await asyncio.wait([serving, *loops, told])


async def _serve(server: uvicorn.Server, host: str, port: int) -> None:
    try:
        await server.serve()
    except SystemExit:  # uvicorn's way to say that the port is taken
        raise ConfigError(f"portal: {host}:{port} cannot be listened on; is it taken?") from None


async def _tell(server: _Server, ready: Callable[[int], None] | None) -> None:
    await server.up.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    log.info("the portal listens", extra={"port": port})
    if ready is not None:
        ready(port)


async def chores(mine: Desk) -> None:
    """One pass: events become alarms, what is over is closed, unsent orders expire."""
    async with mine.connection() as conn:
        # Here too: an alarm that was told again while no portal ran must not be closed as quiet.
        while await alarms.take_events(conn):
            pass
        await alarms.close_quiet(conn, alarms.KINDS)
        await commands.lapse(conn, mine.wall())


async def watch(mine: Desk, now: datetime, *, former_days: bool) -> None:
    """One pass: the detectors over the fleet, and the sums of the overview."""
    async with mine.connection() as conn:
        await alarms.watch(conn, now, windows=mine.alarms.detectors == "portal")
        if former_days:
            await alarms.watch_trends(conn, now, mine.alarms.plan_switchings_per_day)
        await fleet.sum_saved(conn, now, former_days=former_days)
        await fleet.sum_present(conn)
        if former_days:
            await sessions.forget_old(conn)


async def _hear(mine: Desk) -> None:
    """Events become alarms at once: one pass, then a wait until the store has more (NOTIFY)."""
    async with mine.connection() as conn, listening(conn, alarms.CHANNEL):
        # What came before this is taken now, what comes later is heard of.
        while await alarms.take_events(conn):
            pass
        await asyncio.sleep(_BURST_S)
        await notified(conn, EVERY_S)


async def _tidy(mine: Desk, beat: Callable[[], None]) -> None:
    await chores(mine)
    beat()


class _Watching:
    """The detectors' pass, with what is for former days once an hour."""

    def __init__(self, mine: Desk) -> None:
        self._mine = mine
        self._hour = -1.0

    async def once(self) -> None:
        wall_s = self._mine.wall()
        former = wall_s // 3600 != self._hour
        await watch(self._mine, datetime.fromtimestamp(wall_s, UTC), former_days=former)
        self._hour = wall_s // 3600


async def _persist(once: Callable[[], Awaitable[None]], rest_s: float = 0.0) -> None:
    """Again and again, with a rest between; also when the database was away."""
    failing = False
    while True:
        error: Exception | None = None
        try:
            await once()
        except (psycopg.Error, PoolTimeout) as found:
            error = found
        # The pool's wait may swallow a cancellation; what fails while one ends a transaction takes
        # its place.
        check_cancelled()
        if error is not None and not failing:
            log.error("the database does not answer", extra={"why": str(error).strip()})
        elif error is None and failing:
            log.info("the database answers again")
        failing = error is not None
        await asyncio.sleep(EVERY_S if failing else rest_s)
