"""Feeder files as people leave them: run files that export, lost coordinates, slips in figures."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pbal_study.errors import InputError
from pbal_study.feeder.dssmirror import mirror
from pbal_study.feeder.opendss import compile_feeder, load_feeder
from pbal_study.feeder.powerflow import PowerFlow, load_power
from pbal_study.input.shapes import feeder_profiles
from pbal_study.run.controllers import as_built
from pbal_study.run.enginecheck import check_minutes
from pbal_study.run.street import Street

HEAD = "Clear\nSet DefaultBaseFrequency=50\n"
NETWORK = """New Circuit.lane basekv=20 pu=1.0 mvasc3=250 mvasc1=200
New Transformer.t1 phases=3 windings=2 buses=[sourcebus lv.1.2.3.0] conns=[delta wye]
~ kvs=[20 0.4] kvas=[160 160] xhl=4
New Line.a bus1=lv bus2=a r1=0.1 x1=0.05 r0=0.3 x0=0.1 length=0.1 units=km
"""
LOADS = """New Load.one bus1=a.1 phases=1 kv=0.23 kw=1.5 {0}
New Load.two bus1=a.2 phases=1 kv=0.23 kw=2 {0}
New Load.three bus1=a.3 phases=1 kv=0.23 kw=3 {0}
"""
END = "Set voltagebases=[20 0.4]\nCalcvoltagebases\nSolve\n"
SHAPE = "New Loadshape.day npts=4 interval=6 mult=[0.5 1 2 0.25]\n"
STREET = HEAD + NETWORK + SHAPE + LOADS.format("daily=day") + END


def written(folder: Path, **files: str) -> Path:
    """Files by their stem; the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.dss").write_text(text)
    return folder / f"{next(iter(files))}.dss"


def test_what_a_run_file_exports_stays_out_of_the_feeders_folder(tmp_path: Path) -> None:
    run = written(
        tmp_path / "lane",
        run="Compile (master.dss)\nsolve\nexp voltages\nShow losses\nSave circuit\nPlot daisy\n",
        master=STREET,
    )
    mine = tmp_path / "lane" / "lane_EXP_VOLTAGES.csv"
    mine.write_text("mine")
    assert load_feeder(run).n_homes == 3
    assert {p.name for p in run.parent.iterdir()} == {"run.dss", "master.dss", mine.name}
    assert mine.read_text() == "mine"


def test_a_solution_in_the_run_file_writes_nothing_either(tmp_path: Path) -> None:
    """Demand intervals are written by Solve, and by the solutions that the study adds."""
    folder = tmp_path / "lane"
    run = written(
        folder,
        run="Redirect master.dss\nNew EnergyMeter.m element=line.a terminal=1\n"
        f'Set casename=x datapath="{folder}"\nSet DemandInterval=true DIVerbose=yes\n'
        "Set mode=daily number=4\nSolve\nClosedi\ncd C:\\results\nExport meters\n",
        master=STREET,
    )
    assert load_feeder(run).n_homes == 3
    assert {p.name for p in folder.iterdir()} == {"run.dss", "master.dss"}


def test_a_change_of_the_folder_is_named(tmp_path: Path) -> None:
    written(tmp_path / "parts", net=STREET)
    run = written(tmp_path, run="cd parts\nRedirect net.dss\n")
    with pytest.raises(InputError, match="line 1 changes to the folder parts") as caught:
        load_feeder(run)
    assert "write parts/ before" in caught.value.remedy


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_feeder(written(tmp_path, lane=STREET + "help\nabout\n? load.one.kw\n"))
    assert capfd.readouterr().out == ""


def test_files_are_found_from_wherever_the_feeder_names_them(tmp_path: Path) -> None:
    """Beside it, above it, in a folder of its own, by the whole path."""
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "day.csv").write_text("0.5\n1\n2\n0.25\n")
    written(tmp_path / "parts", net=NETWORK)
    loads = written(tmp_path / "elsewhere", loads=LOADS.format("daily=day"))
    master = written(
        tmp_path / "feeder",
        master=f"{HEAD}Redirect ../parts/net.dss\n"
        "New Loadshape.day npts=4 interval=6 csvfile=../shapes/day.csv\n"
        f'Redirect "{loads}"\n{END}',
    )
    assert feeder_profiles(master).watts[6].tolist() == [1500.0, 2000.0, 3000.0]


def test_files_between_two_that_are_included_are_found(tmp_path: Path) -> None:
    written(tmp_path / "deep" / "net", loads=LOADS.format("daily=day"))
    shape = SHAPE.replace("mult=[0.5 1 2 0.25]", "csvfile=deep/day.csv")
    (tmp_path / "deep" / "day.csv").write_text("0.5\n1\n2\n0.25\n")
    lane = f"{HEAD}{NETWORK}{shape}Redirect deep/net/loads.dss\n{END}"
    assert feeder_profiles(written(tmp_path, lane=lane)).watts[6].tolist() == [1500, 2000, 3000]


@pytest.mark.parametrize(("above", "linked"), [("", False), ("../", False), ("../../", True)])
def test_folders_above_are_looked_into_only_where_names_lead_there(
    tmp_path: Path, above: str, linked: bool
) -> None:
    """Such a folder, as one of downloads, may hold many thousand files."""
    shape = f"New Loadshape.day npts=4 interval=6 csvfile={above}day.csv\n"
    path = written(tmp_path / "town" / "lane", lane=STREET.replace(SHAPE, shape))
    (path.parent / above / "day.csv").write_text("0.5\n1\n2\n0.25\n")
    (tmp_path / "besides.csv").write_text("")
    root = tmp_path / "town" / "scratch"
    assert mirror(path, root, []).is_file()
    assert (root / str(tmp_path / "besides.csv")[1:]).is_symlink() is linked
    assert feeder_profiles(path).watts[6].tolist() == [1500, 2000, 3000]


@pytest.mark.parametrize("command", ["BusCoords", "buscoords", "LatLongCoords"])
def test_coordinates_that_are_not_there_stop_nothing(tmp_path: Path, command: str) -> None:
    feeder = load_feeder(written(tmp_path, lane=f"{STREET}{command} where.csv\n"))
    assert any("line 14 names 'where.csv', which is not there." in n for n in feeder.notes)
    (tmp_path / "Where.CSV").write_text("a,1,2\n")
    feeder = load_feeder(tmp_path / "lane.dss")
    assert any("called 'Where.CSV': capitals matter here" in n for n in feeder.notes)
    (tmp_path / "Where.CSV").rename(tmp_path / "where.csv")
    assert load_feeder(tmp_path / "lane.dss").notes == ()


@pytest.mark.parametrize(
    "text", ["csvfile=Day.csv", "mult=(file=Day.csv)", 'pmult=[file="Day.csv"]']
)
def test_capitals_of_a_file_of_values(tmp_path: Path, text: str) -> None:
    (tmp_path / "day.csv").write_text("1\n2\n")
    street = STREET.replace("mult=[0.5 1 2 0.25]", text)
    with pytest.raises(InputError) as caught:
        load_feeder(written(tmp_path, lane=street))
    assert "says 'Day.csv', the file is called 'day.csv'" in caught.value.remedy


def test_the_engines_complaint_names_the_file_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, lane=STREET.replace("kw=1.5", "kw=1.5 nonsense=1"))
    with pytest.raises(InputError) as caught:
        load_feeder(path)
    assert str(path) in caught.value.message
    assert "pbal-study-" not in caught.value.message


@pytest.mark.parametrize("remark", ["' to begin with", '" of the day', "   'tis solved"])
def test_a_remark_behind_an_apostrophe(tmp_path: Path, remark: str) -> None:
    assert load_feeder(written(tmp_path, lane=f"{STREET}Set totaltime=0 {remark}\n")).n_homes == 3


def test_an_open_quote_that_swallows_properties_is_still_refused(tmp_path: Path) -> None:
    path = written(tmp_path, lane=STREET.replace("kw=2 ", "kw=2 'home daily=day pf="))
    with pytest.raises(InputError, match="is not closed"):
        load_feeder(path)


# -- factors of all loads ---------------------------------------------------------------------

SCALES = ("", "Set LoadMult=0.5", "Set Year=3 %growth=10")


def engine_day(path: Path, mode: str, loads: Sequence[str]) -> dict[str, list[float]]:
    """The engine's own quarters of a day of each load, kW."""
    engine = compile_feeder(path)
    engine.Text.Command = f"set mode={mode} stepsize=6h number=1 hour=0"
    found: dict[str, list[float]] = {name: [] for name in loads}
    for _ in range(4):
        engine.Text.Command = "solve"
        for name, kw in found.items():
            engine.ActiveCircuit.SetActiveElement(f"Load.{name}")
            kw.append(float(engine.ActiveCircuit.ActiveCktElement.Powers[0]))
    return found


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("mode", ["daily", "yearly"])
def test_factors_of_all_loads_are_the_engines(tmp_path: Path, scale: str, mode: str) -> None:
    """Loads of every status that follow a shape of shares, or of kilowatts."""
    shapes = "".join(
        SHAPE.replace("day", f"day{actual}").replace("interval=6", f"interval=6 useactual={actual}")
        for actual in ("no", "yes")
    )
    kinds = list(itertools.product(("variable", "fixed", "exempt"), ("no", "yes")))
    loads = "".join(
        f"New Load.{status}_{actual} bus1=a.{1 + k % 3} phases=1 kv=0.23 kw=1.5 "
        f"status={status} {mode}=day{actual}\n"
        for k, (status, actual) in enumerate(kinds)
    )
    path = written(tmp_path, lane=f"{HEAD}{NETWORK}{shapes}{loads}{END}{scale}\n")
    profiles = feeder_profiles(path)
    ours = dict(zip(profiles.names, (profiles.watts[::6] / 1000).T.tolist(), strict=True))
    said = engine_day(path, mode, list(ours))
    assert len(said) == len(kinds)
    for name, kw in said.items():
        # A constant-power load within its band: the engine's tolerance is all that is left.
        assert ours[name] == pytest.approx(kw, rel=1e-3), name


def test_factors_are_said(tmp_path: Path) -> None:
    path = written(tmp_path, lane=f"{STREET}Set loadmult=0.5 year=3 %growth=10\n")
    assert [n for n in load_feeder(path).notes if "LoadMult" in n or "Year 3" in n] == [
        "The feeder file multiplies its loads by 0.5 (LoadMult).",
        "The feeder file lets its loads grow to 1.21 times (Year 3).",
    ]


@pytest.mark.parametrize("scale", SCALES)
def test_the_engines_own_factors_do_not_count_twice_in_its_check(
    tmp_path: Path, scale: str
) -> None:
    path = written(tmp_path, lane=f"{STREET}{scale}\n")
    watts = np.full((4, 3), 900, dtype=np.float32)
    street = Street(load_feeder(path), watts, 3600, "feeder")
    assert check_minutes(path, street, as_built(street), 2, 1) < 1e-3


@pytest.mark.parametrize("years", ["1 3 5", "2026 2027 2031", "0 2 3"])
@pytest.mark.parametrize("after", [0, 1, 4, 7])
@pytest.mark.parametrize("mode", ["daily", "yearly"])
def test_growth_shapes_are_the_engines(tmp_path: Path, years: str, after: int, mode: str) -> None:
    year = max(int(years.split()[0]) + after, 0)
    growth = f"New Growthshape.town npts=3 year=[{years}] mult=[1.1 1.02 0.95]\n"
    loads = LOADS.format(f"{mode}=day").replace("kw=1.5", "kw=0.5 growth=Town")
    lane = f"{HEAD}{NETWORK}{SHAPE}{growth}{loads}{END}Set Year={year} %growth=0\n"
    path = written(tmp_path, lane=lane)
    ours = feeder_profiles(path).watts[::6, 0] / 1000
    assert ours.tolist() == pytest.approx(engine_day(path, mode, ["one"])["one"], rel=1e-3)
    feeder = load_feeder(path)
    assert feeder.homes[0].kw == pytest.approx(ours[1], rel=1e-6)
    assert any("town" in n for n in feeder.notes) == (year > 0)


@pytest.mark.parametrize(
    ("growth", "years"),
    [("year=[1 3]", "Set Year=2026"), ("year=[1 1]", "Set Year=2"), ("", "Set Year=2026")],
)
def test_growth_that_cannot_be_is_refused(tmp_path: Path, growth: str, years: str) -> None:
    shape = f"New Growthshape.town npts=2 {growth} mult=[1.1 1.02]\n" if growth else ""
    loads = LOADS.format("daily=day growth=town" if growth else "daily=day")
    path = written(tmp_path, lane=f"{HEAD}{NETWORK}{SHAPE}{shape}{loads}{END}{years}\n")
    with pytest.raises(InputError, match=r"do not ascend|times what they are") as caught:
        load_feeder(path)
    assert "first year" in caught.value.remedy or "Sort" in caught.value.remedy


def test_a_shape_without_points(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("1\n2\n")
    street = STREET.replace("npts=4 interval=6 mult=[0.5 1 2 0.25]", "pmult=(file=day.csv)")
    with pytest.raises(InputError, match="is empty") as caught:
        feeder_profiles(written(tmp_path, lane=street))
    assert "npts=" in caught.value.remedy


# -- the network ------------------------------------------------------------------------------


def test_shapes_of_zeros(tmp_path: Path) -> None:
    """All zeros would give a report of zeros; a few values and a larger npts= end in zeros."""
    nothing = SHAPE.replace("0.5 1 2 0.25", "0 0 0 0")
    with pytest.raises(InputError, match="zero throughout"):
        feeder_profiles(written(tmp_path, lane=STREET.replace(SHAPE, nothing)))
    short = SHAPE.replace("0.5 1 2 0.25", "0.5")
    notes = feeder_profiles(written(tmp_path, lane=STREET.replace(SHAPE, short))).notes
    assert any("zero in its last 3 of 4 points" in note for note in notes)


def busbar_losses_w(folder: Path, mvasc: str) -> float:
    """Losses behind a source without a transformer, of one state."""
    text = f"""{HEAD}New Circuit.bar basekv=0.4 pu=1.0 mvasc3={mvasc} mvasc1={mvasc} bus1=bar
New Line.a bus1=bar bus2=a r1=0.2 x1=0.08 r0=0.6 x0=0.2 length=0.2 units=km
New Load.here bus1=bar.1 phases=1 kv=0.23 kw=1
{LOADS.format("")}Set voltagebases=[0.4]
Calcvoltagebases
Solve
"""
    feeder = load_feeder(written(folder, bar=text))
    watts = np.array([[500.0, 1500.0, 2500.0, 1000.0]], dtype=np.float32)
    flow = PowerFlow(feeder).solve(load_power(watts, feeder.homes), feeder.phases[None, :])
    return float(flow.losses_w[0])


def test_losses_keep_their_digits_behind_a_stiff_source(tmp_path: Path) -> None:
    soft = busbar_losses_w(tmp_path, "1e5")
    assert soft > 1
    for mvasc in ("1e8", "1e10", "1e12"):
        assert busbar_losses_w(tmp_path, mvasc) == pytest.approx(soft, rel=1e-3)


def notes_of(folder: Path, text: str, transformer: str = "") -> str:
    return "\n".join(load_feeder(written(folder, lane=text), transformer).notes)


def test_slips_that_stop_nothing_are_asked_about(tmp_path: Path) -> None:
    assert "Beware" not in notes_of(tmp_path, STREET)
    rated = STREET.replace("kvas=[160 160]", "kvas=[160000 160000]")
    assert "160 000 kVA at 400 V; is that kVA or VA?" in notes_of(tmp_path, rated)
    rated = STREET.replace("kvas=[160 160]", "kvas=[1.6 1.6]")
    assert "1.6 kVA; is that kVA or MVA?" in notes_of(tmp_path, rated)
    watts = STREET.replace("kw=1.5", "kw=1500")
    assert "1 single-phase load draws more than 100 kW (first one: 1500 kW)" in notes_of(
        tmp_path, watts
    )
    one_phase = STREET.replace("a.2", "a.1").replace("a.3", "a.1")
    assert "all 3 homes are on phase A as built" in notes_of(tmp_path, one_phase)
    second = STREET.replace(
        "New Line",
        "New Transformer.t2 phases=3 windings=2 buses=[sourcebus lv.1.2.3.0] conns=[delta wye] "
        "kvs=[20 0.4] kvas=[160 160] xhl=4\nNew Line",
        1,
    )
    assert "t2 feeds the same homes in parallel with t1" in notes_of(tmp_path, second, "t1")


def test_what_gives_energy_or_shorts_the_street_is_asked_about(tmp_path: Path) -> None:
    assert not [n for n in load_feeder(written(tmp_path, lane=STREET)).notes if "Beware" in n]
    lane = STREET.replace("length=0.1", "length=-0.1").replace(
        END, "New Fault.f bus1=a.1 phases=1 r=9\nNew Fault.g bus1=a.2 enabled=no\n" + END
    )
    told = " ".join(load_feeder(written(tmp_path, lane=lane)).notes)
    assert "1 line has a length below zero (first a)" in told
    assert "in every figure: 1 (first Fault.f)" in told


def test_a_network_without_a_solution_is_not_said_to_be_unreadable(tmp_path: Path) -> None:
    lane = STREET.replace("kvas=[160 160]", "kvas=[0 0]")
    with pytest.raises(InputError, match="equations have no solution") as caught:
        load_feeder(written(tmp_path, lane=lane))
    assert "rated 0 kVA" in caught.value.remedy


def test_losses_below_zero_are_no_figure(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from pbal_tools.study.cli import app

    for length, asked in (("0.1", False), ("-0.1", True)):
        lane = STREET.replace("length=0.1", f"length={length}").replace("interval=6", "interval=1")
        path = written(tmp_path, lane=lane)
        done = CliRunner().invoke(app, ["--feeder", str(path), "--controllers", "as_built"])
        assert done.exit_code == 0, done.output
        assert ("Beware: losses are below zero (As built)" in done.output) is asked
