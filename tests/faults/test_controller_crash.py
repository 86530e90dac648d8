"""The controller is killed (SIGKILL) at the worst instants; after its restart nothing is lost,
nothing is done twice, and what it believes is what the contacts show.
"""

import asyncio
from collections.abc import Callable

import pytest
from rigs.street import check_books, settled
from rigs.twin import OPTIONS

from bench.site import Site
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("journaled", marks=pytest.mark.long),
        "sent",
        pytest.param("acked", marks=pytest.mark.long),
    ],
)
async def test_killed_and_restarted(make_street: Callable[..., Street], point: str) -> None:
    async with make_street() as street:
        site = Site(street, OPTIONS)
        await site.start({"PBAL_CRASH_AT": point})
        assert await site.ended(60) == -9, site.log()[-3000:]
        first = site.query("SELECT id, address, state FROM commands")
        assert first, "the command was journaled before anything else"
        await site.start()
        await site.until(
            lambda s: (
                s["switches"]["open"] == 0 and s["homes_fresh"] == 6 and s["neutral_current_a"] < 6
            ),
            "the street is balanced after the restart",
            60,
        )
        # The planner may still be at it: wait for a moment without open commands.
        for _ in range(100):
            if settled(site):
                break
            await asyncio.sleep(0.1)
        status = await site.status()
        check_books(street, site)
        fate = dict(site.query("SELECT id, state FROM commands"))
        assert fate[first[0][0]] == "confirmed"
        for home, seen in zip(street.homes, status["homes"], strict=True):
            assert seen["phase"] == home.contacts.phase + 1
            assert not seen["quarantined"]
        assert await site.stop() == 0
