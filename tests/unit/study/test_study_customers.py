"""Customers that a feeder file writes as several loads: one home each, held against the engine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pbal_study.errors import InputError
from pbal_study.feeder.model import Feeder
from pbal_study.feeder.opendss import compile_feeder, load_feeder
from pbal_study.feeder.powerflow import PowerFlow, load_power
from pbal_study.input.homes import Listed, apply_list, assign_columns
from pbal_study.input.profiles import Profiles
from pbal_study.input.shapes import feeder_profiles

Compare = Callable[..., float]
Write = Callable[[str], Path]

# c1 and c2 on the main, c3 at the end of a cable of its own; d, n1 and n2 are one load each.
STREET = """Clear
Set DefaultBaseFrequency=50
New Circuit.lane basekv=20 pu=0.97 mvasc3=250 mvasc1=200
New Transformer.t1 phases=3 windings=2 buses=[sourcebus lv.1.2.3.0] conns=[delta wye]
~ kvs=[20 0.4] kvas=[100 100] xhl=4 %loadloss=1.5
New Line.a bus1=lv bus2=a r1=0.6 x1=0.2 r0=1.2 x0=0.4 length=0.3 units=km
New Line.s phases=1 bus1=a.3 bus2=end.3 r1=0.9 x1=0.1 r0=0.9 x0=0.1 length=0.05 units=km
New Loadshape.day npts=4 interval=6 mult=[0.5 1 2 0.25]
New Loadshape.other npts=4 interval=6 mult=[1 1 1 2]
New Load.c1_m1 bus1=a.1 phases=1 kv=0.23 kw=0.7 pf=0.92 model=2 vminpu=0.92 daily=day
New Load.c1_m2 bus1=a.1 phases=1 kv=0.23 kw=0.7 pf=0.92 model=3 vminpu=0.92 daily=day
New Load.c2_m1 bus1=a.2 phases=1 kv=0.23 kw=1.5 pf=0.9 model=1 daily=day
New Load.d bus1=a.2 phases=1 kv=0.23 kw=1 model=5 daily=day
New Load.c2_m2 bus1=a.2 phases=1 kv=0.23 kw=1.5 pf=0.9 model=4 cvrwatts=0.8 daily=day
New Load.c2_m3 bus1=a.2 phases=1 kv=0.23 kw=1.5 pf=0.9 model=7 daily=day
New Load.c3_m1 bus1=end.3 phases=1 kv=0.23 kw=2 model=2 daily=day
New Load.c3_m2 bus1=end.3 phases=1 kv=0.23 kw=2 model=6 daily=day
New Load.n1 bus1=a.3 phases=1 kv=0.23 kw=1 model=1 daily=day
New Load.n2 bus1=a.3 phases=1 kv=0.23 kw=1 model=1 daily=day
Set voltagebases=[20 0.4]
Calcvoltagebases
Solve
"""
HOMES = ["c1_m1", "c2_m1", "d", "c3_m1", "n1", "n2"]

pytestmark = pytest.mark.usefixtures("engine")


def names(feeder: Feeder) -> list[str]:
    return [home.name for home in feeder.homes]


def test_each_customer_is_one_home_and_that_is_said(write: Write) -> None:
    feeder = load_feeder(write(STREET))
    assert names(feeder) == HOMES
    assert [home.kw for home in feeder.homes] == pytest.approx([1.4, 4.5, 1, 4, 1, 1])
    assert any("3 customers are written as several loads" in note for note in feeder.notes)
    assert not any("one customer" in note for note in feeder.notes)
    assert feeder.homes[3].service, "the two are alone at the end of their cable"


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.6])
def test_they_draw_and_move_as_the_engine_has_them(
    write: Write, compare: Compare, scale: float
) -> None:
    """Also where the voltage has left the loads' bands."""
    rng = np.random.default_rng(6)
    watts = scale * rng.gamma(0.8, 3000, (6, 6))
    phases = rng.integers(0, 3, (6, 6)).astype(np.int8)
    assert compare(write(STREET), watts, phases) < 1e-3


def test_a_day_of_the_file_s_own_shapes_is_the_engine_s(write: Write) -> None:
    path = write(STREET)
    feeder, profiles = load_feeder(path), feeder_profiles(path)
    watts, notes = assign_columns(feeder, [Listed(h.name) for h in feeder.homes], profiles, False)
    assert notes == []
    phases = np.tile(feeder.phases.astype(np.int8), (len(watts), 1))
    flow = PowerFlow(feeder).solve(load_power(watts, [*feeder.homes]), phases)
    engine = compile_feeder(path)
    text, circuit = engine.Text, engine.ActiveCircuit
    text.Command = "set mode=daily number=1 stepsize=6h tolerance=1e-10 maxiterations=200"
    for k in range(4):
        text.Command = "solve"
        circuit.SetActiveElement("Line.a")
        amps = np.asarray(circuit.ActiveCktElement.Currents, float).view(complex)[:3]
        assert amps.sum() == pytest.approx(flow.neutral[6 * k], abs=1e-3), k


def test_columns_of_the_parts_are_added_up(write: Write) -> None:
    feeder = load_feeder(write(STREET))
    rows = [Listed(home.name) for home in feeder.homes]
    written = ["c1_m1", "c1_m2", "c2_m1", "d", "c2_m2", "c2_m3", "c3_m1", "c3_m2", "n1", "n2"]
    watts = (100.0 * 2 ** np.arange(10) * np.ones((2, 1))).astype(np.float32)
    sums = [300, 400 + 1600 + 3200, 800, 6400 + 12800, 25600, 51200]
    start = np.datetime64("2026-01-01T00:00:00", "s")
    by_name = Profiles(start, 60, tuple(written), watts)
    got, notes = assign_columns(feeder, rows, by_name, False)
    assert got[0].tolist() == sums
    assert notes == []
    in_order = replace(by_name, names=tuple(f"meter {k}" for k in range(10)))
    got, notes = assign_columns(feeder, rows, in_order, False)
    assert got[0].tolist() == sums
    assert "file order" in notes[0]
    whole = replace(by_name, names=tuple(HOMES), watts=watts[:, :6])
    assert assign_columns(feeder, rows, whole, False)[0][0].tolist() == watts[0, :6].tolist()
    six = replace(whole, names=tuple(f"meter {k}" for k in range(6)))
    assert assign_columns(feeder, rows, six, False)[0][0].tolist() == watts[0, :6].tolist()


def test_a_row_for_a_part_is_answered_with_the_customer(write: Write) -> None:
    feeder = load_feeder(write(STREET))
    with pytest.raises(InputError, match="part of the customer 'c1_m1'") as caught:
        apply_list(feeder, [Listed("C1_M2")], None)
    assert "one row" in caught.value.remedy


def test_parts_that_do_not_go_together_stay_apart(write: Write) -> None:
    """Different shapes: their shares change with time, so that is asked about."""
    other = STREET.replace("model=3 vminpu=0.92 daily=day", "model=3 vminpu=0.92 daily=other")
    feeder = load_feeder(write(other))
    assert names(feeder) == ["c1_m1", "c1_m2", *HOMES[1:]]
    assert any("follow different shapes" in note for note in feeder.notes)
    assert any("2 customers are written" in note for note in feeder.notes)
