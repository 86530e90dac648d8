"""Decoder and store of HQ on one bus and a real database, one step at a time.

from rigs.storeroad import hq, place  # fixtures, on plain PostgreSQL and on TimescaleDB
"""

import contextlib
import itertools
import time

import pytest

from pbal_hq.bus import FileBus, New, topics
from pbal_hq.config import IngestConfig
from pbal_hq.database import pool
from pbal_hq.ingest import Decoder, Out, Raw
from pbal_hq.store import Writer
from pbal_uplink import State, Summary, metrics, sparkplug
from pbal_uplink.sparkplug import Metric, Payload
from rigs.hq import Headquarters, execute
from rigs.timescale import Place

NODE = "pbal/7"
HOUR_S = int(time.time()) // 3600 * 3600 - 7200


@pytest.fixture(params=["postgresql", pytest.param("timescaledb", marks=pytest.mark.long)])
def place(request, tmp_path):
    """A migrated database on either. An instance of TimescaleDB costs seconds of the processor."""
    if request.param == "postgresql":
        yield Place(request.getfixturevalue("database_url"))
        return
    with request.getfixturevalue("timescale")(tmp_path) as made:
        yield made


@pytest.fixture
async def hq(tmp_path, place):
    made = Headquarters(tmp_path, place.url, **place.tables)
    await made.add_site(7)
    await made.certificate(7)
    return made


class Road:
    """Decoder and store on one bus, one step at a time."""

    def __init__(self, hq, bus, database, store=None):
        self.hq, self.bus = hq, bus
        self.decoder = Decoder(bus, IngestConfig(reorder_s=0.001))
        self.writer = Writer(bus, database, store or hq.config.store)
        self.database = database
        self._seq = 0

    async def birth(self, state=None, bdseq=1):
        self._seq = 0
        state = state or State(site=7, at_s=HOUR_S, words=1, config_hash=bytes(8), window_s=300)
        bd = Metric(sparkplug.BDSEQ, bdseq, sparkplug.INT64, timestamp=1)
        await self.raw("NBIRTH", Payload((bd, *metrics.packed(state, 1)), 1, 0))

    async def death(self, bdseq=1):
        await self.raw("NDEATH", Payload((Metric(sparkplug.BDSEQ, bdseq, sparkplug.INT64),), 1))

    async def say(self, *messages, historical=False, node=NODE):
        for message in messages:
            self._seq = (self._seq + 1) % 256
            made = metrics.packed(message, 1, historical)
            await self.raw("NDATA", Payload(made, 1, self._seq), node)

    async def device(self, kind, device, *messages):
        """A message of a site behind this one's gateway."""
        self._seq = (self._seq + 1) % 256
        made = tuple(metric for message in messages for metric in metrics.packed(message, 1))
        await self.raw(kind, Payload(made, 1, self._seq), device=device)

    async def raw(self, kind, payload, node=NODE, device=""):
        data = payload if isinstance(payload, bytes) else sparkplug.encode(payload)
        await self.bus.append([New(topics.RAW, node, Raw(kind, 0, data, device).encode())])

    async def settle(self):
        """Decode and store until nothing waits; both loops as they are."""
        for loop in (self.decoder.run, self.writer.run):
            rounds = itertools.count(1)

            def beat(rounds=rounds):
                if next(rounds) >= 3:
                    raise Enough

            with contextlib.suppress(Enough):
                await loop(beat)

    async def told(self):
        """Tokens that sites are told to be stored."""
        found = [Out.decode(r.value) for r in await self.bus.read(topics.OUT, -1, 1000)]
        return [token for out in found for token in out.stored]


class Enough(Exception):
    """The loop has done what there was."""


@contextlib.asynccontextmanager
async def road(hq, **how):
    async with (
        FileBus(hq.config.data / "bus" / "b.db") as bus,
        pool(hq.config.database) as database,
    ):
        yield Road(hq, bus, database, **how)


def summary(n=0, **more):
    given = {"site": 7, "start_s": HOUR_S + 300 * n, "length_s": 300, "complete_percent": 100}
    return Summary(**(given | more))


def token(message):
    return f"{metrics.token(message):016x}"


def one(hq, sql, *values):
    (row,) = execute(hq.url, sql, *values)
    return row


def dead(hq):
    return [reason for (reason,) in execute(hq.url, "SELECT reason FROM dead_letter ORDER BY id")]
