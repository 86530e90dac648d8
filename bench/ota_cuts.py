"""Cuts a node's power at every flash operation of an update, in the twin. Slow: hours for all.

    python -m bench.ota_cuts --every 25 --json

Each run: a node with the old application takes a release, loses its power in the middle of
the n-th flash write or erase after the offer, gets it back, and must end with the new application
proven. Counts how often the node was found running each version after the cut, and how many bytes
had to be sent again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import ota_rig as rig
from rigs.ota import Sender
from rigs.twin import Poller

from pbal_protocol import records as r
from pbal_sim.hal import hwmap
from pbal_sim.street import Street, StreetConfig


async def one(n: int, image: dict[str, bytes], release: Any) -> dict[str, Any]:
    """One node, one cut at flash operation `n`; {"cut": False} when the update was over before."""
    config = StreetConfig(homes=1, node_settings=dict(rig.FAST), files=image)
    async with Street(config) as street:
        poller, home = Poller(street), street.homes[0]
        try:
            await poller.ready(0)
            sender = Sender(poller, 0, release)
            while sender.status is None:
                await sender.offer()
            home.chip.cut_at(hwmap.CUT_FLASH, n)
            task = asyncio.create_task(bring(sender))
            while not task.done() and not home.cut_seen.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            cut = home.cut_seen.is_set()
            found = 0
            if cut:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await street.power_cut(0, 0.1)
                found = (await rig.running(poller, 0)).running
                sender.status = None
                await bring(sender)
            else:
                await task
            unsafe = street.witness.report()["incidents"].get("short-circuit", 0)
            return {"cut": cut, "found": found, "sent": sender.sent, "unsafe": unsafe}
        finally:
            poller.close()


async def bring(sender: Sender) -> None:
    """From the node's present state to the new application proven."""
    s = await sender.until(r.STAGE_READY, r.STAGE_TRIAL, r.STAGE_GOOD)
    if s.stage == r.STAGE_READY:
        await sender.commit()
    s = await sender.until(r.STAGE_GOOD)
    assert s.running == sender.release.head.version


async def soak(first: int, every: int, last: int) -> dict[str, Any]:
    """Cuts at first, first + every, ... until an update needs no more flash operations."""
    image = rig.flash_files(trial_s=60)
    release = rig.changed(
        lambda files: files.update({"pbal_node/more.mpy": bytes(range(256)) * 20})
    )
    begin = time.monotonic()
    result: dict[str, Any] = {"cuts": 0, "old": 0, "new": 0, "failed": [], "unsafe": 0}
    least, most = None, 0
    n = first
    while n <= last:
        try:
            life = await one(n, image, release)
        except AssertionError as error:
            result["failed"].append({"n": n, "why": str(error)[:300]})
            n += every
            continue
        if not life["cut"]:
            least = life["sent"]
            break
        result["cuts"] += 1
        result["old" if life["found"] < release.head.version else "new"] += 1
        result["unsafe"] += life["unsafe"]
        most = max(most, life["sent"])
        n += every
    result |= {"sent_without_cut": least, "sent_most": most, "last_n": n}
    return result | {"seconds": round(time.monotonic() - begin, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="cut at every n-th operation")
    parser.add_argument("--last", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = asyncio.run(soak(args.first, args.every, args.last))
    print(json.dumps(result, indent=2) if args.json else result)
    return 1 if result["failed"] or result["unsafe"] else 0


if __name__ == "__main__":
    sys.exit(main())
