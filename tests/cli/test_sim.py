"""`pbal sim run` as a user runs it: results and errors in words."""

from pathlib import Path

import pytest
from rigs import quick

from pbal_tools import streetoptions, streetresult
from pbal_tools.errors import InputError, MissingError
from pbal_tools.sim import interpreter_name, neutral_lines


def sim_run(*args: str) -> tuple[int, str]:
    """The exit code, and all that is said."""
    assert quick.shared is not None
    code, out, err = quick.shared.run(["sim", "run", *args], quick.BARE, Path("/"), 60)
    return code, out + err


def test_without_a_broker_the_uplink_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbal_sim.hq.program", lambda: None)
    with pytest.raises(MissingError, match="Mosquitto"):
        streetoptions.check(streetoptions.RunOptions(uplink=True))


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--homes", "0"], 2, "--homes"),
        (["--profiles", "no-such-file.csv"], 3, "no-such-file.csv"),
        (["--faults", "earthquake"], 3, "There are:"),
        (["--json", "/no/such/folder/x.json"], 3, "/no/such/folder"),
        (["--seconds", "ten"], 2, "--seconds"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(args: list[str], code: int, words: str) -> None:
    returned, out = sim_run("--headless", *args)
    assert returned == code
    assert words in out
    assert "Traceback" not in out
    assert "Starting" not in out


def test_a_broken_profile_names_the_line(tmp_path: Path) -> None:
    csv = tmp_path / "loads.csv"
    csv.write_text("time,home_01\n0,100\n60,many\n")
    returned, out = sim_run("--headless", "--homes", "1", "--profiles", str(csv))
    assert returned == 3
    assert "3" in out
    assert "loads.csv" in out
    assert "Traceback" not in out


GOOD = {
    "incidents": {},
    "faults": [],
    "homes": 3,
    "homes_fresh": 3,
    "homes_never_read": [],
    "scenario": "urban",
    "seconds": 60.0,
    "boot_s": 3.0,
    "controller_s": 4.0,
    "node_crashes": 0,
    "watchdog_bites": 0,
    "switches_ordered": 2,
    "switches_confirmed": 2,
    "switches_open": 0,
    "switches_failed": 0,
    "neutral_current_after_a": 3.0,
    "neutral_current_without_a": 9.0,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"incidents": {"short-circuit": 1}}, "short-circuit"),
        ({"homes_fresh": 2}, "only 2 of 3"),
        ({"node_crashes": 1}, "1 nodes crashed"),
        ({"watchdog_bites": 1}, "1 watchdogs bit"),
        ({"switches_failed": 1}, "1 switchings failed"),
    ],
)
def test_every_failure_of_a_street_is_a_problem(change: dict[str, object], words: str) -> None:
    assert streetresult.problems(GOOD) == []
    # A node that refuses, with a reason of its own, does what it is there for.
    assert streetresult.problems(GOOD | {"switches_confirmed": 1, "switches_refused": 1}) == []
    found = streetresult.problems(GOOD | change)
    assert len(found) == 1
    assert words in found[0]


def test_what_is_no_failure_is_a_note() -> None:
    """Loads that turn round within seconds, a run of seconds: told, and no reason to fail."""
    known = GOOD | {"neutral_current_before_a": 20.0}
    assert streetresult.notes(known) == []
    worse = known | {"neutral_current_after_a": 10.0}
    assert "without any switching" in streetresult.notes(worse)[0]
    assert streetresult.problems(worse) == []
    short = known | {"neutral_current_before_a": None, "seconds": 5.0, "homes_fresh": 0}
    assert "5 s were too short" in streetresult.notes(short)[0]
    assert streetresult.problems(short) == []


def test_homes_with_a_radio_are_given_the_time_to_join() -> None:
    joining = GOOD | {"homes_fresh": 2, "homes_never_read": ["home 03"], "scenario": "rural"}
    joining["neutral_current_before_a"] = 20.0
    assert streetresult.problems(joining) == []
    assert streetresult.notes(joining) == [
        "home 03: not read yet; in this scenario all are within 150 s"
    ]
    late = joining | {"seconds": 160.0}
    assert streetresult.problems(late) == ["only 2 of 3 homes are fresh, never read: home 03"]
    assert streetresult.notes(late) == []


PLANNER = {"enabled": True, "dry_run": None, "decisions": 4, "held_back": 0, "last": {"moves": 0}}
NOTHING = {"ordered": 0, "open": 0, "confirmed": 0, "refused": 0, "failed": 0}
UNMOVED = {
    "planner": PLANNER,
    "switches": NOTHING,
    "why_no_commands": "",
    "homes": [{"immovable": ""}, {"immovable": "dwell"}],
}
STALE = {"decisions": 0, "last": {"skipped": "stale: 1 of 3 homes are fresh, 3 needed"}}
STILL = {"homes": [{"immovable": "fixed"}, {"immovable": "dwell"}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "4 decisions made, no move was worth a switching"),
        ({"planner": PLANNER | {"decisions": 1}}, "1 decision made, no move"),
        ({"planner": PLANNER | {"enabled": False}}, "the planner is off"),
        ({"planner": PLANNER | {"dry_run": {}}}, "a dry run orders nothing"),
        ({"planner": PLANNER | STALE}, "no decision: stale: 1 of 3 homes"),
        ({"planner": PLANNER | {"decisions": 0, "last": {}}}, "ended before the first decision"),
        ({"planner": PLANNER | {"held_back": 2}}, "2 moves held back"),
        ({"why_no_commands": "the clock is not set"}, "nothing may be ordered: the clock"),
        (STILL, "no home may be moved now: dwell, fixed"),
        (
            {"switches": NOTHING | {"ordered": 2, "open": 1, "refused": 1}},
            "2 moves ordered, none made (1 open, 1 refused)",
        ),
    ],
)
def test_where_nothing_moved_the_result_says_why(change: dict[str, object], words: str) -> None:
    why = streetresult.why_no_move(UNMOVED | change)
    assert words in why
    unmoved = {
        "neutral_current_before_a": 4.2,
        "neutral_current_after_a": 4.0,
        "neutral_current_without_a": 4.0,
        "switches_seen_by_the_twin": 0,
        "why_no_move": why,
    }
    assert neutral_lines(unmoved) == ["neutral current  4.0 A", f"moves            none: {why}"]
    nothing = unmoved | {"neutral_current_before_a": None, "neutral_current_after_a": None}
    assert neutral_lines(nothing) == [f"moves            none: {why}"]
    (moved, without) = neutral_lines(unmoved | {"switches_seen_by_the_twin": 1, "why_no_move": ""})
    assert "4.2 A before, 4.0 A after the moves" in moved
    assert "had no home been moved" in without


def test_keep_wants_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InputError, match="not empty"):
        streetoptions.check(streetoptions.RunOptions(keep=tmp_path))


def test_the_interpreter_in_words() -> None:
    text = "(name='micropython', version=(1, 29, 0, 'preview'), _machine='linux')"
    assert interpreter_name(text) == "an interpreter of its own, MicroPython 1.29.0"
