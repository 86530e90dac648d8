"""While nothing can be ordered, everything that a person or a monitor looks at says so and why."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import pytest
from rigs import browser

from pbal_controller.app import Controller
from pbal_controller.journal import Journal
from pbal_tools.picture import Picture, sentence
from pbal_tools.statusclient import Feed

from .conftest import Site, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


async def looked_at(c: Controller) -> tuple[int, str, dict[str, object], str]:
    """Code and text of /healthz, the status, the metrics."""
    await until(lambda: c.server.port)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{c.server.port}") as http:
        c.server._kept.clear()
        health = await http.get("/healthz")
        status = await (await http.get("/api/status")).json()
        metrics = await (await http.get("/metrics")).text()
        return health.status, await health.text(), status, metrics


async def refuse_writes(c: Controller, refuse: bool) -> None:
    """As on a disk that is full or was mounted read-only."""
    await c.journal.call(lambda j: j.db.execute(f"PRAGMA query_only = {int(refuse)}"))


def assert_says(told: tuple[int, str, dict[str, object], str], words: str) -> None:
    code, health, status, metrics = told
    assert code == 503
    assert words in health
    assert "nothing is ordered" in health
    assert (status["healthy"], status["commands"]) == (False, False)
    assert words in str(status["why_no_commands"])
    assert "pbal_healthy 0" in metrics
    assert "pbal_commands_allowed 0" in metrics
    picture = Picture("x")
    Feed(picture).apply(status)
    assert words in sentence(picture)


async def test_a_full_disk_is_said_and_ends_by_itself(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        assert (await looked_at(c))[0] == 200
        await refuse_writes(c, True)
        with pytest.raises(Exception, match="the journal failed"):
            await c.journal.call(Journal.put_blob, "x", b"y")
        await c.journal.call(Journal.get_blob, "x")  # reading goes on, and changes nothing
        told = await looked_at(c)
        assert_says(told, "the journal failed")
        assert "the journal failed" in c.planner.blocked(c.now()).why
        async with browser.opened(f"http://127.0.0.1:{c.server.port}/") as page:
            await page.wait_for_selector("#problem:not([hidden])")
            assert "nothing is ordered" in await page.inner_text("#problem")
        await refuse_writes(c, False)
        await until(lambda: c.dispatcher.why_not(c.now()) == "")
        assert (await looked_at(c))[0] == 200


async def test_a_clock_that_is_not_set_is_said(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        assert (await looked_at(c))[0] == 200
        monkeypatch.setattr(c.dispatcher, "_wall", lambda: 86400.0 * 3)
        assert_says(await looked_at(c), "clock is not set, it says 1970-01-04")
        assert "clock" in c.planner.blocked(c.now()).why
