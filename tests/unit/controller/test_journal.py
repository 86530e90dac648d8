"""The journal: ids and counters never repeat, and old files are brought up to date."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from pbal_controller.errors import JournalError
from pbal_controller.journal import EPOCH_S, AsyncJournal, Journal, migration, prune
from pbal_controller.journal.migration import schema_files
from pbal_controller.journal.numbers import JUMP, LAST, PER_S

DAY_S = 86400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.db"


def order(journal: Journal, address: int = 5) -> int:
    return journal.new_command(address, 1, 2, 100, 160, "why", 3.5).id


def test_commands_survive_reopening(path: Path) -> None:
    journal = Journal(path)
    first = order(journal)
    journal.update_command(first, "sent", 2, "x")
    journal.close()
    again = Journal(path)
    rows = again.open_commands()
    assert [(x.id, x.state, x.attempts, x.reason) for x in rows] == [(first, "sent", 2, "why")]
    again.update_command(first, "confirmed", 2)
    assert again.open_commands() == []
    assert order(again) > first
    again.close()


def test_a_command_is_on_disk_before_new_command_returns(path: Path) -> None:
    """Read the file through a second connection, without closing the first."""
    journal = Journal(path)
    made = order(journal)
    other = sqlite3.connect(path)
    assert other.execute("SELECT id FROM commands").fetchall() == [(made,)]
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    other.close()
    journal.close()


def test_an_id_is_the_greater_of_stored_and_time(path: Path) -> None:
    """A new file goes on above whatever the old one gave out, at four commands a second."""
    before = int((time.time() - EPOCH_S) * PER_S)
    journal = Journal(path)
    first = order(journal)
    assert first >= before
    assert order(journal) == first + 1
    # A clock that is years behind: what is stored counts.
    journal.set_meta("command_id", str(LAST - 5))
    assert order(journal) == LAST - 4
    journal.set_meta("command_id", str(LAST))
    with pytest.raises(JournalError, match="used up"):
        order(journal)
    journal.close()


def test_counters_never_come_twice(path: Path) -> None:
    journal = Journal(path)
    end = int((time.time() - EPOCH_S) * PER_S)
    for at_least, count in ((1, 10), (1, 10), (LAST - JUMP * 9, 10), (5, 10), (1, 256)):
        first = journal.reserve(5, 2, "k", at_least, count)
        assert first >= max(end, at_least)
        end = first + count
        assert journal.reserve(5, 2, "k", 1, 5) == end
        end += 5
        journal.close()
        journal = Journal(path)
    assert journal.down_counters() == {5: ("k", end)}
    journal.close()


def test_two_copies_go_apart(path: Path, tmp_path: Path) -> None:
    """A card is cloned, and both start in the same second."""
    Journal(path).close()
    runs = []
    for name in ("a.db", "b.db"):
        copy = tmp_path / name
        shutil.copy(path, copy)
        journal = Journal(copy)
        ids = {order(journal) for _ in range(20)}
        runs.append((ids, journal.reserve(5, 2, "k", 1, 256)))
        journal.close()
    assert not runs[0][0] & runs[1][0]
    assert abs(runs[0][1] - runs[1][1]) > 256


def test_results_and_events_are_stored_once(path: Path) -> None:
    journal = Journal(path)
    assert journal.add_result(1, 5, 2, 0, 2, 80, 230.0, 1000)
    assert not journal.add_result(1, 5, 2, 0, 2, 80, 230.0, 1000)
    event = (5, 1, 7, 2, 2, 1000, 0, 0)
    assert journal.add_events([event, event]) == 1
    assert journal.add_events([event]) == 0
    assert journal.add_events([(5, 2, 7, 2, 2, 1000, 0, 0)]) == 1, "another life, another event"
    journal.close()


def test_quarantine(path: Path) -> None:
    journal = Journal(path)
    journal.quarantine(5, "lied")
    journal.quarantine(5, "lied again")
    assert journal.quarantined() == {5: "lied again"}
    assert journal.lift_quarantine(5)
    assert not journal.lift_quarantine(5)
    journal.close()


def test_prune_keeps_open_commands(path: Path) -> None:
    journal = Journal(path)
    closed, still = order(journal), order(journal, 6)
    journal.update_command(closed, "confirmed", 1)
    now = time.time() + 3 * DAY_S
    minute = [1, 1.0, 1.0, 1.0, 230.0, 231.0, 1, 0, 0]
    journal.add_minutes([(5, 60, *minute), *((5, now - h * 3600, *minute) for h in range(23))])
    assert prune(journal, 1, now_s=now)
    assert [x.id for x in journal.recent_commands()] == [still]
    assert len(journal.minutes(5, 0)) == 23
    journal.close()


def test_a_clock_that_jumps_years_ahead_prunes_nothing(path: Path) -> None:
    journal = Journal(path)
    closed = order(journal)
    journal.update_command(closed, "confirmed", 1)
    now = int(time.time())
    minute = [1, 1.0, 1.0, 1.0, 230.0, 231.0, 1, 0, 0]
    journal.add_minutes([(5, now - d * DAY_S, *minute) for d in range(300)])
    later = now + 3650 * DAY_S
    journal.add_minutes([(5, later, *minute)])  # written since the clock is wrong
    assert not prune(journal, 400, now_s=later + 600)
    assert len(journal.minutes(5, 0)) == 301
    assert [x.id for x in journal.recent_commands()] == [closed]
    journal.close()


def test_a_failed_step_changes_nothing(path: Path) -> None:
    journal = Journal(path)
    with pytest.raises(sqlite3.IntegrityError):
        journal.add_events([(5, 1, 7, 2, 2, 1000, 0, 0), (5, 1, 8, None, 2, 1000, 0, 0)])  # type: ignore[list-item]
    assert journal.recent_events() == []
    order(journal)
    journal.close()


def old_file(path: Path, version: int) -> sqlite3.Connection:
    """A journal as an older version left it."""
    db = sqlite3.connect(path)
    for number, sql in schema_files():
        if number <= version:
            db.executescript(f"{sql}\nPRAGMA user_version = {number};")
    return db


def test_migration_from_schema_1_keeps_the_commands_and_their_ids(path: Path) -> None:
    db = old_file(path, 1)
    db.execute(
        "INSERT INTO commands VALUES (4000000, 5, 1, 2, 100, 160, 'old', 1.0, 'sent', 1, '', 0, 99)"
    )
    db.commit()
    db.close()
    journal = Journal(path)
    assert [x.id for x in journal.open_commands()] == [4000000]
    assert order(journal) > 4000000
    journal.close()


def test_every_schema_step_can_be_the_start(tmp_path: Path) -> None:
    final = None
    for version in range(len(schema_files()) + 1):
        path = tmp_path / f"v{version}.db"
        old_file(path, version).close()
        journal = Journal(path)
        shape = journal._db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        final = final or shape
        assert shape == final
        journal.close()


OLD = sorted((Path(__file__).parent / "journals").glob("schema-*.sql"))


@pytest.mark.parametrize("dump", OLD, ids=[p.stem for p in OLD])
def test_a_real_old_journal_keeps_all_it_holds(path: Path, dump: Path) -> None:
    """Files that earlier versions wrote while commands were open, homes quarantined, ..."""
    db = sqlite3.connect(path)
    db.executescript(dump.read_text())
    db.close()
    journal = Journal(path)
    rows = {row.address: row for row in journal.recent_commands()}
    assert {a: (x.state, x.attempts) for a, x in rows.items()} == {
        257: ("confirmed", 1), 258: ("refused", 2), 259: ("sent", 1),
    }  # fmt: skip
    assert rows[257].transfer_ms == 146
    assert [x.id for x in journal.open_commands()] == [rows[259].id]
    assert order(journal) > rows[259].id, "an id was given out twice"
    assert journal.counter(257, 2, "0123456789abcdef") == 513
    assert journal.reserve(257, 2, "0123456789abcdef", 1, 256) >= 513, "a counter came twice"
    assert journal.counter(0, 3, "group") == 28000256
    assert journal.up_counters() == {257: ("0123456789abcdef", 4711), 258: ("fedcba9876543210", 9)}
    assert "welded" in journal.quarantined()[258]
    assert len(journal.recent_events()) == 3
    assert len(journal.minutes(257, 0)) == 1
    # What the outbox held was of a form that no HQ ever took.
    assert journal.db.execute("SELECT COUNT(*) FROM outbox").fetchone() == (0,)
    assert not journal.add_result(rows[257].id, 257, 2, 0, 2, 146, 231.4, 1), "known already"
    version = int(dump.stem.split("-")[1])
    assert journal.get_blob("planner") == (b"\x00\x01old" if version >= 3 else None)
    assert journal.db.execute("PRAGMA user_version").fetchone() == (len(schema_files()),)
    journal.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(path)
    made = order(journal)
    journal.close()
    steps = schema_files()
    bad = (len(steps) + 1, "CREATE TABLE half (a INTEGER); INSERT INTO nowhere VALUES (1);")
    with monkeypatch.context() as m:
        m.setattr(migration, "schema_files", lambda: [*steps, bad])
        with pytest.raises(JournalError, match="nowhere"):
            Journal(path)
    journal = Journal(path)
    assert [x.id for x in journal.open_commands()] == [made]
    tables = journal.db.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall()
    assert tables == []
    journal.close()


def test_a_newer_file_is_refused(path: Path) -> None:
    Journal(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(JournalError, match="newer"):
        Journal(path)


def test_a_newer_file_that_was_only_added_to_is_used(path: Path) -> None:
    """So a version of the controller that was taken back goes on with its journal."""
    journal = Journal(path)
    made = order(journal)
    known = len(schema_files())
    journal.set_meta("readable", f"{known + 1} from 9")
    journal.db.execute("CREATE TABLE added (a INTEGER)")
    journal.db.execute(f"PRAGMA user_version = {known + 1}")
    journal.close()
    journal = Journal(path)
    assert [x.id for x in journal.open_commands()] == [made]
    journal.set_meta("readable", f"{known + 1} from {known + 1}")
    journal.close()
    with pytest.raises(JournalError, match="newer"):
        Journal(path)


@pytest.mark.parametrize("content", [b"this is no database, not at all, really" * 100])
def test_a_foreign_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match="move the file away"):
        Journal(path)
    assert path.read_bytes() == content


def spoil(path: Path, table: str) -> None:
    """Zero the first page of a table, as a dying card may."""
    db = sqlite3.connect(path)
    page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    db.close()
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    data[(page - 1) * size : page * size] = bytes(size)
    path.write_bytes(data)


@pytest.mark.parametrize("table", ["quarantine", "commands", "counters", "events", "meta"])
def test_damage_is_found_at_once_and_left_alone(path: Path, table: str) -> None:
    journal = Journal(path)
    order(journal)
    journal.close()
    spoil(path, table)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"damaged; .* Restore a backup"):
        Journal(path)
    assert path.read_bytes() == before


def test_damage_that_spoils_even_the_message(path: Path) -> None:
    """SQLite names what it could not read; Python then fails to decode the name."""
    journal = Journal(path)
    for _ in range(50):
        order(journal)
    journal.close()
    good = path.read_bytes()
    for seed in range(20):
        draw = random.Random(seed)
        data = bytearray(good)
        for _ in range(200):
            data[draw.randrange(100, len(data))] ^= 0xFF
        path.write_bytes(data)
        with contextlib.suppress(JournalError):
            Journal(path).close()


def test_a_backup_is_a_journal(path: Path, tmp_path: Path) -> None:
    journal = Journal(path)
    made = order(journal)
    journal.back_up(tmp_path / "copy.db")
    journal.close()
    copy = Journal(tmp_path / "copy.db")
    assert [x.id for x in copy.open_commands()] == [made]
    with pytest.raises(JournalError, match="cannot be written"):
        copy.back_up(tmp_path / "no" / "such" / "folder")
    copy.close()


async def test_async_journal_keeps_the_order(path: Path) -> None:
    journal = AsyncJournal(path)
    await journal.open()
    try:
        row = await journal.call(Journal.new_command, 5, 1, 2, 100, 160, "why", 1.0)
        await journal.call(Journal.update_command, row.id, "sent", 1)
        assert (await journal.call(Journal.open_commands))[0].state == "sent"
    finally:
        await journal.close()
    with pytest.raises(JournalError, match="not open"):
        await journal.call(Journal.open_commands)
