"""Calibration: two points, what is refused, and the proof by a second voltage."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbal_protocol import config
from pbal_tools.commission import calibrate, content
from pbal_tools.commission.questions import Asker
from pbal_tools.commission.state import State
from pbal_tools.errors import CheckFailed


@settings(deadline=None)
@given(
    st.floats(0.93, 1.07), st.floats(-3e-5, 3e-5), st.floats(0.5, 3.0), st.floats(8.0, 30.0),
    st.integers(-50000, 50000), st.integers(-20000, 20000),
)  # fmt: skip
def test_two_points_are_exact_whatever_was_set_before(
    gain: float, bend: float, small: float, large: float, old_trim: int, old_bend: int
) -> None:
    def shown(raw: float, trim: int, ppb: int) -> float:
        return raw * (1 + trim / 1e6 + ppb / 1e9 * raw * raw)

    def point(raw: float) -> calibrate.Point:
        seen = shown(raw, old_trim, old_bend)
        true = raw * (gain + bend * raw * raw)
        return calibrate.Point(seen, true, calibrate.raw_current(seen, old_trim, old_bend))

    low, high = point(small), point(large)
    assert low.raw == pytest.approx(small, rel=1e-6)
    trim, ppb = calibrate.two_point(low, high)
    for one, raw in ((low, small), (high, large)):
        assert shown(raw, trim, ppb) == pytest.approx(one.reference, rel=1e-5)


def test_what_is_too_far_apart_is_no_calibration() -> None:
    assert calibrate.new_trim([(228.0, 230.28)], 0) == 10000
    assert calibrate.new_trim([(228.0, 228.0)], 1234) == 1234
    with pytest.raises(CheckFailed, match="no matter of calibration"):
        calibrate.new_trim([(230.0, 180.0)], 0)
    with pytest.raises(CheckFailed, match="no matter of calibration"):
        calibrate.new_trim([(0.0, 230.0)], 0)
    with pytest.raises(CheckFailed, match="too close"):
        calibrate.two_point(calibrate.Point(5, 5, 5), calibrate.Point(6, 6, 6))
    with pytest.raises(CheckFailed, match="trim_i_ppm"):
        calibrate.two_point(calibrate.Point(1, 1.3, 1), None)
    for name in ("trim_out_ppm", "trim_a_ppm", "trim_b_ppm", "trim_c_ppm", "trim_i_ppm"):
        assert config.entry(name)[3:5] == (-100000, 100000)


@settings(deadline=None)
@given(st.floats(0.95, 1.05), st.integers(-40000, 40000), st.floats(200, 225), st.floats(12, 40))
def test_two_voltages_give_the_gain_whatever_was_set_before(
    gain: float, old_ppm: int, low_v: float, apart_v: float
) -> None:
    raws = [low_v, low_v + apart_v]
    seen = [(raw * (1 + old_ppm / 1e6), raw * gain) for raw in raws]
    trim = calibrate.new_trim(seen, old_ppm)
    for raw in raws:
        assert raw * (1 + trim / 1e6) == pytest.approx(raw * gain, abs=1e-3)


def test_two_voltages_that_are_no_line_or_one_point_are_refused() -> None:
    # An offset of 6 V, as hum or saturation makes it: each point alone would have looked well.
    with pytest.raises(CheckFailed, match="no straight line"):
        calibrate.new_trim([(200.0, 206.0), (250.0, 250.0)], 0)
    with pytest.raises(CheckFailed, match="too close"):
        calibrate.new_trim([(230.0, 231.0), (232.0, 233.0)], 0)


class Bench:
    """A node on a variac: it shows its inputs times a gain of its own, plus an offset if broken."""

    address = 12

    def __init__(self, offset_v: float = 0.0) -> None:
        self.supply_v, self.offset_v = 205.0, offset_v
        self.held = {row[1]: 0 for row in config.KEYS}

    def settings(self) -> dict[str, int]:
        return dict(self.held)

    def set(self, name: str, value: int) -> None:
        self.held[name] = value

    def reading(self) -> SimpleNamespace:
        raw = self.supply_v * 0.97 + self.offset_v
        shown = {
            f"v{k}_v": raw * (1 + self.held[f"trim_{name}_ppm"] / 1e6)
            for k, name in (("a", "a"), ("b", "b"), ("c", "c"), ("out", "out"))
        }
        return SimpleNamespace(**shown, current_a=0.0)

    def turn(self, point: str) -> None:
        if point == "v_second":
            self.supply_v = 248.0


@pytest.mark.parametrize("offset_v", [0.0, 12.0])
def test_a_second_voltage_proves_the_channel_or_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset_v: float
) -> None:
    monkeypatch.setattr(calibrate, "_PAUSE_S", 0.0)
    node = Bench(offset_v)
    answers = {"va": 205.0, "vout": 205.0, "va_second": 248.0, "vout_second": 248.0}
    job: Any = SimpleNamespace(
        state=State.open(tmp_path / "r", 7, "north"), home=lambda a: SimpleNamespace(name="x"),
        talk=lambda a: node, ask=Asker({"calibrate": {"12": answers}}),
    )  # fmt: skip
    if offset_v:
        with pytest.raises(CheckFailed, match="no straight line"):
            calibrate.calibrate_home(job, 12, node.turn)
        assert not any(node.held.values())
        return
    calibrate.calibrate_home(job, 12, node.turn)
    told = job.state.home(12)["calibrate"]
    assert list(told["points"]) == ["vout", "vout_second", "va", "va_second"]
    # Only the second is still there to be measured again.
    assert "after" not in told["points"]["va"]
    assert told["points"]["va_second"]["after"] == pytest.approx(248.0, abs=0.01)
    assert told["written"] == {"trim_out_ppm": 30928, "trim_a_ppm": 30928}
    assert job.state.data["restore"] == {}
    rows = content.calibration_rows({"calibration": told})
    assert ["va_second", "240.56", "248", "248"] in rows
