"""Kills and cuts at random between a site and HQ: nothing is lost, nothing is there twice.

The site's process and the broker are killed with SIGKILL, the line is cut with what is in its
buffers, HQ stops acknowledging; at the end the counts at both ends are compared. Sixty faults in
CI, twelve elsewhere; at night more:
PBAL_UPLINK_FAULTS=500 python -m pytest -n 0 -s tests/faults/test_uplink.py
"""

import asyncio
import collections
import os
import random
import sys
import time
from pathlib import Path

import pytest
from rigs import needs
from rigs.uplink import Broker, Hq, Line, Pki

from pbal_controller.journal import Journal
from pbal_controller.uplink import outbox
from pbal_uplink import Event, Summary

FAULTS = needs.campaign("PBAL_UPLINK_FAULTS", 60)
SEED = int(os.environ.get("PBAL_UPLINK_SEED", str(time.time_ns() % 100_000)))
SITE = str(Path(__file__).with_name("uplink_site.py"))


class Site:
    """The process under test, and what it said that it had written down."""

    def __init__(self, journal, line, pki, client):
        self._how = [str(journal), str(line.port), str(pki.ca), *map(str, client)]
        self.summaries: list[int] = []
        self.commands: list[int] = []
        self._next = 0
        self._process = None
        self._reading = None

    async def start(self, count):
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, SITE, *self._how, str(count), str(self._next),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, out):
        async for line in out:
            words = line.decode().split()
            if len(words) == 2:
                (self.summaries if words[0] == "S" else self.commands).append(int(words[1]))

    async def kill(self):
        self._process.kill()
        await self._process.wait()
        await self._reading
        if self.summaries:
            self._next = (self.summaries[-1] - 1_700_000_100) // 300 + 1


@pytest.mark.timeout(120 + 8 * FAULTS)
async def test_no_fault_loses_or_doubles_a_message(tmp_path):
    rng = random.Random(SEED)
    print(f"\nPBAL_UPLINK_SEED={SEED}, {FAULTS} faults")
    pki = Pki(tmp_path / "pki")
    broker = Broker(tmp_path, pki)
    line = Line(broker.port)
    await line.start()
    site = Site(tmp_path / "j.db", line, pki, pki.issue("site"))
    done = collections.Counter()
    try:
        async with Hq(pki, broker.port) as host:
            await site.start(100_000)
            for _ in range(FAULTS):
                await asyncio.sleep(rng.uniform(0.05, 1.5))
                fault = rng.choice(("kill site", "kill site", "cut", "cut", "kill broker", "mute"))
                done[fault] += 1
                if fault == "kill site":
                    await site.kill()
                    await asyncio.sleep(rng.uniform(0, 0.3))
                    await site.start(100_000)
                elif fault == "cut":
                    line.cut()
                elif fault == "kill broker":
                    broker.kill()
                    await asyncio.sleep(rng.uniform(0, 1.0))
                    broker.start()
                else:
                    host.acknowledge = not host.acknowledge
            host.acknowledge = True
            await site.kill()
            # What is written down now must come, from a site that makes nothing new.
            await site.start(0)
            journal = Journal(tmp_path / "j.db")
            await host.until(lambda: outbox.backlog(journal) == 0, 90)
            journal.close()
            await site.kill()
    finally:
        if site._process is not None and site._process.returncode is None:
            await site.kill()
        await line.stop()
        broker.kill()
    starts = [m.start_s for m in host.store.values() if isinstance(m, Summary)]
    commands = [m.command_id for m in host.store.values() if isinstance(m, Event)]
    print(
        f"{dict(done)}: {len(site.summaries)} summaries and {len(site.commands)} switchings said; "
        f"at HQ {len(starts)} and {len(commands)}; {len(host.got)} came, {len(host.births)} births"
    )
    assert set(site.summaries) <= set(starts), "lost"
    assert set(site.commands) <= set(commands), "lost"
    assert len(starts) == len(set(starts)), "twice"
    assert len(commands) == len(set(commands)), "twice"
    # What was killed between the journal and its word for it may be there too, and nothing else.
    kills = done["kill site"] + 2
    assert len(starts) <= len(set(site.summaries)) + kills
    assert len(commands) <= len(set(site.commands)) + kills
