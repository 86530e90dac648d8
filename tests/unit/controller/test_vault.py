"""What the journal keeps sealed, and how a journal from before becomes one that does."""

import os
import sqlite3
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pbal_controller.errors import JournalError
from pbal_controller.journal import Journal, Vault, pages
from pbal_controller.journal import vault as vaults
from pbal_controller.keys import KeyStore
from pbal_controller.standby import copy as copying
from pbal_controller.uplink import outbox
from pbal_uplink import Event, Summary, names

KEY = bytes(range(32))
TEXT = "the home of the Smiths"


def filled(path: Path, vault: Vault | None, messages: int = 20) -> Journal:
    """A journal with something of every kind that is sealed."""
    journal = Journal(path, vault=vault)
    with journal.transaction():
        for number in range(messages):
            outbox.insert(journal, Summary(site=7, start_s=300 * number, length_s=300, homes=4))
    event = Event(site=7, event_id=1, at_s=5, kind=names.KIND_DOUBT, severity=1, detail=TEXT)
    outbox.put(journal, event, 1000)
    journal.put_blob("planner", TEXT.encode())
    journal.put_blob("doubts", b"{}")
    journal.db.execute(
        "INSERT INTO hq_commands VALUES ('9', 1.0, 'mode', 'done', '', ?)",
        (journal.sealed("hq_commands", "9", TEXT.encode()),),
    )
    return journal


def on_disk(path: Path) -> bytes:
    """Every byte of the journal's files."""
    return b"".join(
        file.read_bytes() for file in path.parent.iterdir() if file.name.startswith(path.name)
    )


def test_a_vault_binds_a_value_to_its_place() -> None:
    vault = Vault(KEY)
    sealed = vault.seal("outbox/01", b"value")
    assert sealed != vault.seal("outbox/01", b"value")
    assert vault.open("outbox/01", sealed) == b"value"
    assert vault.open("outbox/02", sealed) == sealed  # stays sealed
    assert Vault(bytes(32)).open("outbox/01", sealed) == sealed
    assert vault.open("x", b"clear") == b"clear"
    assert vault.open("x", vaults.MARK) == vaults.MARK
    assert KEY.hex() not in repr(vault)
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(b"short")


def test_nothing_of_a_message_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = filled(path, Vault(KEY))
    rows = outbox.rows(journal, 0, None, 100)
    assert len(rows) == 21
    assert rows[-1].message().detail == TEXT  # type: ignore[union-attr]
    assert journal.get_blob("planner") == TEXT.encode()
    assert TEXT.encode() not in on_disk(path)
    journal.close()
    assert TEXT.encode() not in on_disk(path)
    # Without the key the values are not understood, and stay.
    other = Journal(path)
    with pytest.raises(ValueError, match=r".*"):
        outbox.rows(other, 0, None, 100)[-1].message()
    assert outbox.backlog(other) == 21
    assert other.get_blob("doubts") == b"{}"  # a person's commands have no key


MINUTE_S = 1_700_000_040
MINUTES = 200
# One home's minute; its power is 3133.7 W, which no other number of the journal looks like.
DRAWN = (257, MINUTE_S, 58, 3133.7, 9000.5, 13.5, 228.25, 231.5, 2, 4_000_000_000, 17)


def test_a_page_takes_half_the_room_of_rows(tmp_path: Path) -> None:
    """Of 100 homes, as SQLite keeps it; prints what CHANGELOG.md says."""
    journal = Journal(tmp_path / "j.db", vault=Vault(KEY))

    def taken() -> float:
        pages, size = (
            journal.db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        return float(pages * size)

    def minute(n: int) -> list[tuple[float, ...]]:
        return [(257 + home, MINUTE_S + 60 * n, *DRAWN[2:]) for home in range(100)]

    empty = taken()
    row = f"INSERT INTO telemetry_minute VALUES ({','.join('?' * len(DRAWN))})"
    with journal.transaction():
        for n in range(MINUTES):
            journal.db.executemany(row, minute(n))
    rows = taken() - empty
    with journal.transaction():
        journal.db.execute("DELETE FROM telemetry_minute")
    journal.db.execute("VACUUM")
    empty = taken()
    for n in range(MINUTES):
        journal.add_minutes(minute(n))
    pages = taken() - empty
    journal.close()
    print(f"{pages / MINUTES / 1e3:.1f} kB a minute in pages, {rows / MINUTES / 1e3:.1f} in rows")
    assert pages < 0.55 * rows


def test_what_homes_drew_is_sealed_a_page_a_minute(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = Journal(path, vault=Vault(KEY))
    others = [(258 + n, MINUTE_S, *DRAWN[2:]) for n in range(99)]
    journal.add_minutes([DRAWN, *others])
    journal.add_minutes([(258, MINUTE_S, 2, *DRAWN[3:]), (257, MINUTE_S + 60, *DRAWN[2:])])
    (first, second) = journal.minutes(257, 0)
    assert first == pytest.approx(DRAWN, rel=1e-6)
    assert second[1] == MINUTE_S + 60
    assert [row[2] for row in journal.minutes(258, 0)] == [2], "the later row counts"
    assert journal.minutes(257, MINUTE_S + 1) == [second]
    row = struct.pack("<HH", *DRAWN[::2][:2])
    for clear in (struct.pack("<f", DRAWN[3]), struct.pack(">d", DRAWN[3]), row * 2):
        assert clear not in on_disk(path)
    pages = journal.db.execute("SELECT body FROM minute_pages").fetchall()
    assert len(pages) == 2
    assert len(pages[0][0]) < 35 * 100, "less than half of a row for each home"
    journal.close()
    other = Journal(path, vault=Vault(bytes(32)))
    assert other.minutes(257, 0) == [], "another key store"


def test_minutes_of_an_older_version_are_moved_step_by_step(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    older = Journal(path)
    rows = [(257 + h, MINUTE_S + 60 * n, *DRAWN[2:]) for n in range(150) for h in range(3)]
    older.db.executemany("INSERT INTO telemetry_minute VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)
    before = older.minutes(258, 0)
    older.close()
    assert struct.pack(">d", DRAWN[3]) in on_disk(path)
    journal = Journal(path, vault=Vault(KEY))
    left = []
    for n in range(4):
        journal.add_minutes([(257, MINUTE_S + 60 * (1000 + n), *DRAWN[2:])])
        left += journal.db.execute("SELECT COUNT(*) FROM telemetry_minute").fetchone()
        now = journal.minutes(258, 0)
        assert [row[:3] for row in now] == [row[:3] for row in before]
    assert left == [270, 90, 0, 0]
    assert now[0] == pytest.approx(before[0], rel=1e-6)
    journal.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert struct.pack(">d", DRAWN[3]) not in on_disk(path), "free pages are overwritten"


def test_a_minute_that_is_in_both_forms_keeps_its_page(tmp_path: Path) -> None:
    """An older version came back for a while, and wrote the rest of a minute that has a page."""
    journal = Journal(tmp_path / "j.db", vault=Vault(KEY))
    journal.add_minutes([DRAWN])
    for home in (257, 258):
        journal.db.execute(
            "INSERT INTO telemetry_minute VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (home, MINUTE_S, 1, *DRAWN[3:]),
        )
    with journal.transaction():
        assert pages.take_over(journal) == 1
        assert pages.take_over(journal) == 0
    assert [row[2] for row in journal.minutes(257, 0)] == [58]
    assert [row[2] for row in journal.minutes(258, 0)] == [1]


def test_acknowledged_messages_go_by_their_token(tmp_path: Path) -> None:
    from pbal_uplink import metrics

    journal = filled(tmp_path / "j.db", Vault(KEY))
    row = outbox.rows(journal, 0, None, 1)[0]
    assert outbox.stored(journal, [metrics.token_of(row.body)]) == [row.id]
    assert outbox.backlog(journal) == 20


def test_an_index_of_other_rows_is_damage_and_no_endless_work(tmp_path: Path) -> None:
    """A value that was read, and that its own key does not find, could be sealed for ever."""
    path = tmp_path / "j.db"
    journal = filled(path, None)
    (token,) = journal.db.execute("SELECT token FROM outbox LIMIT 1").fetchone()
    journal.close()
    data = path.read_bytes()
    places = [at for at in range(len(data)) if data.startswith(token, at)]
    assert len(places) == 2, "the row, and the index"
    for at in places:
        damaged = bytearray(data)
        damaged[at + 7] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(JournalError, match="damaged"):
            Journal(path, vault=Vault(KEY))
        assert path.read_bytes() == damaged, "it is left as it is"


def test_a_journal_from_before_is_sealed_whole(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    filled(path, None).close()
    assert TEXT.encode() in on_disk(path)
    journal = Journal(path, vault=Vault(KEY))
    assert TEXT.encode() not in on_disk(path), "it is still in a free page or in the log"
    assert outbox.rows(journal, 0, None, 100)[-1].message().detail == TEXT  # type: ignore[union-attr]
    assert journal.get_blob("planner") == TEXT.encode()
    before = journal.db.execute("SELECT token, body FROM outbox").fetchall()
    journal.close()
    again = Journal(path, vault=Vault(KEY))
    assert again.db.execute("SELECT token, body FROM outbox").fetchall() == before


def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j.db", Vault(KEY))
    assert journal.db.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_another_key_store_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    filled(path, Vault(KEY)).close()
    strange = Journal(path, vault=Vault(bytes(32)))
    assert outbox.backlog(strange) == 21
    with pytest.raises(ValueError, match=r".*"):
        outbox.rows(strange, 0, None, 1)[0].message()
    strange.close()
    assert outbox.rows(Journal(path, vault=Vault(KEY)), 0, None, 1)[0].message().homes == 4  # type: ignore[union-attr]


def test_a_full_disk_leaves_the_old_pages_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.db"
    filled(path, None).close()
    monkeypatch.setattr("pbal_controller.journal.database.rewrite", lambda db: False)
    Journal(path, vault=Vault(KEY)).close()
    monkeypatch.undo()
    journal = Journal(path, vault=Vault(KEY))  # and does it at the next start
    assert TEXT.encode() not in on_disk(path)
    assert journal.meta("vault_rewritten") == "1"


def test_a_power_cut_at_any_moment_of_the_sealing_loses_nothing(tmp_path: Path) -> None:
    """SIGKILL at moments all over it; what the disk has then can be read whole, each time."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from pbal_controller.journal import Journal, Vault
        print("go", flush=True)
        Journal(Path(sys.argv[1]), vault=Vault(bytes(range(32))))
        print("done", flush=True)
        """
    )
    source = tmp_path / "old"
    source.mkdir()
    filled(source / "j.db", None, 800).close()
    halves = 0
    for turn in range(5):
        path = tmp_path / f"cut{turn}" / "j.db"
        path.parent.mkdir()
        path.write_bytes((source / "j.db").read_bytes())
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(0.005 * turn)
        child.kill()
        rest = child.stdout.read()
        child.wait()
        halves += "done" not in rest
        journal = Journal(path, vault=Vault(KEY))
        rows = outbox.rows(journal, 0, None, 10_000)
        assert len(rows) == 801
        assert all(row.message().site == 7 for row in rows)
        journal.close()
        assert TEXT.encode() not in on_disk(path)
    assert halves, "no cut came before the end"


def test_a_copy_for_the_second_controller_stays_sealed(tmp_path: Path) -> None:
    theirs = filled(tmp_path / "a.db", Vault(KEY))
    copy = copying.collect(theirs, 1, b"")
    assert TEXT not in copy.model_dump_json()
    mine = Journal(tmp_path / "b.db", vault=Vault(KEY))
    copying.apply(mine, copy)
    assert mine.get_blob("planner") == TEXT.encode()


def test_the_key_is_of_the_key_store(tmp_path: Path) -> None:
    passphrase = os.urandom(16)
    made = KeyStore.create(tmp_path / "k.json", passphrase, 7)
    again = KeyStore.open(tmp_path / "k.json", passphrase)
    assert made.vault_key() == again.vault_key()
    assert len(made.vault_key()) == 32
    other = KeyStore.create(tmp_path / "other.json", passphrase, 7)
    assert other.vault_key() != made.vault_key()


def test_sealing_is_all_or_nothing(tmp_path: Path) -> None:
    journal = filled(tmp_path / "j.db", None)

    class Breaks(Vault):
        left = 5

        def seal(self, place: str, value: bytes) -> bytes:
            self.left -= 1
            if not self.left:
                raise sqlite3.OperationalError("disk I/O error")
            return super().seal(place, value)

    with pytest.raises(sqlite3.OperationalError):
        vaults.seal_all(journal.db, Breaks(KEY))
    assert all(not row.body.startswith(vaults.MARK) for row in outbox.rows(journal, 0, None, 99))
