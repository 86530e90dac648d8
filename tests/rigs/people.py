"""A small fleet with its people in HQ's database, and their logins.

state KL / district EKM / divisions D1, D2 / feeders F1 (in D1), F2 (in D2); a transformer T1 with
site 7 in F1, T2 with site 8 in F2. Users NAME-whole, NAME-d1, NAME-t2 of each role.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pyotp
from psycopg import AsyncConnection

from pbal_hq.auth import Grant, Keyring, Role, passwords, sessions, totp
from pbal_hq.commands import Signer
from pbal_hq.database import Connection

PASSWORD = "correct horse battery staple"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
MASTER = bytes(range(32))
PLACES = ("whole", "d1", "t2")


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


async def _one(conn: Connection, sql: str, *values: Any) -> Any:
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
        fleet.areas[code] = await _one(conn, area, fleet.areas.get(parent or ""), level, code, name)
    for code, feeder, site in (("T1", "F1", 7), ("T2", "F2", 8)):
        fleet.transformers[code] = await _one(
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


_HASH = passwords._hasher.hash(PASSWORD)


async def person(conn: Connection, fleet: Fleet, name: str, *grants: Grant) -> int:
    """A user who has finished setting up."""
    sealed = Keyring([MASTER]).seal(SECRET)
    person_id = await _one(
        conn, "INSERT INTO person (name, full_name, password_hash, password_is_initial,"
        " totp_sealed, totp_confirmed) VALUES (%s, %s, %s, false, %s, true) RETURNING id",
        name, name.title(), _HASH, sealed,
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
    person_id = await _one(conn, "SELECT id FROM person WHERE name = %s", name)
    _, hashed = tokens.make_refresh()
    session = await _one(
        conn, "INSERT INTO session (person_id, refresh_hash, expires_at)"
        " VALUES (%s, %s, now() + interval '1 hour') RETURNING id",
        person_id, hashed,
    )  # fmt: skip
    access = tokens.make_access(keys, tokens.Access(person_id, session), now_s)
    return await sessions.find(conn, keys, access, now_s), access


def signer(key=None) -> Signer:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Signer(key or Ed25519PrivateKey.generate())
