"""What the detectors of slow changes look at, from the sums of hours and days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any

from psycopg.rows import dict_row

from pbal_hq.alarms.band import HIGH_V, LOW_V, bands
from pbal_hq.alarms.trends import BEFORE_DAYS, RECENT_DAYS, WEAR_DAYS, Day, Hour, Past
from pbal_hq.database import Connection
from pbal_uplink import names

_AT_ONCE = 500

_SITES = """
SELECT t.id, coalesce((l.state->>'mode')::int, -1) AS mode,
    coalesce((l.state->>'capabilities')::bigint, 0) AS capabilities
FROM transformer t JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
LEFT JOIN site_live l ON l.site_id = s.id
WHERE t.in_service AND t.id > %(after)s ORDER BY t.id LIMIT %(many)s
"""
_HOURS = """
SELECT transformer_id, start_at, sampled_s, ia_mean_a, ib_mean_a, ic_mean_a, in_mean_a,
    least(rs485_min_percent, lora_min_percent, udp_min_percent) AS link
FROM summary_hourly WHERE transformer_id = ANY(%(ids)s)
AND ((start_at >= %(hour)s - interval '24 hours' AND start_at < %(hour)s)
    OR (start_at >= %(hour)s - interval '192 hours' AND start_at < %(hour)s - interval '168 hours'))
ORDER BY transformer_id, start_at
"""
_DAYS = """
SELECT transformer_id, start_at, sampled_s, ia_mean_a, ib_mean_a, ic_mean_a, in_mean_a, va_mean_v,
    vb_mean_v, vc_mean_v, ea_import_kwh + eb_import_kwh + ec_import_kwh AS import_kwh,
    ea_export_kwh + eb_export_kwh + ec_export_kwh AS export_kwh
FROM summary_daily WHERE transformer_id = ANY(%(ids)s)
AND start_at >= %(day)s - make_interval(days => %(days)s) AND start_at < %(day)s
"""
# The others kept the band all the time, and the windows of a week are many to look at.
_LEFT_THE_BAND = f"""
SELECT DISTINCT transformer_id FROM summary_daily WHERE transformer_id = ANY(%(ids)s)
AND start_at >= %(day)s - interval '7 days'
AND (least(va_min_v, vb_min_v, vc_min_v) < {LOW_V}
    OR greatest(va_max_v, vb_max_v, vc_max_v) > {HIGH_V})
"""
# Switchings that moved a relay: confirmed, and those that the measurement contradicts.
_WORST = """
SELECT DISTINCT ON (transformer_id) transformer_id, address, count(*)::int AS many FROM event
WHERE transformer_id = ANY(%(ids)s) AND kind = %(switching)s AND outcome = ANY(%(moved)s)
AND address > 0 AND at > %(now)s - make_interval(days => %(wear)s) AND at <= %(now)s
GROUP BY transformer_id, address ORDER BY transformer_id, many DESC, address
"""


async def pasts(
    conn: Connection, now: datetime, plan_per_day: float
) -> AsyncIterator[tuple[int, Past]]:
    """(transformer, its past) of all with a site, some hundred at a time."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    values: dict[str, Any] = {
        "now": now, "hour": hour, "day": day, "days": RECENT_DAYS + BEFORE_DAYS, "wear": WEAR_DAYS,
        "switching": names.KIND_SWITCHING, "after": 0, "many": _AT_ONCE,
        "moved": [names.OUTCOME_CONFIRMED, names.OUTCOME_DISAGREED],
    }  # fmt: skip

    async def rows(sql: str) -> list[dict[str, Any]]:
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql, values)
            return await cursor.fetchall()

    while sites := await rows(_SITES):
        values["ids"] = [site["id"] for site in sites]
        values["after"] = sites[-1]["id"]
        hours: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in await rows(_HOURS):
            hours[row["transformer_id"]].append(row)
        days: dict[int, dict[date, Day]] = defaultdict(dict)
        for row in await rows(_DAYS):
            days[row["transformer_id"]][row["start_at"].date()] = _day(row)
        worst = {r["transformer_id"]: (r["address"], r["many"]) for r in await rows(_WORST)}
        left = [r["transformer_id"] for r in await rows(_LEFT_THE_BAND)]
        voltages = await bands(conn, left, now) if left else {}
        for site in sites:
            one = site["id"]
            recent = hour - timedelta(hours=24)
            yield (
                one,
                Past(
                    tuple(_hour(r) for r in hours[one] if r["start_at"] >= recent),
                    tuple(_hour(r) for r in hours[one] if r["start_at"] < recent),
                    tuple(
                        days[one].get((day - timedelta(days=n)).date())
                        for n in range(RECENT_DAYS + BEFORE_DAYS, 0, -1)
                    ),
                    runs=site["mode"] == names.MODE_RUN,
                    metered=bool(site["capabilities"] & names.CAPABILITY_METER),
                    worst_home=worst.get(one),
                    plan_per_day=plan_per_day,
                    band=voltages.get(one),
                ),
            )


def _means(row: dict[str, Any]) -> tuple[float, float, float]:
    return (row["ia_mean_a"] or 0.0, row["ib_mean_a"] or 0.0, row["ic_mean_a"] or 0.0)


def _hour(row: dict[str, Any]) -> Hour:
    return Hour(row["sampled_s"], _means(row), row["in_mean_a"] or 0.0, row["link"])


def _day(row: dict[str, Any]) -> Day:
    return Day(
        row["sampled_s"], _means(row), row["in_mean_a"] or 0.0,
        (row["va_mean_v"], row["vb_mean_v"], row["vc_mean_v"]),
        row["import_kwh"] or 0.0, row["export_kwh"] or 0.0,
    )  # fmt: skip
