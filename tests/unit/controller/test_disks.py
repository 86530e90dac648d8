"""A disk that is really full, another site's key store swapped in, a flood of requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from pbal_controller.errors import JournalError
from pbal_controller.keys import KeyStore

from .conftest import Site, full, rows, until
from .fake import FakeNode, root_key

MakeSite = Callable[..., Site]


async def test_a_full_disk(disk: Path, make_site: MakeSite) -> None:
    """Nothing is ordered, nothing acknowledged, readings go on; and it comes back by itself."""
    site = make_site(FakeNode(1), FakeNode(2))
    async with site.running() as c:
        home, node = c.fleet.get(1), site.nodes[1]
        await until(lambda: all(n.synced for n in site.nodes.values()) and home.readings > 2)
        with full(disk):
            with contextlib.suppress(JournalError):  # the last page that was reserved
                while await c.dispatcher.order(home, 2, "a test", 1.0):
                    await until(lambda: not c.dispatcher.busy(1))
                    await until(lambda: home.phase)
            moved = sum(node.executed.values())
            node.event()
            before = home.readings
            await until(lambda: home.readings > before + 50)
            assert node.events, "acknowledged, and written down nowhere"
            assert sum(node.executed.values()) == moved
            assert "journal" in c.dispatcher.why_not(c.now())
            assert c.supervisor.loops["bus street"].restarts == 0
        await until(lambda: not c.dispatcher.why_not(c.now()))
        await until(lambda: not node.events)
        other = c.fleet.get(2)
        assert await c.dispatcher.order(other, other.phase % 3 + 1, "a test", 1.0)
        await until(lambda: not c.dispatcher.busy(2))
    assert rows(site, "PRAGMA integrity_check") == [("ok",)]


async def test_the_key_store_of_another_site_changes_nothing(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_site(FakeNode(1))
    keys = site.folder / "keys.json"
    kept = keys.read_bytes()
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2)
        other = site.folder / "other.json"
        KeyStore.create(other, b"secret", 99, log2_n=10).add_many([(1, "00" * 8, root_key(9))])
        shutil.copy(other, keys)
        os.utime(keys)
        await until(lambda: "another key store lies here" in caplog.text)
        before = home.readings
        await until(lambda: home.readings > before + 20)
        assert await c.dispatcher.order(home, 2, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        assert home.session is not None
        keys.write_bytes(kept)
        await asyncio.sleep(1.5)
        assert c.group_keys.as_dict()["number"] == 1
    assert caplog.text.count("loop failed") == 1, "told once"


async def test_a_flood_of_requests_stops_no_polling(make_site: MakeSite) -> None:
    site = make_site(*(FakeNode(k) for k in (1, 2, 3)))
    async with site.running() as c:
        await until(lambda: all(n.synced for n in site.nodes.values()))
        await until(lambda: c.server.port)
        port = c.server.port

        def polls() -> list[int]:
            return [home.readings for home in c.fleet]

        answered = 0

        async def ask(http: aiohttp.ClientSession, path: str) -> None:
            nonlocal answered
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                        await answer.read()
                        answered += 1
                await asyncio.sleep(0)

        async with aiohttp.ClientSession() as http:
            paths = ("/", "/api/status", "/api/moves", "/metrics", "/api/homes/1", "/nothing")
            tasks = [asyncio.create_task(ask(http, path)) for path in paths * 10]
            before, answered = polls(), 0
            await asyncio.sleep(4.0)
            fewest, meanwhile = min(map(int.__sub__, polls(), before)), answered
            assert await c.dispatcher.order(c.fleet.get(1), 2, "a test", 1.0)
            await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        # However fast the computer: 60 ask at once, and a home has its turn among them.
        assert fewest * 500 > meanwhile > 0, (fewest, meanwhile)
        await until(lambda: max(home.age_s(c.now()) for home in c.fleet) < 5)
