"""The stations of a fleet: which there are, what their homes draw, and one of them studied."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rigs import needs
from rigs.fleet import SHARED, TABLE, pool, write_classes, write_table

from pbal_study import InputError
from pbal_study.fleet.drawing import draw, generator, read_classes
from pbal_study.fleet.job import COLUMNS, study_station
from pbal_study.fleet.stations import Customer, Station, read_stations

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
    path.write_text("station,home,phase,class\n,No 1,A,flat\n")
    with pytest.raises(InputError, match="no station is named"):
        read_stations(None, None, path)


def test_a_bad_customer_is_its_stations_fault_alone(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(
        "station,home,phase,class\nMill,No 1,D,flat\nChurch,No 1,A,house\n"
        "School,No 1,A,flat\nSchool,no 1,B,flat\nInn,No 1,A,flat,7\n"
    )
    mill, church, school, inn = read_stations(None, None, path)
    assert mill.fault.startswith("customers.csv row 2: phase is 'D'; write A, B or C")
    assert church.fault == ""
    assert school.fault == "customers.csv row 5: station 'School' has two homes called 'no 1'"
    assert inn.fault == "customers.csv row 6: 5 cells, but 4 columns are named"


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

LANE = """Clear
New Circuit.lane basekv=20 pu=1.0 mvasc3=250 mvasc1=200
New Transformer.t1 phases=3 windings=2 buses=[sourcebus lv.1.2.3.0] conns=[delta wye]
~ kvs=[20 0.4] kvas=[160 160] xhl=4
New Line.a bus1=lv bus2=a r1=0.1 x1=0.05 r0=0.3 x0=0.1 length=0.1 units=km
New Load.one bus1=a.1 phases=1 kv=0.23 kw=1.5
New Load.two bus1=a.2 phases=1 kv=0.23 kw=2
Set voltagebases=[20 0.4]
Calcvoltagebases
Solve
"""


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


def test_what_the_table_says_and_nobody_uses_is_noted(tmp_path: Path, engine: None) -> None:
    feeder = tmp_path / "lane.dss"
    feeder.write_text(LANE)

    def notes(row: str, customers: str = "") -> str:
        text = "station,feeder,homes,homes_a,homes_b,homes_c,kva\n" + row + "\n"
        listed = None
        if customers:
            listed = tmp_path / "customers.csv"
            listed.write_text("station,home,phase,class\n" + customers)
        station = read_stations(write_table(tmp_path, text), None, listed)[0]
        done = study_station(replace(SHARED, main_ohm=0.0), station, pool())
        assert done["status"] == "done", done["reason"]
        return str(done["notes"])

    assert "Beware" not in notes("Mill,lane.dss,2,,,,")
    assert "the table says 12 homes; the 2 of its feeder were studied" in notes(
        "Mill,lane.dss,12,,,,"
    )
    assert "phase and class of 2 homes are not used" in notes("Mill,lane.dss,,1,1,0,")
    assert "phase and class of 1 homes" in notes("Mill,lane.dss,,,,,", "Mill,,B,\nMill,one,A,\n")
    assert "says 3 homes; the 2 of the list of customers" in notes(
        "Mill,,3,,,,100", "Mill,x,A,\nMill,y,B,\n"
    )
