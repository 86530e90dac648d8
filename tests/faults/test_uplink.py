"""Kills and cuts at random between a site and HQ: nothing is lost, nothing is there twice.

The site's process and the broker are killed with SIGKILL, the line is cut with what is in its
buffers, HQ stops acknowledging; at the end the counts at both ends are compared. Every second fault
waits until a message has come, so that it hits a link at work also where a site starts slowly.
Sixty faults in CI, twelve elsewhere; at night more:
PBAL_UPLINK_FAULTS=500 python -m pytest -n 0 -s tests/faults/test_uplink.py
"""

import asyncio
import collections
import contextlib
import os
import random
import time

import pytest
from rigs import needs
from rigs.sitefault import Site
from rigs.uplink import Broker, Hq, Line, Pki

from pbal_uplink import Event, Summary

FAULTS = needs.campaign("PBAL_UPLINK_FAULTS", 60)
_COMES_S = 15.0
SEED = int(os.environ.get("PBAL_UPLINK_SEED", str(time.time_ns() % 100_000)))


async def moment(rng, host):
    """When the next fault comes. Returns whether it hits a link over which a message just came."""
    if rng.random() < 0.5:
        await asyncio.sleep(rng.uniform(0.05, 1.5))
        return False
    before = len(host.got)
    with contextlib.suppress(TimeoutError):
        await host.until(lambda: len(host.got) > before, _COMES_S)
    await asyncio.sleep(rng.uniform(0, 0.1))
    return len(host.got) > before


@pytest.mark.timeout(120 + 20 * FAULTS)
async def test_no_fault_loses_or_doubles_a_message(tmp_path):
    rng = random.Random(SEED)
    print(f"\nPBAL_UPLINK_SEED={SEED}, {FAULTS} faults")
    pki = Pki(tmp_path / "pki")
    broker = Broker(tmp_path, pki)
    line = Line(broker.port)
    await line.start()
    site = Site(tmp_path / "j.db", line.port, pki.ca, *pki.issue("site"))
    done = collections.Counter()
    at_work = 0
    try:
        async with Hq(pki, broker.port) as host:
            await site.start(100_000)
            for _ in range(FAULTS):
                at_work += await moment(rng, host)
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
            # What is written down now must come, from a site that makes nothing new.
            await site.drained(90)
            await site.kill()
    finally:
        await site.kill()
        await line.stop()
        broker.kill()
    starts = [m.start_s for m in host.store.values() if isinstance(m, Summary)]
    commands = [m.command_id for m in host.store.values() if isinstance(m, Event)]
    print(
        f"{dict(done)}: {len(site.summaries)} summaries and {len(site.commands)} switchings said; "
        f"at HQ {len(starts)} and {len(commands)}; {len(host.got)} came with "
        f"{len(host.births)} births, "
        f"{at_work} faults while they came"
    )
    assert at_work >= FAULTS // 6, "the faults met a site that was not there"
    assert set(site.summaries) <= set(starts), "lost"
    assert set(site.commands) <= set(commands), "lost"
    assert len(starts) == len(set(starts)), "twice"
    assert len(commands) == len(set(commands)), "twice"
    # What was killed between the journal and its word for it may be there too, and nothing else.
    kills = done["kill site"] + 2
    assert len(starts) <= len(set(site.summaries)) + kills
    assert len(commands) <= len(set(site.commands)) + kills
