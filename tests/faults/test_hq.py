"""From a controller's uplink to the committed row, with kills in between: nothing lost or double.

The real uplink of a controller, over a real Mosquitto with real certificates, into HQ with a real
PostgreSQL: once `pbal-hq all`, once each part of HQ as a process of its own. HQ's processes, the
broker, the database and the site are killed at random, the line is cut, the disk of HQ's bus is
full for a while (a small tmpfs; only where it may be mounted); at the end the counts at both ends
are compared. Ten faults each in CI, six elsewhere; more: PBAL_ROAD_FAULTS=100.
"""

import asyncio
import collections
import contextlib
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from rigs import needs
from rigs.hq import Headquarters, database_url, execute, postgres  # noqa: F401
from rigs.hq_process import ANY_PORTS, QUICK, Process
from rigs.needs import PATIENCE_S
from rigs.sitefault import Site, waiting
from rigs.uplink import Line

from pbal_controller.journal import Journal

FAULTS = int(os.environ.get("PBAL_ROAD_FAULTS", "10" if needs.long_tests() else "6"))
SEED = int(os.environ.get("PBAL_ROAD_SEED", str(time.time_ns() % 100_000)))


LAYOUTS = {
    "one process": (("all",),),
    "several": (
        ("run", "bridge"), ("run", "decode"), ("run", "store", "sums", "orders", "house"),
        ("run", "enrol", "portal"),
    ),
}  # fmt: skip


class Disk:
    """The small disk of HQ's bus: a tmpfs, which can be filled."""

    SIZE_MB = 96

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE_MB}m,mode=700", "tmpfs"]
        self.mounted = subprocess.run([*mount, folder], capture_output=True).returncode == 0

    def fill(self, free_kb: int) -> None:
        """Leave so much."""
        free = shutil.disk_usage(self._folder).free
        with (self._folder / "ballast").open("wb") as file, contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, free - free_kb * 1000))

    def empty(self) -> None:
        (self._folder / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", self._folder], check=True, capture_output=True)


async def left(path):
    """How much waits at the site when for PATIENCE_S none of it left."""
    journal = Journal(path)
    try:
        least, since = waiting(journal), time.monotonic()
        while least and time.monotonic() - since < PATIENCE_S:
            await asyncio.sleep(0.2)
            if (now := waiting(journal)) < least:
                least, since = now, time.monotonic()
        return waiting(journal)
    finally:
        journal.close()


def written(folder, hq):
    """The configuration as a file."""
    bus = "[bus]\nmin_free_mb = 2\nkeep_hours = 0\n"
    return hq.written(folder / "hq.toml", ANY_PORTS, QUICK, bus)


@pytest.mark.keeps_processes  # the database is started anew
@pytest.mark.timeout(240 + 15 * FAULTS)
@pytest.mark.parametrize("layout", ["one process", pytest.param("several", marks=pytest.mark.long)])
async def test_no_kill_loses_or_doubles_a_row(tmp_path, postgres, database_url, layout):  # noqa: F811
    rng = random.Random(SEED)
    print(f"\nPBAL_ROAD_SEED={SEED}, {FAULTS} faults, {layout}")
    hq = Headquarters(tmp_path, database_url)
    disk = Disk(hq.config.data / "bus")
    hq.broker.start()
    await hq.add_site(7, group="north")
    cert, key = await hq.certificate(7)
    line = Line(hq.config.broker.port)
    await line.start()
    file = written(tmp_path, hq)
    processes = [Process(file, tmp_path / "hq.log", words, kept=True) for words in LAYOUTS[layout]]
    site = Site(tmp_path / "j.db", line.port, hq.pki.ca, cert, key)
    faults = ["hq", "hq", "hq", "site", "cut", "broker", "restart", "database"]
    faults += ["full"] if disk.mounted else []
    done = collections.Counter()
    codes = []
    try:
        for process in processes:
            await process.start()
        await site.start(100_000)
        # On a busy computer each process takes seconds until it runs at all.
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if (await asyncio.to_thread(execute, hq.url, "SELECT count(*) FROM summary"))[0][0]:
                break
            await asyncio.sleep(0.1)
        for _ in range(FAULTS):
            await asyncio.sleep(rng.uniform(0.1, 3.0))
            fault = rng.choice(faults)
            done[fault] += 1
            if fault == "hq":
                process = rng.choice(processes)
                await process.kill()
                await asyncio.sleep(rng.uniform(0, 1))
                await process.start()
            elif fault == "site":
                await site.kill()
                await site.start(100_000)
            elif fault == "cut":
                line.cut()
            elif fault == "database":
                await asyncio.to_thread(postgres.kill)
                await asyncio.sleep(rng.uniform(0, 1))
                postgres.start()
            elif fault == "full":
                disk.fill(rng.choice((0, 100, 1500)))
                await asyncio.sleep(rng.uniform(0.5, 3.0))
                disk.empty()
            else:
                hq.broker.kill() if fault == "broker" else hq.broker.stop()
                hq.broker.start()
        await site.kill()
        await site.start(0)  # nothing new: what is written down must come
        assert await left(tmp_path / "j.db") == 0, (tmp_path / "hq.log").read_text()[-4000:]
        codes = [await process.stop() for process in processes]
    finally:
        await site.kill()
        for process in processes:
            await process.kill()
        await line.stop()
        hq.broker.kill()
        disk.close()
    found = execute(hq.url, "SELECT extract(epoch FROM start_at)::bigint FROM summary")
    starts = [start for (start,) in found]
    commands = [number for (number,) in execute(hq.url, "SELECT command_id FROM event")]
    dead = execute(hq.url, "SELECT kind, reason FROM dead_letter")
    print(
        f"{dict(done)}: {len(site.summaries)} summaries and {len(site.commands)} switchings said; "
        f"rows {len(starts)} and {len(commands)}"
    )
    assert set(codes) == {0}, (tmp_path / "hq.log").read_text()[-4000:]
    assert len(starts) > 10
    assert dead == []
    assert set(site.summaries) <= set(starts), "lost"
    assert set(site.commands) <= set(commands), "lost"
    assert len(starts) == len(set(starts)), "twice"
    assert len(commands) == len(set(commands)), "twice"
    # What was killed between the journal and its word for it may be there too, and nothing else.
    kills = done["site"] + 2
    assert len(starts) <= len(site.summaries) + kills
    assert len(commands) <= len(site.commands) + kills
