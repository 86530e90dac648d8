"""An order from an operator's browser to a real controller over a real broker, and back.

The portal, PostgreSQL, Mosquitto and the controller's own uplink and commands are real; between
database and broker stands the twin's host application.
"""

import asyncio
import contextlib
import time

import pytest
from rigs import browser, people
from rigs.people import PASSWORD
from rigs.uplink import PLACE, Broker, Hq, Pki, config, no_reading, opened

from pbal_controller.config import PlannerConfig
from pbal_controller.standing import Mode, Restraint
from pbal_controller.uplink import Commands, Uplink
from pbal_hq import commands
from pbal_uplink import Event, State, sparkplug

pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 120


class Road:
    """What is between an order in the database and the site, and the way of the answer back."""

    def __init__(self, conn, host, fleet):
        self.conn, self.host, self.fleet = conn, host, fleet
        self.heard: asyncio.Queue = asyncio.Queue()
        host.heard = self._hear

    def _hear(self, site, message, historical):
        if isinstance(message, Event):
            self.heard.put_nowait(message)

    async def send(self, due):
        for each in due:
            metric = sparkplug.Metric(sparkplug.COMMAND, each.sealed, sparkplug.BYTES)
            await self.host.command(metric, each.key)

    async def run(self):
        while True:
            await commands.dispatch(self.conn, self.send, time.time())
            with contextlib.suppress(TimeoutError):
                got = await asyncio.wait_for(self.heard.get(), 0.2)
                fields = got.as_dict()
                del fields["site"], fields["at_s"], fields["event_id"]
                await people.event(
                    self.conn, self.fleet, "T1", event_id=got.event_id % 2**63, **fields
                )
                await commands.take_answers(self.conn)


@contextlib.asynccontextmanager
async def task_of(work):
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "nothing came in time"
        await asyncio.sleep(0.05)


def a_state(backlog, thinned):
    return State(site=7, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 homes=4, capabilities=0x10, backlog=backlog, thinned=thinned)  # fmt: skip


@pytest.fixture
async def site(tmp_path, database_url):
    """(what the site is held to, its commands, the database, the fleet, the portal's address)."""
    pki = Pki(tmp_path / "pki")
    broker = Broker(tmp_path, pki)
    journal = await opened(tmp_path / "j.db")
    folder = tmp_path / "hq"
    folder.mkdir()
    restraint = Restraint()
    try:
        async with (
            people.connected(database_url) as conn,
            Hq(pki, broker.port) as host,
            people.served(database_url, folder) as address,
        ):
            fleet = await people.make(conn)
            await people.summaries(conn, fleet, "T1", windows=2)
            public = commands.Signer.read(folder / "command.key").public_hex
            settings = config(
                pki,
                broker.port,
                pki.issue("site"),
                hq_keys=(public,),
                allow=("mode", "limits", "rebirth", "reading"),
            )
            taken = Commands(journal, settings, PlannerConfig(phase_limit_a=120.0), 7, restraint,
                             time.time)  # fmt: skip
            uplink = Uplink(journal, settings, 7, a_state, taken, no_reading, time.time)
            async with task_of(uplink.run(lambda: None)):
                await host.until(lambda: host.births, PATIENCE_S)
                async with task_of(Road(conn, host, fleet).run()):
                    yield restraint, taken, conn, fleet, address, host
    finally:
        await journal.close()
        broker.kill()


@contextlib.asynccontextmanager
async def logged_in(address, name):
    async with browser.opened(f"{address}/login", within=address) as page:
        page.set_default_timeout(PATIENCE_S * 1000)
        await page.fill("#name", name)
        await page.fill("#password", PASSWORD)
        await page.fill("#code", people.code())
        await page.click("main button")
        await page.wait_for_selector("text=Log out")
        yield page


async def order(page, address, transformer, kind, **fields):
    await page.goto(f"{address}/transformers/{transformer}")
    await page.click("summary:has-text('Order something')")
    await page.select_option("#kind", kind)
    await page.fill("#why", "storm warning")
    for name, value in fields.items():
        await page.fill(f"#{name}", value)
    await page.click("button:has-text('Order it')")
    await page.wait_for_selector("h2:has-text('Orders')")


async def answered(page, word):
    """Reload until the newest order has its answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await page.reload()
            row = await page.inner_text("table:has(caption:has-text('last orders')) tbody tr")
            if word in row:
                return row
            await asyncio.sleep(0.2)


async def test_from_the_operator_to_the_controller_and_back(site):
    restraint, taken, conn, fleet, address, _ = site
    one = fleet.transformers["T1"]
    async with logged_in(address, "operator-d1") as page:
        await order(page, address, one, "mode hold")
        await until(lambda: restraint.mode is Mode.HOLD)
        row = await answered(page, "done")
        assert "mode hold" in row
        assert "operator-d1" in row
        # run wants a second person: the site hears nothing of it before.
        await order(page, address, one, "mode run")
        row = await answered(page, "waits for a second person")
        assert await page.locator("button:has-text('Release')").count() == 0
        assert taken.taken_total == 1
        async with logged_in(address, "engineer-d1") as other:
            await other.goto(f"{address}/commands")
            await other.click("button:has-text('Release mode run')")
            await other.wait_for_selector("h2:has-text('All')")
        await until(lambda: restraint.mode is Mode.RUN)
        assert "engineer-d1" in await answered(page, "done")
        # The site's own bound stands above HQ's: what it refuses is said.
        await order(page, address, one, "limits", phase="150")
        async with logged_in(address, "engineer-whole") as other:
            await other.goto(f"{address}/commands")
            await other.click("button:has-text('Release limits')")
        row = await answered(page, "refused")
        assert "150 A is above this site's own 120 A" in row
        assert restraint.phase_limit_a is None
    assert taken.refused_total == 0
    rows = await (await conn.execute("SELECT action FROM audit ORDER BY id")).fetchall()
    acts = [action for (action,) in rows if action.startswith("command")]
    assert acts == ["command.ask", "command.ask", "command.approve", "command.ask",
                    "command.approve"]  # fmt: skip


async def test_whoever_has_broker_and_database_orders_nothing(site):
    restraint, taken, conn, fleet, _, host = site
    who, _ = await people.who(conn, "operator-d1")
    forged = people.signer()
    await commands.ask(conn, who, fleet.transformers["T1"], commands.Wish("mode", "hold"),
                       "not HQ's key", 600, forged, time.time())  # fmt: skip
    await until(lambda: taken.refused_total == 1)
    metric = sparkplug.Metric(sparkplug.COMMAND, b"hold!", sparkplug.BYTES)
    await host.command(metric, PLACE)
    await until(lambda: taken.refused_total == 2)
    assert restraint.mode is Mode.RUN
    assert taken.taken_total == 0
