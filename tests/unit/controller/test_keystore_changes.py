"""Changes of the key store by several programs: none is lost, none half made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import GroupGeneration, KeyStore
from pbal_controller.keys import store as keystore


def test_two_writers_lose_nothing(make_store: Callable[[], KeyStore]) -> None:
    one = make_store()
    two = KeyStore.open(one.path, b"pass")
    one.add(1, "00" * 8)
    two.add(2, "00" * 8)
    made = one.new_group_key("x", "")
    two.add(3, "00" * 8)
    assert two.newest == made
    assert KeyStore.open(one.path, b"pass").addresses() == [1, 2, 3]
    assert not two.activate(made.number - 1)
    assert two.activate(made.number)
    one.reload()
    assert one.active == made
    assert one.addresses() == [1, 2, 3]


def test_a_store_without_generations_has_one_of_unknown_age(
    make_store: Callable[[], KeyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    dumps = json.dumps

    def as_before(content: Any, **how: Any) -> str:
        if "generations" in content:
            content = {k: v for k, v in content.items() if k not in ("generations", "active")}
        return dumps(content, **how)

    monkeypatch.setattr(json, "dumps", as_before)
    store._write()
    monkeypatch.undo()
    old = KeyStore.open(store.path, b"pass")
    assert old.newest == old.active == GroupGeneration(1, store.group_key)


def test_another_store_in_its_place_is_not_taken(make_store: Callable[[], KeyStore]) -> None:
    store = make_store()
    before = store.newest
    store.path.unlink()
    KeyStore.create(store.path, b"pass", 7, log2_n=10)
    with pytest.raises(KeyStoreError, match="another key store"):
        store.new_group_key("x", "")
    assert store.newest == before
    assert before.root.hex() not in repr(before)
    assert repr(before.root) not in repr(before)


def test_a_change_that_cannot_be_written_is_not_made(
    make_store: Callable[[], KeyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    store.add(1, "00" * 8)

    def full(*args: Any) -> None:
        raise KeyStoreError("no space")

    monkeypatch.setattr(keystore, "atomic_write", full)
    with pytest.raises(KeyStoreError, match="no space"):
        store.revoke(1)
    assert store.newest.number == 1
    assert not store.node(1).revoked


@pytest.fixture
def make_store(tmp_path: Any) -> Callable[[], KeyStore]:
    return lambda: KeyStore.create(tmp_path / "keys.json", b"pass", 7, log2_n=10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_change_by_root_leaves_the_file_with_its_owner(
    make_store: Callable[[], KeyStore],
) -> None:
    store = make_store()
    os.chown(store.path, 12345, 23456)
    store.new_group_key("x", "")
    found = store.path.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 23456, 0o600)
