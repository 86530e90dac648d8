"""`pbal sim run` as a person runs it: a street in real time, its result, its end."""

import contextlib
import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from rigs import needs, node_heap
from rigs.simrun import start

pytestmark = [pytest.mark.twin, pytest.mark.timeout(240)]


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


def test_a_headless_run_moves_homes_and_reports(tmp_path: Path) -> None:
    target, keep = tmp_path / "result.json", tmp_path / "kept"
    run = start(
        *("--headless", "--seconds", "45", "--homes", "6"),
        *("--json", str(target), "--keep", str(keep)),
    )
    out, _ = run.communicate(timeout=200)
    assert run.returncode == 0, out
    result = json.loads(target.read_text())
    assert result["homes"] == 6
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


@pytest.mark.parametrize(
    "sig",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL],
)
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


@pytest.mark.long
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
