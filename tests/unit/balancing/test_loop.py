"""The planner's surroundings: what they make of a transformer's meter, and when they decide."""

import asyncio
import math

import numpy as np
import pytest

from bench._virtual_time import play
from bench.virtual_street import VirtualStreet
from pbal_controller.config import PlannerConfig
from pbal_controller.homes import Fleet
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


def decisions(fresh, until_s):
    """(time, cause, why it was skipped, moves) of each decision, where six homes are fresh when
    `fresh(time)` says so; two of them, on one phase, draw 13 A each."""
    street = VirtualStreet(6, lambda i, t: 3000.0 if i in (0, 3) else 50.0)
    street._read()
    made = []

    async def scene(loop):
        def beat():
            sampled_at = loop.time() if fresh(loop.time()) else -math.inf
            for home in street.homes:
                home.sampled_at = sampled_at

        def publish(kind, body):
            if kind == "decision":
                made.append((loop.time(), body["cause"], body["skipped"], body["moves"]))

        beat()
        config = PlannerConfig(every_s=60, settle_s=10, observe_every_s=5, max_age_s=10)
        planner = PlannerLoop(Fleet(street.homes), street, config, publish)
        running = asyncio.ensure_future(planner.run(beat))
        await asyncio.sleep(until_s)
        running.cancel()
        await asyncio.wait([running])

    play(scene)
    return made


def test_a_decision_missed_for_stale_homes_is_made_as_soon_as_they_are_fresh():
    first, again, third = decisions(lambda t: t > 36.8, 120.0)
    assert first[0] == pytest.approx(10.0, abs=0.6)
    assert first[2].startswith("stale: 0 of 6")
    assert first[3] == 0
    assert again[0] == pytest.approx(37.5, abs=0.6)
    assert again[1:3] == ("homes are fresh again", "")
    assert again[3] > 0, "it plans on readings of now"
    assert third[:2] == (pytest.approx(again[0] + 60.0, abs=0.6), "it is time")


def test_homes_that_come_and_go_do_not_make_decisions_more_frequent():
    rng = np.random.default_rng(5)
    told = decisions(lambda t: rng.random() < 0.3, 1800.0)
    made = [t for t, _, skipped, _ in told if not skipped]
    assert len(made) >= 25
    assert min(np.diff(made)) >= 59.0
    assert len(told) - len(made) <= len(made) + 1
    assert sum(cause == "homes are fresh again" for _, cause, _, _ in told) >= 10
