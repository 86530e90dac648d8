"""The contract of a bus, for every form of it: subclass it and give `place`."""

import asyncio
import time

import pytest

from pbal_hq.bus import Measured, New, done_with
from pbal_hq.errors import BusError


class Place:
    """Where buses meet. `raw`, `out`: topics; `node`: a compacted one. `no_topic`: none."""

    raw = out = node = ""
    no_topic = "no.such.topic"

    def bus(self):
        """One more bus, to be entered."""
        raise NotImplementedError


def news(topic, key, *numbers):
    return [New(topic, key, str(number).encode()) for number in numbers]


async def taken(consumer, count, seconds=90):
    """At least so many records, and what comes with the last of them."""
    found, share = [], None
    until = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < until:
        records = await consumer.take(1000, 1.0)
        if consumer.share != share:  # given again, when it is not done
            found, share = [], consumer.share
        found += records
    return found


def by_key(records):
    found = {}
    for record in records:
        found.setdefault(record.key, []).append(int(record.value))
    return found


class BusContract:
    """The tests."""

    async def test_records_of_a_key_come_in_order(self, place):
        async with place.bus() as bus:
            await bus.append([*news(place.raw, "a", 1, 2), *news(place.raw, "b", 7)])
            await bus.append([*news(place.raw, "a", 3), *news(place.raw, "b", 8, 9)])
            async with bus.consumer("g", (place.raw,)) as consumer:
                found = await taken(consumer, 6)
            assert by_key(found) == {"a": [1, 2, 3], "b": [7, 8, 9]}
            assert {record.topic for record in found} == {place.raw}
            assert all(abs(record.at_ms / 1000 - time.time()) < 600 for record in found)
            assert len({(record.partition, record.offset) for record in found}) == 6

    async def test_each_group_gets_all_and_goes_on_where_it_was_done(self, place):
        async with place.bus() as bus:
            await bus.append(news(place.raw, "a", 1, 2, 3))
            async with bus.consumer("one", (place.raw,)) as consumer:
                found = await taken(consumer, 3)
                await bus.append((), done_with("one", found[:2]))
            async with bus.consumer("other", (place.raw,)) as consumer:
                assert len(await taken(consumer, 3)) == 3
        async with place.bus() as bus, bus.consumer("one", (place.raw,)) as consumer:
            assert [int(r.value) for r in await taken(consumer, 1)] == [3]

    async def test_what_is_not_done_is_given_again(self, place):
        async with place.bus() as bus:
            await bus.append(news(place.raw, "a", 1, 2))
            for _ in range(2):
                async with bus.consumer("g", (place.raw,)) as consumer:
                    assert [int(r.value) for r in await taken(consumer, 2)] == [1, 2]

    async def test_records_and_progress_are_there_together_or_not_at_all(self, place):
        async with place.bus() as bus:
            await bus.append(news(place.raw, "a", 1, 2))
            async with bus.consumer("g", (place.raw,)) as consumer:
                found = await taken(consumer, 2)
                out = [*news(place.out, "a", 10), New(place.no_topic, "a", b"")]
                with pytest.raises(BusError):
                    await bus.append(out, done_with("g", found))
            async with bus.consumer("g", (place.raw,)) as consumer:
                found = await taken(consumer, 2)
                assert len(found) == 2
                await bus.append(news(place.out, "a", 11), done_with("g", found))
            async with bus.consumer("see", (place.out,)) as consumer:
                assert [int(r.value) for r in await taken(consumer, 1)] == [11]

    async def test_a_compacted_topic_has_the_latest_of_each_key(self, place):
        async with place.bus() as bus:
            await bus.append([*news(place.node, "a", 1), *news(place.node, "b", 2)])
            await bus.append([*news(place.raw, "a", 0), *news(place.node, "a", 3)])
            async with bus.consumer("g", (place.raw,)) as consumer:
                await taken(consumer, 1)
                assert await consumer.latest(place.node) == {"a": b"3", "b": b"2"}

    async def test_it_knows_how_far_each_group_is_behind(self, place):
        """A bus may count one more for each append: Kafka's mark of its end."""
        groups = {place.raw: ("one", "other")}
        async with place.bus() as bus:
            await bus.append(news(place.raw, "a", *range(7)))
            assert isinstance(bus, Measured)
            async with bus.consumer("one", (place.raw,)) as consumer:
                found = await taken(consumer, 7)
                await bus.append((), done_with("one", found[:3]))
                some = await bus.lag(groups)
                assert some["one", place.raw] in (4, 5)
                assert some["other", place.raw] in (7, 8)
                await bus.append((), done_with("one", found))
                assert (await bus.lag(groups))["one", place.raw] in (0, 1)
                assert await bus.lag({}) == {}

    async def test_who_waits_hears_soon_from_another_process(self, place):
        async with place.bus() as bus, place.bus() as other:
            await other.append(news(place.raw, "a", 1))
            async with bus.consumer("g", (place.raw,)) as consumer:
                await taken(consumer, 1)
                waiting = asyncio.create_task(consumer.take(10, 60.0))
                await asyncio.sleep(0.2)
                began = time.monotonic()
                await other.append(news(place.raw, "a", 2))
                found = await waiting
                # A bus may return early, and empty.
                while not found and time.monotonic() - began < 60:
                    found = await consumer.take(10, 60.0)
                assert [int(r.value) for r in found] == [2]
                assert time.monotonic() - began < 50

    async def test_a_large_append_is_read_in_pieces(self, place):
        async with place.bus() as bus:
            await bus.append(news(place.raw, "a", *range(3000)))
            async with bus.consumer("g", (place.raw,)) as consumer:
                found = []
                while len(found) < 3000:
                    some = await consumer.take(100, 5.0)
                    assert len(some) <= 100
                    found += some
            assert by_key(found) == {"a": list(range(3000))}
