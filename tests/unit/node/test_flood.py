"""No traffic on the wire opens a contact or resets a node (S11), at the ESP32's own speed.

The whole node runs in virtual time with the processor model of the twin (docs/twin.md) on a line
with the timing of every byte. One hour of traffic in all; PBAL_FLOOD_S=3600 makes it an hour of
each kind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs import needs

ROOT = Path(__file__).resolve().parents[3]
MP = Path(__file__).resolve().parent / "mp"
MODEL = ROOT / "sim" / "pbal_sim" / "hal" / "processor.py"

# On the wire, without a pause unless it says so. "-each": the driver takes every single byte.
KINDS = (
    "segment",  # 60 homes in order, this one among them
    "segment-each",
    "broadcasts",  # of 6 bytes
    "shortest",  # broadcasts of 4
    "others",  # polls of other units and their full answers
    "others_short",
    "group",  # junk in function 100's group frames
    "group_paced",
    "bad_tags",  # requests for this node that nobody signed
    "bad_tags_paced",  # the same by a master that waits for the answers
    "polls_paced",
    "stock",
    "stock_paced",
    "noise",
    "break",  # a driver that is stuck
    "ones",
)
SECONDS = needs.campaign("PBAL_FLOOD_S", 3600 // len(KINDS))
# What a transfer may take: 120 ms with nobody on the line.
DARK_MS = 200
# The same where the flood is authentic, and nothing is rationed; 120 with nobody on the line.
OWN_KEYS_DARK_MS = 450
# Of the processor's time; 0.25 with nobody on the line.
LOAD = 0.5
MORE = ("segment", "stock_paced", "group_paced")  # many short frames, with pauses between

pytestmark = pytest.mark.timeout(1200 + SECONDS)


@pytest.fixture
def flood(run_mp: Callable[..., str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs one kind of traffic; what happened."""
    shutil.copy(MODEL, tmp_path / "processor.py")
    path = (tmp_path, MP, MP / "fake", ROOT / "protocol", ROOT / "firmware")

    def run(kind: str, seconds: int = SECONDS, removed: str = "") -> dict[str, Any]:
        text = run_mp(
            "flood_app.py",
            kind,
            str(seconds),
            removed,
            path=path,
            virtual=True,
            timeout_s=1100 + seconds,
        )
        result: dict[str, Any] = json.loads(text.splitlines()[-2])
        return result

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_no_traffic_opens_a_contact(kind: str, flood: Callable[..., dict[str, Any]]) -> None:
    r = flood(kind)
    assert r["bytes"] > 100 * SECONDS, "the line was not busy"
    # No reset, no watchdog that waits: it is fed every two seconds.
    assert not r["ended"], r
    assert r["resets"] == r["bites"] == 0, r
    assert r["hunger_ms"] < 4500, r
    # A contact opened only where a transfer was due, and every one of those ended well.
    assert r["transfers"], r
    assert all(t[:2] == [2, 0] for t in r["transfers"]), r
    assert r["opened"] == len(r["transfers"]), r
    assert max(t[2] for t in r["transfers"]) <= DARK_MS, r
    assert not r["locked_out"], r
    assert r["shorts"] == 0 < r["phase"], r
    # Metering keeps its pace: once a second.
    assert max(r["meter_ms"], r["volts_ms"]) < 2500, r
    if not kind.startswith(MORE):
        assert r["load"] < LOAD, r
    assert r["collisions"] == 0, r
    # Everything is over as soon as the line is quiet.
    assert 0 <= r["back_ms"] <= 1000, r


def test_who_has_the_node_s_keys_does_not_hold_a_transfer_up(
    flood: Callable[..., dict[str, Any]],
) -> None:
    """Authentic frames are not rationed: each must cost little."""
    r = flood("own_keys", 100)
    assert not r["ended"], r
    assert r["resets"] == r["bites"] == 0, r
    assert r["hunger_ms"] < 4500, r
    assert [t[:2] for t in r["transfers"]] == [[2, 0]] * 2, r
    assert r["opened"] == 2, r
    print(f"own keys: transfers of {[t[2] for t in r['transfers']]} ms")
    assert max(t[2] for t in r["transfers"]) <= OWN_KEYS_DARK_MS, r
    assert max(r["meter_ms"], r["volts_ms"]) < 2500, r
    assert 0 <= r["back_ms"] <= 1000, r


def test_a_full_segment_is_answered(flood: Callable[..., dict[str, Any]]) -> None:
    r = flood("segment", 120)
    assert r["asked"] > 100
    assert r["answered"] >= 0.95 * r["asked"], r


@pytest.mark.parametrize(
    ("removed", "kind", "noticed"),
    [
        ("progress", "segment", lambda r: r["bites"] > 0),
        ("progress", "noise", lambda r: r["bites"] > 0),
        ("ration", "polls_paced", lambda r: r["load"] >= LOAD),
        ("answers", "own_keys", lambda r: r["transfers"][0][2] > OWN_KEYS_DARK_MS),
        ("budget", "broadcasts", lambda r: r["load"] >= LOAD),
    ],
)
def test_without_the_rule_it_shows(
    removed: str,
    kind: str,
    noticed: Callable[[dict[str, Any]], bool],
    flood: Callable[..., dict[str, Any]],
) -> None:
    r = flood(kind, 60, removed)
    assert noticed(r), f"nothing notices that {removed} is gone: {r}"
