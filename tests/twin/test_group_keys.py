"""The group key is changed on a running street: one node revoked, one dark meanwhile."""

import asyncio
import json
import os
import sys
import time
from typing import Any

import pytest
from rigs.street import small_street
from rigs.twin import OPTIONS, Poller

from bench.site import Site
from pbal_controller.keys import KeyStore
from pbal_protocol import frames, kdf, records
from pbal_sim.rules import crc16
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.timeout(240)]
REVOKED, DARK = 2, 3
_RUN = "from pbal_controller.cli import main; main()"


def behind(status: dict[str, Any]) -> list[int]:
    return [home["address"] for home in status["group_key"]["homes_behind"]]


async def revoke(site: Site, address: int) -> dict[str, Any]:
    """`pbal-controller keys revoke` beside the running controller."""
    street = site.street
    config = str(site.folder / "pbal.toml")
    pid = await street.run(
        "revoke",
        [sys.executable, "-c", _RUN, "keys", "revoke", str(address), "--json", "-c", config],
        dict(os.environ),
    )
    assert await street.wait(pid) == 0
    found: dict[str, Any] = json.loads((street.workdir / "revoke.log").read_text())
    return found


def store(site: Site) -> KeyStore:
    return KeyStore.open(site.folder / "keys.json", (site.folder / "keys.pass").read_bytes())


def group_adu(root: bytes, counter: int, ahead_s: float) -> bytes:
    """A group frame that sets the time, as the holder of this group root can make it."""
    ms = int((time.time() + ahead_s) * 1000)
    sealer = frames.Sealer(kdf.group_key(root, 1), frames.GROUP, 1, 0)
    body = sealer.seal(
        counter, records.TimeSync(time_s=ms // 1000, time_ms=ms % 1000, nonce=0).encode()
    )
    request = bytes((0, 100, 1, len(body))) + body
    return request + crc16(request)


async def tries(poller: Poller, homes: list[int], root: bytes, counter: int) -> list[int]:
    """How many of three group frames each home refused as not authentic."""
    before = [(await poller.ask_health(i)).auth_failed for i in homes]
    for n in range(3):
        await poller.raw(group_adu(root, counter + n, 1.5 * (n + 1)), 0.1)
    after = [(await poller.ask_health(i)).auth_failed for i in homes]
    return [b - a for a, b in zip(before, after, strict=True)]


async def drift_s(poller: Poller, i: int) -> float:
    return float((await poller.telemetry(i)).time_s - time.time())


@pytest.mark.long
async def test_a_revoked_node_s_key_moves_nobody_s_clock() -> None:
    street = small_street(4)
    async with street:
        site = Site(street, {**OPTIONS, "planner": {"enabled": False}})
        address = [n.address for n in street.identities]
        await site.start()
        await site.until(lambda s: s["homes_fresh"] == 4 and not behind(s), "all have proven")
        stolen = store(site).active.root

        await street.segment.wire(DARK, False)
        await site.until(lambda s: s["homes_alive"] == 3, "one is dark")
        told = await revoke(site, address[REVOKED])
        assert told["group_key"]["next"] == 2
        status = await site.until(lambda s: s["group_key"]["number"] == 2, "the new key is in use")
        assert behind(status) == [address[DARK]]
        assert [home["alive"] for home in status["homes"]] == [True, True, False, False]
        await street.segment.wire(DARK, True)
        status = await site.until(lambda s: not behind(s), "the dark one has it too")
        assert status["group_key"]["homes_with_newest"] == 3
        assert site.query("SELECT what, why FROM audit WHERE subject = '2' ORDER BY at_s") == [
            ("group key drawn", f"node {address[REVOKED]} revoked"),
            ("group key in use", f"homes without it: {address[DARK]}"),
        ]
        fresh = store(site).active.root
        assert fresh != stolen
        # The next group frame ends the time in which the old key is accepted, too.
        await asyncio.sleep(1)
        assert await site.stop() == 0
        assert stolen.hex() not in site.log()
        assert fresh.hex() not in site.log()
        await attack(street, stolen, fresh)


async def attack(street: Street, stolen: bytes, fresh: bytes) -> None:
    poller = Poller(street)
    homes = [0, 1, DARK]
    counter = int(time.time()) + 10_000_000
    try:
        # One frame under the new key: from here on no home opens the old one.
        await poller.raw(group_adu(fresh, counter, 0.0), 0.1)
        for i in (0, 1):  # after a power cut the node has its keys from flash
            assert await tries(poller, homes, stolen, counter + 1000) == [3, 3, 3]
            for home in homes:
                assert abs(await drift_s(poller, home)) < 2.1, home
            assert await tries(poller, homes, fresh, counter + 100 + 10 * i) == [0, 0, 0]
            if i == 0:
                await street.power_cut(0)
                for home in homes:
                    await poller.sync(home)
        # The control: the node that was left out still believes the old key.
        assert await tries(poller, [REVOKED], stolen, counter + 2000) == [0]
        assert await tries(poller, [REVOKED], fresh, counter + 3000) == [3]
    finally:
        poller.close()
