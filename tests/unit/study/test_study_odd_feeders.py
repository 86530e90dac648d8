"""Feeders of other shapes than ours: against the engine where they can be studied, in words where
they cannot."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rigs import needs

from pbal_study.errors import InputError
from pbal_study.feeder.dssfiles import check_files
from pbal_study.feeder.opendss import load_feeder
from pbal_study.feeder.powerflow import MinuteFlow, PowerFlow, load_power
from pbal_study.input.profiles import read_profiles
from pbal_study.input.shapes import feeder_profiles
from pbal_study.run.controllers import Loop, as_built, best_static
from pbal_study.run.enginecheck import check_minutes
from pbal_study.run.metrics import judge
from pbal_study.run.street import Street

Compare = Callable[..., float]
ODD = Path(__file__).parent / "data" / "odd.dss"

HEAD = "Clear\nSet DefaultBaseFrequency=50\n"
LINE = " r1=0.2 x1=0.08 r0=0.6 x0=0.2 length=0.2 units=km\n"
TRANSFORMER = "phases=3 windings=2 conns=[delta wye] kvas=[400 400] xhl=4 "

SERIES = f"""{HEAD}New circuit.series basekv=110 mvasc3=2000 mvasc1=1500
New transformer.HVMV {TRANSFORMER} buses=[sourcebus mv] kvs=[110 20]
New line.mv bus1=mv bus2=mv2 r1=0.2 x1=0.3 r0=0.5 x0=1 c1=10 c0=5 length=3 units=km
New transformer.MVLV {TRANSFORMER} buses=[mv2 lv.1.2.3.0] kvs=[20 0.4]
New line.a bus1=lv bus2=a{LINE}New load.H1 bus1=a.1 phases=1 kv=0.23 kw=1
New load.H2 bus1=a.2 phases=1 kv=0.23 kw=1
New load.Mill bus1=mv2 phases=3 kv=20 kw=500 pf=0.9
solve
"""
PARALLEL = f"""{HEAD}New circuit.parallel basekv=20 mvasc3=200 mvasc1=150
New transformer.T1 {TRANSFORMER} buses=[sourcebus lv1.1.2.3.0] kvs=[20 0.4]
New transformer.T2 {TRANSFORMER} buses=[sourcebus lv2.1.2.3.0] kvs=[20 0.4]
New line.a bus1=lv1 bus2=a{LINE}New line.b bus1=lv2 bus2=b{LINE}
New load.A1 bus1=a.1 phases=1 kv=0.23 kw=1
New load.B1 bus1=b.1 phases=1 kv=0.23 kw=1
New load.A2 bus1=a.2 phases=1 kv=0.23 kw=1
New load.B2 bus1=b.2 phases=1 kv=0.23 kw=1
New load.B3 bus1=b.3 phases=1 kv=0.23 kw=1
solve
"""
BUSBAR = f"""{HEAD}New circuit.busbar basekv=0.4 pu=1.02 r1=0.01 x1=0.02 r0=0.02 x0=0.03 bus1=bar
New line.a bus1=bar bus2=a{LINE}New load.H1 bus1=a.1 phases=1 kv=0.23 kw=1
New load.H2 bus1=a.2 phases=1 kv=0.23 kw=1
New load.H3 bus1=bar.3 phases=1 kv=0.23 kw=1
solve
"""
SPLIT_PHASE = """Clear
New circuit.us basekv=115
New transformer.sub phases=3 windings=2 buses=[sourcebus mv] conns=[delta wye]
~ kvs=[115 12.47] kvas=[5000 5000] xhl=8
New line.lat bus1=mv.1 bus2=p1.1 phases=1 r1=1 x1=1 r0=1 x0=1 length=1 units=mi
New transformer.ct1 phases=1 windings=3 buses=[p1.1 s1.1.0 s1.0.2] conns=[wye wye wye]
~ kvs=[7.2 0.12 0.12] kvas=[25 25 25] xhl=2 xht=2 xlt=1.4
New load.L1 bus1=s1.1.0 phases=1 kv=0.12 kw=2
New load.L2 bus1=s1.1.2 phases=1 kv=0.24 kw=2
solve
"""


pytestmark = pytest.mark.usefixtures("engine")


def random_loads(compare: Compare, path: Path, scale: float, transformer: str = "") -> float:
    rng = np.random.default_rng(3)
    feeder = load_feeder(path, transformer)
    watts = rng.gamma(0.8, scale, (6, feeder.n_homes + len(feeder.fixed)))
    watts[2, :2] *= -1
    phases = rng.integers(0, 3, (6, feeder.n_homes)).astype(np.int8)
    return compare(path, watts, phases, transformer=transformer)


@pytest.mark.parametrize("scale", [300.0, 2500.0, 25000.0])
def test_every_connection_and_model_agrees_with_the_engine(compare: Compare, scale: float) -> None:
    """At 25 kW the voltages leave every band."""
    assert random_loads(compare, ODD, scale) < 1e-3


def test_what_an_odd_file_says_is_read() -> None:
    found = load_feeder(ODD)
    assert [h.name for h in found.homes] == [
        *("house_a", "houseb", "housec", "housed", "housee"),
        *("motor", "held", "held2", "saver", "lat"),
    ]
    assert [f.name for f in found.fixed] == ["tp", "tpd", "ll", "ll2", "two", "twod"]
    # Line l3 is transposed: b3.2 hangs on phase A, b3.3 on B, b3.1 on C.
    assert list(found.phases) == [1, 0, 2, 2, 0, 1, 1, 0, 0, 2]
    assert found.homes[3].nodes == (2, 3, 1)
    assert any("5 homes are at buses with transposed conductors" in note for note in found.notes)
    assert found.homes[1].power_factor == pytest.approx(2 / np.hypot(2, 0.7))
    assert found.homes[3].leading
    assert found.homes[0].v_low == 0.4


def test_reading_a_feeder_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file ends with Show and Export, as published ones do."""
    monkeypatch.chdir(tmp_path)
    before = set(ODD.parent.iterdir())
    load_feeder(ODD)
    assert list(tmp_path.iterdir()) == []
    assert set(ODD.parent.iterdir()) == before
    assert Path(os.getcwd()) == tmp_path


def test_a_relative_path_is_that_of_the_callers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "Loads.dss").write_text("New load.H3 bus1=bar.3 phases=1 kv=0.23 kw=1\n")
    text = BUSBAR.replace("New load.H3 bus1=bar.3 phases=1 kv=0.23 kw=1", "Redirect sub/Loads.dss")
    (tmp_path / "Master.dss").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load_feeder(Path("Master.dss")).n_homes == 3


def test_the_transformer_that_feeds_the_homes_is_found(compare: Compare, write) -> None:  # type: ignore[no-untyped-def]
    path = write(SERIES)
    found = load_feeder(path)
    assert found.transformer.name == "mvlv"
    assert [f.name for f in found.fixed] == ["mill"]
    assert random_loads(compare, path, 2000.0) < 1e-3


def test_of_two_transformers_one_is_chosen_and_the_others_homes_stay(
    compare: Compare, write
) -> None:  # type: ignore[no-untyped-def]
    path = write(PARALLEL)
    with pytest.raises(InputError, match=r"t1 \(2 homes\), t2 \(3 homes\)") as caught:
        load_feeder(path)
    assert "--transformer" in caught.value.remedy
    found = load_feeder(path, "t2")
    assert [h.name for h in found.homes] == ["b1", "b2", "b3"]
    assert any("2 homes are not fed by transformer t2" in note for note in found.notes)
    assert random_loads(compare, path, 2000.0, "t2") < 1e-3


def test_a_feeder_may_begin_at_the_busbar(compare: Compare, write) -> None:  # type: ignore[no-untyped-def]
    path = write(BUSBAR)
    assert load_feeder(path).transformer.rated_kva == 0
    assert random_loads(compare, path, 2000.0) < 1e-3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SPLIT_PHASE, "split-phase feeder, as in North America: 1 centre-tapped"),
        (SERIES.replace("kv=0.23", "kv=11.5"), "2 single-phase loads are on medium voltage"),
        (SERIES.replace("phases=1 kv=0.23", "phases=3 kv=0.4"), "it has no single-phase loads"),
        (BUSBAR.replace("solve", "open line.a 1\nsolve"), "rated 230 V, but gets 0 V"),
        (BUSBAR.replace("bus1=a.2 phases=1 kv=0.23", "bus1=a.2 phases=1 kv=0.4"), "rated 400 V"),
        (BUSBAR.replace("solve", "New generator.g bus1=a.1 phases=1 kv=0.23\n"), "1 generator"),
        (BUSBAR.replace("Frequency=50", "Frequency=60").replace("New line.a",
         "Set DefaultBaseFrequency=50\nNew line.a"), "source gives no voltage"),
        (BUSBAR.replace("solve", f"New line.z bus1=q bus2=r{LINE}"
         "New load.z bus1=r.1 phases=1 kv=0.23\nsolve"),
         "Home z is rated 230 V, but gets 0 V"),
        (BUSBAR.replace("solve", f"New line.z bus1=q bus2=r{LINE}"
         "New load.z bus1=r phases=3 kv=0.4\nsolve"),
         "Load z is rated 231 V between its terminals, but gets 0 V"),
        (SERIES.replace("lv.1.2.3.0", "lv.1.2.3.4"), "ohm before it: a kettle"),
        (BUSBAR.replace("bus1=a.1", "bus1=a.1.4"), "node a.4, to which nothing else is"),
        (SERIES.replace("buses=[mv2 lv.1.2.3.0]", "buses=[mv2 lv] conns=[wye delta]"), "in delta"),
    ],
)  # fmt: skip
def test_what_cannot_be_studied_is_said_in_words(write, text: str, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=says) as caught:
        load_feeder(write(text))
    assert caught.value.remedy


def test_letters_of_another_age_are_said_to_be_so(tmp_path: Path) -> None:
    path = tmp_path / "Master.dss"
    path.write_bytes(BUSBAR.replace("load.H1", "load.h\u00e4user").encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_feeder(path)


def test_a_list_that_is_never_closed_is_named(write) -> None:  # type: ignore[no-untyped-def]
    """The engine takes it to the end of the line, kVs and all, and goes on."""
    text = PARALLEL.replace("buses=[sourcebus lv2.1.2.3.0]", "buses=[sourcebus lv2.1.2.3.0")
    with pytest.raises(InputError, match=r"Master.dss line 5: '\[' is not closed") as caught:
        load_feeder(write(text))
    assert "]" in caught.value.remedy


@pytest.mark.parametrize(
    "line",
    [
        "New Loadshape.a mult=(file=a.csv) useactual=yes ! it's [fine",
        "New Line.a // (not closed",
        "New Transformer.t buses=[a.1.2.3 b.1.2.3.0] kvs=[11, 0.4]",
        "~ rmatrix=(1 | 0 1 | 0 0 1)",
        "plot circuit title=[never closed",
        "New Load.o'brien bus1=a.1",
    ],
)
def test_lines_that_are_well_are_left_alone(write, line: str) -> None:  # type: ignore[no-untyped-def]
    check_files(write(line + "\n"))


def test_a_file_that_includes_itself_does_not_end_the_process(write) -> None:  # type: ignore[no-untyped-def]
    write("redirect Master.dss\n", "Loads.dss")
    with pytest.raises(InputError, match=r"Master.dss -> Loads.dss -> Master.dss"):
        load_feeder(write('New circuit.x\nRedirect "Loads.dss"\n'))


def test_a_missing_include_is_named_and_capitals_are_pointed_out(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=r"not found: .Lines.txt."):
        load_feeder(write("New circuit.x\nRedirect Lines.txt\n"))
    write("! lines\n", "lines.TXT")
    with pytest.raises(InputError) as caught:
        load_feeder(write("New circuit.x\nRedirect Lines.txt\n"))
    assert "the file is called 'lines.TXT'" in caught.value.remedy


def test_loads_between_phases_are_no_part_of_the_neutral_the_optimisers_see() -> None:
    """At a light load, currents at no-load voltage add up to nearly the neutral current."""
    feeder = load_feeder(ODD)
    # Light in vars, too: those of models 6 and 7 are the file's.
    homes, fixed = (
        tuple(replace(load, base_kw=0.1) for load in loads)
        for loads in (feeder.homes, feeder.fixed)
    )
    feeder = replace(feeder, homes=homes, fixed=fixed)
    rng = np.random.default_rng(2)
    watts = rng.gamma(1, 100, (5, feeder.n_homes + len(feeder.fixed))).astype(np.float32)
    street = Street(feeder, watts, 60, "feeder")
    turn = np.exp(-2j * np.pi / 3 * street.all_start())
    seen = (street.currents(0, 5) * turn).sum(axis=1)
    power = load_power(watts, [*feeder.homes, *feeder.fixed])
    phases = np.tile(street.start, (5, 1))
    true = PowerFlow(feeder).solve(power, phases).neutral - feeder.lv_i0.sum()
    assert np.abs(seen) == pytest.approx(np.abs(true), rel=0.06, abs=0.03)


def test_the_transformers_meter_reads_all_loads() -> None:
    feeder = load_feeder(ODD)
    rng = np.random.default_rng(2)
    loads = [*feeder.homes, *feeder.fixed]
    power = load_power(rng.gamma(1, 1000, (8, len(loads))), loads)
    solver = PowerFlow(feeder)
    phases = feeder.phases.astype(np.int8)
    exact = solver.solve(power, np.tile(phases, (8, 1))).lv_current
    turned = exact * np.exp(-1j * np.angle(feeder.lv_v0))
    meter = MinuteFlow(solver, phases)
    for k, row in enumerate(solver.expand(power)):
        meter.currents(row)
        assert np.abs(meter.transformer() - turned[k]).max() < 0.005 * np.abs(turned[k]).max()


def test_best_static_is_no_worse_than_as_built_beside_loads_between_phases() -> None:
    feeder = load_feeder(ODD)
    watts = np.full((60, feeder.n_homes + len(feeder.fixed)), 500, dtype=np.float32)
    watts[:, feeder.n_homes + 3] = 9000
    street = Street(feeder, watts, 60, "feeder")
    built = judge(street, as_built(street), 20.0).neutral_a.mean()
    best = judge(street, best_static(street, Loop()), 20.0).neutral_a.mean()
    assert best < built


def test_the_feeders_own_load_shapes_serve_as_profiles() -> None:
    found = feeder_profiles(ODD)
    assert found.step_s == 3600  # six-hourly values are held
    assert found.names[:2] == ("house_a", "houseb")
    assert found.watts[::6, 0].tolist() == pytest.approx([600, 2700, 1500, 3000])
    assert found.watts[:, 9].tolist() == [1000] * 24  # `lat` has no shape
    assert any("14 loads have no load shape" in note for note in found.notes)
    later = feeder_profiles(ODD, days=0.5, skip_days=0.25)
    assert later.watts[:, 1].tolist() == pytest.approx([1800] * 6 + [1000] * 6)
    assert later.start == found.start + np.timedelta64(6, "h")


def test_shapes_of_several_steps_and_lengths_meet_at_the_finest(write) -> None:  # type: ignore[no-untyped-def]
    shapes = (
        "New loadshape.fine npts=2880 sinterval=30 mult=[" + "1 3 " * 1440 + "]\n"
        "New loadshape.kilowatts npts=24 interval=1 useactual=yes mult=[" + "0.5 2 " * 12 + "]\n"
        "New loadshape.year npts=96 interval=0.5 mult=[" + "1 " * 48 + "2 " * 48 + "]\n"
    )
    text = BUSBAR.replace("New load.H1", shapes + "New load.H1").replace("solve", "")
    for name, shape in (("H1", "daily=fine"), ("H2", "daily=kilowatts"), ("H3", "yearly=year")):
        text = text.replace(f"New load.{name}", f"New load.{name} {shape}")
    found = feeder_profiles(write(text))
    assert found.step_s == 60
    assert len(found.watts) == 2 * 1440  # the longest shape; the others are repeated
    assert set(found.watts[:, 0]) == {2000}
    assert found.watts[[0, 59, 60, 1440 + 60], 1].tolist() == [500, 500, 2000, 2000]
    assert found.watts[[0, 1439, 1440, 2879], 2].tolist() == [1000, 1000, 2000, 2000]


def test_a_feeder_without_shapes_needs_profiles(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="no load shapes") as caught:
        feeder_profiles(write(BUSBAR))
    assert "--profiles" in caught.value.remedy


@pytest.mark.shared
def test_the_ieee_feeders_shapes_are_its_profiles() -> None:
    folder = needs.require_shared("data", "ieee_eu_lv", "Master.dss").parent
    said = read_profiles(folder / "profiles_1min_w.csv.gz").watts[:, :55]
    assert np.array_equal(feeder_profiles(folder / "Master.dss").watts, said)


def test_the_engine_is_asked_about_loads_with_blanks_in_their_names(write) -> None:  # type: ignore[no-untyped-def]
    path = write(BUSBAR.replace("load.H1", '"load.No 12"'))
    feeder = load_feeder(path)
    street = Street(feeder, np.full((60, 3), 900, dtype=np.float32), 60, "feeder")
    assert check_minutes(path, street, as_built(street), 2, 1) < 1e-3
