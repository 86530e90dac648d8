"""`pbal sim run` as a user runs it: figures in a file, Ctrl-C, errors in words."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from rigs import needs, node_heap

from pbal_tools import streetoptions, streetresult
from pbal_tools.errors import InputError, MissingError
from pbal_tools.sim import interpreter_name


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [needs.require_tool("pbal"), "sim", "run", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TERM": "dumb", "PYTHONUNBUFFERED": "1"},
    )


def descendants(pid: int) -> set[int]:
    """All processes below one, by /proc."""
    found: set[int] = set()
    ahead = [pid]
    while ahead:
        one = ahead.pop()
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                ahead += [int(child) for child in task.read_text().split()]
        found.add(one)
    return found


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.twin
@pytest.mark.timeout(240)
def test_a_headless_run_moves_homes_and_reports(tmp_path: Path) -> None:
    target, keep = tmp_path / "result.json", tmp_path / "kept"
    run = start(
        *("--headless", "--seconds", "45", "--homes", "12"),
        *("--json", str(target), "--keep", str(keep)),
    )
    out, _ = run.communicate(timeout=200)
    assert run.returncode == 0, out
    result = json.loads(target.read_text())
    assert result["homes"] == 12
    assert "micropython" in result["interpreter"]
    assert result["switches_ordered"] >= 1
    assert result["switches_confirmed"] >= 1
    assert result["switches_seen_by_the_twin"] >= result["switches_confirmed"]
    assert result["neutral_current_before_a"] > 0
    assert result["neutral_current_after_a"] < result["neutral_current_without_a"]
    assert 0 < result["telemetry_age_p95_s"] < 10
    assert result["frames_lost"] >= 0
    assert 10_000 < result["node_heap_peak_bytes"] <= node_heap.USED_BYTES
    assert result["incidents"] == {}
    assert result["problems"] == []
    assert re.search(r"home \d\d, .* A from [ABC] to [ABC]", out)
    kept = {path.name for path in keep.iterdir()}
    assert {"pbal.toml", "controller.log", "journal.db"} <= kept
    assert not any(name.startswith("keys") for name in kept)


@pytest.mark.twin
@pytest.mark.timeout(240)
def test_monitor_shows_a_running_street() -> None:
    run = start("--headless", "--homes", "2", "--seconds", "150", "--port", "0")
    try:
        assert run.stdout is not None
        for line in run.stdout:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("it never said where its status page is")
        url = found[1]
        pbal = needs.require_tool("pbal")
        told = subprocess.run(
            [pbal, "monitor", "--url", url, "--json"], capture_output=True, text=True,
            timeout=needs.PATIENCE_S, check=True,
        )  # fmt: skip
        assert len(json.loads(told.stdout)["homes"]) == 2
        shown = subprocess.run(
            [pbal, "monitor", "--url", url, "--once"], capture_output=True, text=True,
            timeout=needs.PATIENCE_S, check=True,
        )  # fmt: skip
        assert "neutral current" in shown.stdout
    finally:
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=needs.PATIENCE_S)


@pytest.mark.twin
@pytest.mark.timeout(240)
@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("booted", [False, True])
def test_ending_it_leaves_no_process(sig: signal.Signals, booted: bool) -> None:
    run = start("--headless", "--homes", "3", "--seconds", "100")
    assert run.stdout is not None
    mark = "fresh" if booted else "Starting 3 homes"
    for line in run.stdout:
        if mark in line:
            break
    else:
        pytest.fail(f"it ended before it said {mark!r}")
    below = descendants(run.pid)
    if booted:
        assert len(below) >= 1 + 1 + 3, "no interpreters were found below it"
    run.send_signal(sig)
    told = run.stdout.read()
    run.wait(timeout=needs.PATIENCE_S)
    deadline = time.monotonic() + needs.PATIENCE_S
    while (left := [pid for pid in below if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    if sig != signal.SIGKILL:
        assert run.returncode == (0 if booted else 130), told


@pytest.mark.twin
@pytest.mark.timeout(240)
def test_hq_hears_of_a_street(tmp_path: Path) -> None:
    """A subscriber on a real broker gets the controller's summaries and switchings."""
    needs.require_file("/usr/sbin/mosquitto", "mosquitto")
    target = tmp_path / "result.json"
    run = start("--uplink", "--headless", "--seconds", "60", "--homes", "12", "--json", str(target))
    out, _ = run.communicate(timeout=200)
    assert run.returncode == 0, out
    result = json.loads(target.read_text())
    heard = result["uplink"]
    assert heard["births"] == 1
    assert heard["summaries"] >= 2
    last = heard["last_summary"]
    assert last["homes"] == last["homes_fresh"] == 12
    assert last["ia_mean_a"] + last["ib_mean_a"] + last["ic_mean_a"] > 1
    assert 200 < last["va_mean_v"] < 260
    assert last["losses_method"] == 1
    assert len(re.findall(r"HQ: (?:info|warning|alarm): ", out)) == heard["events"]
    seen = len(re.findall(r"HQ: info: home \d+, switching [ABC] to [ABC], confirmed", out))
    # What ends with the run may be counted here and not have been heard there.
    assert result["switches_confirmed"] - 1 <= seen <= result["switches_confirmed"]
    assert seen >= 1
    assert re.search(r"HQ: 10 s, mean A [0-9.]+ B [0-9.]+ C [0-9.]+ N [0-9.]+ A", out)


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
    run = start("--headless", *args)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == code
    assert words in out
    assert "Traceback" not in out
    assert "Starting" not in out


def test_a_broken_profile_names_the_line(tmp_path: Path) -> None:
    csv = tmp_path / "loads.csv"
    csv.write_text("time,home_01\n0,100\n60,many\n")
    run = start("--headless", "--homes", "1", "--profiles", str(csv))
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 3
    assert "3" in out
    assert "loads.csv" in out
    assert "Traceback" not in out


GOOD = {
    "incidents": {},
    "faults": [],
    "homes": 3,
    "homes_fresh": 3,
    "seconds": 60.0,
    "boot_s": 3.0,
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


def test_keep_wants_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    with pytest.raises(InputError, match="not empty"):
        streetoptions.check(streetoptions.RunOptions(keep=tmp_path))


def test_the_interpreter_in_words() -> None:
    text = "(name='micropython', version=(1, 29, 0, 'preview'), _machine='linux')"
    assert interpreter_name(text) == "an interpreter of its own, MicroPython 1.29.0"
