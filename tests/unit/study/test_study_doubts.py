"""Values that are no home's power are asked about; what is unlikely is said first."""

from pathlib import Path

import numpy as np
import pytest

from pbal_study import Quantity
from pbal_study.errors import InputError
from pbal_study.input.profiles import Profiles, read_profiles

STEP = 900
DAY = 96
RNG = np.random.default_rng(11)
HOMES = np.round(RNG.gamma(0.8, 400, (2 * DAY, 6)) + 60)
HOMES[::17] += 2500


def read(
    tmp_path: Path, values: np.ndarray, quantity: Quantity | None = None, unit: str = "",
    first: str = "2026-01-12T00:00", keep: np.ndarray | None = None,
) -> Profiles:  # fmt: skip
    times = np.datetime64(first) + np.arange(len(values)) * np.timedelta64(STEP // 60, "m")
    names = ",".join(f"h{k}{unit}" for k in range(values.shape[1]))
    cells = [",".join(f"{v:.6g}" for v in row) for row in values]
    rows = [f"{t},{row}" for t, row in zip(times, cells, strict=True)]
    if keep is not None:
        rows = [row for row, yes in zip(rows, keep, strict=True) if yes]
    (tmp_path / "p.csv").write_text(f"time,{names}\n" + "\n".join(rows) + "\n")
    return read_profiles(tmp_path / "p.csv", quantity=quantity)


def notes(found: Profiles) -> str:
    return " ".join(found.notes)


def test_good_values_raise_no_doubt(tmp_path: Path) -> None:
    assert read(tmp_path, HOMES).notes == ()
    empty = HOMES.copy()
    empty[:, 2] = 0  # an empty house
    empty[20:60, :5] = 0  # most are away
    empty[:, 3] -= 4000 * (np.arange(2 * DAY) % DAY // 40 == 1)  # a roof
    assert read(tmp_path, empty).notes == ()


@pytest.mark.parametrize(("factor", "unit"), [(1.0, "kW"), (1.0, "kWh"), (1000.0, "")])
def test_power_that_no_home_has_is_refused(tmp_path: Path, factor: float, unit: str) -> None:
    with pytest.raises(InputError, match="6 of 6 columns reach more than 100 kW") as caught:
        read(tmp_path, HOMES * factor, Quantity(unit))
    assert "--unit" in caught.value.remedy
    if not unit:  # said to be watts, they are watts
        assert "more than a home can draw" in notes(read(tmp_path, HOMES * factor, Quantity("W")))


def test_one_value_that_no_network_carries_is_named(tmp_path: Path) -> None:
    spike = HOMES.copy()
    spike[70, 2] = 1e7
    with pytest.raises(InputError, match=r"h2 reaches 10,000 kW, in the 71\. step"):
        read(tmp_path, spike)


@pytest.mark.parametrize(("named", "unit"), [(" [kWh]", ""), ("", "kWh"), ("", "Wh")])
def test_a_count_of_energy_is_asked_about(tmp_path: Path, named: str, unit: str) -> None:
    count = 3000 + np.cumsum(HOMES, axis=0) / 4000
    with pytest.raises(InputError, match="only grows") as caught:
        read(tmp_path, count, Quantity(unit), named)
    assert "--per-interval" in caught.value.remedy
    taken = read(tmp_path, count, Quantity("kWh", cumulative=True))
    assert taken.watts == pytest.approx(HOMES[1:], abs=60)
    if unit == "Wh":
        said = read(tmp_path, count, Quantity(unit, cumulative=False))
        assert said.watts[0, 0] == pytest.approx(4 * count[0, 0], rel=1e-5)


def test_a_credit_that_falls_is_refused(tmp_path: Path) -> None:
    credit = 90 - np.cumsum(HOMES, axis=0) / 4e6
    for unit in ("", "kWh"):
        with pytest.raises(InputError, match="only falls"):
            read(tmp_path, credit * 1000, Quantity(unit))


def test_watt_hours_of_homes_that_hardly_draw_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="like watt-hours per 15 minutes") as caught:
        read(tmp_path, HOMES / 4.5)
    assert "--unit W if" in caught.value.remedy
    assert read(tmp_path, HOMES / 4.5, Quantity("W")).watts.max() < 1000


def test_a_column_of_totals_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="h6 is the sum of all others"):
        read(tmp_path, np.column_stack([HOMES, HOMES.sum(axis=1)]))
    one = np.zeros((2 * DAY, 3))
    one[:, 1] = HOMES[:, 0]
    assert read(tmp_path, one).watts.shape == (2 * DAY, 3)


def test_signs_turned_round_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="100% of all values are negative"):
        read(tmp_path, -HOMES)


@pytest.mark.parametrize(
    ("rows", "columns", "value", "says"),
    [
        (slice(70, 72), 2, -9999, "h2 is -9999 2 times"),
        (slice(70, 71), 2, 99999, "h2 is 99999 once"),
        (slice(30, 60), slice(None), 0, "all 6 columns are zero at once for up to 7.5 h"),
        (slice(None), 4, 310, "h4 never changes"),
        (slice(None), 4, 226 + np.arange(2 * DAY) % 9, "h4 stays between 195 and 260"),
    ],
)
def test_unlikely_values_are_said_first(
    tmp_path: Path, rows: slice, columns: int | slice, value: int | np.ndarray, says: str
) -> None:
    odd = HOMES.copy()
    odd[rows, columns] = value
    assert "Beware: " + says in notes(read(tmp_path, odd))


def test_a_zone_by_its_name_is_refused_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "p.csv").write_text("time,a\n2026-03-28 00:00 CET,900\n2026-03-28 01:00 CET,800\n")
    with pytest.raises(InputError, match="is not a time"):
        read_profiles(tmp_path / "p.csv")
    assert not recwarn.list


def test_the_hour_that_summer_time_takes_is_told(tmp_path: Path) -> None:
    there = np.ones(2 * DAY, bool)
    there[DAY + 8 : DAY + 12] = False  # 02:00 to 03:00
    with pytest.raises(InputError, match="24 values are missing") as caught:
        read(tmp_path, HOMES, first="2026-03-28T00:00", keep=there)
    assert "the clocks change" in caught.value.remedy
    with pytest.raises(InputError) as caught:
        read(tmp_path, HOMES, first="2026-03-27T00:00", keep=there)
    assert "the clocks change" not in caught.value.remedy
