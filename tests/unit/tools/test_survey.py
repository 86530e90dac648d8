"""The radio survey at the pole: what a controller's status means for a crew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rigs import needs

from pbal_tools.commission import survey as surveys
from pbal_tools.commission import surveycommand
from pbal_tools.errors import CheckFailed

MARGIN_DB = 6.0


def status(strangers: tuple[dict[str, Any], ...] = (), **radios: Any) -> dict[str, Any]:
    """A controller's status: `h3=(frames, rssi, snr, sf)` of home 3, None: not heard."""
    homes: list[dict[str, Any]] = [{"address": 90, "path": "street", "radio": None}]
    for name, told in radios.items():
        home: dict[str, Any] = {"address": int(name[1:]), "name": name, "path": None, "radio": None}
        if told is not None:
            frames, rssi, snr, sf = told
            home |= {"path": "village"}
            home["radio"] = {"frames": frames, "rssi_dbm": rssi, "snr_db": snr, "sf": sf}
        homes.append(home)
    buses = [
        {"name": "village", "kind": "lora", "strangers": list(strangers)},
        {"name": "street", "kind": "rs485"},
    ]
    return {"homes": homes, "buses": buses}


def seen(count: int, snr: float, sf: int = 7, **more: Any) -> surveys.Survey:
    survey = surveys.Survey(MARGIN_DB)
    for frames in range(10, 11 + count):
        survey.note(status(h3=(frames, -110.0, snr, sf), **more))
    return survey


def test_a_link_is_good_with_frames_enough_and_something_to_spare() -> None:
    survey = seen(surveys.FRAMES, 0.0)
    (home,) = survey.rows()
    assert (home.verdict, home.spare_db, home.frames) == ("good", 7.5, surveys.FRAMES)
    assert survey.done


@pytest.mark.parametrize(("count", "snr"), [(surveys.FRAMES - 1, 0.0), (surveys.FRAMES, -2.0)])
def test_few_frames_or_little_to_spare_is_weak(count: int, snr: float) -> None:
    survey = seen(count, snr)
    assert [home.verdict for home in survey.bad()] == ["weak"]
    assert not survey.done


def test_a_home_that_is_not_heard_now_is_silent_whatever_was_heard_before() -> None:
    survey = surveys.Survey(MARGIN_DB)
    for _ in range(9):
        survey.note(status(h3=(500, -90.0, 9.0, 7), h4=None))
    assert [home.verdict for home in survey.rows()] == ["silent", "silent"]


def test_wired_homes_are_left_out_and_those_asked_for_are_in() -> None:
    survey = seen(1, 0.0)
    assert [home.address for home in survey.rows()] == [3]
    asked = surveys.Survey(MARGIN_DB, frozenset({3, 7}))
    asked.note(status(h3=(1, -100.0, 0.0, 7), h4=(1, -100.0, 0.0, 7)))
    assert list(asked.homes) == [3]
    assert asked.missing == [7]
    assert not asked.done


def test_a_controller_that_was_started_again_is_counted_from_there() -> None:
    survey = seen(3, 0.0)
    for frames in range(1, 7):
        survey.note(status(h3=(frames, -110.0, 0.0, 7)))
    assert survey.rows()[0].frames == 5


def test_strangers_are_told() -> None:
    survey = surveys.Survey(MARGIN_DB)
    survey.note(status(({"address": 77, "rssi_dbm": -99.0, "snr_db": 3.0},), h3=None))
    assert any("77" in line and "-99 dBm" in line for line in surveys.lines(survey))
    assert survey.as_dict()["strangers"][0]["address"] == 77


def test_a_silent_home_may_need_a_greater_spreading_factor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def once(survey: surveys.Survey, *_: object) -> None:
        survey.note(status(h4=None))

    monkeypatch.setattr(surveys, "watch", once)
    with pytest.raises(CheckFailed, match="without a good link: 4") as failed:
        surveycommand.survey([4], json_output=False)
    assert "silent" in capsys.readouterr().out
    assert "greater sf" in failed.value.remedy
    text = (needs.ROOT / "docs" / "radio.md").read_text()
    assert "## A home that is never heard" in text, "where the remedy points to"


def test_the_picture(tmp_path: Path) -> None:
    needs.require_module("matplotlib", "report")
    survey = seen(surveys.FRAMES, 0.0, h4=None)
    surveys.save(survey, tmp_path / "pole.svg")
    text = (tmp_path / "pole.svg").read_text()
    assert text.startswith("<?xml")
    surveys.save(survey, tmp_path / "pole.png")
    assert (tmp_path / "pole.png").read_bytes()[:4] == b"\x89PNG"
