"""What an operator meets: a full disk, a clock that jumps, a restart in the middle of things."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable

import aiohttp
import numpy as np
import pytest
from rigs import needs

from pbal_controller.homes import Home
from pbal_controller.view import SiteView
from pbal_controller.view import http as http_module
from pbal_controller.view.http import MAX_CONNECTIONS
from pbal_protocol import records as r

from .conftest import Site, rows, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


# -- restarts -----------------------------------------------------------------------------


async def test_what_was_heard_before_a_restart_is_a_replay_after_it(make_site: MakeSite) -> None:
    """Also a reading of a node without a clock, which nothing but its counter dates."""
    site = make_site(FakeNode(1))
    kept: list[bytes] = []

    def keep(unit: int, raw: bytes) -> bytes:
        kept.append(raw)
        return raw

    site.bus.answer_hook = keep
    async with site.running() as c:
        await until(lambda: c.fleet.get(1).readings > 3)
    first = kept[0]  # from before its clock was set
    site.bus.answer_hook = lambda unit, raw: first
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: home.link.replayed >= 3)
        assert home.readings == 0
        assert not home.alive
        site.bus.answer_hook = None
        await until(lambda: home.readings > 0)


async def test_after_a_restart_every_home_says_who_it_is(make_site: MakeSite) -> None:
    """Events are stored with the node's life: without it one would be stored twice."""
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    async with site.running():
        await until(lambda: node.synced)
        node.deaf = True  # acknowledgements are lost
        node.event()
        await until(lambda: rows(site, "SELECT seq FROM events") == [(1,)])
    assert not node.pending
    node.deaf = False
    async with site.running() as c:
        await until(lambda: c.fleet.get(1).hello is not None)
        assert c.fleet.get(1).boots == 1
        await until(lambda: not node.events)
        assert rows(site, "SELECT seq, boots FROM events") == [(1, 1)]


async def test_a_hangup_stops_it_in_order(make_site: MakeSite) -> None:
    """A terminal that is closed, or `kill -HUP`: what is in memory is written first."""
    site = make_site(FakeNode(1))
    config = site.write()
    one = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from pbal_controller.cli import main; main()",
        "run", "--config", str(config),
        env={**os.environ}, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: site.nodes[1].synced, 90)
    finally:
        one.send_signal(signal.SIGHUP)
        assert await asyncio.wait_for(one.wait(), needs.PATIENCE_S) == 0
    assert rows(site, "SELECT kind FROM counters WHERE kind = 1") == [(1,)]


# -- commands and clocks ------------------------------------------------------------------


async def test_a_command_that_waited_too_long_does_not_leave(make_site: MakeSite) -> None:
    """A home that was silent comes back after the expiry of what waited for it."""
    site = make_site(FakeNode(1))
    async with site.running() as c:
        home, node = c.fleet.get(1), site.nodes[1]
        await until(lambda: node.synced and home.readings > 2)
        node.silent = True
        await until(lambda: not home.alive)
        await c.dispatcher.order(home, 2, "a test", 1.0)
        assert home.switch is not None
        late = time.time() + 3600
        c.rounds["street"].clock = c.host.clock = lambda: late
        node.silent = False
        await until(lambda: home.alive and home.switch is None)
        polled = node.polled
        await until(lambda: node.polled > polled + 10)
        assert node.executed == {}
        assert node.results == {}


async def test_a_home_whose_clock_is_ahead_is_told_not_ordered_and_set_back(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    """The Pi's clock was wrong and went back: nodes follow in answer to their nonce only (S4)."""
    site = make_site(FakeNode(1))
    async with site.running() as c:
        home, node = c.fleet.get(1), site.nodes[1]
        await until(lambda: node.synced and home.readings > 2 and home.time_nonce is None)
        await until(lambda: home.immovable(c.now()) == "")
        node.deaf = True
        node.clock_offset = 100.0
        await until(lambda: "ahead of ours" in home.immovable(c.now()))
        node.deaf = False
        await until(lambda: home.immovable(c.now()) == "")
        assert node.clock_offset == 0.0
    told = [x.message for x in caplog.records if "clock of a home" in x.message]
    assert told == ["clock of a home and ours differ", "clock of a home and ours agree again"]


async def test_a_clock_that_was_years_ahead_blocks_no_move_for_years(make_site: MakeSite) -> None:
    """Neither while it runs nor after a restart: wear that lies in the future is from just now."""
    site = make_site(FakeNode(1, p_w=3000), FakeNode(2, p_w=3000))
    site.core["dwell_s"] = 1
    off = 3e8
    async with site.running() as c:
        await until(lambda: all(h.readings > 2 for h in c.fleet))
        loop = c.planner
        loop._wall = lambda: time.time() + off
        loop.planner.wear.see(loop.planner_time_s(), np.array([0, 0], np.int8), np.nan)
        loop.planner.wear.see(loop.planner_time_s(), np.array([1, 0], np.int8), np.nan)
        assert not loop.planner.wear.free(loop.planner_time_s())[0]
        loop._wall = time.time

        def rested_s() -> float:
            return float((loop.planner_time_s() - loop.planner.wear.times_s[0]).min())

        await until(lambda: rested_s() > 1)  # else time stands still for the planner
        assert (time.time() - loop.planner.wear.times_s[0, 0]) < -1e8
    async with site.running() as c:
        times = c.planner.planner.wear.times_s
        assert abs(times[0, 0] - time.time()) < 60
        assert (times <= time.time()).all()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (r.FLAG_FIXED, "fixed"),
        (r.FLAG_OPTED_OUT, "opted out"),
        (r.FLAG_LOCKOUT, "locked out"),
        (r.FLAG_SAFE_MODE, "safe mode"),
        (r.FLAG_SENSE_FAULT, "sensing"),
        (r.FLAG_METER_FAULT, "meter"),
        (r.FLAG_UNSYNCED, "clock"),
    ],
)
async def test_every_flag_that_forbids_a_move_does(
    make_site: MakeSite, flag: int, words: str
) -> None:
    site = make_site(FakeNode(1))
    home = Home(site.config().home[0], object())  # type: ignore[arg-type]
    home.alive = True
    home.telemetry = r.Telemetry(phase=1, state=r.STATE_CLOSED)
    assert home.immovable(0.0) == ""
    home.telemetry.flags = r.FLAG_AUTONOMOUS | r.FLAG_EVENTS_PENDING
    assert home.immovable(0.0) == ""
    home.telemetry.flags = flag
    assert words in home.immovable(0.0)
    home.telemetry.flags = 0
    home.telemetry.dwell_left_s = 1
    assert "dwell" in home.immovable(0.0)
    home.telemetry.dwell_left_s = 0
    home.quarantined = "lied"
    assert "lied" in home.immovable(0.0)
    home.quarantined = ""
    home.alive = False
    assert "not heard" in home.immovable(0.0)


async def test_a_stale_home_takes_no_part(make_site: MakeSite) -> None:
    """The only home that may move: nobody knows what it does now."""
    site = make_site(FakeNode(1, p_w=4000), *(FakeNode(k, p_w=500) for k in range(2, 5)))
    site.fixed = {2, 3, 4}
    site.changes["planner"] = {"max_moving_share": 1.0, "min_fresh_share": 0.5, "max_age_s": 1.0}

    async with site.running() as c:
        home, *others = c.fleet
        await until(lambda: all(h.readings > 2 for h in c.fleet) and not home.immovable(c.now()))
        site.nodes[1].silent = True
        await until(
            lambda: home.age_s(c.now()) > 1.0 and all(h.age_s(c.now()) < 0.5 for h in others)
        )
        home.alive = True  # as if the polling had not noticed yet
        await c.planner.decide(c.now(), "a test")
        assert c.planner.decisions_total == 1
        assert rows(site, "SELECT address FROM commands") == []
        site.nodes[1].silent = False
        await until(lambda: home.age_s(c.now()) < 0.1 and not c.dispatcher.open_count)
        await c.planner.decide(c.now(), "a test")
        assert rows(site, "SELECT address FROM commands") == [(1,)]


# -- who is on this computer --------------------------------------------------------------


async def test_idle_connections_take_the_page_and_nothing_else(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: c.server.port and c.fleet.get(1).readings > 2)
        held = [
            await asyncio.open_connection("127.0.0.1", c.server.port)
            for _ in range(MAX_CONNECTIONS)
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", c.server.port)
        assert (await asyncio.wait_for(reader.readline(), needs.PATIENCE_S)).startswith(
            b"HTTP/1.1 503"
        )
        writer.close()
        before = c.fleet.get(1).readings
        await until(lambda: c.fleet.get(1).readings > before + 5)
        for _, one in held:
            one.close()
        url = f"http://127.0.0.1:{c.server.port}/healthz"
        async with asyncio.timeout(needs.PATIENCE_S), aiohttp.ClientSession() as http:
            while (await http.get(url)).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def test_asking_in_a_loop_is_answered_from_what_is_at_hand(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    real = http_module.status_dict

    def count(c: SiteView) -> dict[str, object]:
        nonlocal made
        made += 1
        return real(c)

    monkeypatch.setattr(http_module, "status_dict", count)
    monkeypatch.setattr(http_module, "KEEP_S", 3600.0)
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: c.server.port)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{c.server.port}") as http:
            for _ in range(5):
                answer = await http.get("/api/status")
                assert answer.content_type == "application/json"
                first = await answer.json()
            assert made == 1
            monkeypatch.setattr(http_module, "KEEP_S", 0.0)
            again = await (await http.get("/api/status")).json()
    assert made == 2
    assert again["time_s"] > first["time_s"]
