"""`pbal backup`: what was there comes back, and nothing that was changed, cut or foreign."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pbal_controller.journal import COUNTER_BLOCK, EPOCH_S, Journal, lift_numbers
from pbal_controller.keys import KeyStore
from pbal_controller.standing import store as standing_store
from pbal_tools.backup import command, restore, sealing
from pbal_tools.errors import CliError

KEY = "0123456789abcdef"


def pbal(*words: object) -> Any:
    return CliRunner().invoke(command.app, [str(word) for word in words])


def fails(*words: object) -> CliError:
    done = pbal(*words)
    assert isinstance(done.exception, CliError), (done.output, done.exception)
    assert done.exception.remedy
    return done.exception


def a_site(folder: Path, site: int = 7) -> Path:
    """A site with keys, a journal, and a drop-in; returns the configuration."""
    (folder / "conf.d").mkdir(parents=True)
    (folder / "state").mkdir()
    config = folder / "pbal.toml"
    config.write_text(
        f"[site]\nid = {site}\n[keys]\nfile = 'state/keys.json'\n"
        "[journal]\npath = 'state/journal.db'\n[bus.a]\nport = '/nowhere'\n"
    )
    (folder / "conf.d/homes.toml").write_text("[[home]]\naddress = 257\nbus = 'a'\n")
    KeyStore.create(folder / "state/keys.json", b"of the keys", site, log2_n=10).add(
        257, "a4cf12fffe000011"
    )
    journal = Journal(folder / "state/journal.db")
    journal.new_command(257, 1, 2, 1000, 1060, "a reason", 1.0)
    journal.reserve(257, 2, KEY, 1, COUNTER_BLOCK)
    journal.quarantine(257, "it disagreed")
    journal.close()
    return config


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "backup.pass"
    path.write_text("four random words\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def made(tmp_path: Path, secret: Path) -> tuple[Path, Path]:
    """(configuration of the site, its backup)."""
    config = a_site(tmp_path / "site")
    file = tmp_path / "site.pbal"
    done = pbal("create", file, "--config", config, "--passphrase-file", secret)
    assert done.exit_code == 0, done.output
    return config, file


def test_a_bare_computer_gets_it_all_back(
    tmp_path: Path, made: tuple[Path, Path], secret: Path
) -> None:
    config, file = made
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"quarantine" not in file.read_bytes()
    done = pbal("verify", file, "--passphrase-file", secret)
    assert done.exit_code == 0
    assert "journal.db" in done.output
    there = tmp_path / "new" / "pbal.toml"
    done = pbal("restore", file, "--config", there, "--passphrase-file", secret)
    assert done.exit_code == 0, done.output
    assert there.read_bytes() == config.read_bytes()
    assert (there.parent / "conf.d/homes.toml").exists()
    keys = there.parent / "state/keys.json"
    assert keys.read_bytes() == (config.parent / "state/keys.json").read_bytes()
    assert keys.stat().st_mode & 0o777 == 0o600
    journal = Journal(there.parent / "state/journal.db")
    assert journal.quarantined() == {257: "it disagreed"}
    assert [row.reason for row in journal.recent_commands()] == ["a reason"]
    # It commands nothing until a person has looked.
    assert set(standing_store.stood_down(journal)) == {"restored"}
    journal.close()


def test_a_backup_of_a_journal_in_use(tmp_path: Path, secret: Path) -> None:
    config = a_site(tmp_path / "site")
    journal = Journal(tmp_path / "site/state/journal.db")
    journal.quarantine(300, "in the write-ahead log")
    file = tmp_path / "b.pbal"
    assert pbal("create", file, "-c", config, "--passphrase-file", secret).exit_code == 0
    journal.close()
    there = tmp_path / "new/pbal.toml"
    assert pbal("restore", file, "-c", there, "--passphrase-file", secret).exit_code == 0
    restored = Journal(there.parent / "state/journal.db")
    assert 300 in restored.quarantined()
    restored.close()
    assert not list((tmp_path / "site/state").glob(".backup-*"))


def test_what_was_there_is_kept(tmp_path: Path, made: tuple[Path, Path], secret: Path) -> None:
    config, file = made
    state = config.parent / "state"
    journal = Journal(state / "journal.db")
    journal.quarantine(400, "after the backup")
    journal.close()
    config.write_text(config.read_text() + "[planner]\nenabled = false\n")
    done = pbal("restore", file, "-c", config, "--passphrase-file", secret)
    assert done.exit_code == 0, done.output
    assert "enabled = false" in config.read_text()  # a configuration that is there stays
    [kept] = state.glob("journal.db.before-*")
    old, new = Journal(kept), Journal(state / "journal.db")
    assert set(old.quarantined()) == {257, 400}
    assert set(new.quarantined()) == {257}
    old.close()
    new.close()


def test_another_site_is_refused(tmp_path: Path, made: tuple[Path, Path], secret: Path) -> None:
    _, file = made
    other = a_site(tmp_path / "other", site=8)
    before = (other.parent / "state/keys.json").read_bytes()
    error = fails("restore", file, "-c", other, "--passphrase-file", secret)
    assert (error.exit_code, "site 7" in error.message) == (8, True)
    assert (other.parent / "state/keys.json").read_bytes() == before


def test_a_running_controller_is_not_disturbed(made: tuple[Path, Path], secret: Path) -> None:
    config, file = made
    with open(config.parent / "state/journal.db.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        error = fails("restore", file, "-c", config, "--passphrase-file", secret)
    assert error.exit_code == 8
    assert "systemctl stop" in error.remedy


def test_no_change_and_no_cut_opens(tmp_path: Path, made: tuple[Path, Path], secret: Path) -> None:
    _, file = made
    whole = file.read_bytes()
    bad = tmp_path / "bad.pbal"
    places = [0, 20, 60, len(whole) // 3, len(whole) // 2, len(whole) - 1]
    spoiled = [whole[:k] + bytes((whole[k] ^ 1,)) + whole[k + 1 :] for k in places]
    spoiled += [whole[:k] for k in (0, 10, len(whole) // 2, len(whole) - 1)] + [whole + b"x"]
    for data in spoiled:
        bad.write_bytes(data)
        assert fails("verify", bad, "--passphrase-file", secret).exit_code in (3, 6)
    secret.write_text("other words\n")
    error = fails("verify", file, "--passphrase-file", secret)
    assert (error.exit_code, "another passphrase" in error.message) == (6, True)


def test_chunks_cannot_be_left_out_or_exchanged(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = os.urandom(3 * sealing.CHUNK + 5)
    with path.open("wb") as out:
        sealer = sealing.Sealer(out, b"secret", 7, 0, "1", log2_n=10)
        for start in range(0, len(data), 100_000):
            sealer.write(data[start : start + 100_000])
        sealer.finish()
    whole = path.read_bytes()
    line = whole.index(b"\n") + 1
    step = sealing.CHUNK + 16
    parts = [whole[line + k * step : line + (k + 1) * step] for k in range(4)]

    def opened(order: list[int]) -> bytes:
        path.write_bytes(whole[:line] + b"".join(parts[k] for k in order))
        with path.open("rb") as file:
            return sealing.Opener(file, "x", b"secret").read()

    assert opened([0, 1, 2, 3]) == data
    for order in ([0, 2, 1, 3], [0, 1, 3], [0, 1, 2], [1, 2, 3], [0, 1, 1, 2, 3], [3]):
        with pytest.raises(CliError):
            opened(order)


@pytest.mark.parametrize("size", [0, 1, sealing.CHUNK, 2 * sealing.CHUNK])
def test_sizes_at_the_edge_of_a_chunk(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    with path.open("wb") as out:
        sealer = sealing.Sealer(out, b"secret", 7, 0, "1", log2_n=10)
        sealer.write(b"a" * size)
        sealer.finish()
    with path.open("rb") as file:
        assert sealing.Opener(file, "x", b"secret").read() == b"a" * size


def test_a_newer_format_says_so(tmp_path: Path, secret: Path) -> None:
    file = tmp_path / "new.pbal"
    file.write_bytes(b"pbal-backup/2 {}\n")
    assert "newer pbal" in fails("verify", file, "--passphrase-file", secret).message


def test_a_damaged_journal_is_noticed(tmp_path: Path, secret: Path) -> None:
    config = a_site(tmp_path / "site")
    path = tmp_path / "site/state/journal.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    path.write_bytes(data)
    error = fails("create", tmp_path / "x.pbal", "-c", config, "--passphrase-file", secret)
    assert "journal" in error.message


def test_words_for_wrong_use(tmp_path: Path, made: tuple[Path, Path], secret: Path) -> None:
    config, file = made
    assert fails("create", file, "-c", config, "--passphrase-file", secret).exit_code == 3
    assert fails("verify", tmp_path / "none", "--passphrase-file", secret).exit_code == 3
    secret.write_text("short")
    new = tmp_path / "y.pbal"
    assert fails("create", new, "-c", config, "--passphrase-file", secret).exit_code == 3
    secret.write_text("four random words")
    (config.parent / "state/keys.json").unlink()
    assert fails("create", new, "-c", config, "--passphrase-file", secret).exit_code == 3
    assert not list(tmp_path.glob(".y*"))


def blocks(journal: Journal, openings: int, clock: list[float], path: Path) -> set[int]:
    """All counters that a controller gives out which restarts every few minutes."""
    out: set[int] = set()
    for _ in range(openings):
        journal.close()
        clock[0] += 300
        journal = Journal(path, lambda: clock[0])
        first = journal.reserve(257, 2, KEY, 1, COUNTER_BLOCK)
        out |= set(range(first, first + COUNTER_BLOCK))
    journal.close()
    return out


@pytest.mark.parametrize("days", [0, 1, 400])
def test_a_restored_journal_uses_no_counter_twice(tmp_path: Path, days: int) -> None:
    """The copy's other life goes on, then the copy is restored."""
    for trial in range(8):
        clock = [EPOCH_S + 1e8]
        path = tmp_path / f"{trial}.db"
        journal = Journal(path, lambda clock=clock: clock[0])
        journal.reserve(257, 2, KEY, 1, COUNTER_BLOCK)
        copy = tmp_path / f"{trial}.copy"
        journal.back_up(copy)
        clock[0] += days * 86400
        # As it happens with one start, its jump at most one JUMP.
        used = blocks(journal, 1, clock, path)
        restored = Journal(copy, lambda clock=clock: clock[0])
        lift_numbers(restored, clock[0])
        again = blocks(restored, 3, clock, copy)
        assert not used & again
        assert min(again) > max(used)


def test_lifting_leaves_what_was_heard(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", lambda: EPOCH_S + 1e6)
    journal.set_up_counters([(257, KEY, 77)])
    before = journal.reserve(257, 2, KEY, 1, COUNTER_BLOCK)
    command_id = journal.new_command(257, 1, 2, 1000, 1060, "", 0.0).id
    lift_numbers(journal, EPOCH_S + 1e6)
    assert journal.up_counters() == {257: (KEY, 77)}
    assert journal.counter(257, 2, KEY) > before + COUNTER_BLOCK
    assert journal.new_command(257, 1, 2, 1000, 1060, "", 0.0).id > command_id + 1
    journal.close()


def test_without_a_clock_nothing_is_restored(tmp_path: Path) -> None:
    Journal(tmp_path / "j.db").close()
    header = sealing.Header(7, 1_800_000_000, "1", "")
    for now in (86400.0, 1_700_000_000.0):
        with pytest.raises(CliError, match="clock"):
            restore.prepared(tmp_path / "j.db", header, now)
