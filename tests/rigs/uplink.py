"""An uplink over a real Mosquitto with real certificates, and a way to cut the line between."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from pbal_controller.config import UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.uplink import Uplink, outbox
from pbal_host import check_cancelled
from pbal_sim import hq
from pbal_sim.hq import HOST, Pki, free_port, now
from pbal_uplink import State, Summary
from rigs.needs import require_file

GROUP, NODE, SITE = "north", "7", 7
PLACE = f"{GROUP}/{NODE}"
__all__ = ["HOST", "Pki", "now"]


class Broker(hq.Broker):
    """The broker; without Mosquitto the test skips."""

    def __init__(self, folder: Path, pki: Pki, **how) -> None:
        if hq.program() is None:
            require_file("/usr/sbin/mosquitto", "mosquitto")
        super().__init__(folder, pki, **how)


def Hq(pki: Pki, port: int) -> hq.Host:
    """The small HQ of the twin."""
    return hq.Host.of(pki, port)


class Line:
    """A TCP proxy that can be cut, or swallow what the site sends."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self.port = free_port()
        self.open = True
        self.up_bytes = self.down_bytes = 0
        self.up_packets = self.down_packets = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        """End every connection as if the cable were pulled: what is in the buffers is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, to_writer}
        try:
            await asyncio.gather(
                self._pump(reader, to_writer, "up"), self._pump(to_reader, writer, "down")
            )
        finally:
            for each in (writer, to_writer):
                self._writers.discard(each)
                each.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                setattr(self, f"{way}_bytes", getattr(self, f"{way}_bytes") + len(data))
                setattr(self, f"{way}_packets", getattr(self, f"{way}_packets") + 1)
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


def config(pki: Pki, port: int, client: tuple[Path, Path], **more) -> UplinkConfig:
    """The [uplink] table of a site."""
    given = {
        "kind": "sparkplug", "host": "localhost", "port": port, "group": GROUP, "node": NODE,
        "ca": pki.ca, "certificate": client[0], "key": client[1], "spread_s": 0,
        "replay_per_s": 200, "retry_s": 1,
    }  # fmt: skip
    return UplinkConfig(**(given | more))


def a_state(backlog: int, thinned: int) -> State:
    return State(site=SITE, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 homes=4, backlog=backlog, thinned=thinned, name="Mill")  # fmt: skip


class NoOrders:
    """Takes no commands."""

    async def take(self, sealed: bytes) -> object:
        raise AssertionError("a command")


async def no_reading() -> Summary | None:
    return None


@contextlib.asynccontextmanager
async def running(
    journal: AsyncJournal,
    settings: UplinkConfig,
    orders=None,
    reading=no_reading,
    secret: bytes = b"",
) -> AsyncIterator[Uplink]:
    """An uplink over an open journal, stopped as a controller stops it."""
    uplink = Uplink(
        journal, settings, SITE, a_state, orders or NoOrders(), reading, time.time, secret=secret
    )
    task = asyncio.create_task(uplink.run(check_cancelled))
    try:
        yield uplink
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error


async def queue(journal: AsyncJournal, *numbers: int) -> list[Summary]:
    """Put summaries into the outbox."""
    made = [Summary(site=SITE, start_s=1_700_000_100 + 300 * n, length_s=300) for n in numbers]
    for each in made:
        await journal.call(outbox.put, each, 100_000)
    return made


async def opened(path: Path) -> AsyncJournal:
    journal = AsyncJournal(path)
    await journal.open()
    await journal.call(outbox.switch, True)
    return journal


def summaries(host: hq.Host) -> list[Summary]:
    return [message for message in host.store.values() if isinstance(message, Summary)]
