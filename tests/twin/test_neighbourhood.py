"""S8 and S9 for a whole street of real firmware: see bench/neighbourhood.py, here with fewer homes
and quicker settings.
"""

import numpy as np
import pytest

from bench.neighbourhood import Script, crowd, play
from pbal_sim.loads import TableLoads
from pbal_sim.street import StreetConfig

# Each home draws its phase by itself: of so many on the lost one, all on one side is one in 2000.
LOST = 12
HOMES = LOST + 4
SETTINGS = {
    "good_time_ms": 5000,
    "autonomy_confirm_ms": 500,
    "autonomy_spread_ms": 8000,
    "return_spread_ms": 8000,
}


def test_crowd_counts_the_densest_second() -> None:
    assert crowd([]) == 0
    assert crowd([0.0, 0.9e6, 1.1e6, 5e6]) == 2


@pytest.mark.twin
@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_neighbourhood_settles_and_comes_back_staggered() -> None:
    loads = TableLoads(np.full((1, HOMES), 900.0), 60.0, [f"home_{i}" for i in range(HOMES)])
    config = StreetConfig(
        homes=HOMES,
        loads=loads,
        node_settings=SETTINGS,
        start_phases=[0] * LOST + [1] * 2 + [2] * 2,
        speed=1.0,
    )
    result, trace = await play(
        config, Script(quiet_s=2, lost_s=16, back_s=4, dark_s=4, return_s=60, after_s=3)
    )
    assert result["incidents"] == {}, result
    assert result["on_lost_phase"] == LOST
    assert result["went_to"]["A"] == 0
    assert min(result["went_to"]["B"], result["went_to"]["C"]) >= 1
    assert result["moves_per_home_max"] == 1
    assert result["moves_of_others"] == 0
    assert result["moves_after_phase_is_back"] == 0
    assert result["last_move_s"] - result["first_move_s"] > 1.0
    assert result["most_moves_in_1_s"] < LOST
    assert result["closings_on_return"] == HOMES
    assert result["returned_to_same_phase"] == HOMES
    assert result["return_first_s"] >= 5.0
    assert result["return_last_s"] - result["return_first_s"] > 2.0
    assert result["return_most_in_1_s"] < HOMES
    assert len(trace.t_s) > 50
