"""Signs of a second controller or of two nodes with one key, and whom they stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from rigs import needs
from typer.testing import CliRunner

from pbal_controller.app import Controller
from pbal_controller.cli import app
from pbal_controller.errors import JournalUnavailable
from pbal_controller.homes import Doubtful
from pbal_controller.homes import host as host_module
from pbal_controller.journal import Journal
from pbal_controller.standing import Reason, Signs, Standing
from pbal_controller.standing import standing as standing_module
from pbal_controller.standing import store as standing_store
from pbal_controller.standing.rivals import (
    FOOTPRINT,
    LANE,
    NODE_FLOOR_BLOCK,
    TOOL_ALLOWANCE,
    frames_between,
)
from pbal_protocol import records as r
from pbal_protocol.frames import DOWN, peek

from .conftest import Site, order, rows, until
from .fake import FakeNode, next_up

MakeSite = Callable[..., Site]


def hello(floor: int, boots: int = 3, eui: int = 1) -> r.Hello:
    return r.Hello(eui=eui.to_bytes(8, "big"), boots=boots, down_floor=floor)


def test_a_floor_above_ours_is_somebody_else() -> None:
    signs = Signs()
    assert signs.floor_verdict(hello(1000), 0, 1100, False) == ""
    assert signs.floor_verdict(hello(1105), 1105, 1100, False) == ""
    assert "1106" in signs.floor_verdict(hello(1106), 1105, 1100, False)
    assert signs.floor_verdict(hello(1106), 1105, 1100, False) == "", "said once"
    # Sealed before this start, and on its way until after the first Hello.
    signs = Signs()
    assert signs.floor_verdict(hello(1000), 0, 1100, False) == ""
    assert signs.floor_verdict(hello(1099), 0, 1100, False) == ""
    assert "1101" in signs.floor_verdict(hello(1101), 0, 1100, False)
    # After a reset of the node its floor is ahead by a block.
    signs.floor_verdict(hello(1106), 1105, 1100, False)
    limit = 1106 + NODE_FLOOR_BLOCK
    assert signs.floor_verdict(hello(limit, boots=4), 1105, 1100, False) == ""
    assert signs.floor_verdict(hello(limit + NODE_FLOOR_BLOCK + 1, boots=5), 1105, 1100, False)


def test_what_a_person_has_decided_on_is_no_news() -> None:
    signs = Signs()
    signs.clear()
    assert signs.floor_verdict(hello(FOOTPRINT * 9), 0, 1100, False) == ""
    assert signs.floor_verdict(hello(FOOTPRINT * 9 + 1), 0, 1100, False)


def test_the_first_floor_after_a_start() -> None:
    limit = 5000 + NODE_FLOOR_BLOCK + TOOL_ALLOWANCE
    assert Signs().floor_verdict(hello(limit), 0, 5000, False) == ""
    assert Signs().floor_verdict(hello(limit + 1), 0, 5000, False)
    # A home that the journal does not know.
    assert Signs().floor_verdict(hello(FOOTPRINT - 1), 0, 0, True) == ""
    assert Signs().floor_verdict(hello(FOOTPRINT), 0, 0, True)
    assert Signs().floor_verdict(hello(FOOTPRINT), 0, 0, False) == ""


NUMBERINGS = {
    "before site time": lambda counter: next_up(counter, False),
    "with site time": lambda counter: next_up(counter, True),
    "of older firmware": lambda counter: counter + 1,
}


@pytest.mark.parametrize("step", NUMBERINGS.values(), ids=NUMBERINGS)
def test_answers_to_others(step: Callable[[int], int]) -> None:
    signs = Signs()
    counter = step(100)
    for _ in range(50):  # alone, with lost answers
        signs.polled()
        signs.polled()
        counter = step(step(counter))
        assert not signs.answered(counter)
    for k in range(200):  # every tenth request doubled on the line
        signs.polled()
        counter = step(step(counter)) if k % 10 == 0 else step(counter)
        assert not signs.answered(counter)
    noticed = 0
    for _ in range(60):  # as many polls as ours
        signs.polled()
        counter = step(step(counter))
        noticed += signs.answered(counter)
    assert noticed
    signs.polled()
    assert not signs.answered(counter + 4000), "it lost the rest of a block in a reset"


def test_a_node_is_proven_site_time_and_nobody_else_polled_it() -> None:
    signs = Signs()
    counter = 1000
    for proven in (False, True):
        for _ in range(100):
            signs.polled()
            counter = next_up(counter, proven)
            assert not signs.answered(counter)


def test_the_node_numbers_its_frames_as_we_count_them() -> None:
    source = (needs.ROOT / "firmware/pbal_node/counters.py").read_text()
    assert f"_LANE = const({LANE})" in source
    assert frames_between(4, 8) == frames_between(8, 9) == frames_between(7, 9) == 1
    assert frames_between(1, 11) == 8


def test_two_boards_with_the_same_keys() -> None:
    signs = Signs()
    assert signs.node_verdict(hello(1)) == ""
    signs.floor_verdict(hello(1), 5, 5, False)
    assert signs.node_verdict(hello(1, boots=4)) == ""
    assert "boots fell" in signs.node_verdict(hello(1, boots=2))
    assert "two boards" in signs.node_verdict(hello(1, eui=2))
    assert signs.uptime_verdict(3, 100, 1000.0) == ""
    assert signs.uptime_verdict(3, 160, 1061.0) == ""
    assert signs.uptime_verdict(4, 10, 1100.0) == "", "a reset"
    assert "two running times" in signs.uptime_verdict(4, 90, 1110.0)


async def test_a_second_board_quarantines_its_home(make_site: MakeSite) -> None:
    """Its flash was copied while the original ran on: it has booted less often."""
    site = make_site(FakeNode(1, boots=7), FakeNode(2))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced and site.nodes[2].synced)
        site.nodes[1].boots = 4
        site.nodes[1].hello()
        await until(lambda: rows(site, "SELECT address FROM quarantine") == [(1,)])
        assert await order(c, 1) is None
        assert await order(c, 2)


async def test_a_flash_that_was_set_back_is_told_apart_from_silence(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    async with site.running() as c:
        await until(lambda: node.synced and node.counter > 300)
        node.sealer.last = node.counter = 0
        home = c.fleet.get(1)
        await until(lambda: "used before" in home.immovable(c.now()))
        assert peek(home.session.hello_request())[:2] == (1, DOWN)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are asked for a second instead of a minute."""
    monkeypatch.setattr(standing_module, "CONFIRM_S", 1.0)
    monkeypatch.setattr(host_module, "_REQUEST_EVERY_S", 0.2)


def raise_floor(node: FakeNode, by: int = 1 << 20) -> None:
    """What a node says whose owner has its keys."""
    node.opener.raise_floor(node.opener.floor + by)
    node.hello()


async def test_one_home_s_word_stops_that_home_alone(make_site: MakeSite, quick: None) -> None:
    """An insider can forge all that his node says."""
    site = make_site(*(FakeNode(a, phase=a % 3 + 1) for a in (1, 2, 3)))
    async with site.running() as c:
        await until(lambda: all(n.synced for n in site.nodes.values()))
        raise_floor(site.nodes[1])
        await until(lambda: "home 1 accepted frame" in c.standing.why_not(c.now()))
        assert await order(c, 2) is None, "nothing until the others were asked"
        await until(lambda: c.fleet.get(1).quarantined)
        assert "No other home confirms it" in c.fleet.get(1).quarantined
        await until(lambda: not c.standing.why_not(c.now()))
        assert c.standing.reasons == {}
        assert await order(c, 2)
        assert await order(c, 1) is None
        # Again, as often as he likes: nobody else waits for it.
        for _ in range(3):
            raise_floor(site.nodes[1])
            await asyncio.sleep(0.3)
            assert c.standing.why_not(c.now()) == ""
        await until(lambda: rows(site, "SELECT address FROM quarantine") == [(1,)])
    async with site.running() as c:
        await until(lambda: all(n.synced for n in site.nodes.values()))
        raise_floor(site.nodes[1])
        await asyncio.sleep(0.5)
        assert c.standing.why_not(c.now()) == "", "nor after a restart"
        assert await order(c, 3)
        # A second home says so, too: no single key can do that.
        raise_floor(site.nodes[2])
        await until(lambda: c.standing.rival)
        assert "so do homes 1" in c.standing.reasons[Reason.RIVAL]


async def test_a_released_home_s_word_is_news_again(make_site: MakeSite, quick: None) -> None:
    site = make_site(FakeNode(1), FakeNode(2))
    async with site.running() as c:
        await until(lambda: all(n.synced for n in site.nodes.values()))
        raise_floor(site.nodes[1])
        await until(lambda: rows(site, "SELECT address FROM quarantine") == [(1,)])
        done = CliRunner().invoke(app, ["lift", "1", "-c", str(site.write())])
        assert done.exit_code == 0, done.output
        await until(lambda: not c.fleet.get(1).quarantined)
        await until(lambda: c.standing.reported == {})
        assert await order(c, 1)
        raise_floor(site.nodes[1])
        await until(lambda: 1 in c.standing.reported)
        assert c.standing.reasons == {}


def test_homes_must_agree_in_time_or_one_is_alone() -> None:
    standing = Standing(homes=5)
    standing.report(1, Reason.RIVAL, "said so", 100.0, known=False)
    assert "home 1 said so; waiting 60 s" in standing.why_not(159.0)
    assert standing.asking(159.0)
    assert standing.alone(159.0) == {}
    assert standing.why_not(160.0) == ""
    assert list(standing.alone(160.0)) == [1]
    standing.report(1, Reason.RIVAL, "said so again", 170.0, known=True)
    assert standing.why_not(170.0) == ""
    standing.report(2, Reason.RIVAL, "too", 180.0, known=True)
    assert standing.rival
    assert standing.alone(180.0) == {}
    assert Standing(homes=0).report(1, Reason.LOST, "x", 0.0, known=False) is None


def test_a_person_s_decision_ends_the_waiting_too() -> None:
    standing = Standing(homes=5)
    standing.stand_down(Reason.RIVAL, "found before a restart")
    standing.unwritten.clear()
    standing.report(1, Reason.RIVAL, "said so", 100.0, known=False)
    assert standing.listed({}) == ["rival"]
    assert standing.why_not(101.0) == ""
    assert standing.reported == {}


def test_polls_of_one_home_hold_that_home_only() -> None:
    standing = Standing(homes=5)
    assert not standing.polled_by_others(1, 100.0)
    assert not standing.polled_by_others(1, 130.0)
    assert standing.why_not(130.0) == ""
    assert standing.polled_by_others(2, 150.0)
    assert "polls home 1, 2" in standing.why_not(209.0)
    assert standing.why_not(210.0) == ""


@pytest.mark.parametrize("floor", [0xFFFFFFFF, 0xFFFFFF00])
async def test_a_floor_at_the_end_of_the_numbers_stops_its_own_home_only(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, floor: int
) -> None:
    """A floor is the home's own word: the frames of all others must go on."""
    liar = FakeNode(1)
    site = make_site(liar, FakeNode(2), FakeNode(3))
    liar.opener.raise_floor(floor)
    liar.pending.clear()
    liar.hello()
    monkeypatch.setattr(standing_module, "CONFIRM_S", 3.0)
    async with site.running() as c:
        await until(lambda: site.nodes[2].synced and site.nodes[3].synced)
        await until(lambda: c.fleet.get(1).quarantined)
        assert "no frame counters" in c.fleet.get(1).quarantined
        assert c.supervisor.loops["counters"].failing == ""
        await until(lambda: rows(site, "SELECT address FROM quarantine") == [(1,)])
        assert c.standing.reasons == {}
        await until(lambda: not c.standing.why_not(c.now()))
        assert await order(c, 2), "nobody has to decide on the others"


def test_an_adoption_of_nothing_pardons_nothing_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    assert standing_store.adopt(journal) == {}
    assert not standing_store.take_clearing(journal)
    standing_store.stand_down(journal, "rival", "why")
    assert standing_store.adopt(journal) == {"rival": "why"}
    assert standing_store.take_clearing(journal)


async def test_a_journal_has_one_controller(make_site: MakeSite) -> None:
    """Two would each take up the other's commands, and write old counters over new ones."""
    site = make_site(FakeNode(1))
    async with site.running() as c:
        with pytest.raises(JournalUnavailable, match="another controller"):
            await Controller(site.config(), site.keys).run()
        assert await order(c, 1), "the first one goes on"
    async with site.running() as c:
        assert await order(c, 1)


async def test_a_quarantine_that_was_lost_with_the_end_of_the_journal_is_missed(
    make_site: MakeSite,
) -> None:
    """A power cut on a bad card may leave the file without its latest pages (the WAL)."""
    site = make_site(FakeNode(1), FakeNode(2))
    async with site.running() as c:
        assert await order(c, 2)
        await c.journal.call(lambda journal: journal.db.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        whole = (site.folder / "journal.db").read_bytes()
        mark = site.folder / "keys.json.journal"
        before = mark.read_bytes()
        c.inbox.put(Doubtful(1, "two boards"))
        await until(lambda: c.fleet.get(1).quarantined)
        await until(lambda: mark.read_bytes() != before)
        marked = mark.read_bytes()
    # As it was left by the power cut, not by the orderly end.
    for end in ("-wal", "-shm"):
        (site.folder / f"journal.db{end}").unlink(missing_ok=True)
    (site.folder / "journal.db").write_bytes(whole)
    mark.write_bytes(marked)
    async with site.running() as c:
        assert "older copy" in c.standing.reasons[Reason.RESTORED]
