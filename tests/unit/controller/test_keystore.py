"""The key store: what is written can be read, and only with the passphrase."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import KeyStore, find_passphrase

EUI = "a4cf12fffe000011"
ROOT = bytes(range(32))


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    made = KeyStore.create(tmp_path / "keys.json", b"pass", 7, log2_n=10)
    made.add(257, EUI, ROOT)
    return made


def test_round_trip(store: KeyStore) -> None:
    again = KeyStore.open(store.path, b"pass")
    assert again.get(257) == ROOT
    assert again.group_key == store.group_key
    assert len(again.group_key) == 32
    assert again.site_id == 7
    assert again.addresses() == [257]


def test_an_older_group_key_is_not_taken_into_use(store: KeyStore) -> None:
    """A newer one was drawn while the nodes were still given this one."""
    used = store.active
    older = store.new_group_key("a test", "")
    newest = store.new_group_key("a test", "")
    assert not store.activate(older.number)
    again = KeyStore.open(store.path, b"pass")
    assert (again.active, again.newest) == (used, newest)
    assert store.activate(newest.number)


def test_a_store_that_is_damaged_within_is_not_read_by_half(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What seals it is right, one of its values is none."""
    other = KeyStore.open(store.path, b"pass")
    before = store.newest
    dumps = json.dumps

    def damaged(content: Any, **how: Any) -> str:
        return dumps(content | {"release": "zz"} if "release" in content else content, **how)

    monkeypatch.setattr(json, "dumps", damaged)
    other.new_group_key("a test", "")
    monkeypatch.undo()
    with pytest.raises(KeyStoreError, match="damaged"):
        store.reload()
    assert store.newest == before


def test_the_release_key_is_kept_and_a_store_from_before_it_opens(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.release_key == b""
    store.set_release_key(bytes(range(1, 33)))
    again = KeyStore.open(store.path, b"pass")
    assert again.release_key == bytes(range(1, 33))
    again.rotate(257)
    assert KeyStore.open(store.path, b"pass").release_key == bytes(range(1, 33))
    with pytest.raises(KeyStoreError, match="32 bytes"):
        store.set_release_key(b"short")
    again.set_release_key(b"")
    assert KeyStore.open(store.path, b"pass").release_key == b""
    dumps = json.dumps

    def as_before(content: Any, **how: Any) -> str:
        if isinstance(content, dict):
            content.pop("release", None)
        return dumps(content, **how)

    monkeypatch.setattr(json, "dumps", as_before)
    again.rotate(257)
    monkeypatch.undo()
    assert KeyStore.open(store.path, b"pass").release_key == b""


def test_file_is_private_and_holds_no_key(store: KeyStore) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    text = store.path.read_text()
    assert ROOT.hex() not in text
    assert EUI not in text
    assert os.listdir(store.path.parent) == ["keys.json"], "no temporary file is left"


def test_wrong_passphrase(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="passphrase"):
        KeyStore.open(store.path, b"other")


@pytest.mark.parametrize("field", ["site", "sealed", "nonce", "salt", "log2_n"])
def test_any_change_is_noticed(store: KeyStore, field: str) -> None:
    document = json.loads(store.path.read_text())
    value = document[field]
    if isinstance(value, int):
        document[field] = value + 1
    else:
        document[field] = ("B" if value[0] != "B" else "C") + value[1:]
    store.path.write_text(json.dumps(document))
    with pytest.raises(KeyStoreError):
        KeyStore.open(store.path, b"pass")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": "pbal-keys/9"}'])
def test_not_a_store(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(KeyStoreError):
        KeyStore.open(path, b"pass")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match="keys create"):
        KeyStore.open(tmp_path / "none.json", b"pass")


def test_create_never_overwrites(store: KeyStore) -> None:
    before = store.path.read_bytes()
    with pytest.raises(KeyStoreError, match="exists"):
        KeyStore.create(store.path, b"pass", 7)
    assert store.path.read_bytes() == before


def test_address_is_unique(store: KeyStore) -> None:
    with pytest.raises(KeyStoreError, match="already"):
        store.add(257, EUI)


def test_rotate_revoke_remove(store: KeyStore) -> None:
    old = store.node(257).fingerprint
    assert store.rotate(257).fingerprint != old
    store.revoke(257)
    again = KeyStore.open(store.path, b"pass")
    with pytest.raises(KeyStoreError, match="revoked"):
        again.get(257)
    again.remove(257)
    assert KeyStore.open(store.path, b"pass").addresses() == []


def test_a_drawn_key_is_random(store: KeyStore) -> None:
    assert store.add(258, EUI).root != store.add(259, EUI).root


@pytest.mark.parametrize(("eui", "root"), [("xx", None), (EUI[:-1], None), (EUI, b"short")])
def test_bad_entries_are_refused(store: KeyStore, eui: str, root: bytes | None) -> None:
    with pytest.raises(KeyStoreError):
        store.add(300, eui, root)


def test_no_repr_shows_a_key(store: KeyStore) -> None:
    shown = repr(store) + repr(store.node(257)) + str(store.node(257))
    assert ROOT.hex() not in shown
    assert repr(ROOT) not in shown


def test_a_failed_write_keeps_the_old_file(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyStoreError, match="No space"):
        store.add(300, EUI)
    monkeypatch.undo()
    assert KeyStore.open(store.path, b"pass").addresses() == [257]
    assert os.listdir(store.path.parent) == ["keys.json"]


def test_passphrase_sources(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_bytes(b"from file\n")
    file.chmod(0o600)
    (tmp_path / "pbal-keys").write_bytes(b"from credential")
    here = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_passphrase(file, "pbal-keys", {}) == b"from file"
    assert find_passphrase(file, "pbal-keys", here) == b"from credential"
    with pytest.raises(KeyStoreError, match="passphrase_file"):
        find_passphrase(None, "pbal-keys", {})
    file.chmod(0o644)
    with pytest.raises(KeyStoreError, match="chmod 600"):
        find_passphrase(file, "pbal-keys", {})


def test_a_credential_in_a_closed_folder_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen under systemd in a container whose mounts do not propagate. Root passes every door, so
    the door is closed in Python.
    """

    def closed(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", closed)
    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(KeyStoreError, match="pbal-keys: cannot be read: Permission denied"):
        find_passphrase(None, "pbal-keys", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
