"""Every load model over a day of the file's own shapes, held against the engine's own day.

The engine runs its own time series here, with its own vars: nothing of ours tells it what to draw.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pbal_study.feeder.model import Feeder
from pbal_study.feeder.opendss import compile_feeder, load_feeder
from pbal_study.feeder.powerflow import PowerFlow, load_power
from pbal_study.input.homes import apply_list, assign_columns
from pbal_study.input.shapes import feeder_profiles

Write = Callable[[str], Path]

STREET = """Clear
Set DefaultBaseFrequency=50
New Circuit.lane basekv=20 pu=1.0 mvasc3=250 mvasc1=200
New Transformer.t1 phases=3 windings=2 buses=[sourcebus lv.1.2.3.0] conns=[delta wye]
~ kvs=[20 0.4] kvas=[100 100] xhl=4 %loadloss=1.5
New Line.a bus1=lv bus2=a r1=0.3 x1=0.1 r0=0.6 x0=0.2 length=0.2 units=km
New Line.s phases=1 bus1=a.3 bus2=end.3 r1=0.9 x1=0.1 r0=0.9 x0=0.1 c1=0 c0=0 length=0.05 units=km
New Loadshape.day npts=4 interval=6 mult=[0.5 1 2 0.25]
New Load.one bus1=a.1 phases=1 kv=0.23 kw=3 {vars} {model}
New Load.two bus1=a.2 phases=1 kv=0.23 kw=2 {vars} {model}
New Load.three bus1=end.3 phases=1 kv=0.23 kw=1.5 {vars} {model}
New Load.four bus1=end.3 phases=1 kv=0.23 kw=0.5 {vars} {model}
New Load.hall bus1=a phases=3 kv=0.4 kw=6 {vars} {model}
{scale}
Set voltagebases=[20 0.4]
Calcvoltagebases
Solve
"""

pytestmark = pytest.mark.usefixtures("engine")


def day(path: Path, load_model: str = "feeder") -> tuple[Feeder, np.ndarray, np.ndarray]:
    """The feeder, and transformer phase currents and home voltages of its day, by the hour."""
    feeder, rows = apply_list(load_feeder(path), [], None)
    watts, _ = assign_columns(feeder, rows, feeder_profiles(path), False)
    phases = np.tile(feeder.phases.astype(np.int8), (len(watts), 1))
    power = load_power(watts.astype(float), [*feeder.homes, *feeder.fixed], load_model)
    flow = PowerFlow(feeder, load_model).solve(power, phases)
    return feeder, flow.lv_current, flow.home_voltage


@pytest.mark.parametrize(
    ("of_file", "band", "scale"),
    [
        ("pf=0.9", "vminpu=0.85 vmaxpu=1.15", ""),
        ("pf=-0.95", "vminpu=0.99 vmaxpu=1.15", ""),
        ("kvar=0.7", "vminpu=0.85 vmaxpu=1.15", "Set LoadMult=0.6 Year=3 %growth=4"),
    ],
)
@pytest.mark.parametrize("model", [*range(1, 9)])
def test_a_day_is_the_engines_own(
    write: Write, model: int, of_file: str, band: str, scale: str
) -> None:
    more = " zipv=[0.3 0.3 0.4 0.5 0.2 0.3 0.5]" if model == 8 else ""
    said = f"model={model} {band}{more} yearly=day"
    path = write(STREET.format(vars=of_file, model=said, scale=scale))
    feeder, current, volts = day(path)
    assert [h.name for h in feeder.homes] == ["one", "two", "three", "four"]
    engine = compile_feeder(path)
    text, circuit = engine.Text, engine.ActiveCircuit
    text.Command = "set mode=yearly number=1 stepsize=6h tolerance=1e-10 maxiterations=200"
    for k in range(4):
        text.Command = "solve"
        circuit.SetActiveElement("Line.a")
        amps = np.asarray(circuit.ActiveCktElement.Currents, float).view(complex)[:3]
        assert amps == pytest.approx(current[6 * k], rel=1e-6, abs=1e-6), k
        for home, ours in zip(feeder.homes, volts[6 * k], strict=True):
            circuit.SetActiveElement(f"Load.{home.name}")
            own = np.asarray(circuit.ActiveCktElement.Voltages, float).view(complex)[0]
            assert abs(own) == pytest.approx(ours, rel=1e-6), (k, home.name)


@pytest.mark.parametrize("model", [6, 7])
def test_vars_that_the_file_holds_are_said_and_stay(write: Write, model: int) -> None:
    path = write(STREET.format(vars="kvar=0.7", model=f"model={model} yearly=day", scale=""))
    feeder = load_feeder(path)
    assert any("5 loads are of model 6 or 7" in note for note in feeder.notes)
    watts = np.array([[0.0, -4000, 100, 100, 100]])
    points = [*feeder.homes, *feeder.fixed]
    assert load_power(watts, points).imag[0] == pytest.approx([700.0] * 5)
    # As power, what a meter measured: by the power factor.
    assert load_power(watts, points, "power").imag[0, :2] == pytest.approx([0, 0])


def test_shapes_with_vars_of_their_own_are_asked_about(write: Write) -> None:
    def asked(of_file: str, more: str) -> bool:
        text = STREET.format(vars=of_file, model="yearly=day", scale="")
        path = write(text.replace("mult=[0.5 1 2 0.25]", f"mult=[0.5 1 2 0.25] {more}"))
        return any("other vars than" in note for note in feeder_profiles(path).notes)

    for of_file in ("pf=0.9", "kvar=0.5"):
        assert not asked(of_file, "")
        assert not asked(of_file, "qmult=[0.5 1 2 0.25]")
        assert asked(of_file, "qmult=[0.5 1 2.5 0.3]")
