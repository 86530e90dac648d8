"""A village to be commissioned by radio: real firmware and emulated SX1276 chips, in real time.

Home 3 holds another key than the store, home 4 is out of reach, home 2 is put on later.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

from pbal_controller.keys import KeyStore
from pbal_sim.loads import TableLoads
from pbal_sim.radio import PiPort, Sx1276
from pbal_sim.street import Street, StreetConfig
from pbal_sim.streetconfig import RadioSite
from rigs.commission import Rig, alive
from rigs.flash import Ran
from rigs.twin import FAST

HOMES = 4
LATE, OTHER_KEY, FAR = 1, 2, 3  # indices
_FAR_M = 200_000.0


class Village(Rig):
    """The street, its key store, site file and transformer meter, and the real `pbal` command."""

    def __init__(self, street: Street, folder: Path) -> None:
        super().__init__(street, folder)
        (folder / "keys.json").unlink()
        store = KeyStore.create(
            folder / "keys.json", b"a good passphrase", street.config.site_id, log2_n=10,
            group_key=street.identities[0].group,
        )  # fmt: skip
        roots = [n.root for n in street.identities]
        roots[OTHER_KEY] = os.urandom(32)
        store.add_many(
            [(n.address, n.eui, r) for n, r in zip(street.identities, roots, strict=True)]
        )

    def write_site(self, metered: bool = True, homes: int = HOMES) -> None:
        """With a radio in place of a bus."""
        lines = ["[site]", f"id = {self.street.config.site_id}", 'name = "Test Village"',
                 "[radio.village]", 'region = "IN865"', "sf = 7", "guard_ms = 60.0"]  # fmt: skip
        if metered:
            path = self.folder / "meter.json"
            lines += ["[transformer.meter]", 'kind = "file"', f'path = "{path}"']
        for n in self.street.identities[:homes]:
            lines += ["[[home]]", f"address = {n.address}", f'name = "{n.name}"',
                      'bus = "village"', 'board = "lilygo-t3"']  # fmt: skip
        (self.folder / "site.toml").write_text("\n".join(lines) + "\n")

    async def pbal(self, *args: str, timeout_s: float = 600, **env: str) -> Ran:
        """The real command, on the computer with the radio."""
        assert self.street.hub is not None
        return await super().pbal(
            *args, timeout_s=timeout_s, **(self.street.hub.environment() | env)
        )

    def command(self, *more: str) -> list[str]:
        """The arguments of `run`, for a process of one's own."""
        return [
            "commission", "run", "site.toml", "-k", "keys.json", "--passphrase-file", "keys.pass",
            "--folder", "record", "--answers", "answers.json", *more,
        ]  # fmt: skip


@asynccontextmanager
async def second_pi(village: Village) -> AsyncIterator[PiPort]:
    """Another computer with a radio beside the village's."""
    street = village.street
    chip = Sx1276(street.air, "another")
    async with PiPort(street.workdir / "pi2", chip, street._schedule) as port:
        yield port


@asynccontextmanager
async def village() -> AsyncIterator[Village]:
    """The village running, with people in it."""
    loads = TableLoads(np.full((1, HOMES), 800.0), 60.0, [f"home_{i}" for i in range(HOMES)])
    config = StreetConfig(
        homes=HOMES, board="lilygo-t3", loads=loads, start_phases=[0, 1, 2, 1],
        radio=RadioSite(sf=7), node_settings={**FAST, "dwell_s": 900, "daily_cap": 30},
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pbal-village-") as name:
        async with Street(config) as street:
            wire = street.homes[FAR].radio_wire
            assert wire is not None
            wire.radio.at = (_FAR_M, 0.0)
            async with alive(Village(street, Path(name))) as made:
                yield made
