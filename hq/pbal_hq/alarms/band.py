"""The supply voltage of a week as EN 50160:2010, 4.2.2.2, judges it: by means of 10 minutes.

The norm: of the 10-minute means of a week at a customer's terminals 95 % lie within 230 V +-10 %,
and all of them within +10 % and -15 %. HQ has no means of single homes. It has, for each window and
phase, the mean over homes and time, and the lowest and highest voltage at any home. Of windows of
at most 10 minutes that begin within the same 10 minutes (two of five minutes each) follows:

within   no home was outside for a moment, so no home's mean was
outside  a phase's mean, weighted by sampled seconds, is outside, so at least one home's is
else     it cannot be told from here

Ten minutes with less than five of them sampled do not count.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from pbal_hq.database import Connection

LOW_V, HIGH_V, FAR_V = 207.0, 253.0, 195.5
WEEK = 1008  # times ten minutes

_PHASES = "abc"
_SAMPLED = "length_s * complete_percent / 100.0"
_MEANS = ", ".join(
    f"sum(v{p}_mean_v * {_SAMPLED}) / nullif(sum({_SAMPLED})"
    f" FILTER (WHERE v{p}_mean_v IS NOT NULL), 0) AS v{p}"
    for p in _PHASES
)
_BANDS = f"""
SELECT transformer_id, count(*) AS known,
    count(*) FILTER (WHERE lowest >= %(low)s AND highest <= %(high)s) AS within,
    count(*) FILTER (WHERE least(va, vb, vc) < %(low)s OR greatest(va, vb, vc) > %(high)s)
        AS outside,
    count(*) FILTER (WHERE least(va, vb, vc) < %(far)s OR greatest(va, vb, vc) > %(high)s) AS far
FROM (
    SELECT transformer_id, {_MEANS}, min(least(va_min_v, vb_min_v, vc_min_v)) AS lowest,
        max(greatest(va_max_v, vb_max_v, vc_max_v)) AS highest
    FROM summary WHERE transformer_id = ANY(%(ids)s) AND length_s <= 600
    AND coalesce(va_mean_v, vb_mean_v, vc_mean_v) IS NOT NULL
    AND start_at > %(now)s - interval '7 days' AND start_at <= %(now)s
    GROUP BY transformer_id, floor(extract(epoch FROM start_at) / 600)
    HAVING sum({_SAMPLED}) >= 300
) AS tens GROUP BY transformer_id
"""


@dataclass(frozen=True)
class Band:
    """How many 10-minute means of the last 7 days are known, surely within 207..253 V, surely
    outside, and of the latter below 195.5 V or above 253 V."""

    transformer_id: int
    known: int
    within: int
    outside: int
    far: int

    @property
    def least_percent(self) -> float:
        """At least so many lie within, %."""
        return 100 * self.within / self.known

    @property
    def most_percent(self) -> float:
        """At most so many lie within, %."""
        return 100 - 100 * self.outside / self.known


async def bands(conn: Connection, ids: Collection[int], now: datetime) -> dict[int, Band]:
    """By transformer; those without a known 10-minute mean are not in it."""
    values: dict[str, Any] = {
        "ids": list(ids), "now": now, "low": LOW_V, "high": HIGH_V, "far": FAR_V,
    }  # fmt: skip
    async with conn.cursor(row_factory=class_row(Band)) as cursor:
        await cursor.execute(_BANDS, values)
        return {band.transformer_id: band for band in await cursor.fetchall()}
