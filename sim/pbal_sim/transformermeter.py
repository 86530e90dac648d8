"""The transformer's own meter of a street, as a file that another program would keep."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pbal_sim.street import Street


def reading(street: Street) -> dict[str, Any]:
    """The true values at the busbar: V, A, W, var of phases A, B, C, the neutral's A, Hz."""
    m = street.mains
    s = m.v_phase * np.conj(m.i_phase)
    return {
        "v": [round(float(x), 2) for x in np.abs(m.v_phase)],
        "i_a": [round(float(x), 3) for x in np.abs(m.i_phase)],
        "p_w": [round(float(x), 1) for x in s.real],
        "q_var": [round(float(x), 1) for x in s.imag],
        "neutral_a": round(abs(m.i_neutral), 3),
        "freq_hz": m.supply.hz,
    }


async def keep_file(street: Street, path: Path, every_s: float = 0.5) -> None:
    """Write the reading into a file, each time as a whole, until cancelled."""
    fresh = path.with_suffix(".new")
    while True:
        fresh.write_text(json.dumps(reading(street)))
        os.replace(fresh, path)
        await asyncio.sleep(every_s)
