"""Group keys by the calendar: when one is drawn, and when it waits."""

from __future__ import annotations

import asyncio
import time

import pytest

from .conftest import until
from .fake import FakeNode
from .test_group_keys import MakeSite, _soon, aged, behind, fast

__all__ = ["_soon"]


async def test_by_the_calendar(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    fast(site, group_key_days=30)
    aged(site, 29.9)
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        await asyncio.sleep(0.3)
        assert site.keys.newest.number == 1
        aged(site, 30.1)
        await until(lambda: site.keys.active.number == 2)
        assert site.keys.newest.why == "older than 30 days"


async def test_a_key_drawn_under_a_clock_ahead_is_replaced(make_site: MakeSite) -> None:
    """Else the calendar would wait until that time, perhaps for decades."""
    site = make_site(FakeNode(1))
    fast(site, group_key_days=30)
    aged(site, -3650)
    async with site.running():
        await until(lambda: site.keys.active.number == 2)
        assert abs(site.keys.newest.made_s - time.time()) < 60


@pytest.mark.parametrize("days", [0, 30])
async def test_the_calendar_waits_for_firmware_that_follows(make_site: MakeSite, days: int) -> None:
    site = make_site(FakeNode(1), FakeNode(2, knows_groups=days == 0))
    fast(site, group_key_days=days)
    aged(site, 4000)
    async with site.running() as controller:
        await until(lambda: 1 not in behind(controller))
        await asyncio.sleep(0.5)
        assert site.keys.newest.number == 1
