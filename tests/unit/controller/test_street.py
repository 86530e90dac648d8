"""The whole controller against a street of fake nodes on a pty."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable

import aiohttp
import pytest
from rigs import needs

from pbal_controller.bearers.rs485.bearer import PortState
from pbal_controller.journal import Journal
from pbal_protocol import records as r

from .conftest import Site, rows, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


async def test_every_home_is_read_and_its_clock_set(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, phase=k % 3 + 1) for k in range(1, 7)))
    began_s = time.time()
    async with site.running() as c:
        await until(lambda: all(node.synced for node in site.nodes.values()))
        await until(lambda: all(home.readings > 3 for home in c.fleet))
        assert all(home.alive for home in c.fleet)
        await until(lambda: max(home.age_s(c.now()) for home in c.fleet) < 1.0)
        await until(lambda: site.bus.broadcasts >= 1)
        assert began_s - 3 < site.nodes[3].group_times[0] < time.time() + 3


async def test_a_move_is_journaled_done_and_confirmed(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1), FakeNode(2, phase=2))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        command = await c.dispatcher.order(c.fleet.get(1), 3, "a test", 1.0)
        assert rows(site, "SELECT id, to_phase FROM commands") == [(command, 3)]
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        assert site.nodes[1].executed == {command: 1}
        assert site.nodes[1].true_phase == 3
        assert rows(site, "SELECT state FROM commands") == [("confirmed",)]
        await until(lambda: site.nodes[1].unacked_result is None)
        assert rows(site, "SELECT outcome FROM results WHERE outcome > 1") == [(r.DONE,)]


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_lost_answers_never_switch_twice(make_site: MakeSite, lost: int) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        command = await c.dispatcher.order(c.fleet.get(1), 2, "a test", 1.0)
        site.nodes[1].lose_answers = lost
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        assert site.nodes[1].executed == {command: 1}


async def test_only_one_command_at_a_time(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1, transfer_s=0.3))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        ids = await asyncio.gather(*(c.dispatcher.order(home, 2, "a test", 1.0) for _ in range(4)))
        assert sum(x is not None for x in ids) == 1


async def test_a_home_that_lies_is_quarantined_until_released(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1, lie=True))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        await c.dispatcher.order(home, 2, "a test", 1.0)
        await until(lambda: home.quarantined and c.dispatcher.open_count == 0)
        assert c.dispatcher.finished_total["disagreed"] == 1
        assert await c.dispatcher.order(home, 3, "a test", 1.0) is None
    async with site.running() as c:
        assert c.fleet.get(1).quarantined, "a restart does not lift it"
        journal = Journal(site.folder / "journal.db")
        journal.lift_quarantine(1)
        journal.close()
        await until(lambda: not c.fleet.get(1).quarantined)


async def test_a_deaf_node_expires_and_stays_where_it_is(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    site.changes["dispatch"] = {"ttl_s": 5}
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        site.nodes[1].deaf = True
        await c.dispatcher.order(home, 2, "a test", 1.0)
        assert c.dispatcher.open_count == 1
        await until(lambda: c.dispatcher.open_count == 0)
        assert c.dispatcher.finished_total["expired"] == 1
        assert site.nodes[1].true_phase == 1


async def test_events_are_acknowledged_only_when_stored(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    async with site.running() as c:
        await until(lambda: node.synced)
        for _ in range(5):
            node.event()
        await until(lambda: not node.events)
        stored = rows(site, "SELECT seq FROM events ORDER BY seq")
        assert stored == [(k,) for k in range(1, 6)]
        assert c.dispatcher.events_total == 5


async def test_silent_homes_are_backed_off_and_come_back(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k) for k in range(1, 5)))
    site.nodes[4].silent = True
    async with site.running() as c:
        await until(lambda: c.fleet.get(4).link.polls >= 3 and c.fleet.get(1).readings > 20)
        assert not c.fleet.get(4).alive
        assert c.fleet.get(4).link.lost == 0, "of a home that was never heard nothing is due"
        assert site.nodes[4].polled < site.nodes[1].polled / 2
        site.nodes[4].silent = False
        await until(lambda: c.fleet.get(4).alive)
        site.nodes[4].silent = True
        await until(lambda: c.fleet.get(4).link.lost >= 3)


async def test_an_answer_of_another_node_is_never_taken(make_site: MakeSite) -> None:
    """Node 2 answers whenever node 1 is asked, first under its own unit, then under 1's."""
    site = make_site(FakeNode(1), FakeNode(2))
    stolen: list[bytes] = []

    def swap(unit: int, raw: bytes) -> bytes | None:
        if unit == 2:
            stolen.append(raw)
            return raw
        if not stolen:
            return None
        other = stolen[-1]
        return other if len(stolen) % 2 else bytes((1,)) + other[1:]

    site.bus.answer_hook = swap
    async with site.running() as c:
        await until(lambda: c.fleet.get(2).readings > 20)
        await until(lambda: c.fleet.get(1).link.lost + c.fleet.get(1).link.malformed > 2)
        assert c.fleet.get(1).readings == 0
        assert not c.fleet.get(1).alive
        assert c.fleet.get(2).alive


async def test_replayed_and_forged_answers_are_counted_and_change_nothing(
    make_site: MakeSite,
) -> None:
    site = make_site(FakeNode(1))
    kept: list[bytes] = []
    mode = "keep"

    def hook(unit: int, raw: bytes) -> bytes:
        if mode == "keep":
            kept.append(raw)
            return raw
        if mode == "replay":
            return kept[-1]
        broken = bytearray(raw)
        broken[-3] ^= 0x10
        return bytes(broken)

    site.bus.answer_hook = hook
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: home.readings > 3)
        mode = "replay"
        await until(lambda: home.link.replayed > 0)
        mode = "forge"
        await until(lambda: home.link.auth_failed > 0)
        before = home.readings
        await until(lambda: home.link.auth_failed > 2)
        assert home.readings == before


async def test_a_delayed_reading_is_not_used(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 3)
        site.nodes[1].clock_offset = -60.0
        await until(lambda: home.link.delayed > 3)
        before = home.readings
        await until(lambda: home.link.delayed > 6)
        assert home.readings == before


async def test_a_slow_clock_is_set_forward(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    async with site.running() as c:
        await until(lambda: node.synced and c.fleet.get(1).readings > 3)
        node.clock_offset = -5.0
        await until(lambda: node.clock_offset == 0.0)
        before = c.fleet.get(1).readings
        await until(lambda: c.fleet.get(1).readings > before)


async def test_the_transformer_meter_counts_for_overload(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, p_w=3000) for k in range(1, 5)))
    (site.folder / "meter.json").write_text(
        json.dumps({"v": [230, 230, 230], "i_a": [100, 400, 20], "p_w": [1, 2, 3]})
    )
    site.changes["transformer.meter"] = {"kind": "file", "path": "meter.json", "every_s": 0.1}
    site.changes["planner"] = {"enabled": True, "every_s": 600, "phase_limit_a": 200.0}
    async with site.running() as c:
        await until(lambda: "overload: phase B" in str(c.planner.last_decision.get("cause")))
        await until(lambda: c.meter.reading is not None)
        (site.folder / "meter.json").write_text("")
        await until(lambda: c.meter.reading is None)


async def test_a_node_that_resets_gets_its_clock_back(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced)
        site.nodes[1].reset()
        await until(lambda: site.nodes[1].synced)
        assert c.fleet.get(1).boots == 2


async def test_down_counters_never_repeat_over_restarts(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    for _ in range(3):
        site.nodes[1].reset()
        async with site.running():
            await until(lambda: site.nodes[1].synced)
    assert site.nodes[1].refused_frames == 0


async def test_a_node_ahead_of_a_lost_journal_is_caught_up_with(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    node.opener.raise_floor(100_000)
    node.reset()
    async with site.running() as c:
        await until(lambda: node.synced)
        assert c.fleet.get(1).session.counters.take() > 100_000


async def test_the_port_comes_back(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    link = site.folder / "tty"
    link.symlink_to(site.bus.path)
    path, site.bus.path = site.bus.path, str(link)
    async with site.running() as c:
        bearer = c.bearers["street"]
        await until(lambda: c.fleet.get(1).readings > 3)
        site.bus.unplug()
        await until(lambda: bearer.state is not PortState.OPEN)
        assert not c.fleet.get(1).alive
        site.bus.open()
        path, site.bus.path = site.bus.path, str(link)
        link.unlink()
        link.symlink_to(path)
        site.bus.__enter__()
        before = c.fleet.get(1).readings
        await until(lambda: c.fleet.get(1).readings > before + 3)
        assert bearer.reconnects >= 1
        assert bearer.state is PortState.OPEN


async def test_a_port_that_never_opens_stops_nothing_else(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    site.bus.path = str(site.folder / "nothing-here")
    async with site.running() as c:
        bearer = c.bearers["street"]
        await until(lambda: bearer.last_error)
        assert "nothing-here" in bearer.last_error
        await until(lambda: c.server.port)
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{c.server.port}/api/status") as answer,
        ):
            assert (await answer.json())["buses"][0]["state"] in ("waiting", "opening")


async def test_without_a_set_clock_nothing_is_ordered(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        c.dispatcher._wall = lambda: 1000.0
        assert await c.dispatcher.order(home, 2, "a test", 1.0) is None
        assert rows(site, "SELECT * FROM commands") == []
        c.dispatcher._wall = time.time


async def test_a_home_whose_node_refused_is_left_alone_for_a_while(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and not home.immovable(c.now()))
        site.nodes[1].phase = 2  # moved by itself just now: the command names the wrong phase
        home.telemetry.phase = 1
        await c.dispatcher.order(home, 3, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["refused"] == 1)
        assert "left alone" in home.immovable(c.now())
        assert home.immovable(c.now() + 3600) == ""


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01, 0.03])
async def test_it_may_be_stopped_at_any_moment_of_its_start(
    make_site: MakeSite, after_s: float
) -> None:
    """No task, no port lock and no journal thread stays behind (the guards look)."""
    site = make_site(FakeNode(1))
    for _ in range(3):
        async with site.running():
            await asyncio.sleep(after_s)
    async with site.running() as c:
        await until(lambda: c.fleet.get(1).readings > 0)


# -- crashes ------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["journaled", "sent", "acked"])
async def test_a_kill_at_any_point_neither_forgets_nor_repeats(
    make_site: MakeSite, point: str
) -> None:
    """The real command line is killed (SIGKILL by itself) and started again."""
    site = make_site(FakeNode(1, p_w=3000), FakeNode(2, p_w=3000), FakeNode(3, p_w=3000))
    site.changes["planner"] = {"enabled": True, "max_moving_share": 0.3}
    # Long enough for a restart on a busy computer: expiry is not what this is about.
    site.changes["dispatch"] = {"ttl_s": 300}
    config = site.write()
    code = "from pbal_controller.cli import main; main()"

    async def start(**env: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "run", "--config", str(config),
            env={**os.environ, **env}, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    first = await start(PBAL_CRASH_AT=point)
    assert await asyncio.wait_for(first.wait(), 90) == -signal.SIGKILL
    ordered = rows(site, "SELECT id, state FROM commands")
    assert len(ordered) == 1
    assert ordered[0][1] in ("journaled", "sent", "accepted", "done")
    second = await start(PBAL_PLANNER__ENABLED="false")
    try:
        await until(lambda: rows(site, "SELECT state FROM commands") == [("confirmed",)], 90)
    finally:
        second.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(second.wait(), needs.PATIENCE_S) == 0
    moved = [node for node in site.nodes.values() if node.executed]
    assert [list(node.executed.items()) for node in moved] == [[(ordered[0][0], 1)]]
