"""Supervisor, inbox, minutes, counters, meter, notify, logs: each by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import random
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from pbal_controller.config import MeterConfig, PlannerConfig
from pbal_controller.documents import load_json
from pbal_controller.errors import BearerError, ConfigError, JournalError
from pbal_controller.homes import Inbox, Sent
from pbal_controller.homes.fleet import percentile
from pbal_controller.homes.session import CounterBlock
from pbal_controller.journal import MinuteBook
from pbal_controller.loops import Backoff, Supervisor, sdnotify
from pbal_controller.meters import FileMeter, make_meter
from pbal_controller.moves import core_config
from pbal_controller.moves import memory as planner_memory
from pbal_host import JsonFormatter, TextFormatter
from pbal_protocol import records as r

from .conftest import until

# -- supervisor ---------------------------------------------------------------------------


async def test_a_failing_loop_is_restarted_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    made = Supervisor()
    starts = 0

    async def bad(beat) -> None:
        nonlocal starts
        starts += 1
        if starts < 4:
            raise ValueError("broken")
        while True:
            beat()
            await asyncio.sleep(0.01)

    async def good(beat) -> None:
        while True:
            beat()
            await asyncio.sleep(0.01)

    made.add("bad", bad, 0.1)
    made.add("good", good, 5.0)
    task = asyncio.create_task(made.run())
    await until(lambda: starts == 4 and made.loops["bad"].failing == "")
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count("loop failed") == 1
    assert texts.count("loop works again") == 1
    assert made.loops["bad"].restarts == 3
    assert made.loops["good"].restarts == 0
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stuck_loop_is_late() -> None:
    made = Supervisor()

    async def stuck(beat) -> None:
        await asyncio.Event().wait()

    made.add("stuck", stuck, 0.05)
    task = asyncio.create_task(made.run())
    await until(lambda: made.late(asyncio.get_running_loop().time()) == ["stuck"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_full_disk_is_late_but_no_reason_to_restart() -> None:
    made = Supervisor()

    async def full(beat) -> None:
        raise JournalError("database or disk is full")

    async def hangs(beat) -> None:
        if made.loops["hangs"].restarts < 2:
            raise JournalError("database or disk is full")
        await asyncio.Event().wait()

    async def defect(beat) -> None:
        raise ValueError

    for name, body in (("full", full), ("hangs", hangs), ("defect", defect)):
        made.add(name, body, 0.05)
    task = asyncio.create_task(made.run())
    clock = asyncio.get_running_loop().time
    await until(lambda: made.loops["hangs"].restarts == 2)
    await until(lambda: made.late(clock()) == ["full", "hangs", "defect"])
    assert made.stuck(clock()) == ["defect"]
    # Not tried any more since long ago: what it waits for is not the disk.
    assert "hangs" in made.stuck(clock() + 31)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelling_reaches_every_loop_and_waits_for_its_cleanup() -> None:
    made = Supervisor()
    cleaned: list[str] = []

    def body(name: str):
        async def run(beat) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.02)
                cleaned.append(name)

        return run

    for name in "abc":
        made.add(name, body(name))
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(cleaned) == ["a", "b", "c"]


def test_backoff_grows_to_its_cap_and_starts_over() -> None:
    made = Backoff(1.0, 10.0)
    delays = [made.next() for _ in range(2000)]
    assert all(d <= 10.0 for d in delays)
    assert all(d >= 5.0 for d in delays[10:])
    assert len(set(delays[10:])) > 100, "jitter"
    made.reset()
    assert made.next() <= 1.0


# -- inbox, minutes, counters, packing ----------------------------------------------------


async def test_inbox_is_bounded_and_keeps_order() -> None:
    inbox = Inbox(limit=3)
    for k in range(5):
        inbox.put(Sent(1, k, 0.0))
    assert [item.command_id for item in await inbox.take(1)] == [2, 3, 4]  # type: ignore[union-attr]
    assert inbox.dropped == 2
    assert await inbox.take(0.01) == []
    waiter = asyncio.create_task(inbox.take(5))
    await asyncio.sleep(0.01)
    inbox.put(Sent(1, 9, 0.0))
    assert len(await waiter) == 1


def test_minutes() -> None:
    book = MinuteBook()
    for second, watts in ((0, 100.0), (30, 300.0), (60, 50.0)):
        book.add(
            5, r.Telemetry(p_w=watts, vout_v=230.0 + second, current_a=1.0, phase=2), 600 + second
        )
    rows = book.take(665)
    assert len(rows) == 1
    address, minute, samples, mean, peak, amps, low, high, phase, *_ = rows[0]
    assert (address, minute, samples, mean, peak) == (5, 600, 2, 200.0, 300.0)
    assert (amps, low, high, phase) == (1.0, 230.0, 260.0, 2)
    assert book.take(665) == []
    assert len(book.take(665, everything=True)) == 1


def test_counter_block() -> None:
    block = CounterBlock()
    with pytest.raises(IndexError):
        block.take()
    block.extend(1, 256)
    assert block.take() == 1
    block.raise_floor(200)
    assert block.take() == 200
    assert block.wants_more
    block.extend(257, 256)
    assert [block.take() for _ in range(57)][-1] == 257
    block.raise_floor(10_000)
    assert block.left == 0
    with pytest.raises(IndexError):
        block.take()
    block.extend(10_000, 256)
    assert block.take() == 10_000


def test_percentile() -> None:
    assert percentile([], 0.95) == 0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([0.0, 10.0], 0.95) == pytest.approx(9.5)


def test_core_config() -> None:
    made = core_config(PlannerConfig(core={"price": 5}, phase_limit_a=100.0))
    assert isinstance(made.price, float)
    assert made.limits_a == 100.0
    with pytest.raises(ConfigError, match=r"planner\.core\.prise"):
        core_config(PlannerConfig(core={"prise": 5}))
    with pytest.raises(ConfigError, match="price"):
        core_config(PlannerConfig(core={"price": -5}))


# -- transformer meter --------------------------------------------------------------------


async def test_a_meter_that_is_not_there() -> None:
    with pytest.raises(BearerError, match="does not open"):
        await make_meter(MeterConfig(kind="sdm630", port="/nowhere")).read()


async def test_file_meter(tmp_path: Path) -> None:
    path = tmp_path / "meter.json"
    path.write_text(json.dumps({"v": [230, 231, 232], "i_a": [1, 2, 3], "p_w": [1, 2, 3]}))
    reading = await FileMeter(path).read()
    assert reading.v == (230.0, 231.0, 232.0)
    assert math.isnan(reading.neutral_a)
    assert reading.as_dict()["neutral_a"] is None
    for text in ("", "[]", "{}", '{"v": [1, 2], "i_a": [1, 2, 3], "p_w": [1, 2, 3]}'):
        path.write_text(text)
        with pytest.raises(BearerError, match="not a meter file"):
            await FileMeter(path).read()


async def test_a_meter_file_whose_writer_has_died(tmp_path: Path) -> None:
    path = tmp_path / "meter.json"
    data = {"v": [230, 231, 232], "i_a": [80, 20, 20], "p_w": [1, 2, 3]}
    path.write_text(json.dumps(data))
    now = time.time()
    for age_s, words in (
        (30 * 60, "30 minutes ago"),
        (5 * 86400, "5 days ago"),
        (-4 * 3600, "4 hours ahead"),
    ):
        os.utime(path, (now - age_s,) * 2)
        with pytest.raises(BearerError, match=words):
            await FileMeter(path).read()
    os.utime(path, (now - 30,) * 2)
    assert (await FileMeter(path).read()).i == (80.0, 20.0, 20.0)
    with pytest.raises(BearerError, match="30 seconds ago"):
        await make_meter(MeterConfig(kind="file", path=path, max_age_s=10)).read()
    # A writer that copies an old reading into a new file.
    path.write_text(json.dumps({**data, "time_s": now - 600}))
    with pytest.raises(BearerError, match="10 minutes ago"):
        await FileMeter(path).read()
    path.write_text(json.dumps({**data, "time_s": now - 6}))
    meter = FileMeter(path)
    assert (await meter.read()).v[2] == 232.0
    assert meter.taken_s == pytest.approx(now - 6)


async def test_a_meter_file_that_is_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fresh = tmp_path / "meter.json", tmp_path / "meter.new"
    now = time.time()
    for each, amps, age_s in ((path, 80, 9.0), (fresh, 20, 1.0)):
        each.write_text(json.dumps({"v": [230] * 3, "i_a": [amps] * 3, "p_w": [1] * 3}))
        os.utime(each, (now - age_s,) * 2)

    def load(data: bytes, most: int) -> object:
        if fresh.exists():
            fresh.replace(path)
        return load_json(data, most)

    monkeypatch.setattr("pbal_controller.meters.file.load_json", load)
    meter = FileMeter(path)
    assert (await meter.read()).i[0] == 80.0
    assert meter.taken_s == pytest.approx(now - 9.0)
    assert (await meter.read()).i[0] == 20.0
    assert meter.taken_s == pytest.approx(now - 1.0)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "1e400", '"inf"', '"nan"', "true", "[]"])
async def test_a_meter_file_with_what_is_no_number(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "meter.json"
    for key in ("v", "i_a", "p_w"):
        data = {"v": "[1, 2, 3]", "i_a": "[1, 2, 3]", "p_w": "[1, 2, 3]"} | {key: f"[1, {bad}, 3]"}
        path.write_text("{" + ", ".join(f'"{k}": {v}' for k, v in data.items()) + "}")
        with pytest.raises(BearerError):
            await FileMeter(path).read()


# -- systemd, logs ------------------------------------------------------------------------


def test_notify(tmp_path: Path) -> None:
    assert not sdnotify.notify("READY=1", {})
    address = str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.settimeout(2)
        assert sdnotify.notify("READY=1", {"NOTIFY_SOCKET": address})
        assert server.recv(100) == b"READY=1"
    assert not sdnotify.notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert sdnotify.watchdog_interval_s({"WATCHDOG_USEC": "4000000"}) == 2.0
    assert sdnotify.watchdog_interval_s({"WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}) is None
    assert sdnotify.watchdog_interval_s({}) is None


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_logs_carry_fields_and_no_secrets(formatter: logging.Formatter) -> None:
    record = logging.LogRecord("pbal", logging.INFO, "f", 1, "home heard", (), None)
    record.home = 5
    record.root_key = "00ff"
    line = formatter.format(record)
    assert "home heard" in line
    assert "5" in line
    assert "00ff" not in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["home"] == 5


def test_planner_memory() -> None:
    state = {"version": 1, "wear": {"price": 2.5, "times_s": np.full((2, 3), -np.inf)}}
    blob = planner_memory.pack(state, [1, 2, 3])
    again = planner_memory.unpack(blob, [1, 2, 3])
    assert again["version"] == 1
    assert again["wear"]["price"] == 2.5
    assert (again["wear"]["times_s"] == state["wear"]["times_s"]).all()
    for bad, homes in ((blob, [1, 2]), (blob[:-30], [1, 2, 3]), (b"", [1]), (b"x" * 99, [1])):
        with pytest.raises(ValueError, match=r"damaged|another"):
            planner_memory.unpack(bad, homes)


def test_a_damaged_memory_of_the_planner_is_known_as_such() -> None:
    """Whatever a card does to the bytes: the memory, or ValueError, and nothing else."""
    times_s = np.random.default_rng(1).normal(size=(30, 3))
    blob = planner_memory.pack({"wear": {"price": 2.5, "times_s": times_s}}, [1, 2, 3])
    rng = random.Random(1)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(blob)
        for _ in range(rng.choice((1, 1, 3, 20))):
            damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        try:
            state = planner_memory.unpack(bytes(damaged), [1, 2, 3])
        except ValueError:
            refused += 1
        else:  # what was hit is not read, or an array is missing, which the planner refuses
            assert (state.get("wear", {}).get("times_s", times_s) == times_s).all()
    assert refused > 1500
