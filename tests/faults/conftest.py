"""Streets with the real controller, quick settings, and something to balance at once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from twin_rig import FAST

from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig


@pytest.fixture
def make_street() -> Callable[..., Street]:
    """Six homes of 2 kW, all on phase A unless told otherwise."""

    def make(homes: int = 6, **change: Any) -> Street:
        table = np.full((1, homes), 2000.0)
        table += np.arange(homes) * 60.0  # no two homes alike: the planner's choice is unique
        config = StreetConfig(
            homes=homes,
            loads=TableLoads(table, 60.0, [f"home_{i}" for i in range(homes)]),
            node_settings=dict(FAST),
            start_phases=[0] * homes,
        )
        for name, value in change.items():
            setattr(config, name, value)
        return Street(config)

    return make
