"""What is read when Prometheus asks: of the fleet from the database, of the bus, of files."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from cryptography import x509

from pbal_host import check_cancelled
from pbal_hq.bus import Measured
from pbal_hq.ca import BROKER, HQ, Pki
from pbal_hq.config import Config
from pbal_hq.database import Connection, Database, feeder_present
from pbal_hq.errors import BusError, CertificateError
from pbal_uplink import names

# A site renews when a third of its certificate's time is left; one that comes so near has not.
SITE_RENEWAL_LATE_DAYS = 14
OPEN_ORDERS = ("asked", "approved", "sent", "started")
ENDED_ORDERS = ("done", "refused", "failed", "expired", "withdrawn")
# The database's answer is awaited no longer than Prometheus awaits ours (scrape_timeout 10 s).
_PATIENCE_S = 8.0

_SITES = """
SELECT count(*) FILTER (WHERE l.online),
       count(*) FILTER (WHERE NOT l.online AND l.seen_at IS NOT NULL),
       count(*) FILTER (WHERE l.seen_at IS NULL),
       extract(epoch FROM now() - max(l.summary_at))::float8
FROM site s LEFT JOIN site_live l ON l.site_id = s.id WHERE s.removed_at IS NULL
"""
_CERTIFICATES = """
SELECT count(*) FROM (
    SELECT max(c.not_after) AS until FROM certificate c JOIN site s ON s.id = c.site_id
    WHERE s.removed_at IS NULL AND c.revoked_at IS NULL GROUP BY c.site_id) x
WHERE until < %s
"""


@dataclass
class Fleet:
    """What the database knows of the fleet; the same for every process of HQ."""

    sites: dict[str, int]
    newest_window_age_s: float | None
    alarms: dict[tuple[str, bool], int]  # severity, acknowledged
    orders: dict[str, int]
    certificates_ending: int


@dataclass
class Facts:
    """All of it. None: it could not be read, or is not this process's to say."""

    fleet: Fleet | None = None
    database_up: bool = False
    bus_up: bool | None = None
    pool: Mapping[str, int] = field(default_factory=dict)
    lag: Mapping[tuple[str, str], int] | None = None  # group, topic
    bus_free_bytes: int | None = None
    certificates_left_s: Mapping[str, float] = field(default_factory=dict)


async def certificates_ending(db: Connection, now: datetime) -> int:
    """How many sites have certificates that end within SITE_RENEWAL_LATE_DAYS."""
    until = now + timedelta(days=SITE_RENEWAL_LATE_DAYS)
    row = await (await db.execute(_CERTIFICATES, (until,))).fetchone()
    assert row is not None
    return int(row[0])


async def _read_fleet(db: Connection, now: datetime) -> Fleet:
    async def rows(sql: str, *values: object) -> list[tuple[Any, ...]]:
        return await (await db.execute(sql, values or None)).fetchall()

    online, offline, never, age_s = (await rows(_SITES))[0]
    alarms = await rows(
        "SELECT severity, acknowledged_at IS NOT NULL, count(*) FROM alarm a "
        f"WHERE {feeder_present.OPEN} GROUP BY 1, 2"
    )
    orders = await rows("SELECT status, count(*) FROM command GROUP BY 1")
    severities = names.SEVERITIES.values()
    return Fleet(
        {"online": int(online), "offline": int(offline), "never_seen": int(never)},
        None if age_s is None else float(age_s),
        {(word, seen): 0 for word in severities for seen in (False, True)}
        | {(names.SEVERITIES[s], bool(seen)): int(n) for s, seen, n in alarms},
        dict.fromkeys((*OPEN_ORDERS, *ENDED_ORDERS), 0)
        | {str(status): int(n) for status, n in orders},
        await certificates_ending(db, now),
    )


def certificates_left(pki: Pki, now: datetime) -> dict[str, float]:
    """Seconds for which HQ's own certificates and its revocation list are good; what is there."""
    left = {}
    for name, file in (("broker", BROKER), ("hq", HQ)):
        try:
            left[name] = pki.days_left(file, now) * 86400
        except CertificateError:
            continue  # this process may not read it, or it is elsewhere
    try:
        ca = x509.load_pem_x509_certificate(pki.ca.read_bytes())
        left["authority"] = (ca.not_valid_after_utc - now).total_seconds()
        crl = x509.load_pem_x509_crl(pki.crl.read_bytes())
        if crl.next_update_utc is not None:
            left["revocation_list"] = (crl.next_update_utc - now).total_seconds()
    except (OSError, ValueError):
        pass
    return left


async def _ask_database(
    facts: Facts, database: Database | None, now: datetime, *, fleet: bool
) -> None:
    if database is None:
        return
    try:
        async with asyncio.timeout(_PATIENCE_S), database.connection() as db:
            if fleet:
                facts.fleet = await _read_fleet(db, now)
            facts.database_up = True
    except (psycopg.Error, TimeoutError):
        check_cancelled()  # else: that is what `database_up` says


async def _ask_bus(facts: Facts, bus: object, groups: Mapping[str, Sequence[str]]) -> None:
    if isinstance(bus, Measured):
        facts.bus_up = False
        # Else its samples are missing.
        with contextlib.suppress(BusError, TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                facts.lag = await bus.lag(groups)
                facts.bus_up = True


async def read(
    config: Config,
    bus: object | None,
    database: Database | None,
    groups: Mapping[str, Sequence[str]],
    *,
    fleet: bool,
) -> Facts:
    """Read them; never raises for what is away.

    `bus`, `database`: None where they are not open. `groups`: the consumers of each topic. `fleet`:
    whether to read what is the same for every process, and certificates.
    """
    now = datetime.now(UTC)
    facts = Facts()
    if database is not None:
        facts.pool = {name: int(value) for name, value in database.get_stats().items()}
    # Side by side: where both are away, Prometheus has its answer in time all the same.
    await asyncio.gather(
        _ask_database(facts, database, now, fleet=fleet), _ask_bus(facts, bus, groups)
    )
    if fleet:
        with contextlib.suppress(OSError):
            facts.bus_free_bytes = shutil.disk_usage(config.data).free
        facts.certificates_left_s = certificates_left(Pki(config.data / "pki"), now)
    return facts
