"""Whole sites on a radio in virtual time: the real controller and bearer, the bench's model nodes.

A node takes the time only within 5 s of its own question. Where many ask at once, in a village that
starts or behind a bridge, each is answered in the turn in which it asked, or never.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from bench._radio_scenarios import Kind, Site, rekeyed
from bench._virtual_time import VirtualLoop, play


def synced_after(kind: Kind, seconds: float) -> tuple[int, list[str]]:
    """Homes with the right time then, one frame in ten lost; what homes are quarantined for."""

    async def run(loop: VirtualLoop) -> tuple[int, list[str]]:
        site = Site(kind, loop, 0.1, 1)
        with tempfile.TemporaryDirectory() as name:
            async with site.running(Path(name)) as c:
                await asyncio.sleep(seconds)
                synced = sum(node.synced for node in site.nodes.values())
                return synced, [home.quarantined for home in c.fleet if home.quarantined]

    return play(run)


def test_a_village_that_starts_at_once_gets_the_time() -> None:
    assert synced_after(Kind("village", "", radio=24, radius_m=400.0), 150.0) == (24, [])


def test_a_building_behind_a_bridge_gets_the_time() -> None:
    assert synced_after(Kind("campus", "", buildings=1, building=12), 150.0) == (12, [])


def test_a_village_takes_a_new_group_key() -> None:
    """Each home in a turn of its own, while all are read on."""
    in_use_s, oldest_s = rekeyed(Kind("village", "", radio=6, radius_m=400.0), 0.1, 1)
    assert in_use_s < 60.0
    assert oldest_s < 15.0
