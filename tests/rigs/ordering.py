"""Orders at the portal, as people give and release them in a browser."""

from __future__ import annotations

import asyncio
from typing import Any

from rigs import people
from rigs.needs import PATIENCE_S


async def pressed(page: Any, words: str) -> None:
    """Press a button, and wait for the page that answers: the form has been taken then."""
    async with page.expect_navigation():
        await page.click(f"button:has-text('{words}')")
    await page.wait_for_load_state()


async def order(page: Any, address: str, transformer: int, kind: str, **fields: str) -> None:
    """Order something on the transformer's page."""
    await page.goto(f"{address}/transformers/{transformer}")
    await page.click("summary:has-text('Order something')")
    await page.select_option("#kind", kind)
    await page.fill("#why", "storm warning")
    for name, value in fields.items():
        await page.fill(f"#{name}", value)
    await pressed(page, "Order it")


async def released(address: str, name: str, words: str) -> None:
    """A second person releases it."""
    async with people.logged_in(address, name) as page:
        await page.goto(f"{address}/commands")
        await pressed(page, f"Release {words}")


async def answered(page: Any, word: str) -> str:
    """Reload until the newest order says so; its row."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await page.reload()
            row: str = await page.inner_text("table:has(caption:has-text('last orders')) tbody tr")
            if word in row:
                return row
            await asyncio.sleep(0.2)
