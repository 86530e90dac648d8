"""How long each page of HQ's portal takes with a fleet in the database.

    python -m bench.portal [--json] [--transformers 10000] [--days 90] [--hours 0] [--times 15]

A real PostgreSQL (Debian's) is filled: so many transformers, 100 in each feeder and 100 feeders at
least, a day of windows of
five minutes for the first hundred and a week for the first ten, the latest window for all, so many
days of hours and days, an alarm at every fiftieth, a bad link at every hundredth, a certificate of
each site, a switching a day in each, a study of as many stations without a site, orders, dead
letters and an audit log of 20,000. With --hours only the first thousand have all hours and
switchings, the others the last so many hours, and days: where the disk or the time is short. Then
each page is asked so many times by an engineer of the whole tree, by an operator of one division
and, of the pages that are theirs, by an administrator, in this process without a network; median,
95 of 100 and largest, ms. Exit code 1 where a median is above --bound.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from psycopg import AsyncConnection

from bench._processors import tree_cpu_s
from pbal_hq.api import Desk
from pbal_hq.auth import Keyring, tokens
from pbal_hq.commands import Signer
from pbal_hq.config import DatabaseConfig, PortalConfig
from pbal_hq.database import connected, migrate, pool
from pbal_hq.fleet import sum_present, sum_saved
from pbal_hq.portal import make
from pbal_hq.store import series, sum_feeders
from pbal_sim.hq.postgres import Postgres

REPORT = "/reports/file?area_id=3&period={month}&form=csv"
PAGES = (
    "/", "/transformers?sort=neutral", "/transformers?sort=load&offset=5000",
    "/transformers?find=Street+77&area_id=3", "/map", "/transformers/1",
    "/transformers/1?days=7", "/fleet", "/where-next", "/alarms", "/alarms/1",
    "/commands", "/trends", "/reports", REPORT, "/account",
)  # fmt: skip
HOUSE = ("/dead-letters", "/users", "/audit", "/audit?action=command")
_WHOLE = 1000
_TREE = """
INSERT INTO area (parent_id, level, code, name) VALUES (NULL, 'state', 'KL', 'Kerala');
INSERT INTO area (parent_id, level, code, name) VALUES (1, 'district', 'EKM', 'Ernakulam');
INSERT INTO area (parent_id, level, code, name)
    SELECT 2, 'division', 'D' || n, 'Division ' || n FROM generate_series(1, 10) n;
INSERT INTO area (parent_id, level, code, name)
    SELECT 3 + n * 10 / %(feeders)s, 'feeder', 'F' || n, 'Feeder ' || n
    FROM generate_series(0, %(feeders)s - 1) n;
"""
_FLEET = """
INSERT INTO transformer (code, name, feeder_id, latitude, longitude, rated_kva, customers)
    SELECT 'TR-' || n, 'Street ' || n, 13 + ((n - 1)::bigint * %(feeders)s / %(n)s)::int,
    9.9 + (n %% 97) / 300.0,
    76.2 + (n %% 89) / 300.0, 100, 60 FROM generate_series(1, %(n)s) n;
INSERT INTO site (id, transformer_id, group_id, node) SELECT id, id, 'north', id::text
    FROM transformer;
INSERT INTO site_live (site_id, online, online_at, seen_at, summary_at, state_at, state)
    SELECT id, id %% 20 > 0, now(), now(), %(at)s, now(),
    '{"capabilities": 16, "mode": 0, "window_s": 300}' FROM site;
INSERT INTO certificate (serial, name, site_id, not_before, not_after)
    SELECT to_hex(id), node, id, now(), now() + (18 + id %% 1000) * interval '1 day' FROM site;
INSERT INTO alarm (transformer_id, kind, severity, detail, raised_at, last_at)
    SELECT id, 'voltage', 1 + id %% 2, 'homes between 198 and 231 V', now(), now()
    FROM transformer WHERE id %% 50 = 0;
"""
_WINDOW = """
INSERT INTO summary (transformer_id, start_at, site_id, length_s, ia_mean_a, ib_mean_a, ic_mean_a,
    in_mean_a, ia_max_a, ib_max_a, ic_max_a, in_max_a, ea_import_kwh, eb_import_kwh, ec_import_kwh,
    ea_export_kwh, eb_export_kwh, ec_export_kwh, load_max_percent, losses_avoided_wh,
    losses_method, homes, homes_alive, homes_fresh, homes_quarantined, confirmed, refused, failed,
    expired, disagreed, autonomous, complete_percent, mode, historical, received_at)
SELECT t.id, at, t.id, 300, 40 + t.id %% 30, 30, 25, 10 + t.id %% 30, 80, 40, 35, 45, 1, 1, 1, 0, 0,
    0, 40 + t.id %% 50, 20, 1, 60, 60, 58, 0, 0, 0, 0, 0, 0, 0, 100, 0, false, at
FROM transformer t, unnest(%(ats)s::timestamptz[]) at WHERE t.id <= %(most)s
ON CONFLICT DO NOTHING
"""
_KEPT = """
SELECT present_renew(ARRAY(SELECT id FROM transformer));
INSERT INTO feeder_due (start_at, feeder_id) SELECT d.at, a.id FROM area a,
    (SELECT DISTINCT start_at FROM summary_daily) d (at) WHERE a.level = 'feeder';
"""
# A switching a day of each transformer; every twentieth failed.
_MOVES = """
INSERT INTO event (site_id, event_id, transformer_id, at, received_at, kind, severity, address,
    code, outcome, from_phase, to_phase, command_id, arg0, arg1, detail)
SELECT t.id, n, t.id, %(at)s - n * interval '1 day', %(at)s, 2, 0, 1 + n %% 60, 0,
    CASE n %% 20 WHEN 0 THEN 3 ELSE 1 END, 1, 2, n, 0, 0, 'A is 20 A above B'
FROM transformer t, generate_series(0, %(days)s - 1) n WHERE t.id <= %(most)s
"""
_OFFICE = """
INSERT INTO prospect (code, rank, figures)
    SELECT 'ST-' || n, n, '{"homes": 60, "neutral_cut": 0.4, "invested": 90000,
    "losses_saved_kwh_per_year": 1100, "pay_back_years": 6.5, "net_present_value": 20000}'
    FROM generate_series(1, %(n)s) n;
INSERT INTO command (id, site_id, kind, fields, status, asked_by, asked_at, expires_at, sent_at,
    answered_at, answer)
    SELECT n, n, 1, '{"mode": 2, "phase_limit_a": null, "max_moving_percent": null,
    "release": null, "detail": "storm"}', 'done', 'engineer', now() - n * interval '1 minute',
    now(), now(), now(), 'mode hold' FROM generate_series(1, %(n)s / 10) n;
INSERT INTO dead_letter (at, source, kind, reason, payload, origin)
    SELECT now(), 'north/' || n %% 100, 'NDATA', 'no seq', '\\x00', 'hq.dead:' || n
    FROM generate_series(1, 1000) n;
INSERT INTO audit (actor, action, object, detail)
    SELECT 'engineer', CASE n %% 9 WHEN 0 THEN 'command.ask' ELSE 'login' END, 'site ' || n, '{}'
    FROM generate_series(1, 20000) n;
"""
_SUMS = """
INSERT INTO {table} (transformer_id, start_at, sampled_s, windows, in_mean_a, in_max_a,
    ea_import_kwh, eb_import_kwh, ec_import_kwh, ea_export_kwh, eb_export_kwh, ec_export_kwh,
    load_max_percent, losses_avoided_wh, confirmed, refused, failed, expired, disagreed,
    rs485_min_percent)
SELECT t.id, at, {seconds}, {seconds} / 300, 20, 45, 12, 12, 12, 0, 0, 0, 80, 240, 1, 0, 0, 0, 0,
    CASE WHEN t.id %% 100 = 0 THEN 80 ELSE 99 END
FROM transformer t, generate_series(%(since)s::timestamptz, %(until)s::timestamptz,
    interval '{seconds} seconds') at WHERE t.id > %(above)s AND t.id <= %(most)s
"""


def feeders(transformers: int) -> int:
    """Of so many transformers."""
    return max(100, transformers // 100)


async def fill(url: str, transformers: int, days: int, hours: int = 0) -> None:
    """The fleet and its figures; `hours`: the last so many of most transformers, 0 all."""
    whole = min(transformers, _WHOLE) if hours else transformers
    async with connected(DatabaseConfig(url=url)) as db:
        await migrate(db)
    async with await AsyncConnection.connect(url, autocommit=True) as db:
        last = int(time.time()) // 300 * 300 - 300
        await series.make_partitions(db, {_at(last - 86_400 * n).date() for n in range(8)})
        values = {
            "n": transformers, "at": _at(last), "days": days, "most": whole,
            "feeders": feeders(transformers),
        }  # fmt: skip

        async def put(*statements: str) -> None:
            for statement in statements:
                if statement.strip():
                    await db.execute(statement, values)

        await put(*_TREE.split(";\n"))
        # Without triggers, row by row; what they keep is made at once when all is there.
        await db.execute("SET session_replication_role = replica")
        await put(*_FLEET.split(";\n"))
        await db.execute(_WINDOW, {"ats": [_at(last)], "most": transformers})
        await db.execute(_WINDOW, {"ats": [_at(last - 300 * n) for n in range(288)], "most": 100})
        await db.execute(_WINDOW, {"ats": [_at(last - 300 * n) for n in range(2016)], "most": 10})
        midnight = last // 86_400 * 86_400
        hour = last // 3600 * 3600
        first = midnight - 86_400 * days
        for table, seconds, since, until, above, most in (
            ("summary_hourly", 3600, first, hour, 0, whole),
            ("summary_hourly", 3600, hour - 3600 * hours, hour, whole, transformers),
            ("summary_daily", 86_400, first, midnight, 0, transformers),
        ):
            await db.execute(
                _SUMS.format(table=table, seconds=seconds),
                {"since": _at(since), "until": _at(until), "above": above, "most": most},
            )
        await db.execute("SET session_replication_role = DEFAULT")
        await put(*_KEPT.split(";\n"), _MOVES, *_OFFICE.split(";\n"))
        await sum_saved(db, datetime.datetime.now(datetime.UTC), former_days=True)
        await db.execute("VACUUM ANALYZE")
        async with pool(DatabaseConfig(url=url)) as database:
            await sum_feeders(database, lambda: None)
        await sum_present(db)
        await db.execute("VACUUM ANALYZE")


def _at(unix_s: float) -> Any:
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC)


async def login(url: str, keys: Keyring, name: str, grant: str) -> str:
    """An access token of a new user with a grant."""
    async with await AsyncConnection.connect(url, autocommit=True) as db:
        await db.execute("DELETE FROM person WHERE name = %s", (name,))  # of an earlier run
        person = await (await db.execute(
            "INSERT INTO person (name, password_hash, password_is_initial, totp_confirmed)"
            " VALUES (%s, 'x', false, true) RETURNING id", (name,),
        )).fetchone()  # fmt: skip
        assert person is not None
        await db.execute(
            "INSERT INTO person_grant (person_id, role, whole, area_id)"
            f" VALUES (%s, {grant})", person,
        )  # fmt: skip
        _, hashed = tokens.make_refresh()
        session = await (await db.execute(
            "INSERT INTO session (person_id, refresh_hash, expires_at)"
            " VALUES (%s, %s, now() + interval '1 day') RETURNING id", (person[0], hashed),
        )).fetchone()  # fmt: skip
        assert session is not None
    return tokens.make_access(keys, tokens.Access(person[0], session[0]), time.time())


async def measure(
    url: str, times: int, used_s: Callable[[], float] = time.process_time
) -> dict[str, dict[str, dict[str, float]]]:
    """By reader and page: median, 95 of 100 and largest, ms, and what of `used_s` went into one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    keys = Keyring([bytes(range(32))])
    readers = {
        "whole tree": await login(url, keys, "engineer", "'engineer', true, NULL"),
        "one division": await login(url, keys, "operator", "'operator', false, 3"),
        "the house": await login(url, keys, "administrator", "'administrator', true, NULL"),
    }
    out: dict[str, dict[str, dict[str, float]]] = {}
    # One connection: it sees each statement often, as that of a portal that runs for days.
    async with pool(DatabaseConfig(url=url, pool_max=1)) as database:
        desk = Desk(database, keys, Signer(Ed25519PrivateKey.generate()), PortalConfig())
        transport = httpx.ASGITransport(make(desk))
        async with httpx.AsyncClient(transport=transport, base_url="https://hq.test") as client:
            for reader, access in readers.items():
                client.cookies.set("__Host-pbal", access)
                for page in HOUSE if reader == "the house" else PAGES:
                    path = page.replace("{month}", time.strftime("%Y-%m"))
                    async with database.connection() as db:  # as the portal does each minute
                        await sum_present(db)
                    took, used = [], 0.0
                    for n in range(times + 1):
                        if n == 1:
                            used = used_s()
                        start = time.perf_counter()
                        answer = await client.get(path)
                        took.append(1000 * (time.perf_counter() - start))
                        if answer.status_code != 200:
                            raise SystemExit(f"{path}: {answer.status_code}")
                    took = took[1:]  # the first one includes planning and compiling
                    out.setdefault(reader, {})[page] = {
                        "median_ms": round(statistics.median(took), 1),
                        "p95_ms": round(sorted(took)[max(0, -(-95 * len(took) // 100) - 1)], 1),
                        "largest_ms": round(max(took), 1),
                        "cpu_ms": round(1000 * (used_s() - used) / times, 1),
                    }
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--transformers", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--hours", type=int, default=0, help="of most transformers; 0: all")
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--bound", type=float, default=300.0, help="ms")
    given = parser.parse_args()
    server = Postgres()
    try:
        asyncio.run(fill(server.url, given.transformers, given.days, given.hours))
        pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        found = asyncio.run(measure(
            server.url, given.times, lambda: time.process_time() + tree_cpu_s(pid)
        ))  # fmt: skip
    finally:
        server.stop()
    if given.json:
        json.dump(vars(given) | {"pages": found}, sys.stdout, indent=2)
        print()
    else:
        for reader, pages in found.items():
            for page, took in pages.items():
                print(
                    f"{reader:13} {page:50} {took['median_ms']:8.1f} {took['p95_ms']:8.1f} "
                    f"{took['largest_ms']:8.1f} ms, {took['cpu_ms']:.1f} of a processor"
                )
    medians = [took["median_ms"] for pages in found.values() for took in pages.values()]
    if max(medians) > given.bound:
        sys.exit(1)


if __name__ == "__main__":
    main()
