"""Single-phase service cables: homes that are moved with their cable, held against the engine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pbal_study.errors import InputError
from pbal_study.feeder.opendss import load_feeder
from pbal_study.feeder.powerflow import PowerFlow, load_power

Compare = Callable[..., float]

HEAD = """Clear
Set DefaultBaseFrequency=50
New circuit.services basekv=11 mvasc3=200 mvasc1=150
New transformer.T1 phases=3 windings=2 conns=[delta wye] kvas=[100 100] xhl=4 %loadloss=1.5
~ buses=[sourcebus lv.1.2.3.{star}] kvs=[11 0.4]
"""
# Three wires and earth. H1 to H3: a cable each, one in two pieces, one that renumbers its phase.
# S1 and S2 share a cable; PUMP is beside a capacitor.
THREE_WIRES = (
    HEAD.format(star=0)
    + """New line.a bus1=lv bus2=a r1=0.2 x1=0.08 r0=0.6 x0=0.2 length=0.2 units=km
New line.b bus1=a bus2=b.2.3.1 r1=0.2 x1=0.08 r0=0.6 x0=0.2 length=0.1 units=km
New linecode.svc nphases=1 r1=0.9 x1=0.1 r0=0.9 x0=0.1 c1=0 c0=0 units=km
New line.s1 phases=1 bus1=a.1 bus2=h1.1 linecode=svc length=0.03 units=km
New line.s2a phases=1 bus1=a.2 bus2=mid.2 linecode=svc length=0.02 units=km
New line.s2b phases=1 bus1=h2.2 bus2=mid.2 linecode=svc length=0.05 units=km
New line.s3 phases=1 bus1=b.3 bus2=h3.1 linecode=svc length=0.08 units=km
New line.s4 phases=1 bus1=b.1 bus2=both.1 linecode=svc length=0.03 units=km
New line.s5 phases=1 bus1=b.2 bus2=cap.2 linecode=svc length=0.03 units=km
New capacitor.c bus1=cap.2 phases=1 kv=0.23 kvar=0.1
New load.H0 bus1=a.3 phases=1 kv=0.23 kw=1
New load.H1 bus1=h1.1 phases=1 kv=0.23 kw=1
New load.H2 bus1=h2.2 phases=1 kv=0.23 kw=1
New load.H3 bus1=h3.1 phases=1 kv=0.23 kw=1 model=2
New load.S1 bus1=both.1 phases=1 kv=0.23 kw=1
New load.S2 bus1=both.1 phases=1 kv=0.23 kw=1
New load.PUMP bus1=cap.2 phases=1 kv=0.23 kw=1
solve
"""
)
# Four wires: the cables have a neutral of their own, which comes first in one of them.
FOUR_WIRES = (
    HEAD.format(star=4)
    + """New reactor.earth phases=1 bus1=lv.4 bus2=lv.0 r=1 x=0.01
New linecode.four nphases=4 units=km rmatrix=[0.4 | 0.05 0.4 | 0.05 0.05 0.4 | 0.05 0.05 0.05 0.5]
~ xmatrix=[0.7 | 0.6 0.7 | 0.6 0.6 0.7 | 0.6 0.6 0.6 0.7] cmatrix=[0 | 0 0 | 0 0 0 | 0 0 0 0]
New linecode.two nphases=2 units=km rmatrix=[0.9 | 0.05 1.1] xmatrix=[0.7 | 0.6 0.7]
~ cmatrix=[0 | 0 0]
New line.a phases=4 bus1=lv.1.2.3.4 bus2=a.1.2.3.4 linecode=four length=0.15 units=km
New line.s1 phases=2 bus1=a.1.4 bus2=h1.1.4 linecode=two length=0.04 units=km
New line.s2 phases=2 bus1=h2.4.2 bus2=a.4.2 linecode=two length=0.06 units=km
New load.H1 bus1=h1.1.4 phases=1 kv=0.23 kw=1
New load.H2 bus1=h2.2.4 phases=1 kv=0.23 kw=1
New load.H3 bus1=a.3.4 phases=1 kv=0.23 kw=1
solve
"""
)


pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("text", [THREE_WIRES, FOUR_WIRES])
def test_homes_moved_with_their_cable_agree_with_the_engine(
    write: Callable[[str], Path], compare: Compare, text: str
) -> None:
    path = write(text)
    feeder = load_feeder(path)
    rng = np.random.default_rng(4)
    watts = rng.gamma(0.8, 3000, (9, feeder.n_homes + len(feeder.fixed)))
    phases = rng.integers(0, 3, (9, feeder.n_homes)).astype(np.int8)
    assert compare(path, watts, phases) < 1e-3


def test_which_homes_are_moved_with_their_cable(write: Callable[[str], Path]) -> None:
    feeder = load_feeder(write(THREE_WIRES))
    assert [h.name for h in feeder.homes] == ["h0", "h1", "h2", "h3"]
    assert [h.bus for h in feeder.homes] == ["a", "h1", "h2", "h3"]
    # Line b is transposed: node 3 of its far end is phase B.
    assert list(feeder.phases) == [2, 0, 1, 1]
    assert [f.name for f in feeder.fixed] == ["s1", "s2", "pump"]
    assert feeder.service_ohm == pytest.approx(
        [0, 0.03 * (0.9 + 0.1j), 0.07 * (0.9 + 0.1j), 0.08 * (0.9 + 0.1j)], abs=1e-6
    )
    assert any("3 of 4 homes hang on a single-phase service cable" in n for n in feeder.notes)
    assert any("3 of 7 loads stay where they are" in n for n in feeder.notes)


def test_a_neutral_of_the_cable_counts_in_its_impedance(write: Callable[[str], Path]) -> None:
    feeder = load_feeder(write(FOUR_WIRES))
    loop = (0.9 + 1.1 - 2 * 0.05) + 1j * (0.7 + 0.7 - 2 * 0.6)
    assert feeder.service_ohm == pytest.approx([0.04 * loop, 0.06 * loop, 0], abs=1e-6)


def test_voltages_of_three_phases_are_those_of_the_joint(write: Callable[[str], Path]) -> None:
    """The drop along a home's own cable is no unbalance of the main."""
    feeder = load_feeder(write(THREE_WIRES))
    points = [*feeder.homes, *feeder.fixed]
    watts = np.zeros((1, len(points)))
    watts[0, :4] = [0, 3000, 3000, 0]
    flow = PowerFlow(feeder).solve(load_power(watts, points), feeder.phases.astype(np.int8)[None])
    assert flow.bus_voltage[0, 1] == pytest.approx(flow.bus_voltage[0, 0], abs=1e-9)
    at_joint = abs(flow.bus_voltage[0, 1, 0])
    assert at_joint - flow.home_voltage[0, 1] == pytest.approx(0.03 * 0.9 * 13.1, rel=0.1)


def test_a_cable_that_is_open_feeds_no_home(write: Callable[[str], Path]) -> None:
    feeder_text = THREE_WIRES.replace("solve\n", "open line.s1 1\nsolve\n")
    with pytest.raises(InputError, match="h1"):
        load_feeder(write(feeder_text))


def test_only_shared_cables_leave_nothing_to_move(write: Callable[[str], Path]) -> None:
    keep = [
        line for line in THREE_WIRES.splitlines()
        if not line.startswith("New load.H")
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        load_feeder(write("\n".join(keep)))
    assert "alone at the end of a single-phase line" in str(caught.value.remedy)
