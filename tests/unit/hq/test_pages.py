"""Every page in a real browser: it loads, asks nobody else, fits a phone; the forms work."""

import os
import re
from pathlib import Path

import pytest
from rigs import browser, needs, people

SHOTS = os.environ.get("PBAL_SHOTS")
# Chromium beside other tests at idle priority.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def fleet(database_url):
    async with people.connected(database_url) as conn:
        made = await people.make(conn)
        for where in ("T1", "T2"):
            await people.summaries(conn, made, where, windows=280)
        await people.alarm(conn, made, "T1", "overload", "117 % of rated current for 40 min")
        await conn.execute(
            "INSERT INTO summary_hourly (transformer_id, start_at, sampled_s, windows, ia_mean_a,"
            " ib_mean_a, ic_mean_a, in_mean_a, rs485_min_percent) SELECT %s, at, 3600, 12, 33, 30,"
            " 28, 20 + 15 * sin(extract(hour FROM at) / 3.8), 92 FROM generate_series("
            "date_trunc('hour', now()) - interval '27 days', now(), interval '1 hour') at",
            (made.transformers["T1"],),
        )
        await conn.execute(
            "INSERT INTO prospect (code, rank, figures) SELECT 'TR-' || n, n, jsonb_build_object("
            "'homes', 40 + n, 'neutral_cut', 0.6 - n / 50.0, 'net_present_value', 90000 - 9000 * n)"
            " FROM generate_series(1, 6) n"
        )
        await people.event(
            conn, made, "T1", kind=2, severity=0, address=4, outcome=1, from_phase=1, to_phase=2,
            detail="moved to take 9 A from phase A",
        )  # fmt: skip
        yield made


async def fits(page):
    """Nothing is wider than the screen."""
    wide, screen = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen, f"{page.url}: {wide} px on a screen of {screen}"


async def shot(page, name):
    if SHOTS:
        await page.screenshot(path=str(Path(SHOTS) / f"hq-{name}.png"), full_page=True)


# What a reader of contrast would measure, WCAG 2: text against what is behind it.
CONTRAST = """() => {
  const parse = c => c.match(/[\\d.]+/g).map(Number);
  const lum = ([r, g, b]) => [r, g, b].map(v => v / 255).map(
    v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  ).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll("main *, header *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (!e.getClientRects().length || e.closest("svg") || e.matches("option, title")) continue;
    const a = lum(parse(getComputedStyle(e).color)), b = lum(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${ratio}`);
  }
  const unnamed = [...document.querySelectorAll("input:not([type=hidden]),select,textarea")]
    .filter(e => !e.labels.length).map(e => `no label: ${e.name}`);
  return bad.concat(unnamed);
}"""


async def broken_rules(page):
    """axe-core's rules for WCAG 2.2 A and AA that the page breaks."""
    needs.require_module("axe_playwright_python", "dev")
    from axe_playwright_python.async_playwright import Axe

    levels = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    await page.evaluate(Axe().axe_script)
    # Of an answer with all that holds, too, most of the time would go into sending and reading it.
    found = await page.evaluate(
        "options => axe.run(document, options).then(result => result.violations)",
        {"runOnly": {"type": "tag", "values": levels}, "resultTypes": ["violations"]},
    )
    return [
        f"{it['id']}: {it['help']}: {node['html'][:120]}"
        for it in found
        for node in it["nodes"][:3]
    ]


TRENDS = "/trends?by=transformer&step=hours"
PAGES = {
    "engineer-whole": ("/", "/transformers?sort=load", "/map", "/transformers/{T1}",
                       "/transformers/{T1}?days=7", "/fleet", "/where-next", TRENDS, "/alarms",
                       "/alarms/1", "/commands", "/reports", "/import", "/dead-letters",
                       "/account"),
    "administrator-whole": ("/users", "/audit", "/dead-letters"),
}  # fmt: skip


# A time as it is written in each language: the month in its letters.
MONTH = {"en": r"\d [A-Z][a-z]{2} \d", "hi": "[\u0900-\u097f]", "ml": "[\u0d00-\u0d7f]"}


@pytest.mark.parametrize(
    ("width", "dark", "language"),
    [
        (390, False, "en"),
        pytest.param(1280, False, "en", marks=pytest.mark.long),
        pytest.param(1280, True, "hi", marks=pytest.mark.long),
        pytest.param(390, True, "ml", marks=pytest.mark.long),
    ],
)
async def test_every_page(database_url, fleet, tmp_path, width, dark, language):
    async with people.served(database_url, tmp_path) as address:
        for name, paths in PAGES.items():
            async with people.logged_in(address, name, width=width, dark=dark) as page:
                await page.goto(f"{address}/language/{language}?next=/account")
                for path in paths:
                    path = path.replace("{T1}", str(fleet.transformers["T1"]))
                    answer = await page.goto(address + path)
                    assert answer.ok, f"{path}: {answer.status}"
                    await fits(page)
                    assert await page.evaluate(CONTRAST) == [], path
                    assert await broken_rules(page) == [], path
                    assert await page.locator("h1").count() == 1
                    if path == "/alarms/1":
                        assert re.search(MONTH[language], await page.inner_text("time >> nth=0"))
                    word = re.sub(r"\W+", "-", path.split("?")[0]).strip("-") or "overview"
                    await shot(page, f"{word}-{width}-{language}{'-dark' if dark else ''}")
            # A code counts once: the next login is another person's.


async def test_long_names_without_a_gap_fit(database_url, fleet, tmp_path):
    async with people.connected(database_url) as conn:
        await conn.execute("UPDATE transformer SET code = repeat('X', 64), name = repeat('W', 200)"
                           " WHERE code = 'T1'")  # fmt: skip
        await conn.execute("UPDATE area SET name = repeat('Straße', 30), code = repeat('Ü', 60)"
                           " || id WHERE level = 'division'")  # fmt: skip
        await conn.execute("UPDATE alarm SET detail = repeat('Klemmleiste', 18)")
    one = fleet.transformers["T1"]
    paths = ("/", "/transformers", f"/transformers/{one}", "/alarms", "/alarms/1", "/fleet",
             TRENDS, "/reports", "/commands")  # fmt: skip
    async with (
        people.served(database_url, tmp_path) as address,
        people.logged_in(address, "engineer-whole", width=390) as page,
    ):
        for width in (390, 1280):
            await page.set_viewport_size({"width": width, "height": 900})
            for path in paths:
                await page.goto(address + path)
                await fits(page)
        # Beside that no word of ours is cut: a label on a phone, a unit in a table.
        await page.set_viewport_size({"width": 390, "height": 900})
        await page.goto(f"{address}/reports")
        heights = await page.evaluate(
            "[...document.querySelectorAll('td.unit')].map(e => e.getClientRects().length"
            " && getComputedStyle(e).whiteSpace)"
        )
        assert set(heights) == {"nowrap"}
        narrow = await page.evaluate(
            "[...document.querySelectorAll('tbody th')].filter(e => e.scrollWidth > e.clientWidth"
            " || e.clientWidth < 40).map(e => e.textContent)"
        )
        assert narrow == []


async def test_an_alarm_is_handled(database_url, fleet, tmp_path):
    async with (
        people.served(database_url, tmp_path) as address,
        people.logged_in(address, "operator-d1") as page,
    ):
        await page.click("nav >> text=Alarms")
        await page.click("main >> text=overload")
        await page.fill("#ack", "crew is on the way")
        await page.click("text=Acknowledge")
        assert "acknowledged by operator-d1" in await page.inner_text("main")
        await page.fill("#shelve", "<b>works</b> until evening")
        await page.click("button:has-text('Shelve')")
        text = await page.inner_text("main")
        assert "shelved, acknowledged by" in text
        assert "<b>works</b> until evening" in text
        await page.click("nav >> text=Overview")
        assert "0\nin trouble" in await page.inner_text("main")


async def test_a_new_user_from_first_password_to_second_factor(database_url, fleet, tmp_path):
    import pyotp

    async with people.served(database_url, tmp_path) as address:
        async with people.logged_in(address, "administrator-whole") as page:
            await page.goto(f"{address}/users")
            await page.fill("#name", "newcomer")
            await page.select_option("#role-new", "operator")
            await page.select_option("#place-new", "whole")
            await page.click("button:has-text('Make')")
            first = await page.inner_text("div.box code")
        async with browser.opened(f"{address}/login", within=address) as page:
            page.set_default_timeout(people.PAGE_MS)
            await page.fill("#name", "newcomer")
            await page.fill("#password", first)
            await page.click("main button")
            await page.wait_for_selector("text=Choose your own password first")
            await page.fill("#old", first)
            await page.fill("#new", "a quite new sentence")
            await page.click("text=Change it")
            await page.wait_for_selector("text=Set it up first")
            await page.click("button:has-text('Set it up')")
            secret = await page.inner_text("main code")
            await page.wait_for_function("document.querySelector('img.qr').naturalWidth > 50")
            await page.fill("#code", pyotp.TOTP(secret).now())
            await page.click("text=Confirm")
            await page.wait_for_selector("h1:has-text('Overview')")


async def test_the_session_goes_on_when_the_access_token_ran_out(database_url, fleet, tmp_path):
    async with (
        people.served(database_url, tmp_path) as address,
        people.logged_in(address, "operator-d1") as page,
    ):
        before = {c["name"]: c for c in await page.context.cookies()}
        assert all(c["httpOnly"] and c["sameSite"] == "Strict" for c in before.values())
        await page.context.clear_cookies(name="pbal")
        await page.goto(f"{address}/alarms")
        assert await page.inner_text("h1") == "Alarms"
        after = {c["name"]: c["value"] for c in await page.context.cookies()}
        assert after["pbal-refresh"] != before["pbal-refresh"]["value"]
        await page.click("text=Log out")
        await page.wait_for_selector("h1:has-text('Log in')")
        await page.goto(f"{address}/alarms")
        assert await page.inner_text("h1") == "Log in"


async def test_a_forged_form_changes_nothing(database_url, fleet):
    async with people.connected(database_url) as conn, people.portal(database_url) as client:
        who, access = await people.who(conn, "operator-whole")
        client.cookies.set("__Host-pbal", access)
        from pbal_hq.auth import tokens

        right = tokens.form_token(client.desk.keys, who.session_id)
        to = "/alarms/1/acknowledge"
        for token, headers in (
            ("", {}),
            ("0" * 64, {}),
            (tokens.form_token(client.desk.keys, who.session_id + 1), {}),
            (right, {"origin": "https://evil.test"}),
            (right, {"origin": "null"}),
            (right, {"sec-fetch-site": "cross-site"}),
        ):
            got = await client.post(to, data={"token": token, "words": "x"}, headers=headers)
            assert got.status_code == 403, (token, headers)
        row = await (await conn.execute("SELECT acknowledged_at FROM alarm")).fetchone()
        assert row == (None,)
        ok = await client.post(to, data={"token": right}, headers={"origin": "https://hq.test"})
        assert ok.status_code == 303
        # The API takes no cookie, so no form of another site can reach it.
        api = await client.post("/api/v1/alarms/1/comment", json={"words": "x"})
        assert api.status_code == 401


OF_AN_AREA = ("/reports/file", "/trends/file")  # which is in the query


async def test_pages_refuse_as_the_api_does(database_url, fleet):
    from pbal_hq.api import table
    from pbal_hq.auth import Permission
    from pbal_hq.portal import PAGES as ROUTES

    async with people.connected(database_url) as conn, people.portal(database_url) as client:
        _, access = await people.who(conn, "official-d1")
        for route in table(ROUTES):
            if not isinstance(route.may, Permission):
                continue
            path = re.sub(r"{(\w+)}", str(fleet.transformers["T2"]), route.path)
            client.cookies.clear()
            got = await client.request(route.method, path)
            assert got.status_code in (303, 401), path
            client.cookies.set("__Host-pbal", access)
            if path in OF_AN_AREA:
                path += f"?area_id={fleet.areas['D2']}&period=2026-01"
            got = await client.request(route.method, path)
            may = route.may in (Permission.TREE_READ, Permission.ALARM_READ, Permission.REPORT_READ)
            one = "{transformer_id}" in route.path or "{alarm_id}" in route.path
            one = one or route.path in OF_AN_AREA
            assert got.status_code == ((404 if one else 200) if may else 403), path
            assert "secret-T2" not in got.text
        csp = got.headers["content-security-policy"]
        assert "unsafe" not in csp
        assert "<script>" not in got.text
