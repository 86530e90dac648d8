"""The listener for Prometheus, and the files by which Prometheus finds it (file_sd_configs).

Each process keeps a file of its own among `metrics.targets`, named after its roles. It stays when
the process ends, so that one that is gone is a target that is down; who no longer wants the
process deletes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from pbal_hq.ca import write_whole
from pbal_hq.config import Config, MetricsConfig
from pbal_hq.errors import ConfigError

log = logging.getLogger(__name__)

CONTROLLERS = "controllers.json"


@dataclass(frozen=True)
class Where:
    """A process's name, and its port (0: any)."""

    process: str
    port: int


def where(
    roles: Sequence[str], wanted: Sequence[str], order: Sequence[str], config: MetricsConfig
) -> Where:
    """Of a process with these roles. `wanted`: all that have something to do; `order`: all there
    are.

    The process with all that are wanted has `metrics.port`; another one that plus 1, plus the place
    of its first role in the order: processes with different roles on one computer do not meet, and
    a role has the same port however HQ is configured.
    """
    if set(roles) == set(wanted):
        return Where("all", config.port)
    name = "-".join(role for role in order if role in roles)
    first = min(order.index(role) for role in roles)
    return Where(name, config.port + 1 + first if config.port else 0)


def folder(config: Config) -> Path:
    """Where the target files are."""
    return config.metrics.targets or config.data / "metrics"


def target(address: str, **labels: str) -> bytes:
    """A target file."""
    return json.dumps([{"targets": [address], "labels": labels}], indent=1).encode() + b"\n"


def _reached(listen: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(listen, listen)
    return f"[{host}]:{port}" if re.fullmatch(r"[0-9a-f]*:[0-9a-f:.]+", host) else f"{host}:{port}"


def write_targets(config: Config, process: str, port: int) -> None:
    """The file of this process, and the sites' controllers. Raises ConfigError."""
    place = folder(config)
    m = config.metrics
    controllers = [
        {"targets": [each.address], "labels": {"instance": f"site {each.site}"}}
        for each in m.controllers
    ]
    try:
        if not place.exists():
            place.mkdir(parents=True)
            place.chmod(0o755)  # for Prometheus, which is another user
        write_whole(
            place / f"hq-{process}.json",
            target(_reached(m.listen, port), instance=process),
        )
        write_whole(place / CONTROLLERS, json.dumps(controllers, indent=1).encode() + b"\n")
    except OSError as error:
        raise ConfigError(
            f"metrics.targets: {error.filename or place}: {error.strerror}; "
            "make the folder for the user that HQ runs as"
        ) from None


@contextlib.asynccontextmanager
async def serve(
    config: Config,
    place: Where,
    text: Callable[[], Awaitable[bytes]],
    wrong: Callable[[], list[str]] = list,
) -> AsyncIterator[int]:
    """Serve `text` at /metrics, and /healthz: 200, or 503 with the lines of `wrong`.

    Within the context; gives the port. Raises ConfigError.
    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=await text(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    async def health(_: web.Request) -> web.Response:
        lines = wrong()
        return web.Response(status=503 if lines else 200, text="\n".join(lines or ["ok"]) + "\n")

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/healthz", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.metrics.listen, place.port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"metrics: {config.metrics.listen}:{place.port}: {error.strerror or error}; "
                "metrics.port sets another port, 0 any"
            ) from None
        server = site._server
        assert isinstance(server, asyncio.Server)
        port = int(server.sockets[0].getsockname()[1])
        write_targets(config, place.process, port)
        log.info("metrics are there", extra={"port": port})
        yield port
    finally:
        await runner.cleanup()
