"""The power flow: against the OpenDSS engine, against sums done by hand, and with itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rigs import needs

from pbal_study.errors import InputError
from pbal_study.feeder import powerflow
from pbal_study.feeder.model import A, LoadPoint, ideal_feeder
from pbal_study.feeder.opendss import load_feeder
from pbal_study.feeder.powerflow import MinuteFlow, PowerFlow, load_power

Compare = Callable[..., float]
SMALL = Path(__file__).parent / "data" / "small.dss"


@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
def test_agrees_with_the_engine_on_every_kind_of_load(compare: Compare, scale: float) -> None:
    """4.0 drives voltages below every band, 0.05 leaves them above 1.03 pu."""
    needs.require_module("dss", "study")
    rng = np.random.default_rng(5)
    feeder = load_feeder(SMALL)
    names = ["power", "impedance", "current", "mixed", "another", "lateral"]
    assert [h.name for h in feeder.homes] == names
    assert [f.name for f in feeder.fixed] == ["workshop", "pump", "between"]
    loads = len(feeder.homes) + len(feeder.fixed)
    watts = rng.gamma(0.8, 2000, (12, loads)) * scale
    watts[3, :3] *= -1
    phases = rng.integers(0, 3, (12, feeder.n_homes)).astype(np.int8)
    assert compare(SMALL, watts, phases) < 1e-3


def test_agrees_with_the_engine_on_the_demo_street(compare: Compare, tmp_path: Path) -> None:
    needs.require_module("dss", "study")
    from pbal_tools.study.demo import feeder_text, home_watts

    path = tmp_path / "demo.dss"
    path.write_text(feeder_text())
    watts = home_watts(1, 3)[::97].astype(float)
    phases = np.random.default_rng(1).integers(0, 3, watts.shape).astype(np.int8)
    assert compare(path, watts, phases) < 1e-3


@pytest.mark.shared
def test_agrees_with_the_engine_on_the_ieee_european_feeder(compare: Compare) -> None:
    needs.require_module("dss", "study")
    path = needs.require_shared("data", "ieee_eu_lv", "Master.dss")
    rng = np.random.default_rng(9)
    watts = rng.gamma(0.7, 2500, (10, 55))
    watts[:, :6] *= -1
    phases = rng.integers(0, 3, (10, 55)).astype(np.int8)
    assert compare(path, watts, phases) < 1e-3


def homes(phases: str, factor: float = 1.0) -> list[LoadPoint]:
    return [
        LoadPoint(f"h{k}", "", "ABC".index(p), v_base=230.0, power_factor=factor)
        for k, p in enumerate(phases)
    ]


def held(feeder, steps: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.tile(feeder.phases.astype(np.int8), (steps, 1))


def test_neutral_of_a_stiff_supply_is_the_phasor_sum() -> None:
    feeder = ideal_feeder(homes("ABC"))
    watts = np.array([[2300.0, 0, 0], [2300, 2300, 2300], [2300, 2300, 0], [0, 0, -2300]])
    flow = PowerFlow(feeder).solve(load_power(watts, list(feeder.homes)), held(feeder, 4))
    assert np.abs(flow.neutral) == pytest.approx([10, 0, 10, 10], abs=1e-9)
    assert np.abs(flow.lv_current[0]) == pytest.approx([10, 0, 0], abs=1e-9)


def test_losses_of_one_home_on_a_main_by_hand() -> None:
    """0.1 ohm out and 0.15 ohm back carry the same current: P = 0.25 I^2, U = 230 - 0.25 I."""
    feeder = ideal_feeder(homes("B"), phase_ohm=0.1, neutral_ohm=0.15)
    flow = PowerFlow(feeder, "power").solve(np.array([[4000 + 0j]]), held(feeder, 1))
    # 230 i - 0.25 i^2 = 4000
    i = (230 - np.sqrt(230**2 - 4 * 0.25 * 4000)) / 0.5
    assert np.abs(flow.neutral[0]) == pytest.approx(i, abs=1e-6)
    assert flow.losses_w[0] == pytest.approx(0.25 * i * i, abs=1e-3)
    assert flow.home_voltage[0, 0] == pytest.approx(230 - 0.25 * i, abs=1e-6)


def test_balanced_homes_lose_nothing_in_the_return() -> None:
    feeder = ideal_feeder(homes("ABC"), phase_ohm=0.1, neutral_ohm=5.0)
    flow = PowerFlow(feeder, "power").solve(np.full((1, 3), 2000 + 0j), held(feeder, 1))
    i = (230 - np.sqrt(230**2 - 4 * 0.1 * 2000)) / 0.2
    assert flow.losses_w[0] == pytest.approx(3 * 0.1 * i * i, abs=1e-3)


def test_held_and_moving_assignments_agree() -> None:
    feeder = ideal_feeder(homes("AABBC", 0.9), phase_ohm=0.2 + 0.05j, neutral_ohm=0.2)
    rng = np.random.default_rng(2)
    power = load_power(rng.gamma(1, 1500, (6, 5)), list(feeder.homes))
    solver = PowerFlow(feeder, "power")
    together = solver.solve(power, held(feeder, 6))
    # One different row makes the whole block take another road, through all ports.
    other = held(feeder, 6)
    other[5, 0] = 2
    apart = solver.solve(power, other)
    assert together.lv_current[:5] == pytest.approx(apart.lv_current[:5], abs=1e-5)
    assert np.abs(together.neutral[5] - apart.neutral[5]) > 0.1
    # Sixty minutes with one move take the third road, a stretch at a time.
    long = np.repeat(power, 10, axis=0)
    moved = held(feeder, 60)
    moved[50:, 0] = 2
    stretched = solver.solve(long, moved)
    assert stretched.lv_current[:50:10] == pytest.approx(apart.lv_current[:5], abs=1e-5)
    assert stretched.lv_current[59] == pytest.approx(apart.lv_current[5], abs=1e-5)


def test_the_minute_meter_reads_what_the_exact_flow_says() -> None:
    feeder = ideal_feeder(homes("AABBC", 0.9), phase_ohm=0.15, neutral_ohm=0.15)
    power = load_power(np.random.default_rng(4).gamma(1, 1500, (20, 5)), list(feeder.homes))
    solver = PowerFlow(feeder, "power")
    exact = solver.solve(power, held(feeder, 20)).home_current
    meter = MinuteFlow(solver, feeder.phases.astype(np.int8))
    turned = exact * A**feeder.phases
    for k in range(20):
        read = meter.currents(power[k])
        assert np.abs(read - turned[k]).max() <= 0.005 * np.abs(turned[k]).max()


def test_resistance_predicts_the_losses_of_any_assignment() -> None:
    feeder = load_feeder(SMALL)
    r = feeder.resistance()
    rng = np.random.default_rng(8)
    h = feeder.n_homes
    own = (rng.normal(size=h) + 1j * rng.normal(size=h)) * 10
    for _ in range(5):
        x = rng.integers(0, 3, h)
        absolute = own * A ** (-x.astype(float))
        full = np.zeros(3 * h, dtype=complex)
        full[3 * np.arange(h) + x] = absolute
        true = (full.conj() @ feeder.z[: 3 * h, : 3 * h].real @ full).real
        d = (x[:, None] - x[None, :]) % 3
        said = np.einsum(
            "h,hg,g->", absolute.conj(), np.take_along_axis(r, d[:, :, None], 2)[:, :, 0], absolute
        ).real
        # The three phases of this cable are not quite alike; the array holds their mean.
        assert said == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize("steps", [1, 3])
def test_overload_beyond_the_plain_iteration_still_solves_the_circuit(steps: int) -> None:
    feeder = ideal_feeder(homes("AB"), phase_ohm=2.0, neutral_ohm=2.0)
    power = np.tile([60e3 + 0j, 1e3], (steps, 1))
    flow = PowerFlow(feeder, "power").solve(power, held(feeder, steps))
    assert flow.rounds > 50
    own = feeder.v0 - feeder.z[:, [0, 4]] @ flow.home_current[0]
    assert np.abs(own[[0, 4]]) == pytest.approx(flow.home_voltage[0], abs=1e-4)
    # Kirchhoff: what the source gives is what the loads draw and the main loses.
    i_a, i_b = flow.home_current[0]
    lost = 2 * (abs(i_a) ** 2 + abs(i_b) ** 2 + abs(i_a + i_b) ** 2)
    assert flow.losses_w[0] == pytest.approx(lost, rel=1e-6)


def test_no_solution_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powerflow, "MAX_ROUNDS", 0)
    feeder = ideal_feeder(homes("A"), phase_ohm=2.0, neutral_ohm=2.0)
    with pytest.raises(InputError, match="no solution: the homes draw up to 60 kW"):
        PowerFlow(feeder, "power").solve(np.array([[60e3 + 0j]]), held(feeder, 1))


def test_only_consumption_carries_reactive_power() -> None:
    s = load_power(np.array([[1000.0, -1000.0]]), homes("AB", 0.8))
    assert s[0] == pytest.approx([1000 + 750j, -1000])
