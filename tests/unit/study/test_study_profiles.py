"""Reading profiles: what is accepted, what is refused, and in which words."""

import gzip
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pbal_study import Quantity
from pbal_study.errors import InputError
from pbal_study.input.grid import _fill
from pbal_study.input.profiles import read_profiles
from pbal_tools.study.demo import write_profiles

GOOD = "time,home_01,home_02\n2026-01-12T00:00,312,48\n2026-01-12T00:01,305,-1200\n"


def read(tmp_path: Path, text: str, **how):  # type: ignore[no-untyped-def]
    path = tmp_path / "p.csv"
    path.write_text(text)
    return read_profiles(path, **how)


def test_plain_and_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    plain = read(tmp_path, GOOD)
    assert plain.names == ("home_01", "home_02")
    assert plain.step_s == 60
    assert plain.watts.tolist() == [[312, 48], [305, -1200]]
    packed = tmp_path / "p.csv.gz"
    packed.write_bytes(gzip.compress(("\ufeff" + GOOD).encode()))
    assert (read_profiles(packed).watts == plain.watts).all()


@pytest.mark.parametrize(
    ("stamps", "step"),
    [
        (("0", "900"), 900),
        (("2026-01-12 00:00", "2026-01-12 00:30"), 1800),
        (("2026-01-12T00:00:00Z", "2026-01-12T00:05:00Z"), 300),
        (("2026-03-29T01:59:00+01:00", "2026-03-29T03:00:00+02:00"), 60),
    ],
)
def test_kinds_of_time(tmp_path: Path, stamps: tuple[str, str], step: int) -> None:
    text = f"time,a\n{stamps[0]},100\n{stamps[1]},200\n"
    assert read(tmp_path, text).step_s == step


@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        ("a,b\n1,2\n", "not 'time'", "time,home_01"),
        ("time;a\n0;100\n", "not 'time'", "commas"),
        ("time,a,a\n0,1,2\n", "appears twice", "Rename"),
        ("time,a,\n0,1,2\n", "no name", "Name"),
        (GOOD + "2026-01-12T00:02,1\n", "row 4: 1 values, but the header names 2", "leave a cell"),
        (GOOD + "2026-01-12T00:02,1,2 kW\n", "row 4: home_02 is '2 kW'", "no unit"),
        (GOOD + "2026-01-12T00:02,1,inf\n", "row 4: home_02 is infinite", "number"),
        (GOOD + "yesterday,1,2\n", "row 4: 'yesterday' is not a time", "2026-01-31T18:05"),
        (GOOD + "2026-01-12T00:01,1,2\n", "does not come after", "clocks change"),
        (GOOD + "2026-01-12T00:02,,2\n", "1 values are missing, first home_01", "--fill-gaps"),
        (
            GOOD + "2026-01-12T00:02,1,2\n2026-01-12T00:05,1,2\n",
            "4 values are missing, first home_01 at 2026-01-12T00:03",
            "--fill-gaps",
        ),
        (GOOD + "2026-01-12T00:02:20,1,2\n", "off that grid", "Resample"),
        ("time,a\n0,1.5\n60,0.4\n", "look like kilowatts", "multiply"),
        ("time,a\n", "fewer than two rows of values.", "--days"),
        ("", "the first column is ''", "time,home_01"),
        ("time\ta\n0\t100\n", "not 'time'", "commas"),
        ("time,A,a\n0,1,2\n", "'a' appears twice", "Rename"),
        (GOOD + "2026-01-12T00:02,1,5,2,5\n", "row 4: 4 values", "decimals with a point"),
        (GOOD + "NaT,1,2\n", "row 4: 'NaT' is not a time", "2026-01-31T18:05"),
        (GOOD + " ,1,2\n", "row 4: '' is not a time", "2026-01-31T18:05"),
        ("time,a\n0,100\n60,100\nnan,100\n", "row 4: 'nan' is not a time", "one way"),
        ("time,a\n0,100\n2026-01-12T00:01,100\n", "row 3: '2026-01-12T00:01' is not", "one way"),
        ("time,a\n46034,100\n46034.0007,100\n", "look like days or hours", "Unix seconds"),
        ("time,a\n0,100\n1,100\n", "look like row numbers, or hours", "hours times 3600"),
        ("time,a\n15,100\n30,100\n", "or hours or minutes", "minutes times 60"),
        ("time,a\n20260131,100\n20260201,100\n", "a date without marks", "2026-01-31T18:05"),
        (
            "time,a\n2026-01-12T00:00,100\n2026-01-12T00:30Z,100\n",
            "row 3: some times have an offset",
            "or none",
        ),
        (
            "time,a\n2026-01-12T00:00,100\n2026-01-12T00:30+01:00,100\n",
            "row 3: some times have an offset",
            "or none",
        ),
        ("time,a\n0,0.2\n1800,0.4\n", "kilowatt-hours per 30 minutes", "30 minutes by 2000"),
        ("time,a\n0,0.2\n60,0.4\n", "kilowatt-hours per minute", "per minute by 60000"),
        ("time,a\n120,100\n60,100\n0,100\n", "00:01:00 does not come after", "Sort"),
        (
            "time,a\n0,100\n60,100\n120,100\n946684800,100\n",
            "silent from 1970-01-01T00:02:00 to 2000-01-01T00:00:00",
            "--skip-days",
        ),
        ("time,a\n1767225600000,100\n1767225660000,100\n", "looks like milliseconds", "1000"),
        ("time,a\n0,100\n86400,100\n", "one value every 24 hours", "hourly"),
        (
            "time,a\n2026-01-12T00:00+01:00,100\n2026-01-12T00:01,100\n",
            "row 3: some times have an offset",
            "all of them",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str, remedy: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert says in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("name", ["time", "Timestamp", "DateTime"])
def test_the_time_column_has_other_names_too(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, GOOD.replace("time", name)).step_s == 60


def test_words_for_missing_are_gaps(tmp_path: Path) -> None:
    text = GOOD + "2026-01-12T00:02,NaN,n/a\n2026-01-12T00:03,325,NULL\n2026-01-12T00:04,9,9\n"
    with pytest.raises(InputError, match="3 values are missing, first home_01"):
        read(tmp_path, text)
    assert read(tmp_path, text, fill_gaps=True).watts[2, 0] == 315


def test_the_clock_is_that_of_the_first_offset(tmp_path: Path) -> None:
    """Over the change to summer time the hours go on, in winter time."""
    rows = ("2026-03-29T00:00+01:00,1", "2026-03-29T01:00+01:00,2", "2026-03-29T03:00+02:00,99")
    found = read(tmp_path, "time,a\n" + "\n".join(rows) + "\n")
    assert found.start == np.datetime64("2026-03-29T00:00", "s")
    assert (found.seconds_of_day // 3600).tolist() == [0, 1, 2]


def test_a_change_of_the_clock_without_offset_is_a_gap_or_a_repetition(tmp_path: Path) -> None:
    spring = "time,a\n" + "".join(f"2026-03-29T{h:02d}:00,100\n" for h in (0, 1, 3, 4))
    with pytest.raises(InputError, match="1 values are missing, first a at 2026-03-29T02"):
        read(tmp_path, spring)
    autumn = "time,a\n" + "".join(f"2026-10-25T{h:02d}:00,100\n" for h in (1, 2, 2, 3))
    with pytest.raises(InputError, match="does not come after"):
        read(tmp_path, autumn)


def test_broken_gzip_and_missing_file(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv.gz"
    whole = bytearray(gzip.compress(GOOD.encode() * 500))
    whole[40:60] = bytes(20)
    bad.write_bytes(whole)
    with pytest.raises(InputError, match="cannot be read"):
        read_profiles(bad)
    bad.write_bytes(gzip.compress(GOOD.encode() * 500)[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        read_profiles(bad)
    with pytest.raises(InputError, match="No such profile file"):
        read_profiles(tmp_path / "none.csv")


def test_short_gaps_are_bridged_and_long_ones_come_from_the_day_before(tmp_path: Path) -> None:
    rows = [f"{k * 600},{100 + k % 144}" for k in range(288)]
    rows[10] = "6000,"
    gone = range(200, 210)
    text = "time,a\n" + "\n".join(r for k, r in enumerate(rows) if k not in gone) + "\n"
    filled = read(tmp_path, text, fill_gaps=True, quantity=Quantity("W"))
    assert filled.watts[10, 0] == 110
    assert filled.watts[200:210, 0].tolist() == [156.0 + k for k in range(10)]
    assert any("11 missing values" in note for note in filled.notes)


def test_seconds_are_averaged_to_minutes(tmp_path: Path) -> None:
    text = "time,a\n" + "".join(f"{k * 20},{100 * k}\n" for k in range(7))
    found = read(tmp_path, text)
    assert found.step_s == 60
    assert found.watts[:, 0].tolist() == [100, 400]


def test_a_stretch_of_days(tmp_path: Path) -> None:
    # What only grows could be a meter's count.
    text = "time,a\n" + "".join(f"{k * 3600},{100 + k}\n" for k in range(96))
    found = read(tmp_path, text, days=1.5, skip_days=1, quantity=Quantity("W"))
    assert found.watts[0, 0] == 124
    assert len(found.watts) == 36
    assert found.days == 1.5


@given(
    watts=arrays(
        np.int64,
        st.tuples(st.integers(2, 40), st.integers(1, 4)),
        elements=st.integers(-9999, 9999),
    )
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, watts: np.ndarray
) -> None:
    watts[0, 0] = 5000
    path = tmp_path_factory.mktemp("p") / "p.csv.gz"
    write_profiles(path, np.datetime64("2026-05-01T12:00", "s"), watts.astype(np.float32))
    found = read_profiles(path, quantity=Quantity("W"))
    assert (found.watts == watts).all()
    assert found.start == np.datetime64("2026-05-01T12:00", "s")


def test_what_spreadsheets_leave_behind_is_no_row(tmp_path: Path) -> None:
    assert len(read(tmp_path, GOOD + ",,\n , ,\n").watts) == 2


def test_a_name_may_hold_a_comma(tmp_path: Path) -> None:
    assert read(tmp_path, 'time,"No 1, upper",b\n0,100,1\n60,2,3\n').names[0] == "No 1, upper"


def test_a_folder_and_an_archive_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_profiles(tmp_path)
    (tmp_path / "p.xlsx").write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(InputError, match="spreadsheet or a zip"):
        read_profiles(tmp_path / "p.xlsx")


def test_units_that_cannot_be_are_mentioned(tmp_path: Path) -> None:
    text = "time,a,b,c\n" + "".join(f"{k * 60},{500 + k},0.{k},{k * 90000}\n" for k in range(3))
    small, large = read(tmp_path, text).notes
    assert "b never exceeds 50 W" in small
    assert "c reaches 180 kW" in large


def test_months_are_filled_as_fast_as_minutes(tmp_path: Path) -> None:
    """A home with a value in one day of a year alone: each gap was searched day by day."""
    steps, day = 365 * 96, 96
    watts = np.full((steps, 2), np.nan, dtype=np.float32)
    watts[:, 1] = 500
    watts[200 * day : 201 * day, 0] = np.arange(100, 100 + day)
    missing = np.isnan(watts)
    began = time.process_time()
    _fill(tmp_path, watts, missing, ("a", "b"), day)
    assert time.process_time() - began < 1
    assert (watts[:, 0].reshape(-1, day) == np.arange(100, 100 + day)).all()
