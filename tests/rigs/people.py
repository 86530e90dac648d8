"""A small fleet with its people in HQ's database, and their logins.

state KL / district EKM / divisions D1, D2 / feeders F1 (in D1), F2 (in D2); a transformer T1 with
site 7 in F1, T2 with site 8 in F2. Users NAME-whole, NAME-d1, NAME-t2 of each role.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyotp
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from pbal_hq.auth import Grant, Keyring, Role, passwords, sessions, totp
from pbal_hq.commands import Signer
from pbal_hq.database import Connection
from pbal_uplink import Summary
from rigs import browser

# Chromium beside other tests at idle priority.
PAGE_MS = 120_000
PASSWORD = "correct horse battery staple"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
MASTER = bytes(range(32))
PLACES = ("whole", "d1", "t2")
SITES = {"T1": 7, "T2": 8}


@dataclass
class Fleet:
    """What `make` put into the database: ids by code, users by name."""

    areas: dict[str, int] = field(default_factory=dict)
    transformers: dict[str, int] = field(default_factory=dict)
    people: dict[str, int] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    async with await AsyncConnection.connect(url, autocommit=True) as conn:
        yield conn


async def one(conn: Connection, sql: str, *values: Any) -> Any:
    row = await (await conn.execute(sql, values)).fetchone()
    assert row is not None
    return row[0]


async def make(conn: Connection) -> Fleet:
    """The fleet and its people; every password is PASSWORD, every second factor SECRET."""
    fleet = Fleet()
    area = "INSERT INTO area (parent_id, level, code, name) VALUES (%s, %s, %s, %s) RETURNING id"
    for parent, level, code, name in (
        (None, "state", "KL", "Kerala"), ("KL", "district", "EKM", "Ernakulam"),
        ("EKM", "division", "D1", "Aluva"), ("EKM", "division", "D2", "Kochi"),
        ("D1", "feeder", "F1", "Mill"), ("D2", "feeder", "F2", "Harbour"),
    ):  # fmt: skip
        fleet.areas[code] = await one(conn, area, fleet.areas.get(parent or ""), level, code, name)
    for code, feeder, site in (("T1", "F1", 7), ("T2", "F2", 8)):
        fleet.transformers[code] = await one(
            conn, "INSERT INTO transformer (code, name, feeder_id, rated_kva, latitude, longitude,"
            " customers) VALUES (%s, %s, %s, 100, %s, %s, 60) RETURNING id",
            code, f"Transformer {code}", fleet.areas[feeder], 10 + site / 100, 76 + site / 100,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO site (id, transformer_id, group_id, node) VALUES (%s, %s, 'north', %s)",
            (site, fleet.transformers[code], str(site)),
        )
    at = {
        "whole": {"whole": True},
        "d1": {"area_id": fleet.areas["D1"]},
        "t2": {"transformer_id": fleet.transformers["T2"]},
    }
    for role in Role:
        for place in PLACES:
            await person(conn, fleet, f"{role}-{place}", Grant(role, **at[place]))
    return fleet


@functools.cache
def _hash() -> str:
    return passwords._hasher.hash(PASSWORD)


async def person(conn: Connection, fleet: Fleet, name: str, *grants: Grant) -> int:
    """A user who has finished setting up."""
    sealed = Keyring([MASTER]).seal(SECRET)
    person_id = await one(
        conn, "INSERT INTO person (name, full_name, password_hash, password_is_initial,"
        " totp_sealed, totp_confirmed) VALUES (%s, %s, %s, false, %s, true) RETURNING id",
        name, name.title(), _hash(), sealed,
    )  # fmt: skip
    for g in grants:
        await conn.execute(
            "INSERT INTO person_grant (person_id, role, whole, area_id, transformer_id)"
            " VALUES (%s, %s, %s, %s, %s)",
            (person_id, g.role, g.whole, g.area_id, g.transformer_id),
        )
    fleet.people[name] = person_id
    return int(person_id)


def code(now_s: float | None = None) -> str:
    """The code of SECRET now."""
    return pyotp.TOTP(SECRET).generate_otp(int((now_s or time.time()) // totp.STEP_S))


async def who(conn: Connection, name: str):
    """A logged-in user, without a password."""
    from pbal_hq.auth import tokens

    keys, now_s = Keyring([MASTER]), time.time()
    person_id = await one(conn, "SELECT id FROM person WHERE name = %s", name)
    _, hashed = tokens.make_refresh()
    session = await one(
        conn, "INSERT INTO session (person_id, refresh_hash, expires_at)"
        " VALUES (%s, %s, now() + interval '1 hour') RETURNING id",
        person_id, hashed,
    )  # fmt: skip
    access = tokens.make_access(keys, tokens.Access(person_id, session), now_s)
    return await sessions.find(conn, keys, access, now_s), access


def signer(key=None) -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(key or Ed25519PrivateKey.generate())


async def alarm(
    conn: Connection, fleet: Fleet, where: str, kind: str = "overload", words: str = ""
) -> int:
    """An open alarm with words that only those who may see T1 or T2 may read."""
    return int(
        await one(
            conn, "INSERT INTO alarm (transformer_id, kind, address, severity, detail, raised_at,"
            " last_at) SELECT %s, %s, coalesce(max(address), 0) + 1, 2, %s, now(), now() FROM alarm"
            " RETURNING id",
            fleet.transformers[where], kind, words or f"secret-{where}",
        )
    )  # fmt: skip


async def command(conn: Connection, site: int, asked_by: str, where: str) -> int:
    """An order that waits for a second person: run."""
    from pbal_hq.commands import Wish

    number = int(await one(conn, "SELECT (random() * 2 ^ 52)::bigint + 1"))
    now_s = int(time.time())
    words = Wish("mode", "run").words(site, number, now_s, now_s + 3600, f"secret-{where}")
    await conn.execute(
        "INSERT INTO command (id, site_id, kind, fields, status, asked_by, expires_at,"
        " needs_second) VALUES (%s, %s, 1, %s, 'asked', %s, now() + interval '1 hour', true)",
        (number, site, Jsonb(words.as_dict()), asked_by),
    )
    return number


async def summaries(
    conn: Connection, fleet: Fleet, where: str, *, windows: int = 12, end_s: float | None = None
) -> None:
    """The last windows of a transformer, phase A loaded most; live figures stand at the last."""
    row = await (
        await conn.execute("SELECT relkind FROM pg_class WHERE relname = 'summary'")
    ).fetchone()
    if row == ("p",):
        await conn.execute("CREATE TABLE IF NOT EXISTS summary_any PARTITION OF summary DEFAULT")
    site, last = SITES[where], int((end_s or time.time()) // 300 * 300) - 300
    rows = []
    for n in range(windows):
        start = last - 300 * (windows - 1 - n)
        a = 60 + 10 * math.sin(n / 6)
        message = Summary(
            site=site, start_s=start, length_s=300, ia_mean_a=a, ib_mean_a=30, ic_mean_a=25,
            in_mean_a=a - 27.5, ia_max_a=a + 5, ib_max_a=33, ic_max_a=28, in_max_a=a - 20,
            va_min_v=221.5, vb_min_v=229, vc_min_v=230, va_mean_v=225, vb_mean_v=231, vc_mean_v=232,
            va_max_v=229, vb_max_v=233, vc_max_v=234, ea_import_kwh=1.1, eb_import_kwh=0.6,
            ec_import_kwh=0.5, load_mean_percent=28, load_max_percent=100 * a / 144,
            losses_avoided_wh=40, losses_method=1, homes=12, homes_alive=11, homes_fresh=10,
            rs485_percent=99.5, confirmed=int(n == windows - 2), complete_percent=100,
        )  # fmt: skip
        values = message.as_dict()
        del values["site"], values["start_s"]
        values |= {
            "site_id": site, "transformer_id": fleet.transformers[where], "historical": False,
            "start_at": datetime.fromtimestamp(start, UTC),
            "received_at": datetime.fromtimestamp(start + 301, UTC),
        }  # fmt: skip
        rows.append(values)
    async with conn.transaction(), conn.cursor() as cursor:
        await cursor.executemany(
            f"INSERT INTO summary ({', '.join(rows[0])}) VALUES"
            f" ({', '.join(f'%({name})s' for name in rows[0])})",
            rows,
        )
    await conn.execute(
        "INSERT INTO site_live (site_id, online, online_at, seen_at, summary_at, state_at, state)"
        " VALUES (%s, true, now(), now(), to_timestamp(%s), now(), %s) ON CONFLICT (site_id)"
        " DO UPDATE SET online = true, seen_at = now(), summary_at = excluded.summary_at,"
        " state_at = now(), state = excluded.state",
        (site, last, Jsonb({"capabilities": 0x10, "mode": 0, "version": 0x000100,
                            "phase_limit_a": 130.0, "name": f"secret-{where}"})),
    )  # fmt: skip


async def event(conn: Connection, fleet: Fleet, where: str, **values: Any) -> None:
    """An event of a site; see the table for its columns."""
    row = {
        "site_id": SITES[where],
        "event_id": int(await one(conn, "SELECT (random() * 1e15)::bigint")),
        "transformer_id": fleet.transformers[where], "at": datetime.now(UTC),
        "received_at": datetime.now(UTC), "kind": 8, "severity": 2, "address": 0, "code": 0,
        "outcome": 0, "from_phase": 0, "to_phase": 0, "command_id": 0, "arg0": 0, "arg1": 0,
        "detail": f"secret-{where}",
    } | values  # fmt: skip
    await conn.execute(
        f"INSERT INTO event ({', '.join(row)}) VALUES ({', '.join(f'%({n})s' for n in row)})", row
    )


@contextlib.asynccontextmanager
async def portal(url: str, signing: Any = None) -> AsyncIterator[Any]:
    """A client of the whole application on a database. `client.desk` is its desk."""
    import httpx

    from pbal_hq.api import Desk
    from pbal_hq.config import DatabaseConfig, PortalConfig
    from pbal_hq.database import pool
    from pbal_hq.portal import make

    async with pool(DatabaseConfig(url=url)) as database:
        desk = Desk(database, Keyring([MASTER]), signer(signing), PortalConfig())
        transport = httpx.ASGITransport(make(desk), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="https://hq.test") as client:
            client.desk = desk
            yield client


@contextlib.asynccontextmanager
async def served(
    url: str, folder: Path, *, oidc: Any = None, port: int = 0, **portal_config: Any
) -> AsyncIterator[str]:
    """The portal as its role runs it, on loopback; its address."""
    import asyncio

    from pbal_hq.config import Config, DatabaseConfig, PortalConfig
    from pbal_hq.database import pool
    from pbal_hq.portal import run, set_up

    settings = Config(
        data=folder, database=DatabaseConfig(url=url),
        portal=PortalConfig(port=port, plain_http=True, **portal_config),
        **({"oidc": oidc} if oidc else {}),
    )  # fmt: skip
    (folder / "portal.secret").write_text(MASTER.hex() + "\n")
    set_up(settings)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with pool(settings.database) as database:
        task = asyncio.create_task(run(settings, database, ready.set_result))
        try:
            done, _ = await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            if task in done:
                task.result()
            yield f"http://127.0.0.1:{await ready}"
        finally:
            task.cancel()
            await asyncio.wait([task])


@contextlib.asynccontextmanager
async def logged_in(address: str, name: str, **how: Any) -> AsyncIterator[Any]:
    """A portal page in a browser, after this user's login; `how`: see browser.opened."""
    async with browser.opened(f"{address}/login", within=address, **how) as page:
        page.set_default_timeout(PAGE_MS)
        await page.fill("#name", name)
        await page.fill("#password", PASSWORD)
        await page.fill("#code", code())
        await page.click("main button")
        await page.wait_for_selector("text=Log out")
        yield page
