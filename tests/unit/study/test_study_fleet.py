"""A fleet: which stations there are, what their homes draw, what is kept and ranked."""

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

import numpy as np
import pytest
import typer
from rigs import needs
from typer.testing import CliRunner

from pbal_study import InputError, Loop, MissingError, Options
from pbal_study.fleet import FleetOptions, run_fleet
from pbal_study.fleet.drawing import Pool, draw, generator, read_classes
from pbal_study.fleet.files import as_dict, parquet_here, write_all
from pbal_study.fleet.job import COLUMNS, failed, study_station
from pbal_study.fleet.processes import in_processes
from pbal_study.fleet.ranking import ranked, totals
from pbal_study.fleet.stations import Customer, Station, read_stations
from pbal_study.fleet.store import FILE, Store
from pbal_study.input.profiles import Profiles
from pbal_tools.study.cli import app

HOURS = 3
SHARED = Options(
    controllers=("as_built", "pbal"), main_ohm=0.05, brief=True, loop=Loop(use_feeder=None)
)
TABLE = """station,homes,homes_a,homes_b,homes_c,class,kva,longitude,latitude
Mill,,8,3,1,house,100,4.1,51.2
Church,9,,,,house:3 flat,100,4.2,51.25
Bad,,4,x,2,,100,4.16,51.31
"""


def pool(columns: int = 8, kinds: str = "") -> Pool:
    """Made-up watts; kinds: a letter for each column."""
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.normal(0, 30, (60 * HOURS, columns)), axis=0)
    watts = np.abs(300 + steps).astype(np.float32)
    names = tuple(f"p{k}" for k in range(columns))
    start = np.datetime64("2026-01-12T17:00", "s")
    return Pool(Profiles(start, 60, names, watts), tuple(kinds or [""] * columns))


def write_pool(folder: Path) -> Path:
    source = pool().profiles
    path = folder / "pool.csv"
    times = source.start + np.arange(len(source.watts)) * np.timedelta64(60, "s")
    rows = [
        ["time", *source.names],
        *([str(t), *w] for t, w in zip(times, source.watts, strict=True)),
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "stations.csv"
    path.write_text(text)
    return path


def write_classes(folder: Path) -> Path:
    path = folder / "classes.csv"
    path.write_text(
        "profile,class\n" + "".join(f"p{k},{'house' if k < 5 else 'flat'}\n" for k in range(8))
    )
    return path


def fleet_options(folder: Path, table: str = TABLE, **more: object) -> FleetOptions:
    shared = replace(SHARED, profiles=write_pool(folder))
    options = FleetOptions(
        table=write_table(folder, table), classes=write_classes(folder), shared=shared, workers=1
    )
    return replace(options, **more)  # type: ignore[arg-type]


def quiet(done: int, total: int, name: str) -> None:
    """Tells nobody."""


# ------------------------------------------------------------------ which stations


def test_a_wrong_row_is_kept_with_its_station(tmp_path: Path) -> None:
    mill, church, bad = read_stations(write_table(tmp_path), None, None)
    assert [c.phase for c in mill.customers] == [0] * 8 + [1] * 3 + [2]
    assert [c.phase for c in church.customers] == [None] * 9
    assert church.mix == (("house", 3.0), ("flat", 1.0))
    assert (mill.longitude, mill.kva) == (4.1, 100.0)
    assert bad.fault == "stations.csv row 4: homes_b is 'x', not a number from 0 to 5000"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("Odd,5,4,,,,100,,", "homes is 5, but 4 are on the three phases"),
        ("Odd,5.5,,,,,100,,", "5.5 homes is not a whole number"),
        ("Odd,5,,,,house:x,100,,", "write house, or house:3 flat:1"),
        (",5,,,,,100,,", "the station has no name"),
        ("Odd,5,,,,,100,,,7", "10 cells, but 9 columns are named"),
        ("Odd,5,,,,,nan,,", "kva is 'nan'"),
    ],
)
def test_what_can_be_wrong_with_a_row(tmp_path: Path, row: str, words: str) -> None:
    table = TABLE.splitlines()[0] + "\n" + row + "\n"
    (station,) = read_stations(write_table(tmp_path, table), None, None)
    assert words in station.fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,homes\nMill,3\n", "no column 'station'"),
        ("station;homes\nMill;3\n", "no column 'station'"),
        ("station,shop\nMill,3\n", "unknown column 'shop'"),
        ("station,homes,homes\nMill,3,3\n", "appears twice"),
        ("station,homes\nMill,3\nMill,4\n", "there twice"),
        ("station,homes\n", "lists no stations"),
    ],
)
def test_what_can_be_wrong_with_a_table(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_stations(write_table(tmp_path, text), None, None)


def test_feeders_below_a_folder_are_those_that_define_a_circuit(tmp_path: Path) -> None:
    for name, text in (
        ("a/Master.dss", "Clear\n! New Circuit.no\nnew  object=CIRCUIT.one basekv=11\n"),
        ("a/Lines.dss", "New Line.one\n! New Circuit.two\n"),
        ("b/one.dss", "New Circuit.x\n"),
        ("b/two.DSS", "New 'Circuit.y'\n"),
        ("top.dss", "New Circuit.z\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = read_stations(None, tmp_path, None)
    assert {s.name: s.feeder for s in found} == {
        "a": tmp_path / "a" / "Master.dss",
        "b/one": tmp_path / "b" / "one.dss",
        "b/two": tmp_path / "b" / "two.DSS",
        "top": tmp_path / "top.dss",
    }
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="defines a circuit"):
        read_stations(None, tmp_path / "empty", None)


def test_customers_make_stations_or_join_them(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("station,home,phase,class\nMill,No 1,L2,flat\nMill,,,\nChurch,No 1,a,house\n")
    mill, church = read_stations(None, None, path)
    assert mill.customers == (Customer("No 1", 1, "flat"), Customer("home 2", None, ""))
    assert church.name == "Church"
    joined = read_stations(write_table(tmp_path), None, path)
    assert joined[0].customers == mill.customers
    path.write_text("station,home,phase,class\nMlil,No 1,L2,flat\n")
    with pytest.raises(InputError, match="no station 'Mlil'"):
        read_stations(write_table(tmp_path), None, path)
    path.write_text("station,home,phase,class\nMill,No 1,D,flat\n")
    with pytest.raises(InputError, match="phase is 'D'"):
        read_stations(None, None, path)


# ------------------------------------------------------------------ what homes draw


def test_homes_draw_of_their_class_and_no_column_twice_before_all() -> None:
    source = pool(6, "hhhhff")
    kinds = ["h"] * 5 + ["f"]
    drawn = draw(source, [f"n{k}" for k in range(6)], kinds, generator(1, "Mill", "profiles"))
    columns = source.profiles.watts
    which = [
        next((c for c in range(6) if np.array_equal(columns[:, c], drawn.watts[:, k])), None)
        for k in range(6)
    ]
    assert sorted(which[:4]) == [0, 1, 2, 3]  # type: ignore[type-var]
    assert which[5] in (4, 5)
    # The fifth is the first again, a day later: three hours of profiles go round eight times.
    assert which[4] == which[0]
    with pytest.raises(InputError, match="No profile is of class 'shop'"):
        draw(source, ["n"], ["shop"], generator(1, "Mill", "profiles"))


def test_a_second_use_of_a_column_is_shifted_by_a_day() -> None:
    source = pool(1)
    long = np.arange(2 * 1440, dtype=np.float32)[:, None]
    source = replace(source, profiles=replace(source.profiles, watts=long))
    drawn = draw(source, ["a", "b"], ["", ""], generator(1, "Mill", "profiles"))
    assert drawn.watts[0].tolist() == [0.0, 1440.0]


def test_what_a_station_draws_is_its_own() -> None:
    names = [f"n{k}" for k in range(8)]

    def of(seed: int, station: str) -> list[float]:
        got = draw(pool(), names, [""] * 8, generator(seed, station, "profiles"))
        return [float(v) for v in got.watts[0]]

    assert of(1, "Mill") == of(1, "Mill")
    assert of(1, "Mill") != of(1, "Church")
    assert of(1, "Mill") != of(2, "Mill")


def test_classes_are_read_and_held_against_the_profiles(tmp_path: Path) -> None:
    path = write_classes(tmp_path)
    names = tuple(f"p{k}" for k in range(8))
    assert read_classes(path, names) == ("house",) * 5 + ("flat",) * 3
    with pytest.raises(InputError, match="no column 'p7'"):
        read_classes(path, names[:7])
    path.write_text("column,kind\n")
    with pytest.raises(InputError, match="profile,class"):
        read_classes(path, names)


# ------------------------------------------------------------------ one station


def test_a_row_has_every_column_and_says_what_was_guessed() -> None:
    station = Station("Mill", customers=tuple(Customer(f"home {k}") for k in range(9)), kva=100.0)
    row = study_station(SHARED, station, pool())
    assert tuple(row) == COLUMNS
    assert row["status"] == "done", row["reason"]
    assert (row["homes"], row["relays"], row["rated_kva"]) == (9, 9, 100.0)
    assert row["notes"].startswith("9 of 9 phases are drawn at random.")
    assert row["violations_gone"] == row["violations_built"] - row["violations_pbal"]
    assert row["neutral_cut"] == pytest.approx(1 - row["neutral_a_pbal"] / row["neutral_a_built"])
    known = tuple(Customer(f"home {k}", k % 3) for k in range(9))
    assert study_station(SHARED, replace(station, customers=known), pool())["notes"] == ""


def test_a_station_of_its_own_options() -> None:
    customers = tuple(Customer(f"home {k}", 0) for k in range(9))
    few = Station("Mill", customers=customers, participation=1 / 3, phase_limit_a=3.0)
    row = study_station(SHARED, few, pool())
    assert row["relays"] == 3
    assert (row["phase_limit_a"], row["overloaded_built"]) == (3.0, 1)


@pytest.mark.parametrize(
    ("station", "words"),
    [
        (Station("Mill"), "It has no homes"),
        (Station("Mill", fault="row 3: odd"), "row 3: odd"),
        (Station("Mill", feeder=Path("/none.dss")), "No such feeder file"),
        (Station("Mill", homes_list=Path("/none.csv")), "No such homes list"),
    ],
)
def test_what_is_wrong_with_a_station_is_its_reason(station: Station, words: str) -> None:
    if station.feeder is not None:
        needs.require_module("dss", "study")
    row = study_station(SHARED, station, pool())
    assert (row["status"], row["station"]) == ("failed", "Mill")
    assert words in row["reason"]


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


@pytest.mark.timeout(600)
def test_a_killed_run_leaves_no_worker_and_loses_no_row(tmp_path: Path) -> None:
    rows = "".join(f"S{k},,6,4,2,house,100,,\n" for k in range(40))
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
        until(lambda: kept.exists() and kept.stat().st_size > 0)
        workers = children(run.pid)
        assert len(workers) >= 2
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    until(lambda: not any(runs(pid) for pid in workers))
    there = len(kept.read_bytes().splitlines())
    assert 0 < there < 40
    done = subprocess.run([*command, "--json"], capture_output=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert there - 1 <= said["resumed"] <= there
    assert said["totals"]["stations"] == 40


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


def until(true: object, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
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
