"""A practice street: homes with keys, one of them wired wrongly, and nodes without keys."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import numpy as np

from pbal_sim.home import Home
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig

_WATTS = (150.0, 700.0, 1500.0, 2300.0, 3000.0)
_STEP_S = 0.5
_SWITCHES = 0.3  # chance of a load that changes in one step
# Starts quickly; the dwell is that of a street, so that the transfer test has to deal with it.
_SETTINGS = {
    "dwell_s": 900, "daily_cap": 60, "good_time_ms": 600, "return_spread_ms": 400,
}  # fmt: skip


class PracticeStreet(Street):
    """`keyed` homes have keys, the others wait at unit 247. `swapped`: the home (1, 2, ...) whose
    supply wires A and B are exchanged, 0 for none. `folder` gets the transformer's meter file.
    """

    def __init__(self, folder: Path, homes: int, keyed: int, swapped: int, seed: int = 1) -> None:
        names = [f"home_{i + 1}" for i in range(homes)]
        super().__init__(
            StreetConfig(
                homes=homes, loads=TableLoads(np.full((1, homes), 800.0), 60.0, names),
                start_phases=[i % 3 for i in range(homes)], node_settings=dict(_SETTINGS),
                seed=seed,
            )
        )  # fmt: skip
        self._folder = folder
        self._keyed = keyed
        self._swapped = swapped
        self._people = random.Random(seed)

    def _home(self, i: int, image: bytes, hal: Path) -> Home:
        home = super()._home(i, image, hal)
        files = dict(home.chip.first_files or {})
        if i >= self._keyed:
            files.pop("/cfg/identity.json")
        if i + 1 == self._swapped:
            files["/board.json"] = json.dumps(self._exchanged())
        home.chip.first_files = files
        return home

    def _exchanged(self) -> dict[str, object]:
        """The board as a node sees it whose terminals A and B are wired the other way round."""
        board: dict[str, object] = json.loads(json.dumps(self.board))
        for table, one, other in (("sense", "va", "vb"), ("selector", "a", "b")):
            pins = board[table]
            assert isinstance(pins, dict)
            pins[one], pins[other] = pins[other], pins[one]
        board["config"] = dict(self.config.node_settings)
        return board

    async def live(self) -> None:
        """Switches loads on and off, and writes the meter's file, until it is cancelled."""
        assert isinstance(self.loads, TableLoads)
        while True:
            if self._people.random() < _SWITCHES:
                home = self._people.randrange(self.config.homes)
                self.loads.watts[0][home] = self._people.choice(_WATTS)
            m = self.mains
            power = (m.v_phase * np.conj(m.i_phase)).real
            text = json.dumps(
                {"v": np.abs(m.v_phase).tolist(), "i_a": np.abs(m.i_phase).tolist(),
                 "p_w": power.tolist()}
            )  # fmt: skip
            fresh = self._folder / "meter.new"
            fresh.write_text(text)
            fresh.replace(self._folder / "meter.json")
            await asyncio.sleep(_STEP_S)
