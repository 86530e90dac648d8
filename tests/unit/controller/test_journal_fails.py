"""The journal fails, is removed or replaced: nothing is ordered without it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pbal_controller.app import Controller
from pbal_controller.errors import JournalError
from pbal_controller.journal import Journal
from pbal_controller.journal import database as journal_module
from pbal_controller.moves.command import State
from pbal_controller.view.status import summary_dict
from pbal_protocol import records as r

from .conftest import Site, rows, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


async def refuse_writes(c: Controller, refuse: bool) -> None:
    """The journal's file as on a disk that is full or was mounted read-only."""
    await c.journal.call(lambda j: j.db.execute(f"PRAGMA query_only = {int(refuse)}"))


async def test_nothing_is_ordered_without_the_journal(make_site: MakeSite) -> None:
    """Journal before send: no entry, no frame."""
    site = make_site(FakeNode(1))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        await refuse_writes(c, True)
        with pytest.raises(JournalError, match=r"journal.db: the journal failed"):
            await c.dispatcher.order(home, 2, "a test", 1.0)
        before = home.readings
        await until(lambda: home.readings > before + 10)
        assert site.nodes[1].executed == {}
        assert home.switch is None
        await refuse_writes(c, False)
        assert await c.dispatcher.order(home, 2, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)


def swapped(path: Path) -> None:
    """Another file in its place, as after `cp backup.db journal.db.new; mv`."""
    path.rename(path.with_suffix(".aside"))
    path.write_bytes(path.with_suffix(".aside").read_bytes())


@pytest.mark.parametrize("end", ["", "-wal"])
@pytest.mark.parametrize("how", [lambda p: p.rename(p.with_suffix(".aside")), swapped])
async def test_a_journal_that_was_removed_or_replaced_is_noticed(
    make_site: MakeSite, how: Callable[[Path], None], end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite would go on in a file that nobody finds again."""
    site = make_site(FakeNode(1))
    path = site.folder / f"journal.db{end}"
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        how(path)
        await until(lambda: f"{path.name}: removed or replaced" in c.dispatcher.why_not(c.now()))
        assert not summary_dict(c.view)["healthy"]
        with pytest.raises(JournalError, match="removed or replaced"):
            await c.dispatcher.order(home, 2, "a test", 1.0)
        before = home.readings
        await until(lambda: home.readings > before + 10)
        assert site.nodes[1].executed == {}
        assert caplog.text.count("the journal was removed or replaced") == 1
        # Put back, it goes on.
        path.with_suffix(".aside").rename(path)
        await until(lambda: not c.dispatcher.why_not(c.now()))
        assert await c.dispatcher.order(home, 2, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)


async def test_an_end_that_could_not_be_written_is_written_later(make_site: MakeSite) -> None:
    """The home is not busy for ever, and its node's word is not acknowledged before."""
    site = make_site(FakeNode(1, transfer_s=0.3))
    async with site.running() as c:
        home, node = c.fleet.get(1), site.nodes[1]
        await until(lambda: node.synced and home.readings > 2)
        await c.dispatcher.order(home, 2, "a test", 1.0)
        await until(lambda: node.moving)
        await refuse_writes(c, True)
        await until(lambda: node.executed)
        await until(lambda: c.supervisor.loops["dispatcher"].restarts >= 1)
        polled = node.polled
        await until(lambda: node.polled > polled + 10)
        assert node.unacked_result is not None, "acknowledged, and written down nowhere"
        await refuse_writes(c, False)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        assert not c.dispatcher.busy(1)
        assert rows(site, "SELECT state FROM commands") == [("confirmed",)]
        assert rows(site, "SELECT outcome FROM results WHERE outcome > 1") == [(r.DONE,)]
        await until(lambda: node.unacked_result is None)
        assert list(node.executed.values()) == [1]


async def test_a_quarantine_holds_although_it_cannot_be_written(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1, lie=True))
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        await c.dispatcher.order(home, 2, "a test", 1.0)
        await until(
            lambda: c.dispatcher._open[1].state is State.DONE and not c.dispatcher._unwritten
        )
        await refuse_writes(c, True)
        await until(lambda: home.quarantined)
        c.dispatcher._next_quarantine_look = 0.0
        restarts = c.supervisor.loops["dispatcher"].restarts
        await until(lambda: c.supervisor.loops["dispatcher"].restarts > restarts)
        assert home.quarantined, "what is not listed is not released"
        await refuse_writes(c, False)
        await until(lambda: not c.dispatcher.busy(1))
        assert rows(site, "SELECT address FROM quarantine") == [(1,)]
        assert rows(site, "SELECT state FROM commands") == [("disagreed",)]


async def test_minutes_wait_for_a_journal_that_fails(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: c.fleet.get(1).readings > 2)
        await refuse_writes(c, True)
        now = time.time()
        for back in (180, 120):
            c.records._minutes.add(1, c.fleet.get(1).telemetry, now - back)
        await until(lambda: c.supervisor.loops["records"].restarts >= 2)
        await refuse_writes(c, False)
        await until(lambda: len(rows(site, "SELECT minute_s FROM minute_pages")) >= 2)
        await until(lambda: c.records._left == [])  # the loop hears of it after the file shows it


def test_a_file_that_can_only_be_read_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.db"
    Journal(path).close()
    real = sqlite3.connect

    def connect(where: Path, **options: object) -> sqlite3.Connection:
        return real(f"file:{where}?mode=ro", uri=True, **options)

    monkeypatch.setattr(journal_module.sqlite3, "connect", connect)
    with pytest.raises(JournalError, match="owner and free space"):
        Journal(path)
