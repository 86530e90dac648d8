"""A lost, restored or cloned controller, and two nodes that answer as one: who may command."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pbal_controller.app import Controller
from pbal_controller.cli import app
from pbal_controller.journal import Journal
from pbal_controller.standing import Reason, Standing
from pbal_controller.standing import mark as journal_mark
from pbal_controller.standing import store as standing_store
from pbal_controller.standing.mark import Mark
from pbal_protocol import records as r
from pbal_protocol.frames import peek

from .conftest import Site, at_work, order, rows, until
from .fake import FakeBus, FakeNode

MakeSite = Callable[..., Site]


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
            assert "standing down" in c.planner.blocked(c.now()).why
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


async def test_frames_of_the_start_before_that_come_late_are_no_rival(make_site: MakeSite) -> None:
    """A bridge may hold them, or a port: the home says Hello, then takes in what was sealed before
    the controller was started anew.
    """
    site = make_site(FakeNode(1))
    node = site.nodes[1]
    late: list[bytes] = []
    real = node.process

    def process(frame: bytes) -> None:
        if node.synced and peek(frame)[3]:
            late.append(frame)  # held
        else:
            real(frame)

    node.process = process
    async with site.running() as c:
        await until(lambda: node.synced)
        c.fleet.get(1).ask(r.StatusGet(what=r.WHAT_RESULT))
        await until(lambda: late)
    node.pending.clear()
    frames = late.copy()
    node.silent = True
    async with site.running() as c:
        home = c.fleet.get(1)
        home.session.counters.spent = True  # so nothing is sealed yet
        node.silent = False
        await until(lambda: home.hello is not None)
        before = home.hello.down_floor
        for frame in frames:
            real(frame)
        node.hello()
        await until(lambda: home.hello.down_floor > before)
        assert c.standing.reasons == {}
        home.session.counters.spent = False
        node.process = real
        assert await order(c, 1)


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
            assert "adopt" in c.planner.blocked(c.now()).why
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
