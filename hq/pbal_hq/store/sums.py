"""Hours and days, summed up anew from what changed, so also with late and repeated data."""

from __future__ import annotations

from collections.abc import Callable

from pbal_hq.database import Connection, Database

_HOURS_AT_ONCE = 500

_WEIGHTED = (
    "ia_mean_a", "ib_mean_a", "ic_mean_a", "in_mean_a", "va_mean_v", "vb_mean_v", "vc_mean_v",
    "load_mean_percent",
)  # fmt: skip
_MOST = (
    "ia_max_a", "ib_max_a", "ic_max_a", "in_max_a", "va_max_v", "vb_max_v", "vc_max_v",
    "load_max_percent",
)  # fmt: skip
_LEAST = ("va_min_v", "vb_min_v", "vc_min_v")
_SUMMED = (
    "ea_import_kwh", "eb_import_kwh", "ec_import_kwh", "ea_export_kwh", "eb_export_kwh",
    "ec_export_kwh", "losses_avoided_wh", "confirmed", "refused", "failed", "expired", "disagreed",
    "autonomous",
)  # fmt: skip
# column of the sums: (function, column of the summary)
_OTHERS = {
    "vuf_mean_percent": ("mean", "vuf_percent"), "vuf_max_percent": ("max", "vuf_percent"),
    "pvur_mean_percent": ("mean", "pvur_percent"), "pvur_max_percent": ("max", "pvur_percent"),
    "hotspot_max_c": ("max", "hotspot_c"), "homes_max": ("max", "homes"),
    "homes_fresh_min": ("min", "homes_fresh"),
    "homes_quarantined_max": ("max", "homes_quarantined"),
    "rs485_min_percent": ("min", "rs485_percent"), "lora_min_percent": ("min", "lora_percent"),
    "udp_min_percent": ("min", "udp_percent"),
}  # fmt: skip


def _rules() -> dict[str, tuple[str, str]]:
    """Column of the sums: (mean, max, min or sum; the summary's column)."""
    rules = {name: ("mean", name) for name in _WEIGHTED}
    rules |= {name: ("max", name) for name in _MOST} | {name: ("min", name) for name in _LEAST}
    return rules | {name: ("sum", name) for name in _SUMMED} | _OTHERS


def _term(how: str, column: str, weight: str) -> str:
    if how != "mean":
        return f"{how}(r.{column})"
    # A value that was not known has no weight; a window without samples does not count.
    return (
        f"sum(r.{column} * {weight}) "
        f"/ nullif(sum({weight}) FILTER (WHERE r.{column} IS NOT NULL), 0)"
    )


def terms_of(weight: str, *, same: bool) -> dict[str, str]:
    """Each column of the sums as SQL over rows `r` with this weight.

    `same`: they have the sums' own columns.
    """
    return {
        name: _term(how, name if same else column, weight)
        for name, (how, column) in _rules().items()
    }


def _statement(table: str, source: str, step: str, weight: str, windows: str, *, same: bool) -> str:
    terms = terms_of(weight, same=same)
    names = ["sampled_s", "windows", *terms]
    sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in names)
    return (
        f"INSERT INTO {table} (transformer_id, start_at, {', '.join(names)}) "
        f"SELECT d.t, d.at, sum({weight}), {windows}, {', '.join(terms.values())} "
        "FROM unnest(%s::int[], %s::timestamptz[]) AS d (t, at) "
        f"JOIN {source} r ON r.transformer_id = d.t AND r.start_at >= d.at "
        f"AND r.start_at < d.at + interval '{step}' GROUP BY d.t, d.at "
        f"ON CONFLICT (transformer_id, start_at) DO UPDATE SET {sets}"
    )


WEIGHT = "(r.length_s * r.complete_percent / 100.0)"  # the seconds that were sampled
_HOURS = _statement("summary_hourly", "summary", "1 hour", WEIGHT, "count(*)", same=False)
_DAYS = _statement(
    "summary_daily", "summary_hourly", "1 day", "r.sampled_s", "sum(r.windows)", same=True
)


async def sum_up(db: Connection) -> int:
    """Some of the hours that changed, with their days; how many hours. One transaction."""
    async with db.transaction():
        cursor = await db.execute(
            "DELETE FROM summary_due WHERE (transformer_id, start_at) IN (SELECT transformer_id, "
            "start_at FROM summary_due ORDER BY transformer_id, start_at LIMIT %s "
            "FOR UPDATE SKIP LOCKED) RETURNING transformer_id, start_at",
            (_HOURS_AT_ONCE,),
        )
        hours = await cursor.fetchall()
        if hours:
            await db.execute(
                _HOURS.encode(), ([row[0] for row in hours], [row[1] for row in hours])
            )
            days = sorted(
                {(number, at.replace(hour=0, minute=0, second=0)) for number, at in hours}
            )
            await db.execute(_DAYS.encode(), ([row[0] for row in days], [row[1] for row in days]))
    return len(hours)


async def sum_due(database: Database, beat: Callable[[], None]) -> None:
    """All that is due. Raises psycopg.Error."""
    async with database.connection() as db:
        while await sum_up(db):
            beat()
