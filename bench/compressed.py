"""What a summary takes in TimescaleDB, before and after its day is compressed.

    python -m bench.compressed [--json] [--streets 100] [--days 2]

On the server that PBAL_TIMESCALE_DSN names, else on the build for WebAssembly that the tests use.
Two kinds of rows, written by the store's own code: of streets of made-up homes
(bench/false_alarms.py), and of noise in all measured fields, which nothing compresses well. Sizes
have indexes in them.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from rigs.timescale import Place, in_one_go

from bench._hq_sites import varied_summary
from bench.false_alarms import _TURN, Street
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected
from pbal_hq.store import series
from pbal_uplink import Summary

_FIRST = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC)
_BETWEEN = datetime.timedelta(minutes=5)
_WINDOWS = 288
NOT_THERE = (pytest.skip.Exception, pytest.fail.Exception)
_SIZES = """
SELECT sum(before_compression_total_bytes), sum(after_compression_total_bytes)
FROM chunk_compression_stats('summary') WHERE compression_status = 'Compressed'
"""


def of_a_street(site: int, days: int) -> Iterator[Summary]:
    """A street of made-up homes on which nothing is wrong."""
    street = Street(site)
    for day in range(days):
        windows, _, _ = street.day(day)
        for n, window in enumerate(windows):
            means, most = np.array(window.means_a), np.array(window.largest_a)
            volts = [v or 0.0 for v in window.means_v]
            a, b, c = (v * i / 12_000 for v, i in zip(volts, window.means_a, strict=True))
            start = _FIRST + datetime.timedelta(days=day) + n * _BETWEEN
            (la, lb, lc), (ha, hb, hc) = window.lows_v, window.highs_v
            yield Summary(
                site=site, start_s=int(start.timestamp()), length_s=300, complete_percent=100,
                ia_mean_a=means[0], ib_mean_a=means[1], ic_mean_a=means[2],
                in_mean_a=abs(means @ _TURN), ia_max_a=most[0], ib_max_a=most[1],
                ic_max_a=most[2], in_max_a=abs(most @ _TURN), va_min_v=la, vb_min_v=lb,
                vc_min_v=lc, va_mean_v=volts[0], vb_mean_v=volts[1], vc_mean_v=volts[2],
                va_max_v=ha, vb_max_v=hb, vc_max_v=hc, ea_import_kwh=a, eb_import_kwh=b,
                ec_import_kwh=c, load_max_percent=window.load_max_percent,
                hotspot_c=window.hotspot_c, homes=window.homes, homes_alive=window.homes,
                homes_fresh=window.homes_fresh,
            )  # fmt: skip


def of_noise(site: int, days: int) -> Iterator[Summary]:
    """No window as another."""
    for n in range(days * _WINDOWS):
        said = varied_summary(site, n)
        start = int((_FIRST + n * _BETWEEN).timestamp())
        yield Summary(**said.as_dict() | {"site": site, "start_s": start})


async def filled(place: Place, made: Any, streets: int, days: int) -> int:
    """So many rows, as the store writes them."""
    copy = place.store.get("copy_rows", True)
    config = DatabaseConfig(url=place.url, **place.database)
    count = 0
    async with connected(config) as db:
        for site in range(1, streets + 1):
            rows = [
                series.Row(
                    site, at := datetime.datetime.fromtimestamp(said.start_s, datetime.UTC),
                    site, False, at + _BETWEEN, said.as_dict(),
                )
                for said in made(site, days)
            ]  # fmt: skip
            async with db.transaction():
                await series.insert(db, rows, copy=copy)
            count += len(rows)
    return count


def measured(streets: int, days: int) -> dict[str, dict[str, float]]:
    """By kind of rows: bytes of one before and after."""
    out = {}
    for kind, made in (("streets", of_a_street), ("noise", of_noise)):
        with (
            tempfile.TemporaryDirectory(prefix="pbal-bench-") as name,
            in_one_go(Path(name)) as place,
        ):
            rows = asyncio.run(filled(place, made, streets, days))
            with psycopg.connect(place.url, autocommit=True, prepare_threshold=None) as db:
                db.execute("SELECT compress_chunk(c) FROM show_chunks('summary') c")
                before, after = db.execute(_SIZES).fetchone() or (0, 0)
        out[kind] = {"rows": rows, "before_bytes": float(before) / rows,
                     "after_bytes": float(after) / rows}  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--streets", type=int, default=100)
    parser.add_argument("--days", type=int, default=2)
    given = parser.parse_args()
    try:
        found = measured(given.streets, given.days)
    except NOT_THERE as error:
        raise SystemExit(f"no TimescaleDB: {error}") from None
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.streets} transformers, {given.days} days of five minutes; bytes of a row:")
    for kind, each in found.items():
        print(f"  {kind:8} {each['before_bytes']:6.0f} as written, {each['after_bytes']:6.1f} "
              "compressed")  # fmt: skip


if __name__ == "__main__":
    main()
