"""A fleet: its run is taken up again, and what is kept and ranked."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from rigs import needs
from rigs.fleet import SHARED, TABLE, fleet_options, pool, quiet, write_table
from typer.testing import CliRunner

from pbal_study import InputError, MissingError
from pbal_study.fleet import FleetOptions, run_fleet
from pbal_study.fleet import page as fleet_page
from pbal_study.fleet.files import as_dict, parquet_here, write_all
from pbal_study.fleet.job import failed
from pbal_study.fleet.processes import in_processes
from pbal_study.fleet.ranking import ranked, totals
from pbal_study.fleet.stations import Customer, Station, read_stations
from pbal_study.fleet.store import FILE, Store
from pbal_tools.study.cli import app

STATIONS = 16  # of a run that is killed when it has kept the first

# ------------------------------------------------------------------ a fleet


def test_a_fleet_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    first = run_fleet(fleet_options(tmp_path), out, quiet)
    assert [row["status"] for row in first.rows] == ["done", "done", "failed"]
    assert [row["rank"] for row in first.rows] == [1, 2, None]
    assert first.resumed == 0
    assert not (out / "pool.npy").exists()

    def nobody(*_: object, **__: object) -> None:
        pytest.fail("a station was studied again")

    monkeypatch.setattr("pbal_study.fleet.study.in_processes", nobody)
    times = {p: p.stat() for p in tmp_path.glob("*.csv")}
    options = FleetOptions(
        table=tmp_path / "stations.csv",
        classes=tmp_path / "classes.csv",
        shared=replace(SHARED, profiles=tmp_path / "pool.csv"),
    )
    again = run_fleet(options, out, quiet)
    assert again.resumed == 3
    assert again.rows == first.rows
    # A kill in the midst of a line costs that line, and nothing else.
    with (out / FILE).open("a") as file:
        file.write('{"key": "cut')
    assert run_fleet(options, out, quiet).resumed == 3
    # Only what a station depends on is held against it.
    studied: list[str] = []

    def some(stations: list[Station], *_: object, **__: object) -> object:
        studied.extend(s.name for s in stations)
        return iter((s, failed(s, "")) for s in stations)

    monkeypatch.setattr("pbal_study.fleet.study.in_processes", some)
    moved = TABLE.replace("4.1,51.2\n", "5.1,52.2\n").replace("Church,9", "Church,10")
    (tmp_path / "stations.csv").write_text(moved)
    placed = run_fleet(options, out, quiet)
    assert studied == ["Church"]
    assert next(r for r in placed.rows if r["station"] == "Mill")["longitude"] == 5.1
    studied.clear()
    run_fleet(replace(options, retry_failed=True), out, quiet)
    assert sorted(studied) == ["Bad", "Church"]
    studied.clear()
    pool_file = tmp_path / "pool.csv"
    at = times[pool_file]
    os.utime(pool_file, ns=(at.st_atime_ns, at.st_mtime_ns + 10**9))
    run_fleet(options, out, quiet)
    assert sorted(studied) == ["Bad", "Church", "Mill"]


class Deadly(Station):
    """Ends the process that unpacks it."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (9,)


@pytest.mark.timeout(300)
def test_a_station_that_ends_its_process_is_a_row(tmp_path: Path) -> None:
    customers = tuple(Customer(f"home {k}", k % 3) for k in range(6))
    good = [Station(f"good {k}", customers=customers) for k in range(3)]
    stations = [good[0], Deadly("deadly"), *good[1:]]
    got = {
        s.name: row
        for s, row in in_processes(stations, SHARED, pool(), tmp_path, workers=1, limit_s=300)
    }
    assert {name: row["status"] for name, row in got.items()} == {
        "good 0": "done",
        "good 1": "done",
        "good 2": "done",
        "deadly": "failed",
    }
    assert "ended its process, twice" in got["deadly"]["reason"]


def test_a_station_that_takes_too_long_is_a_row(tmp_path: Path) -> None:
    customers = tuple(Customer(f"home {k}", k % 3) for k in range(60))
    slow = Station("slow", customers=customers)
    ((_, row),) = in_processes([slow], SHARED, pool(), tmp_path, workers=1, limit_s=0.01)
    assert row["status"] == "failed"
    assert "longer than 0.01 s" in row["reason"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_killed_run_leaves_no_worker_and_loses_no_row(tmp_path: Path) -> None:
    rows = "".join(f"S{k},,6,4,2,house,100,,\n" for k in range(STATIONS))
    fleet_options(tmp_path, TABLE.splitlines()[0] + "\n" + rows)
    command = [
        sys.executable, "-c", "from pbal_tools.cli import main; main()", "study", "fleet",
        str(tmp_path / "stations.csv"), "--profiles", str(tmp_path / "pool.csv"),
        "--classes", str(tmp_path / "classes.csv"), "--main-ohm", "0.05", "--workers", "2",
        "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = tmp_path / "out" / FILE
    try:
        # However busy the computer: as long as the run lives.
        until(lambda: run.poll() is not None or (kept.exists() and kept.stat().st_size > 0))
        assert run.poll() is None, "it ended before it was killed"
        workers = children(run.pid)
        assert len(workers) >= 2
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    until(lambda: not any(runs(pid) for pid in workers))
    there = len(kept.read_bytes().splitlines())
    assert 0 < there < STATIONS
    done = subprocess.run([*command, "--json"], capture_output=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert there - 1 <= said["resumed"] <= there
    assert said["totals"]["stations"] == STATIONS


def children(pid: int) -> list[int]:
    """Processes that another started, and theirs."""
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(p) for p in own] + [g for p in own for g in children(int(p))]


def runs(pid: int) -> bool:
    """Whether a process is there, and not dead and waiting for its parent's look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: object) -> None:
    """For as long as the test may take."""
    while not true():  # type: ignore[operator]
        time.sleep(0.02)


def test_one_run_at_a_time_writes_into_a_folder(tmp_path: Path) -> None:
    with Store(tmp_path), pytest.raises(MissingError, match="Another fleet study"):
        Store(tmp_path)
    (tmp_path / FILE).write_text('{"key": "a", "row": {}}\nnonsense\n')
    with pytest.raises(InputError, match="line 2"):
        Store(tmp_path)


# ------------------------------------------------------------------ ranks and files


def test_the_document_shows_what_works(tmp_path: Path) -> None:
    """Every option that docs/fleet.md names exists, and its table is read."""
    text = (needs.ROOT / "docs" / "fleet.md").read_text()
    group = typer.main.get_command(app)
    known = {o for p in group.commands["fleet"].params for o in p.opts}  # type: ignore[attr-defined]
    assert set(re.findall(r"(--[a-z][a-z-]+)", text)) - {"--nthreads", "--looped"} <= known
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    assert all(set(re.findall(r"(--[a-z][a-z-]+)", block)) <= known for block in blocks)
    table = next(b for b in blocks if b.startswith("station,"))
    stations = read_stations(write_table(tmp_path, table), None, None)
    assert [(s.name, len(s.customers), s.fault) for s in stations] == [
        ("Mill", 0, ""),
        ("Church", 42, ""),
        ("School", 35, ""),
    ]


def test_ranks_put_the_best_first_and_what_is_not_known_last() -> None:
    rows = []
    for name, value, kw in (("a", 5.0, 1.0), ("b", None, 9.0), ("c", 7.0, None), ("d", 5.0, 0.0)):
        row = failed(Station(name), "")
        row |= {"status": "done", "net_present_value": value, "invested": 10.0, "homes": 2,
                "capacity_released_kw": kw, "violations_built": 3, "violations_pbal": 1,
                "violations_gone": 2, "seconds": 1.0}  # fmt: skip
        rows.append(row)
    rows.append(failed(Station("lost"), "why"))
    assert [r["station"] for r in ranked(rows, "money")] == ["c", "a", "d", "b", "lost"]
    assert [r["station"] for r in ranked(rows, "capacity")] == ["b", "a", "d", "c", "lost"]
    assert [r["rank"] for r in ranked(rows, "money")] == [1, 2, 3, 4, None]
    all_of_them, pay = totals(rows), totals(rows, "pays")
    assert (all_of_them.stations, all_of_them.failed, all_of_them.pays) == (4, 1, 3)
    assert all_of_them.money_known == 3
    assert pay.net_present_value == 17.0
    assert pay.invested == 30.0
    assert all_of_them.freed == 0
    assert all_of_them.violations_gone == 8


def test_the_command_leaves_every_file(tmp_path: Path) -> None:
    needs.require_module("matplotlib", "study")
    needs.require_module("pyarrow", "fleet")
    fleet_options(tmp_path)
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        ["fleet", str(tmp_path / "stations.csv"), "--profiles", str(tmp_path / "pool.csv"),
         "--classes", str(tmp_path / "classes.csv"), "--main-ohm", "0.05", "--workers", "1",
         "--out", str(out)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    shown = " ".join(done.output.split())
    assert "1 could not be studied" in shown
    assert "days taken for a year" in shown
    assert "- not studied: " in shown
    names = {"fleet.html", "fleet.csv", "fleet.json", "fleet.parquet", "fleet.geojson", FILE}
    assert {p.name for p in out.iterdir()} == names
    from pyarrow import parquet

    table = parquet.read_table(out / "fleet.parquet")
    with (out / "fleet.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert table.column_names == list(rows[0])
    for name in ("station", "reason"):
        assert [v or "" for v in table[name].to_pylist()] == [row[name] for row in rows]
    assert str(table.schema.field("ageing_rate_built").type) == "double"
    told = json.loads((out / "fleet.json").read_text())
    assert [s["station"] for s in told["stations"]] == [row["station"] for row in rows]
    places = json.loads((out / "fleet.geojson").read_text())["features"]
    mill = next(f for f in places if f["properties"]["station"] == "Mill")
    assert mill["geometry"]["coordinates"] == [4.1, 51.2]
    page = (out / "fleet.html").read_text()
    assert "://" not in page
    assert page.count("<svg") == 3
    assert "homes_b is &#x27;x&#x27;" in page


def test_without_pyarrow_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs.require_module("matplotlib", "study")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not parquet_here()
    fleet = run_fleet(
        fleet_options(tmp_path, "station,homes\nMill,\n"),
        tmp_path / "out",
        quiet,
    )
    assert as_dict(fleet)["totals"]["failed"] == 1
    assert {p.name for p in write_all(fleet, tmp_path / "out")} == {
        "fleet.html", "fleet.csv", "fleet.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fleet"], "--out is missing"),
        (["fleet", "--out", "x"], "Neither a table"),
        (["fleet", "t.csv", "--feeders", "f", "--out", "x"], "Both a table and --feeders"),
        (["fleet", "t.csv", "--rank-by", "luck", "--out", "x"], "Unknown rank 'luck'"),
        (["fleet", "none.csv", "--out", "x"], "No such file: none.csv"),
    ],
)
def test_a_wrong_command_line_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    needs.require_module("matplotlib", "study")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception)
    assert not (tmp_path / "x").exists()


def test_kilowatts_and_violations_have_a_scale_each() -> None:
    row = {"status": "done", "capacity_released_kw": 2500.0, "violations_gone": 1}
    fleet: Any = SimpleNamespace(rows=[row, row])
    svg = fleet_page._gains(fleet)
    labels = re.findall(r">([0-9.]+)<", svg)
    assert "5000" in labels
    assert {"0.5", "0.50"} & set(labels), labels
