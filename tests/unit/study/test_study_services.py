"""Single-phase service cables: homes that are moved with their cable, held against the engine."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pbal_study.errors import InputError
from pbal_study.feeder.opendss import load_feeder
from pbal_study.feeder.powerflow import PowerFlow, load_power
from pbal_study.input.homes import Listed, apply_list, n_relays, read_homes, relays_by_joint
from pbal_study.run.controllers import Loop, as_built, best_static, known_future, pbal
from pbal_study.run.metrics import judge, summarise
from pbal_study.run.street import Street
from pbal_tools.study.cli import app

Compare = Callable[..., float]

HEAD = """Clear
Set DefaultBaseFrequency=50
New circuit.services basekv=11 mvasc3=200 mvasc1=150
New transformer.T1 phases=3 windings=2 conns=[delta wye] kvas=[100 100] xhl=4 %loadloss=1.5
~ buses=[sourcebus lv.1.2.3.{star}] kvs=[11 0.4]
"""
# Three wires and earth. H1 to H3: a cable each, one in two pieces, one that renumbers its phase.
# S1 and S2 share a cable's end; PUMP is beside a capacitor.
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

# NEAR, FAR and SIDE share a branched cable that renumbers its conductor on the way; OWN has one of
# its own, with a customer in two parts at its end; MAIN needs none.
SHARED = (
    HEAD.format(star=0)
    + """New line.a bus1=lv bus2=a r1=0.2 x1=0.08 r0=0.6 x0=0.2 length=0.2 units=km
New line.b bus1=a bus2=b r1=0.2 x1=0.08 r0=0.6 x0=0.2 length=0.1 units=km
New linecode.svc nphases=1 r1=0.9 x1=0.1 r0=0.9 x0=0.1 c1=0 c0=0 units=km
New line.k1 phases=1 bus1=k1.2 bus2=a.2 linecode=svc length=0.02 units=km
New line.k2 phases=1 bus1=k1.2 bus2=k2.1 linecode=svc length=0.03 units=km
New line.k3 phases=1 bus1=k3.1 bus2=k1.2 linecode=svc length=0.01 units=km
New line.own phases=1 bus1=b.1 bus2=own.1 linecode=svc length=0.025 units=km
New load.NEAR bus1=k1.2 phases=1 kv=0.23 kw=1
New load.FAR bus1=k2.1 phases=1 kv=0.23 kw=1 model=5
New load.SIDE bus1=k3.1 phases=1 kv=0.23 kw=1 model=8 zipv=[0.3 0.3 0.4 0.5 0.2 0.3 0.6]
New load.OWN bus1=own.1 phases=1 kv=0.23 kw=1 model=2
New load.OWN2 bus1=own.1 phases=1 kv=0.23 kw=1 model=3
New load.MAIN bus1=b.3 phases=1 kv=0.23 kw=1
solve
"""
)
# The same with neutrals: a cable of two conductors, tapped from a main of four.
SHARED_NEUTRAL = (
    FOUR_WIRES.replace("solve\n", "")
    + """New line.s3 phases=2 bus1=h1.1.4 bus2=h4.3.4 linecode=two length=0.03 units=km
New line.s4 phases=2 bus1=h5.4.3 bus2=h4.4.3 linecode=two length=0.02 units=km
New load.H4 bus1=h4.3.4 phases=1 kv=0.23 kw=1 model=7
New load.H5 bus1=h5.3.4 phases=1 kv=0.23 kw=1 model=6
solve
"""
)


pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("text", [THREE_WIRES, FOUR_WIRES, SHARED, SHARED_NEUTRAL])
def test_homes_moved_with_their_cable_agree_with_the_engine(
    write: Callable[[str], Path], compare: Compare, text: str
) -> None:
    path = write(text)
    feeder = load_feeder(path)
    rng = np.random.default_rng(4)
    watts = rng.gamma(0.8, 1500, (9, feeder.n_homes + len(feeder.fixed)))
    phases = rng.integers(0, 3, (9, feeder.n_joints)).astype(np.int8)[:, feeder.joint_of]
    assert compare(path, watts, phases) < 1e-5


def test_which_homes_are_moved_with_their_cable(write: Callable[[str], Path]) -> None:
    feeder = load_feeder(write(THREE_WIRES))
    assert [h.name for h in feeder.homes] == ["h0", "h1", "h2", "h3", "s1", "s2"]
    assert [h.bus for h in feeder.homes] == ["a", "h1", "h2", "h3", "both", "both"]
    # Line b is transposed: node 3 of its far end is phase B.
    assert list(feeder.phases) == [2, 0, 1, 1, 2, 2]
    assert [f.name for f in feeder.fixed] == ["pump"]
    metre = (0.9 + 0.1j) / 1000
    expected = np.diag([0, 30 * metre, 70 * metre, 80 * metre, 30 * metre, 30 * metre])
    expected[4, 5] = expected[5, 4] = 30 * metre
    assert feeder.service_ohm == pytest.approx(expected, abs=1e-6)
    assert list(feeder.joint_of) == [0, 1, 2, 3, 4, 4]
    assert list(feeder.first_at) == [0, 1, 2, 3, 4]
    assert any("5 of 6 homes hang on a single-phase service cable" in n for n in feeder.notes)
    assert any("2 homes share 1 such cable, up to 2 on one" in n for n in feeder.notes)
    assert any("1 of 7 loads stay where they are" in n for n in feeder.notes)


def test_homes_along_a_branched_cable_share_what_they_have_in_common(
    write: Callable[[str], Path],
) -> None:
    feeder = load_feeder(write(SHARED))
    assert [h.name for h in feeder.homes] == ["near", "far", "side", "own", "main"]
    assert list(feeder.joint_of) == [0, 0, 0, 1, 2]
    metre = (0.9 + 0.1j) / 1000
    # near at 20 m; far 30 m on, side 10 m on.
    shared = [[20, 20, 20], [20, 50, 20], [20, 20, 30]]
    assert feeder.service_ohm[:3, :3] == pytest.approx(np.array(shared) * metre, abs=1e-6)
    assert not feeder.service_ohm[:3, 3:].any()


@pytest.mark.parametrize(
    "line",
    [
        "New monitor.m element=line.k2 terminal=1",
        "New energymeter.m element=line.k1 terminal=2",
        "New fuse.f monitoredobj=line.own monitoredterm=1",
    ],
)
def test_what_only_watches_a_cable_does_not_hold_it(
    write: Callable[[str], Path], line: str
) -> None:
    feeder = load_feeder(write(SHARED.replace("solve\n", line + "\nsolve\n")))
    assert list(feeder.joint_of) == [0, 0, 0, 1, 2]


@pytest.mark.parametrize(
    "line",
    [
        "New line.loop phases=1 bus1=k2.1 bus2=k3.1 linecode=svc length=0.01 units=km",
        "New line.twice phases=1 bus1=k2.1 bus2=b.2 linecode=svc length=0.01 units=km",
        "New capacitor.c bus1=k3.1 phases=1 kv=0.23 kvar=0.1",
    ],
)
def test_a_cable_that_cannot_be_moved_as_one_stays(write: Callable[[str], Path], line: str) -> None:
    feeder = load_feeder(write(SHARED.replace("solve\n", line + "\nsolve\n")))
    assert [h.name for h in feeder.homes] == ["own", "main"]
    assert {"near", "far", "side"} <= {f.name for f in feeder.fixed}


def test_one_relay_moves_all_homes_of_a_cable(write: Callable[[str], Path]) -> None:
    feeder = load_feeder(write(SHARED))
    # MAIN beside the cable: it has to go elsewhere.
    homes = [replace(h, phase=1) if h.name == "main" else h for h in feeder.homes]
    feeder = replace(feeder, homes=tuple(homes))
    watts = np.tile(np.array([2000, 1500, 2500, 1000, 5000], np.float32), (120, 1))
    street = Street(feeder, watts, 60, "feeder")
    loop = Loop(price=5.0, budget_per_day=None, dwell_s=60, others="metered")
    relays = np.array([True, True, True, False, False])
    own = pbal(street, relays, loop)
    for trajectory in (own, best_static(street, loop), known_future(street, relays, own, loop)):
        on_cable = trajectory.phases[:, :3]
        assert (on_cable == on_cable[:, :1]).all()
    moved = own.switchings()
    assert moved[0] > 0
    base = judge(street, as_built(street), 20.0)
    figures = summarise(judge(street, own, 20.0), base, street, relays, 0.0)["switchings"]
    assert own.facts["commands"] == figures["total"] == moved[0]
    assert figures["homes"] == moved.tolist() == [moved[0]] * 3 + [0, 0]


def test_the_currents_of_a_cable_are_those_at_its_joint(write: Callable[[str], Path]) -> None:
    feeder = load_feeder(write(SHARED))
    watts = np.array([[1000, 2000, 3000, 4000, 5000]], np.float32)
    drawn = Street(feeder, watts, 60, "power").currents(0, 1)[0].real
    assert drawn == pytest.approx(np.array([6000, 4000, 5000]) * 0.95**0 / 231, rel=0.02)


def test_a_list_gives_a_cable_one_relay_and_one_phase(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    feeder = load_feeder(write(SHARED))

    def rows(text: str) -> list[Listed]:
        (tmp_path / "h.csv").write_text(text)
        return apply_list(feeder, read_homes(tmp_path / "h.csv"), None)[1]

    mean_w = np.array([1.0, 2, 3, 4, 5])
    listed = rows("home,relay\nfar,yes\nown,no\nmain,no\n")
    relays = relays_by_joint(feeder, listed, mean_w, 0.0, "random", 1)
    assert list(relays) == [True, True, True, False, False]
    assert n_relays(feeder, relays) == 1
    heaviest = relays_by_joint(feeder, rows("home\nfar\n"), mean_w, 0.34, "heaviest", 1)
    assert list(heaviest) == [True, True, True, False, False]
    with pytest.raises(InputError, match="relays of their own"):
        relays_by_joint(feeder, rows("home,relay\nfar,yes\nnear,no\n"), mean_w, 1, "random", 1)
    with pytest.raises(InputError, match="two phases"):
        rows("home,phase\nfar,C\n")
    assert rows("home,phase\nnear,C\nfar,C\nside,C\n")


def test_a_study_counts_one_relay_for_a_cable_and_says_what_it_carries(
    write: Callable[[str], Path], tmp_path: Path
) -> None:
    write(SHARED)
    rng = np.random.default_rng(5)
    rows = [",".join(["time", "near", "far", "side", "own", "main"])]
    rows += [
        ",".join(map(str, [60 * k, *rng.gamma(0.8, 2000, 5).round()])) for k in range(360)
    ]  # fmt: skip
    (tmp_path / "p.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    asked = ["--feeder", str(tmp_path / "Master.dss"), "--profiles", str(tmp_path / "p.csv")]
    done = CliRunner().invoke(app, [*asked, "--relay-cost", "100", "--out", str(out)])
    assert done.exit_code == 0, done.output
    said = json.loads((out / "study.json").read_text())
    assert said["controllers"]["pbal"]["money"]["invested"] == 3 * 100 + 250
    assert said["engine_difference_a"] < 1e-5
    assert sorted(said["relay_order"]) == ["main", "near", "own"]
    assert any("cable of near and 2 more carries up to" in note for note in said["notes"])
    page = (out / "report.html").read_text()
    assert "5 with a relay (3 relays, as some share one)" in page
    assert "near and 2 on its cable" in page
    with (out / "homes.csv").open() as file:
        rank = {r["home"]: r["relay_rank"] for r in csv.DictReader(file)}
    assert rank["near"] == rank["far"] == rank["side"]
    assert len({rank["near"], rank["own"], rank["main"]}) == 3


def test_a_neutral_of_the_cable_counts_in_its_impedance(write: Callable[[str], Path]) -> None:
    feeder = load_feeder(write(FOUR_WIRES))
    loop = (0.9 + 1.1 - 2 * 0.05) + 1j * (0.7 + 0.7 - 2 * 0.6)
    assert feeder.service_ohm == pytest.approx(np.diag([0.04 * loop, 0.06 * loop, 0]), abs=1e-6)


def test_voltages_of_three_phases_are_those_of_the_joint(write: Callable[[str], Path]) -> None:
    """The drop along a home's own cable is no unbalance of the main."""
    feeder = load_feeder(write(THREE_WIRES))
    points = [*feeder.homes, *feeder.fixed]
    watts = np.zeros((1, len(points)))
    watts[0, 1:3] = 3000
    flow = PowerFlow(feeder).solve(load_power(watts, points), feeder.phases.astype(np.int8)[None])
    assert flow.bus_voltage[0, 1] == pytest.approx(flow.bus_voltage[0, 0], abs=1e-9)
    at_joint = abs(flow.bus_voltage[0, 1, 0])
    assert at_joint - flow.home_voltage[0, 1] == pytest.approx(0.03 * 0.9 * 13.1, rel=0.1)


def test_a_cable_that_is_open_feeds_no_home(write: Callable[[str], Path]) -> None:
    feeder_text = THREE_WIRES.replace("solve\n", "open line.s1 1\nsolve\n")
    with pytest.raises(InputError, match="h1"):
        load_feeder(write(feeder_text))


def test_only_shared_cables_are_a_feeder_all_the_same(write: Callable[[str], Path]) -> None:
    keep = [
        line for line in THREE_WIRES.splitlines()
        if not line.startswith("New load.H")
    ]  # fmt: skip
    assert load_feeder(write("\n".join(keep))).n_joints == 1


def test_only_cables_that_cannot_be_moved_leave_nothing(write: Callable[[str], Path]) -> None:
    keep = [
        line for line in THREE_WIRES.splitlines()
        if not line.startswith(("New load.H", "New load.S"))
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        load_feeder(write("\n".join(keep)))
    assert "feeds nothing but homes" in str(caught.value.remedy)
