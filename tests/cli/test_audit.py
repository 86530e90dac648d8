"""The audit log: everything that is decided is in it, and no edit, cut or exchange stays hidden."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from pbal_controller.documents import load_json
from pbal_controller.journal import (
    Journal,
    Signed,
    add_audit,
    entries,
    faults,
    note_change,
    sign,
    signature_faults,
    signatures,
)
from pbal_controller.journal.chain import link
from pbal_controller.keys import KeyStore
from pbal_controller.standing import Reason
from pbal_controller.standing import store as standing_store
from pbal_controller.updates import store as update_store
from pbal_controller.uplink import anchor, outbox
from pbal_tools.audit.command import app
from pbal_tools.errors import CliError
from pbal_uplink import Event, names


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal in which everything happened once."""
    path = tmp_path / "journal.db"
    journal = Journal(path)
    assert note_change(journal, "configuration", "abc")
    assert not note_change(journal, "configuration", "abc")
    row = journal.new_command(257, 1, 2, 1000, 1060, "less neutral current", 3.0)
    journal.update_command(row.id, "sent", 1)
    journal.update_command(row.id, "confirmed", 1)
    journal.quarantine(258, "it disagreed")
    journal.lift_quarantine(258)
    add_audit(journal, 1.8e9, "group key drawn", "2", "ann", "node 9 revoked")
    add_audit(journal, 1.8e9, "group key drawn", "2", "ann", "node 9 revoked")
    standing_store.stand_down(journal, Reason.RIVAL, "another one")
    standing_store.adopt(journal)
    journal.db.execute(
        "INSERT INTO hq_commands VALUES ('7', 1.8e9, 'mode', 'done', 'by bob', x'00')"
    )
    journal.db.execute(
        "INSERT INTO rollouts VALUES ('d1', '1.2', 'f', 'waiting', '', '', 1.8e9, 1.8e9, '')"
    )
    update_store.set_wish(journal, "d1", "pause")
    journal.close()
    return path


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def log(path: Path) -> list[Any]:
    db = sqlite3.connect(path)
    rows = list(entries(db))
    db.close()
    return rows


def test_everything_that_is_decided_is_in_it(path: Path) -> None:
    rows = log(path)
    assert [(row.what, row.subject) for row in rows if not row.what.startswith("command")] == [
        ("configuration", "abc"),
        ("quarantine", "258"),
        ("quarantine released", "258"),
        ("group key drawn", "2"),
        ("stands down", "rival"),
        ("adopted", "rival"),
        ("HQ command mode", "7"),
        ("release", "1.2"),
        ("release waiting", "1.2"),
    ]
    [ordered, ended] = [row for row in rows if row.what.startswith("command")]
    assert (ordered.what, ended.what) == ("command", "command confirmed")
    assert "home 257 from 1 to 2: less neutral current" in ordered.why
    assert "ann: node 9 revoked" in next(row.why for row in rows if "group" in row.what)
    assert all(row.who for row in rows)
    assert list(faults(rows)) == []


def test_it_is_written_with_what_it_tells_or_not_at_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    with contextlib.suppress(ZeroDivisionError), journal.transaction():
        journal.quarantine(1, "x")
        raise ZeroDivisionError
    assert list(entries(journal.db)) == []
    journal.close()


def test_nothing_is_ordered_by_a_program_that_writes_no_log(path: Path) -> None:
    db = sqlite3.connect(path)
    with pytest.raises(sqlite3.OperationalError, match="no such function: pbal_"):
        db.execute("INSERT INTO quarantine VALUES (9, 0, 'x')")
    db.close()


def spoil(path: Path, *statements: str) -> list[str]:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    found = list(faults(list(entries(db))))
    db.close()
    return found


@pytest.mark.parametrize("column", ["at_s", "what", "subject", "who", "why", "link"])
def test_an_edit_is_found(path: Path, column: str) -> None:
    value = "1.0" if column == "at_s" else "'x'"
    [*found] = spoil(path, f"UPDATE audit_log SET {column} = {value} WHERE seq = 4")
    assert any("entry 4 was changed" in words for words in found)


def test_an_edit_with_a_link_made_anew_is_found_by_the_next(path: Path) -> None:
    rows = log(path)
    row = rows[3]
    values = (row.seq, row.at_s, row.what, row.subject, row.who, "made up")
    changed = replace(row, why="made up", link=link(rows[2].link, *values))
    found = list(faults([*rows[:3], changed, *rows[4:]]))
    assert found == ["entry 5 was changed, or what was before it"]


def test_a_cut_in_the_middle_is_found(path: Path) -> None:
    assert "entry 3..4 is missing" in spoil(path, "DELETE FROM audit_log WHERE seq IN (3, 4)")


def test_a_cut_that_was_numbered_anew_is_found(path: Path) -> None:
    assert spoil(
        path,
        "DELETE FROM audit_log WHERE seq = 3",
        "UPDATE audit_log SET seq = -seq WHERE seq > 3",
        "UPDATE audit_log SET seq = -seq - 1 WHERE seq < 0",
    )


def test_an_exchange_is_found(path: Path) -> None:
    assert spoil(
        path,
        "UPDATE audit_log SET seq = -2 WHERE seq = 2",
        "UPDATE audit_log SET seq = 2 WHERE seq = 3",
        "UPDATE audit_log SET seq = 3 WHERE seq = -2",
    )


def test_a_cut_at_the_end_and_a_new_chain_need_a_known_link(path: Path) -> None:
    rows = log(path)
    known = rows[-1].seq, rows[-1].link
    assert list(faults(rows, known)) == []
    assert "it was cut" in next(faults(rows[:-1], known))
    assert list(faults(rows[:-1])) == []  # not to be seen without
    other = path.with_name("other.db")
    journal = Journal(other)
    for k in range(len(rows)):
        journal.quarantine(k + 1, "made up")
    journal.close()
    assert list(faults(log(other))) == []
    assert "made anew" in next(faults(log(other), known))


def test_random_changes(path: Path) -> None:
    """Any one changed value of any row."""
    whole = log(path)
    rng = random.Random(1)
    for _ in range(200):
        rows = list(whole)
        k = rng.randrange(len(rows))
        name = rng.choice(["seq", "at_s", "what", "subject", "who", "why", "link"])
        old = getattr(rows[k], name)
        new = old + rng.choice([1, 2]) if not isinstance(old, str) else old + rng.choice("ab ")
        rows[k] = type(rows[k])(**{**vars(rows[k]), name: new})
        assert list(faults(rows)), (k, name)


def test_the_commands(path: Path) -> None:
    done = run("verify", "--journal", path)
    assert done.exit_code == 0
    known = done.output.split("--known ")[1].strip()
    assert run("verify", "--journal", path, "--known", known).exit_code == 0
    shown = load_json(run("show", "--journal", path, "--what", "command", "--json").output)
    assert [row["what"] for row in shown] == ["command", "command confirmed"]
    assert "less neutral current" in run("show", "--journal", path).output
    assert len(run("show", "--journal", path, "--last", 2).output.splitlines()) == 2
    spoil(path, "DELETE FROM audit_log WHERE seq = (SELECT MAX(seq) FROM audit_log)")
    assert run("verify", "--journal", path).exit_code == 0
    done = run("verify", "--journal", path, "--known", known, "--json")
    assert isinstance(done.exception, CliError)
    assert done.exception.exit_code == 7
    assert not load_json(done.output)["ok"]


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def signed(path: Path) -> list[Signed]:
    db = sqlite3.connect(path)
    rows = list(signatures(db))
    db.close()
    return rows


def sign_now(path: Path) -> Signed | None:
    journal = Journal(path)
    made = sign(journal, KEY)
    journal.close()
    return made


def test_a_signature_finds_a_cut_and_a_new_chain_behind_it(path: Path) -> None:
    made = sign_now(path)
    assert made is not None
    assert sign_now(path) is None, "nothing is new"
    rows = log(path)
    assert made.seq == rows[-1].seq
    assert list(signature_faults(rows, [made], made.key)) == []
    for last in range(len(rows)):
        assert "it was cut" in next(signature_faults(rows[:last], [made])), last
    other = path.with_name("other.db")
    journal = Journal(other)
    for k in range(len(rows)):
        journal.quarantine(k + 1, "made up")
    assert "made anew" in next(signature_faults(log(other), [made]))
    # Whoever signs the new one has another key.
    sign(journal, Ed25519PrivateKey.generate())
    journal.close()
    assert list(signature_faults(log(other), signed(other))) == []
    assert "of another key" in next(signature_faults(log(other), signed(other), made.key))


def test_a_changed_signature_is_found(path: Path) -> None:
    made = sign_now(path)
    assert made is not None
    for name in ("seq", "link", "at_s", "signature"):
        old = getattr(made, name)
        new = old + 1 if not isinstance(old, str) else old[:-1] + ("0" if old[-1] != "0" else "1")
        [words] = signature_faults(log(path), [replace(made, **{name: new})])
        assert "is not good" in words, name


def test_the_command_with_signatures(path: Path) -> None:
    made = sign_now(path)
    assert made is not None
    done = run("verify", "--journal", path, "--key", made.key)
    assert done.exit_code == 0
    assert f"signed up to entry {made.seq}" in done.output
    assert run("verify", "--journal", path, "--known", made.words).exit_code == 0
    [*_] = spoil(path, "DELETE FROM audit_log WHERE seq = (SELECT MAX(seq) FROM audit_log)")
    done = run("verify", "--journal", path)
    assert isinstance(done.exception, CliError)
    assert done.exception.exit_code == 7
    # With the signatures taken out what HQ has still tells.
    spoil(path, "DELETE FROM audit_signature")
    assert run("verify", "--journal", path).exit_code == 0
    for words in (("--known", made.words), ("--key", made.key)):
        assert isinstance(run("verify", "--journal", path, *words).exception, CliError), words


def test_each_signature_goes_to_hq_once(path: Path) -> None:
    journal = Journal(path)
    words = anchor(journal, KEY, 7, True)
    assert anchor(journal, KEY, 7, True) == ""
    [row] = [row for row in outbox.rows(journal, 0, None, 100) if row.kind == outbox.EVENT]
    event = row.message()
    assert isinstance(event, Event)
    assert (event.site, event.kind, event.detail) == (7, names.KIND_AUDIT, words)
    journal.quarantine(5, "x")
    assert anchor(journal, KEY, 7, False), "without HQ it is signed all the same"
    assert outbox.backlog(journal) == 1
    assert len(list(signatures(journal.db))) == 2
    journal.close()


def test_the_key_is_the_stores(tmp_path: Path) -> None:
    made = KeyStore.create(tmp_path / "k", b"secret", 7, log2_n=12)
    public = made.audit_key().public_key()
    again = KeyStore.open(tmp_path / "k", b"secret")
    again.add(257, "a4cf12fffe000011", bytes(range(32)))
    assert again.audit_key().public_key() == public
    other = KeyStore.create(tmp_path / "other", b"secret", 7, log2_n=12)
    assert other.audit_key().public_key() != public


def test_wrong_use(path: Path, tmp_path: Path) -> None:
    for words in (
        ("verify", "--journal", tmp_path / "none.db"),
        ("verify", "--journal", path, "--known", "x"),
        ("show", "--config", tmp_path / "none.toml"),
    ):
        done = run(*words)
        assert isinstance(done.exception, CliError)
        assert done.exception.exit_code == 3
    (tmp_path / "bad.db").write_bytes(b"no database at all" * 300)
    assert isinstance(run("show", "--journal", tmp_path / "bad.db").exception, CliError)
