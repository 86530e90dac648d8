"""The local page in a real browser: what it shows, on a desk and on a phone, and to whom."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from rigs import browser, needs

from pbal_controller.app import Controller
from pbal_controller.errors import ConfigError
from pbal_controller.journal import entries
from pbal_controller.view import access

from .conftest import Site, until
from .fake import FakeNode

pytestmark = pytest.mark.timeout(180)
MakeSite = Callable[..., Site]
# PBAL_PICTURES=1 writes the pictures of the documents anew.
PICTURES = needs.ROOT / "docs" / "img"
NARROWEST = 390  # of a phone, CSS pixels


def url(c: Controller) -> str:
    """Where the page is."""
    return f"http://127.0.0.1:{c.server.port}/"


def homes(n: int = 40) -> list[dict[str, Any]]:
    """Homes as the status lists them, some with remarks as long as they get."""
    return [
        {
            "address": 257 + k, "bus": "north" if k < n // 2 else "south",
            "name": ["", "Wilhelmine-von-Humboldt-Straße 117a"][k % 5 == 0],
            "alive": k % 13 != 0, "age_s": 0.4 + k / 50 if k % 13 else None, "phase": k % 3 + 1,
            "quarantined": "three readings said otherwise than its word" if k == 7 else "",
            "doubted": "its voltage drops less than its current can" if k == 9 else "",
            "immovable": {3: "fixed by the configuration", 6: "dwell", 8: "dwell"}.get(k, ""),
            "answers": 1000 - k % 4, "lost": k % 4, "p_w": 120.0 * k, "vout_v": 231.5 - k / 10,
            "path": "village" if k % 2 else None, "radio": None if k < 30 else {
                "rssi_dbm": -118.4, "snr_db": -6.5, "sf": 9 if k % 2 else 0,
                "airtime_share": 0.0041,
            },
        }
        for k in range(n)
    ]  # fmt: skip


def status(real: dict[str, Any]) -> dict[str, Any]:
    """A street with much to tell, in the shape that a controller gave."""
    t0 = 1_800_000_000.0
    wave = [[t0 + 3 * k, 30 + 12 * math.sin(k / 25) - k / 20] for k in range(300)]
    moves = [
        {"issued_s": t0 + 90 * k, "home": 258 + k, "from": 1, "to": 2 + k % 2,
         "state": "confirmed" if k != 4 else "failed", "detail": "" if k != 4 else "contact",
         "reason": "evening load on A; saves 210 A² of neutral current", "saving": 210.0}
        for k in range(8)
    ]  # fmt: skip
    # 120, 95 and 60 A at 0.95 lagging, each in its own phase's frame.
    phasors = [[0.95 * a, -0.31 * a] for a in (120.0, 95.0, 60.0)]
    turn = [complex(math.cos(x), math.sin(x)) for x in (0, -2 * math.pi / 3, 2 * math.pi / 3)]
    neutral = abs(sum(complex(*z) * t for z, t in zip(phasors, turn, strict=True)))
    bus = real["buses"][0] | {"state": "open", "last_error": "", "cycle_s": 0.46}
    return real | {
        "site": {"id": 7, "name": "Mill Lane 14, transformer 2"}, "time_s": t0 + 897,
        "homes_configured": 40, "homes_alive": 36, "phase_homes": [14, 13, 13],
        "homes_quarantined": 1, "phase_phasors_a": phasors, "phase_limit_a": 100.0,
        "phase_currents_a": [abs(complex(*z)) for z in phasors], "neutral_current_a": neutral,
        "neutral_history": wave, "moves": moves, "homes": homes(),
        "buses": [bus | {"name": "north"}, bus | {"name": "south"}],
        "switches": {"ordered": 8, "open": 0, "confirmed": 7, "failed": 1},
        "planner": real["planner"] | {
            "enabled": True, "last": {"time_s": t0 + 630, "cause": "timer", "moves": 1},
        },
    }  # fmt: skip


async def fits(page: Any) -> None:
    """Nothing is wider than the screen, and nothing is cut."""
    wide = await page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth;
          return [...document.querySelectorAll("body *")].filter(e => {
            const box = e.getBoundingClientRect();
            return box.right > wide + 0.5 || (e.children.length === 0 && !e.closest("svg") &&
              e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline");
          }).map(e => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 40));
        }"""
    )
    assert wide == []


async def test_the_page_tells_what_a_controller_does(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1), FakeNode(2, phase=2))
    site.fixed = {2}
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2 and c.fleet.get(2).readings)
        assert await c.dispatcher.order(home, 3, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"])
        await until(lambda: len(c.records.neutral_history) > 1)
        async with browser.opened(url(c)) as page:
            await page.wait_for_selector("#homes tr")
            assert not await page.is_visible("#problem")
            assert not await page.is_visible("#dry")
            (move,) = [await x.all_inner_texts() for x in await page.locator("#moves tr").all()]
            at, who, begin, end, outcome, why = move[0].split("\t")
            assert len(at.split(":")) == 3, "the time of day"
            assert (who, begin, end) == ("1", "A", "C")
            assert (outcome, why) == ("confirmed: measured", "a test")
            top, half = await page.inner_text("#top"), await page.inner_text("#half")
            assert float(top.split()[0]) == pytest.approx(2 * float(half.split()[0]), abs=0.2)
            for end in ("#from", "#to"):
                assert len((await page.inner_text(end)).split(":")) == 3
            assert "fixed by the configuration: 1 home (2)" in await page.inner_text("#still")
            cards = await page.inner_text("#cards")
            assert "phase B, 1 home" in cards
            assert "1 homes" not in cards
            assert "street" in await page.inner_text("#links")


async def test_what_is_lost_is_a_share_of_what_was_due(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: c.server.port and c.fleet.get(1).readings)
        async with aiohttp.ClientSession() as http:
            real = await (await http.get(url(c) + "api/status")).json()
        (one,) = real["homes"]
        for answers, lost, told in ((0, 0, "starting"), (90, 10, "10.0 % lost")):
            # By radio a home is heard in its slot without being polled.
            home = one | {"polls": 1000, "answers": answers, "lost": lost}
            shown = real | {"homes": [home]}
            async with browser.opened(url(c), status=shown) as page:
                await page.wait_for_selector("#homes tr")
                assert told in await page.inner_text("#links")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [NARROWEST, pytest.param(820, marks=pytest.mark.long), 1280])
async def test_everything_fits(make_site: MakeSite, width: int, dark: bool, tmp_path: Path) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: c.server.port and c.fleet.get(1).readings)
        async with aiohttp.ClientSession() as http:
            real = await (await http.get(url(c) + "api/status")).json()
        shown = status(real)
        async with browser.opened(url(c), width=width, dark=dark, status=shown) as page:
            await page.wait_for_selector("#homes tr")
            await fits(page)
            told = await page.inner_text("#problem")
            assert "home 266 in doubt" in told
            assert "1 home in quarantine" in told
            # The page's own sum of the phasors is the neutral current of the status.
            key = await page.inner_text("#phasor-key")
            assert f"neutral, {shown['neutral_current_a']:.1f} A" in key
            assert await page.locator("#chart .move").count() == 8
            assert "dwell: 2 homes (263, 265)" in await page.inner_text("#still")
            assert "timer: 1 move" in await page.inner_text("#decision")
            told = await page.inner_text("#homes")
            assert "village: SF9, -118 dBm, SNR -6.5 dB, 0.41 % of the air" in told
            assert "silent: no slot, -118 dBm" in told
            assert await page.locator(".card .bad").count() == 1, "one phase above its limit"
            folder = PICTURES if os.environ.get("PBAL_PICTURES") else tmp_path
            if (width, dark) in ((NARROWEST, True), (1280, False)):
                name = "page-phone.png" if width == NARROWEST else "page.png"
                await page.screenshot(path=folder / name, full_page=width != NARROWEST)
                assert (folder / name).stat().st_size > 20_000


async def test_a_dry_run_says_what_it_would_have_saved(make_site: MakeSite) -> None:
    nodes = [FakeNode(a) for a in (1, 2, 3)]  # all on A
    site = make_site(*nodes)
    site.changes = {"planner": {"enabled": True, "dry_run": True, "max_moving_share": 1.0}}
    async with site.running() as c:
        await until(lambda: c.planner.dry_run and c.planner.dry_run.moves_total >= 2)
        await until(lambda: c.planner.dry_run.as_dict()["neutral_loss_cut"] > 0.2)
        told = c.planner.dry_run.as_dict()
        async with browser.opened(url(c)) as page:
            await page.wait_for_selector("#dry:not([hidden])")
            text = await page.inner_text("#dry")
            assert text.startswith("Dry run: nothing is ordered.")
            assert "not ordered" in await page.inner_text("#moves")
            decided = await page.inner_text("#decision")
            assert "in a dry run, none ordered" in decided
            assert "no plan" not in decided
            await page.wait_for_selector("#chart .would", state="attached")
        assert c.dispatcher.ordered_total == 0
        assert all(node.phase == 1 for node in nodes)
    # Three equal homes, one on each phase: nothing is left in the neutral.
    assert told["neutral_would_mean_a"] < told["neutral_mean_a"]
    assert {m["to"] for m in told["last_moves"]} == {2, 3}


TOKEN = "0123456789abcdef" * 3


async def test_logins_are_in_the_audit_log(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    (site.folder / "token").write_text(TOKEN + "\n")
    site.changes = {"http": {"token_file": str(site.folder / "token")}}
    async with site.running() as c, aiohttp.ClientSession() as session:
        await until(lambda: c.server.port)
        for query in ("", "?token=guess", "?token=again", f"?token={TOKEN}"):
            async with session.get(url(c) + query, allow_redirects=False) as answer:
                assert answer.status == (303 if TOKEN in query else 401)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with session.get(url(c) + "api/status", headers=headers) as answer:
            assert answer.status == 200
        rows = await c.journal.call(lambda j: list(entries(j.db)))
    found = [(row.what, row.subject, row.why) for row in rows if "login" in row.what]
    # Guesses are counted and noted once a minute; a program that shows its token is no login.
    assert found == [("login refused", "127.0.0.1", "1 wrong so far"), ("login", "127.0.0.1", "")]


async def test_who_has_the_token_may_read(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    (site.folder / "token").write_text(TOKEN + "\n")
    site.changes = {"http": {"token_file": str(site.folder / "token")}}
    async with site.running() as c:
        await until(lambda: c.server.port)
        for path in ("", "api/status", "metrics", "healthz", "page.js", "events"):
            async with aiohttp.ClientSession() as http:
                for headers in ({}, {"Authorization": f"Bearer {TOKEN[1:]}"}):
                    refused = await http.get(url(c) + path, headers=headers)
                    assert refused.status == 401, path
                    assert TOKEN[:8] not in await refused.text()
        async with aiohttp.ClientSession() as http:
            seen = await http.get(
                url(c) + "api/status", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            assert seen.status == 200
        async with browser.opened(url(c) + f"?token={TOKEN}", within=url(c)) as page:
            await page.wait_for_selector("#homes tr")
            assert TOKEN not in page.url
            assert await page.evaluate("document.cookie") == "", "no script reads it"


@pytest.mark.parametrize("text", ["", "short", "x" * 40 + " y"])
def test_a_token_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="at least 32 characters"):
        access.read_token(_written(tmp_path, text))
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        access.read_token(tmp_path / "none")


def _written(folder: Path, text: str) -> Path:
    (folder / "token").write_text(text)
    return folder / "token"
