"""A node with a radio, or a bridge: which identity it is given, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import Channel, KeyStore, Network
from pbal_tools.errors import InputError, RefusedError
from pbal_tools.provision import work
from pbal_tools.provision.options import neighbours_of
from pbal_tools.provision.work import Wanted

CHANNEL = Channel("IN865", 1, 8)
EUI = "24a160fffe000001"
FITTED = {"fitted": True}


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    made = KeyStore.create(tmp_path / "keys.json", b"secret", 7, log2_n=10)
    made.set_channel(CHANNEL)
    return KeyStore.open(tmp_path / "keys.json", b"secret")


def identity(store: KeyStore, old: dict[str, Any], **wanted: Any) -> Any:
    return work._identity(old, store, Wanted(3, **wanted), EUI)


def test_the_channel_is_kept_in_the_key_store(store: KeyStore) -> None:
    assert store.channel == CHANNEL
    store.set_channel(None)
    assert KeyStore.open(store.path, b"secret").channel is None


def test_what_was_not_asked_for_stays(store: KeyStore) -> None:
    first = identity(store, FITTED, radio=True, with_wires=True, neighbours=(4, 5))
    assert (first.channel, first.with_wires, first.neighbours) == (CHANNEL, True, (4, 5))
    told, role, neighbours = first.beside()
    assert told == CHANNEL.as_dict() | {"wired": True}
    assert (role, neighbours) == ("bridge", [4, 5])
    old = {"site": 7, "address": 3, "radio": told, "neighbours": [4, 5]} | FITTED
    again = identity(store, old)
    assert again.beside() == first.beside()
    assert identity(store, old, with_wires=False).beside()[0] == CHANNEL.as_dict()
    assert identity(store, old, neighbours=()).beside()[1:] == (None, None)
    assert identity(store, old, radio=False, neighbours=()).beside() == (None, None, None)
    # Another home's identity is not taken over.
    assert identity(store, old | {"address": 9}).beside() == (None, None, None)


def test_radio_and_wires_need_a_board_with_the_heap_for_both(store: KeyStore) -> None:
    plain = FITTED | {"heap": 163_000}  # an ESP32 without external RAM
    assert identity(store, plain, radio=True).channel == CHANNEL
    with pytest.raises(RefusedError, match=r"takes 190 kB .* has 163 kB"):
        identity(store, plain, radio=True, neighbours=(4,))
    with pytest.raises(RefusedError, match="radio and wires"):
        identity(store, plain, radio=True, with_wires=True)
    enough = FITTED | {"heap": 4_000_000}
    assert identity(store, enough, radio=True, neighbours=(4,)).neighbours == (4,)


def test_the_wifi_takes_the_place_of_the_radio(store: KeyStore) -> None:
    store.set_network(Network("pbal-7.local").with_wifi("Mill Lane", "correct horse"))
    old = {"site": 7, "address": 3, "radio": CHANNEL.as_dict()} | FITTED
    assert identity(store, old, wifi=True).channel is None
    with pytest.raises(InputError, match="Wi-Fi or a radio"):
        identity(store, old, wifi=True, radio=True)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"with_wires": True}, "As well as what"),
        ({"neighbours": (4,)}, "way to the controller"),
        ({"radio": True, "neighbours": (3, 4)}, "other homes"),
        ({"radio": True, "neighbours": (258, 514)}, "other homes"),
        ({"radio": True, "neighbours": tuple(range(4, 35))}, "31 neighbours"),
        ({"radio": True, "neighbours": (0,)}, "0 is no node address"),
    ],
)
def test_what_cannot_be_is_refused(store: KeyStore, wanted: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        identity(store, FITTED, **wanted)


def test_a_board_without_a_radio_and_a_site_without_a_channel(store: KeyStore) -> None:
    with pytest.raises(RefusedError, match="has no radio"):
        identity(store, {}, radio=True)
    store.set_channel(None)
    with pytest.raises(InputError, match="no radio channel") as error:
        identity(store, FITTED, radio=True)
    assert "pbal provision radio" in str(error.value.remedy)


@pytest.mark.parametrize(
    ("channel", "words"),
    [
        (Channel("EU433"), "no radio plan"),
        (Channel("IN865", 3), "0 to 2"),
        (Channel("IN865", 0, 12), "7 to 11"),
        (Channel("IN865", 0, 9, 21), "2 to 20"),
        (Channel("AS923", 0, 9, 17), "16.00 dBm"),
    ],
)
def test_a_channel_that_no_plan_allows(channel: Channel, words: str) -> None:
    with pytest.raises(KeyStoreError, match=words):
        channel.checked()


def test_neighbours_as_text() -> None:
    assert neighbours_of(None) is None
    assert neighbours_of("") == ()
    assert neighbours_of("4, 6-8") == (4, 6, 7, 8)
    for wrong in ("x", "4-", "4-x", "-4"):
        with pytest.raises(InputError, match="no address"):
            neighbours_of(wrong)
