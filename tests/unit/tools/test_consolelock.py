"""The secret of a node's console: its derivation, and what the node keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pbal_controller.keys import KeyStore
from pbal_tools import consolelock
from pbal_tools.consolelock import Lock
from pbal_tools.errors import ConsoleLocked, InputError

ROOT = bytes(range(32))


def test_each_node_has_its_own_secret_that_only_its_root_key_tells() -> None:
    made = {
        consolelock.secret(root, site, address)
        for root in (ROOT, bytes(32))
        for site in (7, 8)
        for address in (1, 258)
    }
    assert len(made) == 8
    assert all(len(line) == 64 for line in made)
    assert (
        consolelock.secret(ROOT, 7, 258)
        == "e667273cb5a88c187940a99868050856a02611f963c878cd51a6addf595a4019"
    )


def test_the_digest_is_the_one_that_the_node_computes() -> None:
    # tests/unit/node/mp/scenarios_locked.py opens a console with it.
    assert consolelock.digest("5a" * 32, "00ff") == (
        "621dcea76dcaed5ff3f24239b9909e1f38dfb5e63ad70f24ca0f96a8acb66db5"
    )


def test_a_lock_is_read_back_and_joined_with_the_old_one() -> None:
    old = Lock.make("aa")
    new = Lock.make("bb", old)
    assert Lock.read(json.loads(new.file())) == new
    assert new.both(old).digests == (*new.digests, *old.digests)
    assert old.salt == new.salt != Lock.make("aa").salt
    for damaged in ({}, {"salt": "x"}, {"salt": "x", "rounds": 0, "digests": ["1"]}):
        assert Lock.read(damaged) is None


def test_who_knows_the_secret(tmp_path: Path) -> None:
    store = KeyStore.create(tmp_path / "keys.json", b"correct horse", 7)
    store.add(5, "24a160fffe000001", ROOT, "locked")
    unlock = consolelock.of_store(store)
    assert unlock("24a160fffe000001") == [consolelock.secret(ROOT, 7, 5)]
    store.revoke(5)
    assert unlock("24a160fffe000001"), "a node that was taken back can be opened"
    for nobody in (unlock, consolelock.nobody):
        with pytest.raises(ConsoleLocked):
            nobody("24a160fffe000002")


@pytest.mark.parametrize(("text", "mode"), [("5a", 0o600), ("5a" * 32, 0o644), ("", 0o600)])
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, text: str, mode: int) -> None:
    (tmp_path / "x").write_text(text)
    (tmp_path / "x").chmod(mode)
    with pytest.raises(InputError):
        consolelock.opener(tmp_path / "x")
