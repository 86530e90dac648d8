"""What the planner's surroundings make of a transformer meter."""

import math

import numpy as np
import pytest

from pbal_controller.config import PlannerConfig
from pbal_controller.meters import TransformerReading
from pbal_controller.moves import PlannerLoop, core_config


class TwoHomes:
    """A fleet as the loop sees it: two homes, 10 A and 5 A with some lag, on A and B."""

    sums = (10 - 1j, 5 - 0.5j, 0j)

    def __iter__(self):
        return iter(())

    def phase_sums(self, now, max_age_s):
        return self.sums


def loop_with(reading):
    return PlannerLoop(TwoHomes(), None, PlannerConfig(), lambda *_: None, lambda: reading)


def test_the_rest_is_what_the_meter_sees_and_no_home_draws():
    volts = np.array([230.0, 231.0, 229.0])
    there = np.array([4 - 2j, 0j, 7 + 1j])  # beside the homes
    power = volts * np.conj(np.array(TwoHomes.sums) + there)
    meter = TransformerReading(
        v=tuple(volts), i=(0.0, 0.0, 0.0), p_w=tuple(power.real), q_var=tuple(power.imag)
    )
    assert loop_with(meter).rest(0.0) == pytest.approx(there)


def test_a_phase_the_meter_does_not_know_is_unknown():
    meter = TransformerReading(
        v=(230.0, 0.0, 230.0), i=(0.0,) * 3, p_w=(0.0, 0.0, math.nan), q_var=(0.0,) * 3
    )
    rest = loop_with(meter).rest(0.0)
    assert np.isnan(rest).tolist() == [False, True, True]
    assert loop_with(None).rest(0.0) is None


def test_the_core_is_told_the_local_time_unless_it_was():
    assert core_config(PlannerConfig(core={"utc_offset_s": 7})).utc_offset_s == 7.0
    assert abs(core_config(PlannerConfig()).utc_offset_s) <= 14 * 3600
