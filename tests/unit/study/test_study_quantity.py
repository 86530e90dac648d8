"""What planners really have: kilowatts, energy per interval, counts, row numbers, bare dates."""

from pathlib import Path

import numpy as np
import pytest

from pbal_study import Quantity
from pbal_study.errors import InputError
from pbal_study.input.profiles import Profiles, read_profiles

POWER = np.array([300.0, 1200.0, 90.0, 2400.0] * 12)


def read(
    tmp_path: Path, values: np.ndarray, quantity: Quantity | None = None, name: str = "a",
    times: list[str] | None = None,
) -> Profiles:  # fmt: skip
    times = times or [str(np.datetime64("2026-01-12T00:00") + 30 * k) for k in range(len(values))]
    rows = "".join(f"{t},{v:.6f}\n" for t, v in zip(times, values, strict=True))
    (tmp_path / "p.csv").write_text(f"time,{name}\n{rows}")
    return read_profiles(tmp_path / "p.csv", quantity=quantity)


@pytest.mark.parametrize(
    ("unit", "factor"), [("W", 1.0), ("kW", 1e-3), ("Wh", 0.5), ("kWh", 0.5e-3)]
)
def test_every_unit_gives_the_same_watts(tmp_path: Path, unit: str, factor: float) -> None:
    found = read(tmp_path, POWER * factor, Quantity(unit))
    assert found.watts[:, 0] == pytest.approx(POWER, rel=1e-4)
    named = read(tmp_path, POWER * factor, name=f"a [{unit}]")
    assert named.names == ("a",)
    assert named.watts[:, 0] == pytest.approx(POWER, rel=1e-4)
    assert any(unit in note for note in named.notes)


@pytest.mark.parametrize("unit", ["Wh", "kWh"])
def test_a_count_gives_its_rises(tmp_path: Path, unit: str) -> None:
    # As high as old meters stand: single precision would lose the last digits.
    count = 81_234_567.0 + np.concatenate(([0.0], np.cumsum(POWER * 0.5)))
    count /= 1000.0 if unit == "kWh" else 1.0
    found = read(tmp_path, count, Quantity(unit, cumulative=True))
    assert len(found.watts) == len(POWER)
    assert found.watts[:, 0] == pytest.approx(POWER, abs=0.1)


def test_a_count_is_asked_about_not_studied(tmp_path: Path) -> None:
    count = 81_234.0 + np.cumsum(POWER)
    with pytest.raises(InputError, match="only grows") as caught:
        read(tmp_path, count)
    assert "--cumulative" in caught.value.remedy
    assert read(tmp_path, count, Quantity("W")).watts[0, 0] > 81_000


def test_a_count_that_falls_once_is_asked_about_too(tmp_path: Path) -> None:
    """A meter was changed; taken as watts it would be a report of nonsense."""
    count = np.cumsum(POWER)
    count[20:] -= count[20]
    with pytest.raises(InputError, match=r"every column only grows.*but for a fall") as caught:
        read(tmp_path, count)
    assert "--cumulative" in caught.value.remedy


def test_a_few_hours_of_a_count_and_whole_kilowatt_hours_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="only grows"):
        read(tmp_path, 20_000 + np.cumsum(POWER[:10] / 1000))
    with pytest.raises(InputError, match="only grows"):
        read(tmp_path, 14_000 + np.floor(np.arange(1440) / 120))
    assert len(read(tmp_path, np.array([300.0, 400.0, 500.0, 500.0])).watts) == 4


def test_watt_hours_among_watts_are_asked_about(tmp_path: Path) -> None:
    for factor, asked in ((1.0, False), (0.5, True)):
        rows = "".join(
            f"{np.datetime64('2026-01-12T00:00') + 30 * k}" + f",{w * factor:.1f}" * 5 + "\n"
            for k, w in enumerate(POWER)
        )
        (tmp_path / "p.csv").write_text(f"time,a,b,c,d,e\n{rows}")
        notes = read_profiles(tmp_path / "p.csv").notes
        assert any("watt-hours per 30 minutes" in note for note in notes) == asked


def test_one_count_among_watts_is_named(tmp_path: Path) -> None:
    times = [str(np.datetime64("2026-01-12T00:00") + 30 * k) for k in range(len(POWER))]
    rows = zip(times, POWER, np.cumsum(POWER), strict=True)
    text = "time,a,b\n" + "".join(f"{t},{v},{c}\n" for t, v, c in rows)
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match="column b only grows"):
        read_profiles(tmp_path / "p.csv")


@pytest.mark.parametrize("unit", ["A", "kVA", "MWh", "kvarh", "V", "MJ"])
def test_a_column_of_another_quantity_is_refused(tmp_path: Path, unit: str) -> None:
    with pytest.raises(InputError, match=f"in {unit}, which is no active power"):
        read(tmp_path, POWER, name=f"a [{unit}]")


def test_a_bracket_that_is_no_unit_stays_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, POWER, name="a (No 2)").names == ("a (No 2)",)


def test_a_count_that_falls_is_named(tmp_path: Path) -> None:
    count = np.cumsum(POWER)
    count[20:] -= count[20]
    with pytest.raises(InputError, match="falls at row 22"):
        read(tmp_path, count, Quantity("Wh", cumulative=True))


def test_row_numbers_take_start_and_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row numbers") as caught:
        read(tmp_path, POWER, times=[str(k + 1) for k in range(len(POWER))])
    assert "--start" in caught.value.remedy
    quantity = Quantity(start=np.datetime64("2026-03-01T00:00"), step_s=900)
    found = read(tmp_path, POWER, quantity, times=[str(k + 1) for k in range(len(POWER))])
    assert (found.step_s, str(found.start)) == (900, "2026-03-01T00:00:00")


def test_a_row_number_that_is_missing_is_a_gap(tmp_path: Path) -> None:
    """Rows counted one after the other would move all that follows in time."""
    quantity = Quantity(start=np.datetime64("2026-03-01T00:00"), step_s=3600)
    times = [str(k) for k in range(len(POWER) + 1) if k != 20]
    with pytest.raises(InputError, match="1 values are missing, first a at 2026-03-01T20:00"):
        read(tmp_path, POWER, quantity, times=times)
    hours = [f"{k / 4:g}" for k in range(len(POWER))]
    found = read(tmp_path, POWER, quantity, times=hours)
    assert (found.step_s, len(found.watts)) == (3600, len(POWER))


@pytest.mark.parametrize(
    ("stamps", "says"),
    [
        (["0", "0.5", "1", "1.5"], "look like days or hours"),
        (["2026013100", "2026013101", "2026013102"], "a date without marks"),
        (["2601310000", "2601310100", "2601310200"], "a date without marks"),
    ],
)
def test_stamps_that_are_no_seconds_are_asked_about(
    tmp_path: Path, stamps: list[str], says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path, POWER[: len(stamps)], times=stamps)
    assert "--step" in caught.value.remedy


def test_a_count_from_zero_is_taken_as_seconds_and_said(tmp_path: Path) -> None:
    found = read(tmp_path, POWER, times=[str(60 * k) for k in range(len(POWER))])
    assert any("taken as seconds after 1970" in note for note in found.notes)
    dated = read(tmp_path, POWER, times=[str(1767225600 + 60 * k) for k in range(len(POWER))])
    assert not any("taken as seconds" in note for note in dated.notes)


@pytest.mark.parametrize("seconds", ["", "00"])
def test_bare_dates_are_read(tmp_path: Path, seconds: str) -> None:
    times = [f"20260131{k // 4:02d}{k % 4 * 15:02d}{seconds}" for k in range(len(POWER))]
    found = read(tmp_path, POWER, times=times)
    assert (found.step_s, str(found.start)) == (900, "2026-01-31T00:00:00")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"unit": "MW"}, "--unit is 'MW'"),
        ({"step_s": 900}, "belong together"),
    ],
)
def test_half_said_things_are_refused(how: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Quantity(**how)  # type: ignore[arg-type]


def test_columns_in_two_units_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time,a kW,b [W]\n0,1,1\n60,2,2\n")
    with pytest.raises(InputError, match="different units"):
        read_profiles(tmp_path / "p.csv")
    with pytest.raises(InputError, match="--unit says W"):
        read(tmp_path, POWER, Quantity("W"), name="a_kWh")
    with pytest.raises(InputError, match="a meter's count"):
        read(tmp_path, POWER, Quantity("kW", cumulative=True))
