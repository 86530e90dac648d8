"""A clock of the Pi that is decades off, or is set back: readings go on, nothing absurd is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import pytest

from pbal_controller.app import Controller
from pbal_controller.journal import CommandRow, Journal, clock_is_set
from pbal_controller.journal.numbers import LAST
from pbal_controller.moves.command import Command

from .conftest import Site, until
from .fake import FakeNode

MakeSite = Callable[..., Site]
T0 = 1_800_000_000


@pytest.mark.parametrize("start_s", [0.0, LAST - 1.0, LAST + 1.0, 253402300800.0, 2.0**60])
async def test_a_clock_that_cannot_be_is_told_to_nobody(
    make_site: MakeSite, start_s: float
) -> None:
    site = make_site(FakeNode(1), FakeNode(2))
    began = time.monotonic()
    c = Controller(site.config(), site.keys, lambda: start_s + time.monotonic() - began)
    task = asyncio.create_task(c.run())
    try:
        await until(lambda: c.ready.is_set() or task.done())
        await until(lambda: all(home.readings > 20 for home in c.fleet))
        await asyncio.sleep(2.5)  # a group sync would have been due
        home = c.fleet.get(1)
        assert await c.dispatcher.order(home, home.phase % 3 + 1, "test", 1.0) is None
        assert "clock is not set" in c.dispatcher.why_not(c.now())
        assert not any(node.synced for node in site.nodes.values())
        assert site.bus.broadcasts == 0
        assert [loop.failing for loop in c.supervisor.loops.values() if loop.failing] == []
        read = home.readings
        await until(lambda: home.readings > read)
        # Set at last: homes get the time, and may be moved.
        c.rounds["street"].clock = c.host.clock = c.dispatcher._wall = time.time
        await until(lambda: all(node.synced for node in site.nodes.values()))
        await until(lambda: site.bus.broadcasts > 0)
        await until(lambda: not home.flags)
        assert await c.dispatcher.order(home, home.phase % 3 + 1, "test", 1.0)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_the_first_and_the_last_time() -> None:
    assert not clock_is_set(0)
    assert clock_is_set(1_735_689_600)
    assert clock_is_set(LAST - 90_000)
    assert not clock_is_set(LAST - 80_000)


@pytest.mark.parametrize("state", ["journaled", "sent", "accepted"])
def test_a_command_of_a_clock_since_set_back_ends(state: str) -> None:
    """Else its home would be busy until that time comes, and no other could move meanwhile."""
    year = 365 * 86400
    row = CommandRow(9, 5, 1, 2, T0 + year, T0 + year + 60, "why", 1.0, state)
    c = Command(row, ttl_s=60)
    first = c.tick(0.0, T0 + year + 1)
    assert first.send == (state != "accepted")
    assert not any(c.tick(float(t), T0 + t).send for t in range(1, 5))
    assert c.tick(20.0, T0 + 20).ask_result
    assert c.expires_s <= T0 + 1


def test_a_small_step_back_costs_no_command() -> None:
    c = Command(CommandRow(9, 5, 1, 2, T0, T0 + 60, "why", 1.0), ttl_s=60)
    assert c.tick(0.0, T0 + 1).send
    assert c.tick(2.0, T0 - 5).send
    assert c.expires_s == T0 + 60


async def test_a_journaled_command_of_a_clock_since_set_back_frees_its_home(
    make_site: MakeSite,
) -> None:
    site = make_site(FakeNode(1, silent=True))
    async with site.running() as c:
        ahead = int(time.time()) + 10**8
        await c.journal.call(Journal.new_command, 1, 1, 2, ahead, ahead + 5, "test", 1.0)
    async with site.running() as c:
        assert c.dispatcher.busy(1)
        site.nodes[1].silent = False
        await until(lambda: not c.dispatcher.busy(1))
        assert site.nodes[1].executed == {}
        assert c.dispatcher.recent[-1]["state"] == "expired"
