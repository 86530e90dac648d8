"""The time that a release carries: no site time before it is believed by a node (S4)."""

import time
from pathlib import Path

import pytest

from pbal_tools.release import build

ROOT = Path(__file__).resolve().parents[3]
DAY = 86400


def test_a_release_carries_the_day_it_was_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(time, "time", lambda: 1_900_000_000.0)
    found = build.build_time_s()
    assert found % DAY == 0
    assert DAY <= 1_900_000_000 - found < 2 * DAY, "a Pi a little behind is still believed"


def test_the_same_bytes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1900000000")
    assert build.build_time_s() == 1_900_000_000
    first = build.version_file("0.2.0")
    assert build.version_file("0.2.0") == first
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1900000001")
    assert build.version_file("0.2.0") != first, "the time is not in the file"


def test_never_before_what_the_sources_say(monkeypatch: pytest.MonkeyPatch) -> None:
    scope: dict[str, int] = {}
    exec((ROOT / "firmware" / "pbal_node" / "version.py").read_text(), scope)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # a computer whose clock is wrong
    assert build.build_time_s() == scope["BUILD_S"] > 1_700_000_000
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "no number")
    assert build.build_time_s() >= scope["BUILD_S"]
