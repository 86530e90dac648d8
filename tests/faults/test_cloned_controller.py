"""A Pi's card is cloned and both copies run on one pair: both notice, neither commands.

Both ports hear everything on the pair, as two adapters on it would: the homes, and each other.
"""

import asyncio
import shutil
import time
from collections.abc import Callable

import pytest
from rigs.pair import OnPort, Pair, moved
from rigs.twin import OPTIONS

from bench.site import Site
from pbal_controller.journal import Journal
from pbal_controller.standing import store as standing_store
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.long, pytest.mark.timeout(240)]

HOMES = 4
READ_ONLY = {**OPTIONS, "planner": {**OPTIONS["planner"], "enabled": False}}
# The planner's own settling, which is the time in which a start listens for others.
SETTLED = {**OPTIONS, "planner": {**OPTIONS["planner"], "settle_s": 10.0}}


async def test_a_clone_on_the_same_pair(make_street: Callable[..., Street]) -> None:
    async with make_street(HOMES) as street:
        pair = Pair(street.device)
        try:
            await _both(street, pair)
        finally:
            pair.close()


async def _both(street: Street, pair: Pair) -> None:
    first = OnPort(street, pair.ports[0], "first")
    site = Site(first, READ_ONLY)  # type: ignore[arg-type]
    await site.start()
    await site.until(lambda s: s["homes_fresh"] == HOMES, "all are read")
    # A home that the journal has no counters for would report a lost journal besides.
    known = "SELECT COUNT(*) FROM counters WHERE kind = 2"
    await site.until(lambda _: site.query(known) == [(HOMES,)], "counters are reserved for all")
    assert await site.stop() == 0
    second = OnPort(street, pair.ports[1], "second")
    shutil.copytree(site.folder, second.workdir / "controller")
    clone = Site(second, SETTLED)  # type: ignore[arg-type]
    site.options = SETTLED
    began = time.monotonic()
    await asyncio.gather(site.start(), clone.start())
    before = list(pair.bytes_from)
    for each in (site, clone):
        status = await each.until(lambda s: "adopt" in s["stands_down"], "it stands down", 70)
        assert not status["commands"]
    took = time.monotonic() - began
    assert took < 60, f"noticed after {took:.0f} s only"
    assert all(b > a for a, b in zip(before, pair.bytes_from, strict=True)), "both spoke"
    # Much is to be gained here (all homes on one phase), and still nothing is ordered. What one of
    # them ordered before the other had come up comes to its end.
    ordered = [(await each.status())["switches"]["ordered"] for each in (site, clone)]
    await asyncio.sleep(15)
    for each, count in zip((site, clone), ordered, strict=True):
        assert (await each.status())["switches"]["ordered"] == count
        assert each.query("SELECT COUNT(*) FROM stand_down") == [(1,)]
    ids = [{row[0] for row in each.query("SELECT id FROM commands")} for each in (site, clone)]
    assert not ids[0] & ids[1]
    assert moved(street) <= sum(ordered)
    assert street.witness.report()["incidents"] == {}
    # A person takes the clone away, and decides.
    assert await clone.stop() == 0
    journal = Journal(site.journal)
    assert list(standing_store.adopt(journal)) == ["rival"]
    journal.close()
    more = ordered[0]
    await site.until(lambda s: s["switches"]["ordered"] > more, "it commands again", 90)
    await site.until(lambda s: s["switches"]["open"] == 0, "its command ends", 60)
    assert await site.stop() == 0
    assert street.witness.report()["incidents"] == {}
