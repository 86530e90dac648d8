"""The live picture: its words as words, its drawing as characters on a known screen."""

import io

import pytest
from rich.console import Console

from pbal_tools import view
from pbal_tools.picture import HomeCell, Link, MoveLine, Picture, RadioLine, sentence
from pbal_tools.statusclient import Feed


def a_picture(**changes: object) -> Picture:
    picture = Picture("pbal", stage="running")
    picture.phase_a = (38.2, 12.1, 22.2)
    picture.neutral_a = 24.0
    picture.homes = [HomeCell(f"home_{i:02d}", 1 + i % 3, 1500.0, 0.4) for i in range(1, 13)]
    picture.link = Link(fresh=12, known=12, age_p95_s=0.8, frames_ok=100)
    for name, value in changes.items():
        setattr(picture, name, value)
    return picture


def drawn(picture: Picture, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    console.print(view.render(picture, width, height), height=height)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return text.rstrip("\n").split("\n")


MOVE = MoveLine(7, 0.0, "home_04", 2, 1, "it relieves the fullest phase", "ordered")


def test_the_sentence_follows_the_story() -> None:
    picture = a_picture()
    assert "Phase A carries 38 A, phase B only 12 A: 24 A flow back" in sentence(picture)
    picture.moves = [MOVE]
    assert sentence(picture) == ("Moving home_04 from phase B to A: it relieves the fullest phase")
    picture = a_picture(neutral_before_a=40.0, neutral_a=10.0)
    picture.moves = [MoveLine(7, 0.0, "home_04", 2, 1, "why", "confirmed", done=True)]
    assert "1 home was moved" in sentence(picture)
    assert "fell from 40 A to 10 A (-75 %)" in sentence(picture)
    picture.neutral_a = 50.0
    assert "rose from 40 A to 50 A (+25 %)" in sentence(picture)


def test_homes_that_were_not_heard_are_not_said_to_see_anything() -> None:
    silent = [HomeCell("home_01"), HomeCell("home_02")]
    picture = a_picture(homes=silent)
    assert sentence(picture) == "Reading the homes for the first time."
    picture.homes = [HomeCell("home_01", 0, 0.0, 0.4), silent[1]]
    assert "The nodes see the mains return" in sentence(picture)


def test_a_port_that_cannot_be_used_is_said() -> None:
    picture = a_picture(homes=[HomeCell("home_01")])
    bus = {"name": "north", "state": "waiting", "last_error": "/dev/ttyUSB0: no such file"}
    Feed(picture).apply(
        {
            "time_s": 1.0, "homes": [], "homes_fresh": 0, "homes_configured": 1,
            "phase_currents_a": [0, 0, 0], "phase_voltages_v": [None, None, None],
            "neutral_current_a": 0.0, "neutral_history": [], "buses": [bus, {"name": "none"}],
        }
    )  # fmt: skip
    assert sentence(picture) == "north cannot be used: /dev/ttyUSB0: no such file"


def test_a_node_that_waits_does_not_hold_up_the_story() -> None:
    waits = MoveLine(8, 0.0, "home_07", 1, 2, "why", "waits", waiting=True)
    done = MoveLine(7, 0.0, "home_04", 2, 1, "why", "confirmed", done=True)
    picture = a_picture(neutral_before_a=40.0, neutral_a=10.0, moves=[waits, done])
    assert "1 home was moved" in sentence(picture)


def test_homes_without_supply_are_not_called_balanced() -> None:
    picture = a_picture(homes=[HomeCell(f"home_0{i}", 0, 0.0, 0.4) for i in (1, 2)])
    assert "waits for 5 s of good voltage" in sentence(picture)


def test_before_it_runs_the_note_is_the_sentence() -> None:
    assert sentence(Picture("pbal", stage="starting", note="Starting 3 homes.")) == (
        "Starting 3 homes."
    )


def test_a_failed_move_is_not_a_result() -> None:
    picture = a_picture(neutral_before_a=40.0, neutral_a=40.0)
    picture.moves = [MoveLine(7, 0.0, "home_04", 2, 1, "why", "refused", done=True, failed=True)]
    assert "moved" not in sentence(picture)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60)])
@pytest.mark.parametrize("homes", [0, 12, 60])
def test_it_fits_the_screen(width: int, height: int, homes: int) -> None:
    picture = a_picture(moves=[MOVE] * 30)
    picture.homes = [HomeCell(f"home_{i:02d}", i % 4, 1e4, 0.4) for i in range(homes)]
    for second in range(700):
        picture.neutral_a = float(second % 50)
        picture.record(float(second))
    lines = drawn(picture, width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    text = "\n".join(lines)
    assert "38.2 A" in text
    assert "home_04 B→A" in text
    if homes == 60 and height >= 30:
        assert all(f"{i:02d}" in text for i in range(homes))


@pytest.mark.parametrize(("width", "height"), [(50, 14), (40, 20)])
def test_a_small_screen_shows_all_three_phases(width: int, height: int) -> None:
    picture = a_picture(phase_v=[231.0, 230.0, 229.0], moves=[MOVE])
    picture.record(1.0)
    lines = drawn(picture, width, height)
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width
    for value in ("38.2 A", "12.1 A", "22.2 A"):
        assert any(value in line for line in lines), "\n".join(lines)


def test_columns_show_a_falling_curve() -> None:
    lines = view.columns([8.0, 4.0, 0.0], width=3, height=2, top=8.0)
    assert lines == ["█  ", "██ "]
    assert view.columns([0.01], width=3, height=1, top=100.0) == ["▁"]


def test_stretch_keeps_the_mean() -> None:
    assert view.stretch([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]
    assert view.stretch([1.0], 3) == [1.0, 1.0, 1.0]
    assert view.stretch([], 3) == []


def test_a_silent_home_and_trouble_are_visible() -> None:
    assert "..." in view.home_cell(HomeCell("home_01")).plain
    assert "!" in view.home_cell(HomeCell("home_01", 1, 100.0, 0.1, trouble="lockout")).plain
    assert "⇄" in view.home_cell(HomeCell("home_01", 1, 100.0, 0.1, moving=True)).plain


# Names of homes in letters of which nothing else on a screen is made.
NAMES = [one + other for one in "αβγδεζηθικ" for other in "αβγδεζηθικ"]


def a_village(homes: int, **changes: object) -> Picture:
    """Homes with a radio each, of which the second is silent."""
    cells = [HomeCell(NAMES[i], 1 + i % 3, -3000.0, 0.4) for i in range(homes)]
    radios = [
        RadioLine(NAMES[i], "village", -118.0 + i, -6.5 + i, 1.0 + i, 9, 0.0041)
        for i in range(homes)
    ]
    radios[1] = RadioLine(NAMES[1], "", -118.0, -6.5, None, 0, 0.0)
    return a_picture(homes=cells, radios=radios, moves=[MOVE] * 20, **changes)


def seen(lines: list[str], homes: int) -> list[int]:
    """How often each home's name stands on a screen."""
    text = "\n".join(lines)
    return [text.count(name) for name in NAMES[:homes]]


@pytest.mark.parametrize("homes", [12, 24, 40])
@pytest.mark.parametrize(("width", "height"), [(120, 40), (200, 60)])
@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8480"])
def test_a_village_is_seen_whole(width: int, height: int, homes: int, url: str) -> None:
    lines = drawn(a_village(homes, url=url), width, height)
    assert len(lines) <= height
    text = "\n".join(lines)
    assert "more:" not in text
    begin = next(k for k, line in enumerate(lines) if "radio, the worst heard first" in line)
    assert all(seen(lines[:begin], homes)), "with its load"
    assert all(seen(lines[begin:], homes)), "by radio"
    assert text.count("home_04 B→A") >= 2, "moves are still shown"
    assert "-3.0k" in text
    assert "silent" in text
    if homes == 12:
        assert "-118 dBm" in text
        assert "0.41%" in text


@pytest.mark.parametrize("homes", [12, 24, 40])
def test_a_small_screen_shows_all_homes_and_says_where_radios_are(homes: int) -> None:
    picture = a_village(homes, url="http://127.0.0.1:8480")
    lines = drawn(picture, 80, 24)
    assert all(seen(lines, homes)), "\n".join(lines)
    text = "\n".join(lines)
    assert "pbal monitor --radio" in text
    assert "home_04 B→A" in text
    picture.radios_only = True
    text = "\n".join(lines := drawn(picture, 80, 24))
    assert all(seen(lines, homes)), text
    assert "-6.5 dB" in text
    assert "silent" in text
    assert "1 dB" in text


@pytest.mark.parametrize("radios_only", [False, True])
def test_what_has_no_room_is_counted_and_can_be_printed(radios_only: bool) -> None:
    picture = a_village(96, radios_only=radios_only)
    lines = drawn(picture, 80, 24)
    shown = sum(count > 0 for count in seen(lines, 96))
    assert f"+{96 - shown} more: pbal monitor" in "\n".join(lines)
    assert "--once" in "\n".join(lines)
    lines = drawn(picture, 80, view.whole_height(picture, 80))
    assert all(seen(lines, 96))
    assert "more:" not in "\n".join(lines)


def test_before_any_home_is_heard_over_a_radio_it_says_so() -> None:
    assert "no home is heard" in "\n".join(drawn(a_picture(radios_only=True), 80, 24))


def test_a_power_that_does_not_fit_is_left_out_not_cut() -> None:
    home = HomeCell("Mill 7", 1, -3100.0, 0.1)
    assert view.home_cell(home, 9).plain == "Mill 7   "
    assert view.home_cell(home, 12).plain == "Mill 7 -3.1k"
    lines = drawn(a_picture(homes=[home]), 80, 24)
    assert any("Mill 7 -3.1k" in line for line in lines)


def test_frames_are_lost_only_after_some_came() -> None:
    assert view.link_line(Link(known=3)).plain.endswith(" · starting")
    assert view.link_line(Link(known=3, frames_ok=10, frames_lost=1)).plain.endswith(" · 1 lost")
