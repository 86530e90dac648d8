"""The bridge on a real broker: acknowledged when durable, STATE, and what goes out to sites."""

import asyncio
import contextlib

import aiomqtt
import pytest

from pbal_host import check_cancelled
from pbal_hq.bus import FileBus, New, topics
from pbal_hq.config import IngestConfig
from pbal_hq.errors import BusError
from pbal_hq.ingest import Bridge, Out, Raw
from pbal_hq.ingest.outbound import Acknowledgements
from pbal_uplink import sparkplug

TOPIC = "spBv1.0/pbal/NDATA/7"


class BrokenBus(FileBus):
    """A bus that cannot write what comes."""

    async def append(self, records, done=()):
        if records:
            raise BusError("the disk is full")
        await super().append(records, done)


@contextlib.asynccontextmanager
async def running(hq, bus, **ingest):
    settings = hq.config.model_copy(update={"ingest": IngestConfig(**ingest)})
    bridge = Bridge(bus, settings)
    task = asyncio.create_task(bridge.run(check_cancelled))
    try:
        async with asyncio.timeout(60):
            while not bridge.online:
                assert not task.done() or task.result()
                await asyncio.sleep(0.02)
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


def site(hq, files):
    return aiomqtt.Client(
        "localhost", hq.config.broker.port, tls_context=hq.context(*files),
        protocol=aiomqtt.ProtocolVersion.V5, timeout=30,
    )  # fmt: skip


@pytest.fixture
async def files(hq):
    await hq.add_site(7)
    return await hq.certificate(7)


async def raws(bus, count):
    """The payloads on the bus, when there are so many."""
    async with asyncio.timeout(60):
        while len(found := await bus.read(topics.RAW, -1, 1000)) < count:
            await bus.wait((topics.RAW,), 1)
    return [Raw.decode(record.value).payload for record in found]


async def test_what_is_not_durable_is_not_acknowledged_and_comes_again(hq, files):
    path = hq.config.data / "bus" / "b.db"
    async with BrokenBus(path) as bus:
        async with running(hq, bus) as task:
            async with site(hq, files) as mill:
                await mill.publish(TOPIC, b"precious", qos=1)
            async with asyncio.timeout(60):
                await asyncio.wait([task])
        with pytest.raises(BusError, match="full"):
            task.result()
    async with FileBus(path) as bus:
        async with running(hq, bus):
            assert await raws(bus, 1) == [b"precious"]
        # Once it is durable, it is acknowledged, and does not come again.
        async with running(hq, bus), site(hq, files) as mill:
            await mill.publish(TOPIC, b"next", qos=1)
            assert await raws(bus, 2) == [b"precious", b"next"]


async def test_what_is_said_while_hq_is_away_waits_at_the_broker(hq, files):
    async with FileBus(hq.config.data / "bus" / "b.db") as bus:
        async with running(hq, bus):
            pass
        async with site(hq, files) as mill:
            for qos in (0, 1):
                await mill.publish(TOPIC, b"%d" % qos, qos=qos)
        hq.broker.stop()
        hq.broker.start()
        async with running(hq, bus):
            assert sorted(await raws(bus, 2)) == [b"0", b"1"]


async def test_the_state_says_whether_hq_is_there(hq, files):
    async with FileBus(hq.config.data / "bus" / "b.db") as bus, site(hq, files) as mill:
        await mill.subscribe("spBv1.0/STATE/hq", qos=1)
        async with asyncio.timeout(60):
            async with running(hq, bus):
                seen = [sparkplug.read_state((await anext(mill.messages)).payload)]
            seen.append(sparkplug.read_state((await anext(mill.messages)).payload))
    assert [online for online, _ in seen] == [True, False]
    assert seen[0][1] == seen[1][1]  # Sparkplug: the death's timestamp is the birth's


async def test_words_to_a_site_arrive(hq, files):
    tokens = ["00000000000000ff", "ffffffffffffffff"]
    async with FileBus(hq.config.data / "bus" / "b.db") as bus, site(hq, files) as mill:
        await mill.subscribe("spBv1.0/pbal/NCMD/7", qos=1)
        async with running(hq, bus, stored_batch=3):
            for out in (
                Out(stored=tokens), Out(command="c0ffee"), Out(rebirth=True), Out(stored=["1"]),
            ):  # fmt: skip
                await bus.append([New(topics.OUT, "pbal/7", out.encode())])
            found = []
            async with asyncio.timeout(60):
                while len(found) < 3:
                    message = await anext(mill.messages)
                    found += sparkplug.decode(message.payload).metrics
    said = [(metric.name, metric.value) for metric in found]
    # What is stored is told before a rebirth, so that it is not sent again for it.
    assert said == [
        ("Command", b"\xc0\xff\xee"), ("Outbox/Stored", (255, 2**64 - 1)),
        ("Node Control/Rebirth", True),
    ]  # fmt: skip


def test_acknowledgements_wait_until_they_are_worth_a_message():
    waiting = Acknowledgements(3, 60)
    waiting.add("a", ["1", "2"], offset=5, at_ms=0)
    waiting.add("b", ["9"], offset=6, at_ms=10_000)
    assert waiting.due(1000) == []
    assert waiting.done(6) == 4  # both wait: a restart reads them again
    waiting.add("a", ["2", "3"], offset=7, at_ms=1000)
    (packet,) = waiting.due(1000)
    assert (packet.topic, packet.metric.value) == ("spBv1.0/a/NCMD/", (1, 2, 3))
    assert waiting.done(7) == 5
    assert waiting.due(69_999) == []
    assert [p.metric.value for p in waiting.due(70_000)] == [(9,)]
    assert waiting.done(7) == 7
