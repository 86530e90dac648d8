"""A rollout by the real controller on a street of four: canary, wave, a crash of the controller in
between, balancing as ever; and a bad release that stops at the first home.
"""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rigs import ota as rig
from rigs.street import small_street
from rigs.twin import OPTIONS

from bench.site import Site
from pbal_controller.updates import Release
from pbal_protocol import records as r
from pbal_sim.loads import TableLoads

pytestmark = [pytest.mark.twin, pytest.mark.long, pytest.mark.timeout(240)]

ENV = {"PBAL_UPDATE__KEYS": json.dumps([rig.PUBLIC.hex()])}
HOMES = 4


def publish(site: Site, release: Release) -> None:
    """Puts a release where the controller looks, as `pbal release publish` does."""
    folder = site.folder / "releases"
    fresh = folder / ".new"
    fresh.write_bytes(release.to_bytes())
    fresh.replace(folder / f"pbal-{release.version}-{release.digest.hex()[:8]}.pbal")


def steps(status: dict[str, Any]) -> list[str]:
    """Of the homes in the rollout that is under way."""
    return [home["step"] for home in status["updates"]["homes"]]


def state(status: dict[str, Any], version: str) -> str:
    """Of the rollout of a version."""
    found = [x["state"] for x in status["updates"]["rollouts"] if x["version"] == version]
    return found[-1] if found else ""


async def test_a_rollout_reaches_everybody_and_a_bad_one_nobody_else(tmp_path: Path) -> None:
    # Every 15 s the loads change places, so that there is always something to balance.
    watts = [np.roll([4000.0, 2000.0, 1000.0, 300.0], k) for k in range(HOMES)]
    loads = TableLoads(np.array(watts), 900.0, [f"home_{i}" for i in range(HOMES)])
    files = rig.flash_files(trial_s=40)
    street = small_street(HOMES, files=files, loads=loads, speed=60.0)
    async with street:
        options = {**OPTIONS, "update": {
            "directory": "releases", "wave": 3, "at_once": 3, "soak_s": 1.0, "trial_s": 90.0,
        }}  # fmt: skip
        site = Site(street, options)
        (site.folder / "releases").mkdir()
        await site.start(ENV)
        await site.until(lambda s: s["homes_fresh"] == HOMES, "everybody is heard")
        unsigned = rig.unsigned("0.1.5")
        publish(site, unsigned)
        publish(site, rig.good("0.2.0"))
        status = await site.until(lambda s: "sending" in steps(s), "the first home is sent to")
        assert steps(status).count("sending") == 1, "one home first"
        assert list(status["updates"]["refused"].values()) == [
            "not signed; sign it with `pbal release sign`"
        ]
        worst = 0.0

        def seen(s: dict[str, Any]) -> bool:
            nonlocal worst
            ages = [h["age_s"] for h in s["homes"] if h["age_s"] is not None and h["alive"]]
            worst = max([worst, *ages])
            return "done" in steps(s) and "sending" in steps(s)

        await site.until(seen, "the wave goes out after the first home is done", 60)
        await site.stop(signal.SIGKILL)
        await site.start(ENV)
        status = await site.until(
            lambda s: state(s, "0.2.0") == "done", "everybody has the release", 120
        )
        for home in street.identities:
            one = await site.status(f"/api/homes/{home.address}")
            assert one["hello"]["firmware"] == "0.2.0"
        # Polled as ever: the nodes that restarted were silent for some seconds, no more.
        assert status["telemetry_age_p95_s"] < 8.0
        assert status["switches"]["confirmed"] + status["switches"]["open"] >= 1
        assert sorted(row[0] for row in site.query("SELECT state FROM rollout_homes")) == (
            ["done"] * HOMES
        )

        app = rig.module(tmp_path, "import nothing_of_that_name\n", "pbal_node/app.py")
        publish(site, rig.changed(lambda f: f.update({"pbal_node/app.mpy": app}), "0.3.0"))
        status = await site.until(lambda s: state(s, "0.3.0") == "stopped", "it is stopped", 60)
        assert sorted(steps(status)) == ["failed", "waiting", "waiting", "waiting"]
        failed = next(h for h in status["updates"]["homes"] if h["step"] == "failed")
        assert failed["detail"] == "the node gave up: import"
        await site.until(lambda s: s["homes_fresh"] == HOMES, "the first home is back", 30)
        await asyncio.sleep(1.0)
        rows = site.query(
            "SELECT arg0 FROM events WHERE code = ? AND address = ?",
            r.EVENT_UPDATE_FAILED, failed["address"],
        )  # fmt: skip
        assert (r.WHY_IMPORT,) in rows
        one = await site.status(f"/api/homes/{failed['address']}")
        assert one["hello"]["firmware"] == "0.2.0"
        assert await site.stop() == 0
        assert street.witness.report()["incidents"].get("short-circuit", 0) == 0
