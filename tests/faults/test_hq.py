"""From a controller's uplink to the committed row, with kills in between: nothing lost or double.

The real uplink of a controller, over a real Mosquitto with real certificates, into `pbal-hq all`
with a real PostgreSQL. HQ, the broker, the database and the site are killed at random; at the end
the counts at both ends are compared. Twenty faults; more: PBAL_ROAD_FAULTS=200.
"""

import asyncio
import collections
import os
import random
import sys
import time
from pathlib import Path

import pytest
from rigs.hq import Headquarters, database_url, execute, postgres  # noqa: F401
from rigs.sitefault import Site
from rigs.uplink import Line

from pbal_controller.journal import Journal
from pbal_controller.uplink import outbox

FAULTS = int(os.environ.get("PBAL_ROAD_FAULTS", "20"))
SEED = int(os.environ.get("PBAL_ROAD_SEED", str(time.time_ns() % 100_000)))


class Process:
    """`pbal-hq all`."""

    def __init__(self, config: Path, log: Path) -> None:
        self._config, self._log = config, log
        self._process = None

    async def start(self):
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from pbal_hq.cli import main; main()", "all",
                "-c", str(self._config), stdout=log, stderr=log,
            )  # fmt: skip

    async def kill(self):
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def stop(self):
        """As systemd does; gives the exit code."""
        self._process.terminate()
        return await asyncio.wait_for(self._process.wait(), 60)


async def left(path):
    """How many messages wait at the site when it has had its time."""
    journal = Journal(path)
    try:
        for _ in range(600):
            await asyncio.sleep(0.2)
            if outbox.backlog(journal) == 0:
                break
        return outbox.backlog(journal)
    finally:
        journal.close()


def written(folder, hq):
    """The configuration as a file."""
    path = folder / "hq.toml"
    broker = hq.config.broker
    path.write_text(
        f'data = "{hq.config.data}"\n[database]\nurl = "{hq.url}"\n[broker]\nport = {broker.port}\n'
        '[enrol]\nlisten = "127.0.0.1"\nport = 0\n[portal]\nport = 0\n'
        "[ingest]\nreorder_s = 1\nrebirth_first_s = 1\nrebirth_last_s = 4\nstored_batch = 5\n"
        "stored_within_s = 2\n[store]\nraw_days = 3660\n"
    )
    return path


@pytest.mark.keeps_processes  # the database is started anew
@pytest.mark.timeout(240 + 15 * FAULTS)
async def test_no_kill_loses_or_doubles_a_row(tmp_path, postgres, database_url):  # noqa: F811
    rng = random.Random(SEED)
    print(f"\nPBAL_ROAD_SEED={SEED}, {FAULTS} faults")
    hq = Headquarters(tmp_path, database_url)
    hq.broker.start()
    await hq.add_site(7, group="north")
    cert, key = await hq.certificate(7)
    line = Line(hq.config.broker.port)
    await line.start()
    process = Process(written(tmp_path, hq), tmp_path / "hq.log")
    site = Site(tmp_path / "j.db", line.port, hq.pki.ca, cert, key)
    done = collections.Counter()
    try:
        await process.start()
        await site.start(100_000)
        for _ in range(FAULTS):
            await asyncio.sleep(rng.uniform(0.1, 3.0))
            fault = rng.choice(("hq", "hq", "hq", "site", "cut", "broker", "restart", "database"))
            done[fault] += 1
            if fault == "hq":
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
            else:
                hq.broker.kill() if fault == "broker" else hq.broker.stop()
                hq.broker.start()
        await site.kill()
        await site.start(0)  # nothing new: what is written down must come
        assert await left(tmp_path / "j.db") == 0, (tmp_path / "hq.log").read_text()[-4000:]
        code = await process.stop()
    finally:
        await site.kill()
        await process.kill()
        await line.stop()
        hq.broker.kill()
    found = execute(hq.url, "SELECT extract(epoch FROM start_at)::bigint FROM summary")
    starts = [start for (start,) in found]
    commands = [number for (number,) in execute(hq.url, "SELECT command_id FROM event")]
    dead = execute(hq.url, "SELECT kind, reason FROM dead_letter")
    print(
        f"{dict(done)}: {len(site.summaries)} summaries and {len(site.commands)} switchings said; "
        f"rows {len(starts)} and {len(commands)}"
    )
    assert code == 0
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
