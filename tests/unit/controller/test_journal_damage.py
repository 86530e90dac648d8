"""A damaged journal: a refusal in words, or what can still be read; never endless work.

More by hand: PBAL_DAMAGE=5000 python -m pytest -n 0 tests/unit/controller/test_journal_damage.py
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import random
import sqlite3
from pathlib import Path

import pytest
from rigs import needs

from pbal_controller.errors import JournalError
from pbal_controller.journal import AsyncJournal, Journal, Vault
from pbal_controller.uplink import outbox
from pbal_uplink import Summary

DAMAGES = needs.campaign("PBAL_DAMAGE", 1000)
SEED = int(os.environ.get("PBAL_DAMAGE_SEED", "1"))
KEY = bytes(range(32))
SECTOR, PAGE = 512, 4096


def filled(path: Path) -> None:
    """A journal of an older version: nothing in it is sealed yet."""
    journal = Journal(path)
    outbox.switch(journal, True)
    with journal.transaction():
        for n in range(100):
            outbox.insert(journal, Summary(site=7, start_s=300 * n, length_s=300, homes=4))
    for n in range(100):
        made = journal.new_command(5, 1, 2, 100 + n, 160 + n, f"a reason of some length {n}", 3.5)
        journal.update_command(made.id, "confirmed", 1)
    journal.quarantine(5, "welded")
    journal.add_events([(1, 1, n, 3, 1, 1000, 0, 0) for n in range(100)])
    journal.add_minutes([(1, 60 * n, 230, 230, 230, 1, 1, 1, 1, 1, 1) for n in range(1000)])
    journal.put_blob("planner", b"x" * 3000)
    journal.close()


def damaged(good: bytes, rng: random.Random) -> bytes:
    """Bits that turned, or a sector or a page that was written wrongly."""
    data = bytearray(good)
    kind = rng.randrange(6)
    if kind < 3:
        for _ in range(rng.choice((1, 3, 10, 40))):
            data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)
    page = rng.randrange(1, len(data) // PAGE) * PAGE
    sector = page + rng.randrange(0, PAGE, SECTOR)
    if kind == 3:
        data[sector : sector + SECTOR] = bytes(SECTOR)
    elif kind == 4:
        data[sector : sector + SECTOR] = rng.randbytes(SECTOR)
    else:
        other = rng.randrange(1, len(data) // PAGE) * PAGE
        data[page : page + PAGE] = data[other : other + PAGE]
    return bytes(data)


def read_at_start(journal: Journal) -> None:
    """What a controller reads before its first frame, and HQ's link first of all."""
    journal.open_commands()
    for row in journal.recent_commands(100):
        assert isinstance(row.saving, float)
    journal.quarantined()
    journal.get_blob("planner")
    outbox.take_facts(journal, 7)
    outbox.rows(journal, 0, None, 1000)
    journal.minutes(1, 0)


@pytest.mark.timeout(120 + DAMAGES)
def test_damage_is_refused_in_words_or_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    filled(path)
    good = path.read_bytes()
    rng = random.Random(SEED)
    found: collections.Counter[str] = collections.Counter()
    told: set[str] = set()
    for _ in range(DAMAGES):
        for old in tmp_path.glob("j.db*"):
            old.unlink()
        path.write_bytes(damaged(good, rng))
        try:
            journal = Journal(path, vault=Vault(KEY))
        except JournalError as error:
            found["refused"] += 1
            told.add(str(error).removeprefix(f"{path}: ").partition(" (")[0])
            continue
        found["opened"] += 1
        try:
            read_at_start(journal)
        except sqlite3.Error:
            found["refused later"] += 1  # in words, too: AsyncJournal.call
        finally:
            journal.close()
    # The second where SQLite's own words name no damage, such as a function that is not there.
    assert told <= {
        "the journal is damaged; it was left as it is. Restore a backup",
        "the journal cannot be opened",
    }
    assert min(found["refused"], found["opened"]) > DAMAGES // 10, found


@pytest.mark.parametrize("name", ["command_id", "generation", "lane"])
async def test_a_number_that_is_none_is_damage(tmp_path: Path, name: str) -> None:
    path = tmp_path / "j.db"
    filled(path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, '12x4')", (name,))
    async with asyncio.timeout(needs.PATIENCE_S):
        with pytest.raises(JournalError, match="damaged"):
            await AsyncJournal(path).open()
