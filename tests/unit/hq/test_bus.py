"""The bus's contract, on its form in a file; and that a kill loses nothing that was said done."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from rigs.buscontract import BusContract, Place

from pbal_hq.bus import Done, FileBus, New, topics
from pbal_hq.errors import BusError

RAW, OUT = topics.RAW, topics.OUT


class FilePlace(Place):
    raw, out, node = RAW, OUT, topics.NODE

    def __init__(self, path):
        self.path = path

    def bus(self):
        return FileBus(self.path)


@pytest.fixture
def place(tmp_path):
    return FilePlace(tmp_path / "b.db")


class TestContract(BusContract):
    pass


def new(*numbers, topic=RAW, key="g/n"):
    return [New(topic, key, str(n).encode()) for n in numbers]


async def values(bus, topic=RAW, after=-1):
    return [int(r.value) for r in await bus.read(topic, after, 1000)]


async def test_records_are_read_in_order_from_any_place(tmp_path):
    async with FileBus(tmp_path / "b.db") as bus:
        await bus.append(new(1, 2, 3))
        await bus.append([*new(4), *new(9, topic=OUT)])
        assert await values(bus) == [1, 2, 3, 4]
        assert [r.offset for r in await bus.read(RAW, -1, 100)] == [0, 1, 2, 3]
        assert await values(bus, after=2) == [4]
        assert await values(bus, OUT) == [9]
        assert len(await bus.read(RAW, -1, 2)) == 2


async def test_progress_is_kept_and_never_goes_back(tmp_path):
    async with FileBus(tmp_path / "b.db") as bus:
        assert await bus.committed("store", RAW) == -1
        await bus.append(new(1, 2), [Done("store", RAW, 1)])
        await bus.append((), [Done("store", RAW, 0)])
        await bus.append((), [Done("other", RAW, 0)])
    async with FileBus(tmp_path / "b.db") as bus:
        assert await bus.committed("store", RAW) == 1
        assert await bus.committed("other", RAW) == 0
        assert await values(bus) == [1, 2]


async def test_an_append_is_whole_or_not_at_all(tmp_path):
    async with FileBus(tmp_path / "b.db") as bus:
        with pytest.raises(BusError, match="no such topic"):
            await bus.append([*new(1), New("no such topic", "k", b"")], [Done("g", RAW, 7)])
        assert await values(bus) == []
        assert await bus.committed("g", RAW) == -1
        await bus.append(new(2))
        assert await values(bus) == [2]


async def test_a_compacted_topic_has_the_latest_of_each_key(tmp_path):
    async with FileBus(tmp_path / "b.db") as bus:
        await bus.append([New(topics.NODE, "a", b"1"), New(topics.NODE, "b", b"2")])
        await bus.append([New(topics.NODE, "a", b"3")])
        assert await bus.latest(topics.NODE) == {"a": b"3", "b": b"2"}


async def test_what_all_have_taken_goes_after_its_time(tmp_path):
    now = 1000.0
    async with FileBus(tmp_path / "b.db", clock=lambda: now) as bus:
        await bus.append(new(1, 2, 3), [Done("one", RAW, 2), Done("two", RAW, 1)])
        groups = {RAW: ("one", "two")}
        assert await bus.trim(groups, 60) == 0
        now += 61
        assert await bus.trim(groups | {OUT: ("new",)}, 60) == 2
        assert await values(bus) == [3]
        await bus.append((), [Done("two", RAW, 2)])
        assert await bus.trim(groups, 60) == 1
        await bus.append(new(4))
        assert [r.offset for r in await bus.read(RAW, -1, 9)] == [3]  # numbers are not used again


async def test_who_waits_hears_soon_also_from_another_process(tmp_path):
    async with FileBus(tmp_path / "b.db") as bus, FileBus(tmp_path / "b.db") as other:
        await other.append(new(1))
        await bus.wait((RAW,), 30)
        assert await values(bus) == [1]
        waiting = asyncio.create_task(bus.wait((RAW,), 30))
        await asyncio.sleep(0)
        await bus.append(new(2))
        await waiting


async def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path):
    async with FileBus(tmp_path / "b.db", min_free_mb=10**9) as bus:
        with pytest.raises(BusError, match="MB are free"):
            await bus.append(new(1))
        await bus.append((), [Done("g", RAW, 1)])  # what makes room goes on


async def test_a_file_that_is_no_bus_is_said(tmp_path):
    (tmp_path / "b.db").write_bytes(b"no database" * 1000)
    with pytest.raises(BusError, match="not a database"):
        async with FileBus(tmp_path / "b.db"):
            pass


CHILD = """
import asyncio, sys
from pathlib import Path
from pbal_hq.bus import FileBus, New, topics
async def main():
    async with FileBus(Path(sys.argv[1])) as bus:
        n = len(await bus.read(topics.RAW, -1, 10**6))
        while True:
            await bus.append([New(topics.RAW, "k", str(n + i).encode()) for i in range(3)])
            n += 3
            print(n, flush=True)
asyncio.run(main())
"""


def test_a_kill_loses_nothing_that_was_said_done(tmp_path):
    path = tmp_path / "b.db"
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE)
        said = 0
        for _ in range(40):
            said = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().split()
        child.wait()
        said = int(rest[-1]) if rest else said

        async def look(said=said):
            async with FileBus(path) as bus:
                found = await values_all(bus)
                assert found == list(range(len(found)))
                assert len(found) >= said
                assert len(found) % 3 == 0

        asyncio.run(look())


async def values_all(bus):
    return [int(r.value) for r in await bus.read(RAW, -1, 10**6)]
