"""What a slower medium costs the neutral current: the planner on the loads of bench.control, with
readings as old, and moves as late, as they were measured of a kind of site.

Each minute the planner decides once, at a moment drawn anew. Of each home it is shown the current
of the minute in which the home's reading was taken, whose age is drawn from those measured; a move
takes effect after one of the measured times from an order to the end of its transfer. The same
moments, ages and delays in shares of their distribution are drawn for every kind.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from bench import _data
from pbal_controller.balancing import Planner, PlannerConfig
from pbal_controller.balancing.phasors import TURN


def cut(
    case: _data.Case, ages_s: list[float], moved_s: list[float], budget: float, seed: int
) -> float:
    """Neutral cut: 1 - mean |I_N| / that as built."""
    rng = np.random.default_rng(seed)
    minutes, n = case.currents.shape
    ages, delays = np.sort(ages_s), np.sort(moved_s)
    planner = Planner(n, PlannerConfig(wear_budget_per_day=budget))
    home = np.arange(n)
    ordered, real = case.start.copy(), case.start.copy()
    under_way: list[tuple[float, int, int]] = []  # when its transfer ends, home, phase
    left = built = 0.0
    for minute in range(minutes):
        begin_s = 60.0 * minute
        at_s = begin_s + 60.0 * rng.random()
        shares, late = rng.random(n), rng.random(n)
        taken_s = at_s - np.quantile(ages, shares)
        seen = np.maximum((taken_s // 60).astype(int), 0)
        planner.observe(at_s, np.ascontiguousarray(case.currents[seen, home]))
        for move in planner.decide(at_s, ordered):
            ordered[move.home] = move.to_phase
            ends_s = at_s + float(np.quantile(delays, late[move.home]))
            heapq.heappush(under_way, (ends_s, move.home, move.to_phase))
        now_s, end_s = begin_s, begin_s + 60.0
        currents = case.currents[minute]
        while under_way and under_way[0][0] < end_s:
            ends_s, moved, phase = heapq.heappop(under_way)
            left += (ends_s - now_s) * _neutral_a(currents, real)
            now_s, real[moved] = ends_s, phase
        left += (end_s - now_s) * _neutral_a(currents, real)
        built += 60.0 * _neutral_a(currents, case.start)
    return round(1 - left / built, 4)


def _neutral_a(currents: NDArray[np.complex128], phases: NDArray[np.int8]) -> float:
    return float(abs((currents * TURN[phases]).sum()))
