"""A release from HQ to homes' firmware: ordered at the portal, released by a second person, brought
over the bus by the real controller, tried by real firmware; and how it ended is on the page.

All of it is real but the hardware of the homes: the portal in Chromium, every role of HQ,
PostgreSQL, Mosquitto with certificates, the controller's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from rigs import ota as rig
from rigs import people
from rigs.hq import Headquarters, database_url, postgres  # noqa: F401 (fixtures)
from rigs.ordering import answered, order, released
from rigs.street import small_street
from rigs.twin import OPTIONS
from rigs.waiting import until

from bench.site import Site
from pbal_sim.hq import free_port

pytestmark = [pytest.mark.twin, pytest.mark.long, pytest.mark.timeout(600)]

ENV = {"PBAL_UPDATE__KEYS": json.dumps([rig.PUBLIC.hex()])}
SITE = 7  # of rigs.people
HOMES = 1


def settings(hq: Headquarters, cert: Path, key: Path, public: str) -> dict[str, dict]:
    """Of a controller that updates its homes when HQ orders it."""
    return {
        **OPTIONS,
        "update": {"directory": "releases", "start": "ordered", "wave": 3, "at_once": 3,
                   "soak_s": 1.0, "trial_s": 90.0},
        "uplink": {"kind": "sparkplug", "host": "localhost", "port": hq.config.broker.port,
                   "group": "north", "ca": hq.pki.ca, "certificate": cert, "key": key,
                   "spread_s": 0, "retry_s": 2, "primary_host": "hq", "hq_keys": [public],
                   "allow": ["rollout"]},
    }  # fmt: skip


async def test_from_the_engineer_to_the_firmware_and_back(
    tmp_path: Path,
    database_url: str,  # noqa: F811
) -> None:
    from pbal_hq import commands, roles

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    hq = Headquarters(tmp_path, database_url, portal={"port": port, "plain_http": True})
    (hq.config.data / "portal.secret").write_text(people.MASTER.hex())
    hq.broker.start()
    public = commands.Signer.read(hq.config.data / "command.key").public_hex
    street = small_street(HOMES, files=rig.flash_files(trial_s=40), site_id=SITE, speed=60.0)
    try:
        async with street, people.connected(database_url) as conn:
            fleet = await people.make(conn)
            site = Site(street, settings(hq, *await hq.certificate(SITE), public))
            (site.folder / "releases").mkdir()
            release = rig.good("0.2.0")
            (site.folder / "releases" / "pbal-0.2.0.pbal").write_bytes(release.to_bytes())
            running = asyncio.create_task(roles.run(hq.config, roles.wanted(hq.config)))
            try:
                await site.start(ENV)
                await site.until(lambda s: s["homes_fresh"] == HOMES, "everybody is heard", 120)
                status = await site.until(
                    lambda s: s["updates"]["rollouts"] and s["uplink"]["online"], "at HQ", 120
                )
                assert status["updates"]["rollouts"][0]["state"] == "waiting"
                online = (
                    "SELECT 1 FROM site_live WHERE site_id = 7 AND online AND state IS NOT NULL"
                )

                async def born() -> bool:
                    return await (await conn.execute(online)).fetchone() is not None

                await until(born, what="HQ knows the site")
                one = fleet.transformers["T1"]
                async with people.logged_in(address, "engineer-d1") as page:
                    await order(page, address, one, "rollout", release=release.digest.hex()[:16])
                    await answered(page, "waits for a second person")
                    status = await site.status()
                    assert status["updates"]["rollouts"][0]["state"] == "waiting"
                    await released(address, "operator-d1", "roll out release")
                    row = await answered(page, "under way")
                    assert "0.2.0 is brought to the homes" in row
                    row = await answered(page, "done")
                assert f"0.2.0 runs on {HOMES} of {HOMES} homes" in row
                assert "engineer-d1" in row
                assert "operator-d1" in row
                for home in street.identities:
                    said = await site.status(f"/api/homes/{home.address}")
                    assert said["hello"]["firmware"] == "0.2.0"
                assert await site.stop() == 0
            finally:
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
        assert street.witness.report()["incidents"].get("short-circuit", 0) == 0
    finally:
        hq.broker.kill()
