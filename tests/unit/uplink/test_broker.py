"""The way to HQ over a real Mosquitto with real certificates."""

import asyncio
import contextlib
import time

import aiomqtt
import pytest
from rigs.needs import PATIENCE_S
from rigs.uplink import (
    GROUP,
    NODE,
    PLACE,
    Broker,
    Hq,
    Line,
    Pki,
    config,
    opened,
    queue,
    running,
    summaries,
)

from pbal_controller.uplink import outbox
from pbal_uplink import Event, State, Summary, metrics, sparkplug


@pytest.fixture
def pki(tmp_path):
    return Pki(tmp_path / "pki")


@pytest.fixture
def broker(tmp_path, pki):
    made = Broker(tmp_path, pki)
    yield made
    made.kill()


@pytest.fixture
async def journal(tmp_path):
    made = await opened(tmp_path / "j.db")
    yield made
    await made.close()


def bdseqs(payloads):
    return [payload.get(sparkplug.BDSEQ) for payload in payloads]


@pytest.mark.parametrize(("form", "mqtt"), [("packed", "5"), ("plain", "3.1.1")])
async def test_birth_data_acknowledgement_death(pki, broker, journal, form, mqtt):
    settings = config(pki, broker.port, pki.issue("site"), form=form, mqtt=mqtt)
    async with Hq(pki, broker.port) as hq:
        old = await queue(journal, 1, 2, 3)
        async with running(journal, settings) as uplink:
            await hq.until(lambda: len(hq.store) == 3)
            await journal.call(_quarantine)
            await journal.call(outbox.take_facts, 7)
            new = await queue(journal, 9)
            uplink.wake()
            await hq.until(lambda: len(hq.store) == 5)
            await hq.until(lambda: uplink.acknowledged_total == 5)
        await hq.until(lambda: len(hq.deaths) == 1)
    birth = hq.births[0]
    ((state, _),) = metrics.messages(birth.metrics)
    assert isinstance(state, State)
    assert (state.name, state.backlog) == ("Mill", 3)
    assert birth.get(sparkplug.REBIRTH) is False
    assert hq.seqs == list(range(6)), "seq begins with 0 in the birth and misses none"
    assert bdseqs(hq.births) == bdseqs(hq.deaths) == [0]
    by_message = {metrics.token(m): historical for m, historical in hq.got}
    assert [by_message[metrics.token(each)] for each in old] == [True] * 3
    assert by_message[metrics.token(new[0])] is False
    assert [m.address for m, _ in hq.got if isinstance(m, Event)] == [257]
    assert await journal.call(outbox.backlog) == 0


def _quarantine(journal):
    journal.quarantine(257, "welded")


async def test_a_broker_that_takes_and_a_host_that_does_not_lose_nothing(pki, broker, journal):
    """Taken by the broker is not stored by HQ: without HQ's word it is sent again."""
    settings = config(pki, broker.port, pki.issue("site"), resend_s=1)
    async with Hq(pki, broker.port) as hq, running(journal, settings) as uplink:
        await hq.until(lambda: hq.births)
        hq.acknowledge = False
        made = await queue(journal, 1)
        uplink.wake()
        await hq.until(lambda: len(hq.got) >= 2)
        assert await journal.call(outbox.backlog) == 1
        hq.acknowledge = True
        await hq.until(lambda: uplink.acknowledged_total == 1)
    assert [historical for _, historical in hq.got][:2] == [False, True]
    assert list(hq.store.values()) == made
    assert await journal.call(outbox.backlog) == 0


async def test_where_hq_does_not_answer_the_brokers_word_may_count(pki, broker, journal):
    settings = config(pki, broker.port, pki.issue("site"), acknowledged_by="broker")
    async with Hq(pki, broker.port) as hq:
        hq.acknowledge = False
        await queue(journal, 1, 2)
        async with running(journal, settings) as uplink:
            await hq.until(lambda: uplink.acknowledged_total == 2)
            await hq.until(lambda: len(hq.store) == 2)
    assert await journal.call(outbox.backlog) == 0


async def test_rebirth_on_request_and_not_more_often_than_it_may(pki, broker, journal):
    settings = config(pki, broker.port, pki.issue("site"))
    ask = sparkplug.Metric(sparkplug.REBIRTH, True, sparkplug.BOOLEAN)
    async with Hq(pki, broker.port) as hq, running(journal, settings) as uplink:
        await hq.until(lambda: hq.births)
        began = time.monotonic()
        for _ in range(50):
            await hq.command(ask, PLACE)
        await hq.until(lambda: len(hq.births) == 2)
        assert time.monotonic() - began > 5, "a host that asks and asks gets few births"
        await queue(journal, 1)
        uplink.wake()
        await hq.until(lambda: hq.store)
    assert bdseqs(hq.births) == [0, 0], "a rebirth is of the same connection"
    assert hq.seqs == [0, 0, 1]


async def test_a_new_connection_has_a_new_number_and_the_will_says_the_old_one(
    pki, broker, journal
):
    line = Line(broker.port)
    await line.start()
    settings = config(pki, line.port, pki.issue("site"))
    try:
        async with Hq(pki, broker.port) as hq, running(journal, settings):
            for number in range(3):
                await hq.until(lambda n=number: len(hq.births) == n + 1)
                line.cut()
                await hq.until(lambda n=number: len(hq.deaths) == n + 1)
            await hq.until(lambda: len(hq.births) == 4)
    finally:
        await line.stop()
    assert bdseqs(hq.births) == [0, 1, 2, 3]
    assert bdseqs(hq.deaths)[:3] == [0, 1, 2]


async def test_nothing_is_sent_while_the_primary_host_is_offline(pki, broker, journal):
    settings = config(pki, broker.port, pki.issue("site"), primary_host="hq")
    async with Hq(pki, broker.port) as hq:
        await hq.say(False)
        await queue(journal, 1)
        async with running(journal, settings) as uplink:
            await hq.until(lambda: "not online" in uplink.why)
            await asyncio.sleep(1)
            assert not hq.raw
            await hq.say(True)
            await hq.until(lambda: len(hq.store) == 1)
            await hq.say(False, at_ms=5)  # older than what was heard: nothing new
            await asyncio.sleep(1.5)
            assert not hq.deaths
            await hq.say(False)
            await hq.until(lambda: len(hq.deaths) == 1)
            await queue(journal, 2)
            await asyncio.sleep(3)
            assert len(hq.store) == 1
            await hq.say(True)
            await hq.until(lambda: len(hq.store) == 2)
    assert bdseqs(hq.births)[0] == bdseqs(hq.deaths)[0]
    assert len(set(bdseqs(hq.births))) == len(hq.births)


async def test_live_goes_before_what_waited_and_that_is_paced(pki, broker, journal):
    await queue(journal, *range(100))
    settings = config(pki, broker.port, pki.issue("site"), replay_per_s=10)
    async with Hq(pki, broker.port) as hq, running(journal, settings) as uplink:
        await hq.until(lambda: len(hq.got) > 5)
        began, before = time.monotonic(), len(hq.got)
        live = (await queue(journal, 500))[0]
        uplink.wake()
        await hq.until(lambda: metrics.token(live) in hq.store)
        assert len(hq.got) < 60, "the live message did not wait for the backlog"
        await hq.until(lambda: len(hq.store) == 101)
        assert (101 - before) / (time.monotonic() - began) < 16
    old = [m.start_s for m, historical in hq.got if historical]
    assert old == sorted(old)
    assert [m for m, historical in hq.got if not historical] == [live]


async def test_a_broker_that_comes_back_gets_all_that_waited(pki, broker, journal):
    settings = config(pki, broker.port, pki.issue("site"))
    async with Hq(pki, broker.port) as hq, running(journal, settings) as uplink:
        await hq.until(lambda: hq.births)
        broker.kill()
        await queue(journal, *range(20))
        await asyncio.sleep(1)
        broker.start()
        await hq.until(lambda: len(hq.store) == 20)
        await hq.until(lambda: uplink.acknowledged_total == 20)
    assert len(summaries(hq)) == 20


async def test_another_sites_topics_are_closed(tmp_path, pki, journal):
    """With the broker's list by certificate name, site 7 cannot speak for site 8."""
    acl = (f"user hq\ntopic readwrite {sparkplug.NAMESPACE}/#\n"
           f"pattern readwrite {sparkplug.NAMESPACE}/+/+/%u\n")  # fmt: skip
    broker = Broker(tmp_path, pki, acl=acl)
    try:
        async with Hq(pki, broker.port) as hq:
            await queue(journal, 1)
            own = config(pki, broker.port, pki.issue(NODE))
            async with running(journal, own):
                await hq.until(lambda: len(hq.store) == 1)
                for _ in range(200):  # what HQ has stored leaves the outbox with its word
                    if not await journal.call(outbox.backlog):
                        break
                    await asyncio.sleep(0.05)
            await queue(journal, 2)
            other = config(pki, broker.port, pki.issue("8"))
            async with running(journal, other):
                await asyncio.sleep(2)
            assert len(hq.store) == 1
            assert {topic.split("/")[3] for topic, _ in hq.raw} == {NODE}
            assert all(topic.split("/")[1] == GROUP for topic, _ in hq.raw)
    finally:
        broker.kill()
    assert await journal.call(outbox.backlog) == 1


async def test_a_reading_on_demand_is_sent_at_once_and_not_queued(pki, broker, journal):
    class Asked:
        rebirth, reading = False, True

    class Orders:
        async def take(self, sealed):
            return Asked()

    async def reading():
        return Summary(site=7, start_s=300, length_s=17)

    settings = config(pki, broker.port, pki.issue("site"))
    async with Hq(pki, broker.port) as hq, running(journal, settings, Orders(), reading):
        await hq.until(lambda: hq.births)
        await hq.command(sparkplug.Metric(sparkplug.COMMAND, b"x", sparkplug.BYTES), PLACE)
        await hq.until(lambda: hq.got)
    assert hq.got == [(Summary(site=7, start_s=300, length_s=17), False)]


async def test_a_cancellation_that_the_library_swallows_ends_the_link(
    pki, broker, journal, monkeypatch
):
    """As asyncio.wait_for of Python 3.11 does with one that comes with the result."""
    inside = asyncio.Event()

    async def subscribe(self, *_, **__):
        if not inside.is_set():
            inside.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE_S)

    monkeypatch.setattr(aiomqtt.Client, "subscribe", subscribe)
    settings = config(pki, broker.port, pki.issue("site"))
    async with asyncio.timeout(PATIENCE_S), running(journal, settings):
        await inside.wait()
