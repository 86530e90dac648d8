"""A street to be commissioned: provisioned homes, one wired wrongly, and two nodes without keys."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pbal_controller.keys import KeyStore
from pbal_sim.home import Home
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig
from rigs import needs
from rigs.flash import Ran
from rigs.twin import FAST

KEYED = 3  # homes with keys: 1 and 2 are right, 3 has its wires of A and B swapped
HOMES = 5
SWAPPED = 2  # index


class MixedStreet(Street):
    """Homes above KEYED have no identity; SWAPPED has two supply wires exchanged."""

    swapped = True

    def _home(self, i: int, image: bytes, hal: Path) -> Home:
        home = super()._home(i, image, hal)
        files = dict(home.chip.first_files)
        if i >= KEYED:
            files.pop("/cfg/identity.json")
        if i == SWAPPED and self.swapped:
            files["/board.json"] = json.dumps(self._exchanged())
        home.chip.first_files = files
        return home

    def _exchanged(self) -> dict[str, Any]:
        """The board as seen by a node whose terminals A and B are wired the other way round."""
        board = json.loads(json.dumps(self.board))
        for table in ("sense", "selector"):
            one = board[table]
            keys = ("va", "vb") if table == "sense" else ("a", "b")
            one[keys[0]], one[keys[1]] = one[keys[1]], one[keys[0]]
        board["config"] = dict(self.config.node_settings)
        return dict(board)


class Rig:
    """The street, its key store, site file and transformer meter, and the real `pbal` command."""

    def __init__(self, street: Street, folder: Path) -> None:
        self.street = street
        self.folder = folder
        self.restless = True
        self._rng = random.Random(5)
        (folder / "keys.pass").write_text("a good passphrase")
        os.chmod(folder / "keys.pass", 0o600)
        store = KeyStore.create(
            folder / "keys.json", b"a good passphrase", street.config.site_id, log2_n=10,
            group_key=street.identities[0].group,
        )  # fmt: skip
        store.add_many([(n.address, n.eui, n.root) for n in street.identities[:KEYED]])
        self.write_site()

    @property
    def watts(self) -> np.ndarray:
        """The loads' only row, to write to."""
        assert isinstance(self.street.loads, TableLoads)
        return self.street.loads.watts[0]

    def write_site(self, metered: bool = True, homes: int = KEYED) -> None:
        """The site file."""
        lines = ["[site]", f"id = {self.street.config.site_id}", 'name = "Test Street"',
                 "[bus.north]", f'port = "{self.street.device}"',
                 "answer_timeout_ms = 100"]  # fmt: skip
        if metered:
            path = self.folder / "meter.json"
            lines += ["[transformer.meter]", 'kind = "file"', f'path = "{path}"']
        for n in self.street.identities[:homes]:
            lines += ["[[home]]", f"address = {n.address}", f'name = "{n.name}"', 'bus = "north"',
                      f'eui = "{n.eui}"']  # fmt: skip
        (self.folder / "site.toml").write_text("\n".join(lines) + "\n")

    async def live(self) -> None:
        """People at home, and the transformer's meter: until it is cancelled."""
        while True:
            if self.restless and self._rng.random() < 0.25:
                home = self._rng.randrange(len(self.watts))
                self.watts[home] = self._rng.choice((150.0, 700.0, 1500.0, 2300.0, 3000.0))
            # What was solved last is old where this process was kept from running.
            self.street._step()
            m = self.street.mains
            power = (m.v_phase * np.conj(m.i_phase)).real
            text = json.dumps(
                {"v": np.abs(m.v_phase).tolist(), "i_a": np.abs(m.i_phase).tolist(),
                 "p_w": power.tolist()}
            )  # fmt: skip
            fresh = self.folder / "meter.new"
            fresh.write_text(text)
            fresh.replace(self.folder / "meter.json")
            await asyncio.sleep(0.4)

    async def pbal(self, *args: str, timeout_s: float = 100, **env: str) -> Ran:
        """The real command, in the rig's folder."""
        process = await asyncio.create_subprocess_exec(
            needs.require_tool("pbal"), *args, cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "TERM": "dumb",
                 "COLUMNS": "120", "MPLCONFIGDIR": str(self.folder), **env},
        )  # fmt: skip
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout_s)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def run(self, *more: str, answers: dict[str, Any] | None = None) -> Ran:
        """pbal commission run, with what every call needs."""
        (self.folder / "answers.json").write_text(json.dumps(answers or {}))
        return await self.pbal(
            "commission", "run", "site.toml", "-k", "keys.json", "--passphrase-file", "keys.pass",
            "--folder", "record", "--answers", "answers.json", "--units", "1-8", *more,
        )  # fmt: skip


AnyRig = TypeVar("AnyRig", bound=Rig)


def save_pictures(record: Path, report: Path, screen: str) -> None:
    """The pictures of docs/commissioning.md, when PBAL_PICTURES names the folder for them."""
    where = os.environ.get("PBAL_PICTURES")
    if not where:
        return
    from rich.console import Console
    from rich.text import Text

    from pbal_tools.commission.figures import transfer_picture, watch_picture

    folder = Path(where)
    data = json.loads((record / "commission.json").read_text())
    for name, picture in (
        ("watch", watch_picture(data, 1)),
        ("transfer", transfer_picture(data, 1)),
    ):
        assert picture is not None
        (folder / f"commission-{name}.png").write_bytes(picture)
    console = Console(record=True, width=112, file=io.StringIO())
    console.print(Text(screen.strip()))
    (folder / "commission-run.svg").write_text(console.export_svg(title="pbal commission run"))
    import pypdfium2

    with pypdfium2.PdfDocument(report / "report.pdf") as paper:
        paper[0].render(scale=1).to_pil().save(folder / "commission-report.png")


@asynccontextmanager
async def alive(rig: AnyRig) -> AsyncIterator[AnyRig]:
    """With people at home, and a meter that tells."""
    task = asyncio.create_task(rig.live())
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def commissioned_street(swapped: bool = True) -> AsyncIterator[Rig]:
    """The street running, with people in it."""
    loads = TableLoads(np.full((1, HOMES), 800.0), 60.0, [f"home_{i}" for i in range(HOMES)])
    config = StreetConfig(
        homes=HOMES, loads=loads, start_phases=[0, 1, 2, 1, 2],
        # Quick to start; the dwell stays long, so that the test has to deal with it.
        node_settings={**FAST, "dwell_s": 900, "daily_cap": 30},
    )  # fmt: skip
    street = MixedStreet(config)
    street.swapped = swapped
    with tempfile.TemporaryDirectory(prefix="pbal-commission-") as name:
        async with street, alive(Rig(street, Path(name))) as rig:
            yield rig


def mains(rounds: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """A transformer's voltages and one home's noisy view of them; steps as households make them."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1.0, (rounds, 3)) * (rng.random((rounds, 3)) < 0.2)
    ref = 232 + np.cumsum(steps, axis=0) * 0.8 + np.cumsum(rng.normal(0, 0.3, (rounds, 1)), axis=0)
    return ref, ref + rng.normal(0, noise, ref.shape)
