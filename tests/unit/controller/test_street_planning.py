"""Fake nodes on a pty: what the planner orders, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rigs import needs

from pbal_protocol import records as r

from .conftest import Site, rows, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


async def test_the_neutral_current_falls(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, phase=1, p_w=2000 + 100 * k) for k in range(1, 7)))
    site.changes["planner"] = {"enabled": True, "max_moving_share": 0.5}
    async with site.running() as c:
        await until(lambda: c.dispatcher.finished_total["confirmed"] >= 4)
        phases = {node.true_phase for node in site.nodes.values()}
        assert phases == {1, 2, 3}
        # Before: all of it on one phase, about 61 A.
        await until(lambda: c.fleet.neutral_a(c.now(), 5) < 15)
        assert all(n == 1 for node in site.nodes.values() for n in node.executed.values())


async def test_a_home_above_its_switching_rating_is_left_alone(make_site: MakeSite) -> None:
    """S6: moving the heavy home would help most, but its node would only wait for less load."""
    site = make_site(FakeNode(1, p_w=7000.0), *(FakeNode(k, p_w=1750.0) for k in range(2, 6)))
    site.changes["planner"] = {"enabled": True, "max_moving_share": 1.0}
    async with site.running() as c:
        await until(lambda: c.dispatcher.finished_total["confirmed"] >= 2)
        moved = {address for (address,) in rows(site, "SELECT address FROM commands")}
        assert 1 not in moved


async def test_fixed_and_flagged_homes_are_never_moved(make_site: MakeSite) -> None:
    site = make_site(
        FakeNode(1, p_w=3000),
        FakeNode(2, p_w=3000, flags=r.FLAG_FIXED),
        FakeNode(3, p_w=3000, flags=r.FLAG_OPTED_OUT),
        FakeNode(4, p_w=3000),
    )
    site.fixed = {1}
    site.changes["planner"] = {"enabled": True, "max_moving_share": 1.0}
    async with site.running() as c:
        await until(lambda: c.planner.decisions_total >= 4 and site.nodes[4].executed)
        assert [n.address for n in site.nodes.values() if n.executed] == [4]


async def test_the_planner_remembers_over_a_restart(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, phase=1, p_w=3000) for k in range(1, 4)))
    site.changes["planner"] = {"enabled": True}
    site.core["dwell_s"] = 3600
    async with site.running() as c:
        await until(lambda: c.dispatcher.finished_total["confirmed"] >= 1)
        decisions = c.planner.decisions_total
        await until(lambda: c.planner.decisions_total > decisions)
    wear = c.planner.planner.wear.times_s
    site.changes["planner"] = {"enabled": False}
    async with site.running() as c:
        assert (c.planner.planner.wear.times_s == wear).all()
        assert (wear > 0).sum() >= 1
    site.nodes.pop(3)
    async with site.running() as c:
        assert len(c.planner.planner.wear.times_s[0]) == 2, "another street, an empty memory"


async def test_no_plan_on_stale_data(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, p_w=3000, silent=k > 2) for k in range(1, 5)))
    site.changes["planner"] = {"enabled": True}
    async with site.running() as c:
        await until(lambda: c.planner.skipped_total >= 2)
        assert "stale" in c.planner.last_decision["skipped"]
        assert c.planner.decisions_total == 0
        assert c.dispatcher.ordered_total == 0


async def test_not_too_many_move_at_once(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, p_w=3000, transfer_s=1.0) for k in range(1, 9)))
    site.changes["planner"] = {"enabled": True, "max_moving_share": 0.25}
    most = 0
    async with site.running() as c:
        end = c.now() + needs.PATIENCE_S
        while c.dispatcher.finished_total["confirmed"] < 4 and c.now() < end:
            most = max(most, sum(node.moving is not None for node in site.nodes.values()))
            await asyncio.sleep(0.01)
        assert c.dispatcher.finished_total["confirmed"] >= 4
    assert most == 2


async def test_an_overload_does_not_wait_for_its_turn(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k, p_w=500) for k in range(1, 5)))
    site.changes["planner"] = {"enabled": True, "every_s": 600, "phase_limit_a": 30.0}
    site.core["price"] = 50
    async with site.running() as c:
        # Its turn is over, whether or not the homes were all heard by then.
        await until(lambda: c.planner.decisions_total + c.planner.skipped_total == 1)
        for node in site.nodes.values():
            node.p_w = 3000
        await until(lambda: c.dispatcher.ordered_total > 0)
        assert "overload" in c.planner.last_decision["cause"]
