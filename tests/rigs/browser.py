"""A page in a real browser: headless Chromium, with nothing but the page's own server to load from.

async with browser.opened(url, width=390) as page:
    assert await page.inner_text("#title") == "Mill Lane"
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from rigs import needs

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _failed(request: Any, trouble: list[str]) -> None:
    """Left out: what the test's next step cut short, a page's load by its own timer or the icon
    of the page that was left.
    """
    timed = request.is_navigation_request() or request.url.endswith("/static/icon.svg")
    if not (timed and request.method == "GET" and request.failure == "net::ERR_ABORTED"):
        trouble.append(f"not loaded: {request.url}: {request.failure}")


@contextlib.asynccontextmanager
async def opened(
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    status: dict[str, Any] | None = None,
    within: str | None = None,
    forgiven: tuple[str, ...] = (),
) -> AsyncIterator[Any]:
    """The page at `url`. `status` answers for /api/status in place of the server;
    `within` is where all it loads has to come from, if that is not `url`; trouble with one of the
    words `forgiven` in it does not count, for pages that are not ours.

    Fails when a script fails, something does not load, or the page asks another host.
    """
    needs.require_module("playwright", "dev")
    chromium = needs.require_tool("chromium")
    from playwright.async_api import async_playwright

    trouble: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            context = await browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                locale="en-GB",
                timezone_id="UTC",
            )
            page = await context.new_page()
            page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
            page.on("requestfailed", lambda it: _failed(it, trouble))
            page.on("console", lambda it: trouble.append(it.text) if it.type == "error" else None)
            page.on(
                "request",
                lambda it: (
                    None if it.url.startswith(within or url) else trouble.append(f"asks {it.url}")
                ),
            )
            if status is not None:
                body = json.dumps(status)
                await page.route(
                    "**/api/status",
                    lambda route: route.fulfill(body=body, content_type="application/json"),
                )
            answer = await page.goto(url)
            assert answer is not None
            assert answer.ok, answer.status
            yield page
        finally:
            await browser.close()
    left = [it for it in trouble if not any(word in it for word in forgiven)]
    assert not left, left
