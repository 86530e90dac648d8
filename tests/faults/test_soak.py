"""A street for a long time, while its broker comes and goes and the bus is noisy: nothing grows.

Five minutes of 30 homes, or as long as you like, such as an hour at night; the figures are printed:

    PBAL_SOAK_S=3600 ./test.sh tests/faults/test_soak.py
"""

import asyncio
import json
import os
import random
import statistics
import time
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from rigs.street import settled, small_street
from rigs.twin import OPTIONS
from rigs.uplink import Broker, Hq, Line, Pki

from bench.site import Site
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street
from pbal_uplink import Summary

SECONDS = float(os.environ.get("PBAL_SOAK_S", "300"))
HOMES = int(os.environ.get("PBAL_SOAK_HOMES", "30"))
WINDOW_S = 10
# What may come on top between the second quarter and the last.
MEMORY_KB, FILES, TASKS = 4096, 3, 3


class Watch:
    """What the controller's process holds, sampled: memory, descriptors, threads, tasks."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.samples: list[dict[str, float]] = []
        self.late: list[str] = []
        self.unhealthy = 0

    async def sample(self, at_s: float) -> None:
        status = await self._site.status()
        async with aiohttp.ClientSession() as http, http.get(f"{self._site._url}/metrics") as got:
            text = await got.text()
        pid = Path(f"/proc/{self._site.pid}")
        memory = next(
            int(line.split()[1])
            for line in (pid / "status").read_text().splitlines()
            if line.startswith("VmRSS:")
        )
        self.samples.append(
            {
                "at_s": at_s,
                "memory_kb": memory,
                "files": len(list((pid / "fd").iterdir())),
                "threads": len(list((pid / "task").iterdir())),
                "tasks": float(text.split("\npbal_tasks ")[1].split()[0]),
                "alive": status["homes_alive"],
            }
        )
        self.late += status["late_loops"]
        self.unhealthy += not status["healthy"]

    def growth(self, name: str) -> float:
        """From the second quarter's median to the last one's."""
        values = [sample[name] for sample in self.samples]
        quarter = len(values) // 4
        return statistics.median(values[-quarter:]) - statistics.median(
            values[quarter : 2 * quarter]
        )


def quiet_street() -> Street:
    """Homes of 0.4 to 1.2 kW: all of them together on phase A leave its voltage in the band."""
    table = 400.0 + 25.0 * np.arange(HOMES)[None, :]
    names = [f"home_{i}" for i in range(HOMES)]
    return small_street(HOMES, loads=TableLoads(table, 60.0, names))


async def flap(broker: Broker, line: Line, rng: random.Random, counts: dict[str, int]) -> None:
    """The broker is killed and comes back, the line is cut, or swallows what the site sends."""
    while True:
        await asyncio.sleep(rng.uniform(5, 20))
        fault = rng.choice(("kill broker", "cut", "closed"))
        counts[fault] = counts.get(fault, 0) + 1
        if fault == "kill broker":
            broker.kill()
            await asyncio.sleep(rng.uniform(0, 5))
            broker.start()
        elif fault == "cut":
            line.cut()
        else:
            line.open = False
            line.cut()
            await asyncio.sleep(rng.uniform(1, 8))
            line.open = True


async def noise(site: Site, rng: random.Random, counts: dict[str, int]) -> None:
    """Bits of the bus turn over, now and then."""
    while True:
        await asyncio.sleep(rng.uniform(5, 15))
        counts["noise"] = counts.get("noise", 0) + 1
        await site.street.segment.noise(10 ** rng.uniform(-5, -3.7))
        await asyncio.sleep(rng.uniform(1, 5))
        await site.street.segment.noise(0.0)


@pytest.mark.twin
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
async def test_nothing_grows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(13)
    pki = Pki(tmp_path)
    broker = Broker(tmp_path, pki)
    line = Line(broker.port)
    await line.start()
    counts: dict[str, int] = {}
    certificate, key = pki.issue("site")
    uplink = {
        "kind": "sparkplug", "host": "localhost", "port": line.port, "ca": str(pki.ca),
        "certificate": str(certificate), "key": str(key), "window_s": WINDOW_S, "spread_s": 0.0,
        "retry_s": 2.0, "replay_per_s": 50.0,
    }  # fmt: skip
    try:
        async with quiet_street() as street, Hq(pki, broker.port) as host:
            site = Site(street, {**OPTIONS, "uplink": uplink})
            await site.start()
            await site.until(lambda s: s["homes_alive"] == HOMES, "all homes answer", 120)
            watch = Watch(site)
            faults = [
                asyncio.create_task(flap(broker, line, rng, counts)),
                asyncio.create_task(noise(site, rng, counts)),
            ]
            began = time.monotonic()
            try:
                while time.monotonic() - began < SECONDS:
                    await watch.sample(time.monotonic() - began)
                    done, _ = await asyncio.wait(faults, timeout=max(1.0, SECONDS / 200))
                    for task in done:
                        task.result()
            finally:
                for task in faults:
                    task.cancel()
                await asyncio.wait(faults)
                line.open = True
                await street.segment.noise(0.0)
                if broker._process is None:
                    broker.start()
            # All is quiet: everything that was said arrives, every home answers.
            await site.until(
                lambda s: s["homes_alive"] == HOMES and s["healthy"] and s["uplink"]["online"],
                "all is well again", 120,
            )  # fmt: skip
            await site.until(
                lambda _: site.query("SELECT COUNT(*) FROM outbox")[0][0] <= 1, "all is stored", 120
            )
            await site.until(lambda _: settled(site), "no command is under way", 120)
            last = await site.status()
            log = site.log()
            await site.stop()
            incidents = street.witness.report()["incidents"]
    finally:
        broker.kill()
        await line.stop()
    starts = sorted(m.start_s for m in host.store.values() if isinstance(m, Summary))
    grown = {name: watch.growth(name) for name in ("memory_kb", "files", "threads", "tasks")}
    figures = {
        "seconds": round(SECONDS), "homes": HOMES, "samples": len(watch.samples),
        "faults": counts, "summaries": len(starts), "grown": grown,
        "at_the_end": watch.samples[-1], "unhealthy_samples": watch.unhealthy,
        "switches": last["switches"], "restarts": {
            name: loop["restarts"] for name, loop in last["loops"].items() if loop["restarts"]
        },
    }  # fmt: skip
    with capsys.disabled():
        print(f"\nsoak: {json.dumps(figures)}")
    assert incidents == {}, incidents
    assert watch.late == [], "a loop was silent"
    # No window is missing and none came twice.
    assert starts == list(range(starts[0], starts[-1] + 1, WINDOW_S))
    assert len(starts) >= SECONDS // WINDOW_S - 1
    assert grown["memory_kb"] <= MEMORY_KB
    assert grown["files"] <= FILES
    assert grown["threads"] <= TASKS
    assert grown["tasks"] <= TASKS
    assert "Traceback" not in log
