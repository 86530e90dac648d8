"""The line and the nodes misbehave while the real controller balances the street."""

import asyncio
from collections.abc import Callable

import pytest
from rigs.street import check_books, settled
from rigs.twin import OPTIONS, until

from bench.site import Site
from pbal_sim import figures
from pbal_sim.hal import hwmap
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.timeout(180)]

# A POLL answer with Telemetry only: 4 + 7 + 1 + 45 + 8 + 2 bytes or a little more.
_LONGER_THAN_TELEMETRY = 80


async def balanced(site: Site, homes: int = 6) -> None:
    """Waits until the street is balanced and no command is open."""
    await site.until(
        lambda s: s["homes_fresh"] == homes and s["neutral_current_a"] < 6 and settled(site),
        "balanced",
        70,
    )
    for _ in range(100):
        if settled(site):
            return
        await asyncio.sleep(0.1)


async def closed(street: Street) -> None:
    """Waits until every home has supply."""
    try:
        await until(lambda: all(h.contacts.closed for h in street.homes), "all closed", 25)
    except AssertionError as e:
        words = {h.index: (h.chip.starts, h.stage, h.chip.log()[-500:]) for h in street.homes}
        raise AssertionError(f"{figures.snapshot(street)}\n{words}") from e


async def test_noise_and_lost_answers(make_street: Callable[..., Street]) -> None:
    """A bit error in every fiftieth frame and whole answers lost: slower, never wrong."""
    async with make_street() as street:
        site = Site(street, OPTIONS)
        await street.segment.noise(3e-5)
        for skip in (5, 11, 23, 31, 45):
            await street.segment.rule(way="up", do="drop", skip=skip)
        await site.start()
        await balanced(site)
        status = await site.status()
        assert status["frames"]["lost"] > 0
        assert (await street.segment.stats())["noise_bits"] > 0
        check_books(street, site)
        await street.segment.noise(0.0)
        await asyncio.sleep(1)
        assert (await site.status())["homes_fresh"] == 6
        assert await site.stop() == 0


@pytest.mark.long
async def test_the_commands_answer_is_lost(make_street: Callable[..., Street]) -> None:
    """The node obeys, its answers vanish: the command is sent again and not carried out twice."""
    async with make_street() as street:
        # Time for everything that is said once, so that later long answers speak of commands.
        site = Site(street, {**OPTIONS, "planner": {**OPTIONS["planner"], "settle_s": 8.0}})
        await closed(street)
        await site.start()
        await site.until(
            lambda s: (
                s["homes_fresh"] == 6
                and not any(h["immovable"] or "events-pending" in h["flags"] for h in s["homes"])
                and not s["group_key"]["homes_behind"]
            ),
            "everything is said",
            30,
        )
        assert not site.query("SELECT id FROM commands")
        await street.segment.rule(way="up", do="drop", min_len=_LONGER_THAN_TELEMETRY, count=4)
        await balanced(site)
        assert (await street.segment.stats())["rule_hits"] == 4
        resent = site.query("SELECT id FROM commands WHERE attempts > 1 AND state = 'confirmed'")
        assert resent, "no command's first answer was lost"
        check_books(street, site)
        assert await site.stop() == 0


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        pytest.param(hwmap.CUT_PIN, 1, id="before-opening", marks=pytest.mark.long),
        pytest.param(hwmap.CUT_PIN_DONE, 1, id="open"),
        pytest.param(hwmap.CUT_PIN, 2, id="before-closing", marks=pytest.mark.long),
        pytest.param(hwmap.CUT_PIN_DONE, 2, id="closed", marks=pytest.mark.long),
    ],
)
async def test_a_node_dies_in_its_transfer(
    make_street: Callable[..., Street], kind: int, after: int
) -> None:
    """Supply fails at a step of the first transfer that is ordered, and comes back."""
    async with make_street() as street:
        site = Site(street, OPTIONS)
        await closed(street)
        for home in street.homes:
            home.chip.cut_at(kind, after)
        await site.start()
        await until(lambda: any(h.cut_seen.is_set() for h in street.homes), "a node dies", 60)
        victim = next(h for h in street.homes if h.cut_seen.is_set())
        for home in street.homes:
            home.chip.cut_at(hwmap.CUT_NONE, 0)
        await street.power_off(victim.index)
        await until(lambda: not victim.contacts.closed, "its contacts fell open")
        await asyncio.sleep(0.5)
        await street.power_on(victim.index)
        address = street.identities[victim.index].address
        await site.until(
            lambda s: (
                s["homes_fresh"] == 6
                and s["homes"][victim.index]["phase"] == victim.contacts.phase + 1 > 0
                and settled(site)
            ),
            "the victim is back and its command has an end",
            70,
        )
        check_books(street, site, but=victim.index)
        first = site.query("SELECT state FROM commands WHERE address = ? ORDER BY id", address)[0]
        # The controller leaves a home alone after an interruption: what it did, it did once,
        # and a home that had closed already goes back to the phase that was proven last.
        moves = [t for t in street.witness.transfers if t.home == victim.index]
        interrupted = site.query(
            "SELECT count(*) FROM events WHERE address = ? AND code = 5", address
        )
        if (kind, after) == (hwmap.CUT_PIN, 1):
            assert first[0] in ("failed", "expired", "refused", "confirmed")
            assert len(moves) <= 1
        else:
            assert first[0] == "failed"
            assert interrupted[0][0] >= 1
            assert [t.to_phase for t in moves] in ([], [moves[0].to_phase, 0] if moves else [])
        assert await site.stop() == 0


async def test_dead_and_babbling_nodes(make_street: Callable[..., Street]) -> None:
    """A dead node slows nobody; a babbler is survived; both come back."""
    async with make_street(8) as street:
        site = Site(street, {**OPTIONS, "planner": {"enabled": False}})
        await site.start()
        await site.until(lambda s: s["homes_fresh"] == 8, "all fresh", 40)
        await street.power_off(7)
        await site.until(lambda s: s["homes_alive"] == 7, "one dead", 40)
        await asyncio.sleep(3)
        status = await site.status()
        ages = [h["age_s"] for h in status["homes"][:7]]
        assert max(ages) < 3, ages
        await street.segment.babble(6, on_ms=15, off_ms=120)
        await asyncio.sleep(4)
        during = await site.status()
        assert (await street.segment.stats())["collided_frames"] > 0
        assert sum(h["alive"] for h in during["homes"][:6]) >= 5
        await street.segment.babble(6, on_ms=0)
        await street.power_on(7)
        await site.until(lambda s: s["homes_fresh"] == 8, "all back", 60)
        assert street.witness.report()["incidents"] == {}
        assert await site.stop() == 0
