"""The planner decides as before its minute was made cheaper: recorded moves on random streets.

`python -m tests.unit.balancing.test_recorded_decisions` records them anew; only a change that is
meant to decide otherwise does that.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench._homes import street
from pbal_controller.balancing import Planner, PlannerConfig

RECORDED = Path(__file__).parent / "data" / "decisions.json"
STREETS: dict[str, dict[str, Any]] = {
    "neutral alone": {"n": 24, "seed": 3},
    "with the feeder": {"n": 20, "seed": 4, "feeder": True, "beta": 0.07},
    "a meter's rest, readings lost": {"n": 12, "seed": 5, "rest": True, "lost": 0.05},
    "a phase limit": {"n": 24, "seed": 6, "limits_a": 60.0},
    "every five minutes": {"n": 18, "seed": 7, "every_min": 5, "days": 2},
    "the simple rule": {"n": 16, "seed": 8, "predict": False},
    "two moves at most": {"n": 16, "seed": 9, "max_moves": 2},
}


def decide(
    n: int,
    seed: int,
    *,
    days: int = 1,
    every_min: int = 1,
    feeder: bool = False,
    rest: bool = False,
    lost: float = 0.0,
    **config: Any,
) -> list[list[float]]:
    """Minute, home, phase and saving of every move of a street."""
    rng = np.random.default_rng(seed)
    amps = street(n, days, seed)[::every_min] / 230 * (0.98 - 0.2j)
    ohm = None
    if feeder:
        way = rng.random((n, 3))
        met = 0.02 * (way @ way.T)
        ohm = np.stack((met, 0.2 * met, 0.2 * met), axis=2)
    planner = Planner(n, PlannerConfig(resistance=ohm, **config))
    now = rng.integers(0, 3, n).astype(np.int8)
    moves = []
    for k, reading in enumerate(amps):
        seen = np.where(rng.random(n) < lost, np.nan, reading)
        planner.observe(60.0 * every_min * k, seen, 3 * reading[:3] if rest else None)
        for move in planner.decide(60.0 * every_min * (k + 1), now):
            now[move.home] = move.to_phase
            moves.append([every_min * (k + 1), move.home, move.to_phase, round(move.saving, 4)])
    return moves


@pytest.mark.parametrize("name", STREETS)
def test_decisions_are_those_recorded(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    assert len(recorded) >= 10
    decided = decide(**STREETS[name])
    assert [move[:3] for move in decided] == [move[:3] for move in recorded]
    assert [move[3] for move in decided] == pytest.approx(
        [move[3] for move in recorded], rel=1e-4, abs=1e-3
    )


if __name__ == "__main__":
    RECORDED.parent.mkdir(exist_ok=True)
    rows = {name: decide(**how) for name, how in STREETS.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(moves)}" for name, moves in rows.items())
    RECORDED.write_text("{\n" + lines + "\n}\n")
