"""An order from an operator's browser to a real controller over a real broker, and back.

All of it is real: the portal in Chromium, every role of HQ, PostgreSQL, Mosquitto with HQ's own
configuration and certificates, and the controller's own uplink and commands.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from rigs import people
from rigs.hq import Headquarters
from rigs.ordering import answered, order, released
from rigs.uplink import no_reading, opened
from rigs.waiting import going

from pbal_controller.config import PlannerConfig, UplinkConfig
from pbal_controller.standing import Mode, Restraint
from pbal_controller.uplink import Commands, Uplink
from pbal_host import check_cancelled
from pbal_hq import commands, roles
from pbal_hq.commands.dispatch import CHANNEL
from pbal_sim.hq import free_port
from pbal_uplink import State

pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 60


async def until(condition):
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "nothing came in time"
        await asyncio.sleep(0.05)


def a_state(backlog, thinned):
    return State(site=7, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 homes=4, capabilities=0x10, backlog=backlog, thinned=thinned)  # fmt: skip


@dataclass
class Site:
    """A controller's restraint and commands, and the HQ it is a site of."""

    restraint: Restraint
    taken: Commands
    conn: Any
    fleet: people.Fleet
    address: str
    signer: commands.Signer


@pytest.fixture
async def site(tmp_path, database_url):
    """`pbal-hq all` in this process, and a controller's uplink to it."""
    port = free_port()
    hq = Headquarters(tmp_path, database_url, portal={"port": port, "plain_http": True})
    (hq.config.data / "portal.secret").write_text(people.MASTER.hex())
    hq.broker.start()
    journal = await opened(tmp_path / "j.db")
    restraint = Restraint()
    try:
        async with people.connected(database_url) as conn:
            fleet = await people.make(conn)
            public = commands.Signer.read(hq.config.data / "command.key").public_hex
            cert, key = await hq.certificate(7)
            settings = UplinkConfig(
                kind="sparkplug", host="localhost", port=hq.config.broker.port, group="north",
                node="7", ca=hq.pki.ca, certificate=cert, key=key, spread_s=0, retry_s=1,
                primary_host="hq", hq_keys=(public,),
                allow=("mode", "limits", "rebirth", "reading"),
            )  # fmt: skip
            taken = Commands(journal, settings, PlannerConfig(phase_limit_a=120.0), 7, restraint,
                             time.time)  # fmt: skip
            uplink = Uplink(journal, settings, 7, a_state, taken, no_reading, time.time)
            async with (
                going(roles.run(hq.config, roles.wanted(hq.config))),
                going(uplink.run(check_cancelled)),
            ):
                await until_online(conn)
                signer = commands.Signer.read(hq.config.data / "command.key")
                yield Site(restraint, taken, conn, fleet, f"http://127.0.0.1:{port}", signer)
    finally:
        await journal.close()
        hq.broker.kill()


async def until_online(conn):
    end_s = time.monotonic() + PATIENCE_S
    sql = "SELECT 1 FROM site_live WHERE site_id = 7 AND online AND state IS NOT NULL"
    while await (await conn.execute(sql)).fetchone() is None:
        assert time.monotonic() < end_s, "the site was not born"
        await asyncio.sleep(0.1)


async def test_from_the_operator_to_the_controller_and_back(site):
    restraint, taken, address = site.restraint, site.taken, site.address
    one = site.fleet.transformers["T1"]
    async with people.logged_in(address, "operator-d1") as page:
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
        await released(address, "engineer-d1", "mode run")
        await until(lambda: restraint.mode is Mode.RUN)
        assert "engineer-d1" in await answered(page, "done")
        # The site's own bound stands above HQ's: what it refuses is said.
        await order(page, address, one, "limits", phase="150")
        await released(address, "engineer-whole", "limits")
        row = await answered(page, "refused")
        assert "150 A is above this site's own 120 A" in row
        assert restraint.phase_limit_a is None
    assert taken.refused_total == 0
    rows = await (await site.conn.execute("SELECT action FROM audit ORDER BY id")).fetchall()
    acts = [action for (action,) in rows if action.startswith("command")]
    assert acts == ["command.ask", "command.ask", "command.approve", "command.ask",
                    "command.approve"]  # fmt: skip


async def test_whoever_has_the_database_orders_nothing(site):
    who, _ = await people.who(site.conn, "operator-d1")
    forged = people.signer()
    await commands.ask(
        site.conn, who, site.fleet.transformers["T1"], commands.Wish("mode", "hold"),
        "not HQ's key", 600, forged, time.time(),
    )  # fmt: skip
    await until(lambda: site.taken.refused_total == 1)
    assert site.restraint.mode is Mode.RUN
    assert site.taken.taken_total == 0


async def put_on_the_road(site, sealed):
    """What whoever holds broker and database can do: any bytes to the site, as often as wanted."""
    number = (await (await site.conn.execute("SELECT coalesce(max(id), 0) + 1 FROM command"))
              .fetchone())[0]  # fmt: skip
    fields = commands.Wish("mode", "hold").words(7, number, 1, 2, "").as_dict()
    await site.conn.execute(
        "INSERT INTO command (id, site_id, kind, fields, status, asked_by, expires_at, sealed)"
        " VALUES (%s, 7, 1, %s, 'approved', 'operator-d1', now() + interval '1 hour', %s)",
        (number, Jsonb(fields), sealed),
    )
    await site.conn.execute(f"NOTIFY {CHANNEL}")


async def test_a_broker_in_foreign_hands_changes_nothing(site):
    now = int(time.time())

    def sealed(kind, mode, where=7, number=900, issued=now, expires=now + 600):
        return site.signer.seal(commands.Wish(kind, mode).words(where, number, issued, expires, ""))

    good = sealed("mode", "hold")
    await put_on_the_road(site, good)
    await until(lambda: site.taken.taken_total == 1)
    assert site.restraint.mode is Mode.HOLD
    await put_on_the_road(site, sealed("mode", "run", number=901))
    await until(lambda: site.restraint.mode is Mode.RUN)
    # The first order again: it was carried out, and is not carried out once more.
    await put_on_the_road(site, good)
    # Strangers' orders, and one that was changed on its way.
    spoiled = bytearray(sealed("mode", "hold", number=902))
    spoiled[-1] ^= 1
    for strange in (
        sealed("mode", "hold", where=8, number=903),
        bytes(spoiled),
        people.signer().seal(commands.Wish("mode", "hold").words(7, 904, now, now + 600, "")),
        b"not an order",
    ):
        before = site.taken.refused_total
        await put_on_the_road(site, strange)
        await until(lambda: site.taken.refused_total > before)  # noqa: B023
    # Kept back until it had expired: answered, so that people see it, and not carried out.
    late = sealed("mode", "hold", number=905, issued=now - 7200, expires=now - 3600)
    await put_on_the_road(site, late)
    await until(lambda: site.taken.taken_total == 3)
    too_long = sealed("mode", "hold", number=906, issued=now, expires=now + 30 * 86_400)
    await put_on_the_road(site, too_long)
    await until(lambda: site.taken.taken_total == 4)
    assert site.restraint.mode is Mode.RUN
