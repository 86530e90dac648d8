"""A lost, restored or cloned controller, and two nodes that answer as one: who may command."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
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
from pbal_controller.standing import mark as journal_mark
from pbal_controller.standing import standing as standing_module
from pbal_controller.standing import store as standing_store
from pbal_controller.standing.mark import Mark
from pbal_controller.standing.rivals import (
    FOOTPRINT,
    LANE,
    NODE_FLOOR_BLOCK,
    TOOL_ALLOWANCE,
    frames_between,
)
from pbal_protocol import records as r
from pbal_protocol.frames import DOWN, peek

from .conftest import Site, at_work, rows, until
from .fake import FakeBus, FakeNode, next_up

MakeSite = Callable[..., Site]


async def order(c: Controller, address: int) -> int | None:
    """One move of a home, to the next phase."""
    home = c.fleet.get(address)
    await until(lambda: home.phase and not home.flags and not c.dispatcher.busy(address))
    return await c.dispatcher.order(home, home.phase % 3 + 1, "test", 1.0)


# -- the journal ------------------------------------------------------------------------------


async def test_a_new_site_commands_at_once(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        assert await order(c, 1)
    async with site.running() as c:
        assert await order(c, 1), "nor does a restart stop anything"
        assert c.standing.reasons == {}


async def test_a_lost_journal_stops_commands_until_adopted(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        assert await order(c, 1)
    (site.folder / "journal.db").write_bytes(b"")  # emptied by a power cut
    for _ in range(2):  # a restart changes nothing
        async with site.running() as c:
            await until(lambda: site.nodes[1].synced)
            assert await order(c, 1) is None
            assert "quarantines" in c.standing.reasons[Reason.LOST]
            assert "standing down" in c.planner.blocked(c.now())
    assert CliRunner().invoke(app, ["adopt", "-c", str(site.write())]).exit_code == 0
    assert CliRunner().invoke(app, ["adopt", "-c", str(site.write())]).exit_code == 6
    async with site.running() as c:
        assert await order(c, 1)
    assert rows(site, "SELECT reason FROM stand_down WHERE lifted_s > since_s") == [("lost",)]


async def test_a_lost_journal_and_mark_are_noticed_by_the_homes(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced)
    for name in ("journal.db", "keys.json.journal"):
        (site.folder / name).unlink()
    async with site.running() as c:
        await until(lambda: Reason.LOST in c.standing.reasons)
        assert await order(c, 1) is None


async def test_a_restored_journal_stops_commands_until_adopted(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        assert await order(c, 1)
        await until(lambda: not c.dispatcher.busy(1))
        copy = site.folder / "monday.db"
        done = CliRunner().invoke(app, ["backup", str(copy), "-c", str(site.folder / "pbal.toml")])
        assert done.exit_code == 0, done.output
        again = CliRunner().invoke(app, ["backup", str(copy), "-c", str(site.folder / "pbal.toml")])
        assert again.exit_code != 0
        before = await order(c, 1)
    shutil.copy(copy, site.folder / "journal.db")
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced)
        assert await order(c, 1) is None
        assert Reason.RESTORED in c.standing.reasons
        journal = Journal(site.folder / "journal.db")
        standing_store.adopt(journal)
        journal.close()
        await until(lambda: not c.standing.reasons)
        after = await order(c, 1)
        assert before is not None
        assert after is not None
        assert after > before


def test_a_mark_fits_its_journal_only(tmp_path: Path) -> None:
    path = tmp_path / "keys.json.journal"
    assert journal_mark.read_mark(path) is None
    journal_mark.write_mark(path, Mark("a", 5))
    mark = journal_mark.read_mark(path)
    assert mark == Mark("a", 5)
    assert journal_mark.judge(None, Mark("a", 0), 3) is None
    assert journal_mark.judge(mark, Mark("a", 5), 3) is None
    assert journal_mark.judge(mark, Mark("a", 6), 3) is None, "killed before the mark was written"
    assert journal_mark.judge(mark, Mark("a", 4), 3)[0] is Reason.RESTORED
    assert journal_mark.judge(mark, Mark("b", 9), 3)[0] is Reason.LOST
    path.write_text("[]")
    assert journal_mark.judge(journal_mark.read_mark(path), Mark("a", 5), 3)[0] is Reason.LOST
    journal_mark.write_mark(tmp_path / "no" / "folder", Mark("a", 5))  # logged, no more


# -- nothing is sealed before the Hello ---------------------------------------------------------


async def test_nothing_is_sealed_before_the_hello(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    counters: list[int] = []
    real = node.process

    def process(frame: bytes) -> None:
        counters.append(peek(frame)[3])
        real(frame)

    node.process = process
    async with site.running():
        await until(lambda: node.synced)
    node.pending.clear()
    counters.clear()
    async with site.running() as c:
        # It has no Hello waiting: it is asked for one, with a frame that is sealed with nothing.
        await until(lambda: c.fleet.get(1).hello is not None)
        assert set(counters) == {0}
        c.fleet.get(1).ask(r.StatusGet(what=r.WHAT_RESULT))
        await until(lambda: len(set(counters)) > 1)
        assert min(set(counters) - {0}) > c.fleet.get(1).hello.down_floor


# -- two controllers ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def clone_of(site: Site) -> AsyncIterator[Controller]:
    """A controller with a copy of all files, on a port of its own to the same nodes."""
    folder = site.folder / "clone"
    folder.mkdir()
    for name in ("keys.json", "keys.pass", "keys.json.journal"):
        shutil.copy(site.folder / name, folder / name)
    journal = Journal(site.folder / "journal.db")
    journal.back_up(folder / "journal.db")
    journal.close()
    bus = FakeBus(list(site.nodes.values()))
    bus.__enter__()
    text = site.write().read_text().replace(site.bus.path, bus.path)
    (folder / "pbal.toml").write_text(text)
    from pbal_controller.config import load

    try:
        async with at_work(Controller(load(folder / "pbal.toml", {}), site.keys)) as controller:
            yield controller
    finally:
        bus.unplug()


@pytest.mark.timeout(240)
async def test_a_clone_is_noticed_by_both_and_neither_commands(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(a, phase=a % 3 + 1) for a in (1, 2, 3)))
    frames: dict[tuple[int, int], bytes] = {}
    twice: list[tuple[int, int]] = []
    for node in site.nodes.values():

        def process(frame: bytes, node: FakeNode = node, real: Callable = node.process) -> None:
            key = (node.address, peek(frame)[3])
            if key[1] and frames.setdefault(key, frame) != frame:
                twice.append(key)
            real(frame)

        node.process = process
    async with site.running():
        await until(lambda: all(n.synced for n in site.nodes.values()))
    async with site.running() as a, clone_of(site) as b:
        # Both start at once from the same journal; a minute is the promise.
        await until(lambda: a.standing.rival and b.standing.rival)
        for c in (a, b):
            assert await order(c, 1) is None
            assert "adopt" in c.planner.blocked(c.now())
        moved = sum(len(n.executed) for n in site.nodes.values())
        assert moved == 0
        assert all(c.fleet.get(1).age_s(c.now()) < 3 for c in (a, b)), "readings go on"
    assert not twice
    async with site.running() as a:
        assert a.standing.rival, "also over a restart"
        journal = Journal(site.folder / "journal.db")
        standing_store.adopt(journal)
        journal.close()
        await until(lambda: not a.standing.reasons)
        # On a busy computer nodes may answer what the two had sent before: held back for a minute.
        await until(lambda: not a.standing.why_not(a.now()))
        assert await order(a, 1)


async def test_a_clone_that_comes_later_is_noticed_by_both(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(a) for a in (1, 2)))
    async with site.running() as a:
        await until(lambda: all(n.synced for n in site.nodes.values()))
        assert await order(a, 1)
        await until(lambda: not a.dispatcher.busy(1))
        async with clone_of(site) as b:
            await until(lambda: a.standing.rival and b.standing.rival)
            assert await order(a, 1) is None
            assert await order(b, 2) is None


async def test_a_command_under_way_is_not_sent_again(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    async with site.running() as c:
        await until(lambda: node.synced)
        node.deaf = True
        assert await order(c, 1)
        c.standing.stand_down(Reason.LOST, "a test")
        await asyncio.sleep(0.3)
        node.deaf = False
        await until(lambda: not c.dispatcher.busy(1))
        assert node.executed == {}


async def test_polls_of_somebody_without_keys_hold_commands_for_a_while(
    make_site: MakeSite,
) -> None:
    """Anybody can do that: so nothing is latched."""
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    async with site.running() as c:
        await until(lambda: node.synced)
        for _ in range(200):
            node.answer(b"")
            await asyncio.sleep(0.01)
            if c.standing.why_not(c.now()):
                break
        assert "somebody else polls home 1" in c.standing.why_not(c.now())
        assert await order(c, 1) is None
        await asyncio.sleep(0.5)
        assert c.standing.reasons == {}
        assert c.standing.why_not(c.now() + 60) == ""


def test_a_held_controller_comes_back_by_itself_a_stood_down_one_does_not() -> None:
    standing = Standing()
    standing.hold("x", 100.0, 60.0)
    assert standing.why_not(159.0) == "x"
    assert standing.why_not(160.0) == ""
    assert standing.stand_down(Reason.RIVAL, "y")
    assert not standing.stand_down(Reason.RIVAL, "z")
    assert standing.listed({}) == [], "not in the journal yet"
    standing.unwritten.clear()
    assert standing.listed({"rival": "y"}) == []
    assert standing.why_not(1e9) == "y"
    assert standing.listed({}) == ["rival"]
    assert standing.why_not(1e9) == ""


# -- signs --------------------------------------------------------------------------------------


def hello(floor: int, boots: int = 3, eui: int = 1) -> r.Hello:
    return r.Hello(eui=eui.to_bytes(8, "big"), boots=boots, down_floor=floor)


def test_a_floor_above_ours_is_somebody_else() -> None:
    signs = Signs()
    assert signs.floor_verdict(hello(1000), 0, 1100, False) == ""
    assert signs.floor_verdict(hello(1105), 1105, 1100, False) == ""
    assert "1106" in signs.floor_verdict(hello(1106), 1105, 1100, False)
    assert signs.floor_verdict(hello(1106), 1105, 1100, False) == "", "said once"
    # After a reset of the node its floor is ahead by a block.
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
