"""A fleet: feeders per hour and processor, how it grows with workers, and against running the
single command in a loop.

    python -m bench.fleet --json            quick: 8 feeders of a day, about two minutes

Each feeder is the demonstration's network under another name, with homes that draw from one pool of
made-up households. `loop` is `pbal study` once for each feeder with the same controllers, without
report; `fleet` is `pbal study fleet` with so many workers. Both are whole commands, with the start
of Python and reading of the profiles. Processor seconds are those of the command and all that it
started.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pbal_tools.study.demo import HOMES, START, feeder_text, home_watts, write_profiles

PBAL = [sys.executable, "-c", "from pbal_tools.cli import main; main()", "-q", "study"]


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds on the clock and of processor. Raises CalledProcessError."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = spent.ru_utime + spent.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, processor


def write_input(folder: Path, feeders: int, days: float) -> Path:
    """Networks and a pool of 100 profiles."""
    for k in range(feeders):
        place = folder / "networks" / f"street{k:04d}"
        place.mkdir(parents=True)
        (place / "Master.dss").write_text(feeder_text(), encoding="utf-8")
    pool = folder / "pool.csv.gz"
    write_profiles(pool, START, home_watts(days, 1, 100))
    return pool


def measure(feeders: int, days: float, workers: list[int], looped: int) -> dict[str, Any]:
    """Rows of the table: the loop first, then the fleet with each number of workers."""
    rows = []

    def row(name: str, count: int, clock_s: float, processor_s: float) -> None:
        rows.append(
            {
                "how": name,
                "feeders": count,
                "clock_s": round(clock_s, 1),
                "processor_s": round(processor_s, 1),
                "per_hour": round(3600 * count / clock_s),
                "per_hour_and_core": round(3600 * count / processor_s),
            }
        )

    with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
        folder = Path(name)
        pool = write_input(folder, feeders, days)
        clock_s = processor_s = 0.0
        for k in range(looped):
            master = folder / "networks" / f"street{k:04d}" / "Master.dss"
            one = timed(
                [*PBAL, "--feeder", str(master), "--profiles", str(pool), "--controllers", "pbal",
                 "--rank-days", "0", "--json"]
            )  # fmt: skip
            clock_s, processor_s = clock_s + one[0], processor_s + one[1]
        row("single command in a loop", looped, clock_s, processor_s)
        for count in workers:
            spent = timed(
                [*PBAL, "fleet", "--feeders", str(folder / "networks"), "--profiles", str(pool),
                 "--workers", str(count), "--out", str(folder / f"out{count}"), "--json"]
            )  # fmt: skip
            row(f"fleet, {count} workers" if count > 1 else "fleet, 1 worker", feeders, *spent)
    return {
        "bench": "fleet",
        "homes": HOMES,
        "days": days,
        "processors": len(os.sched_getaffinity(0)),
        "rows": rows,
    }


def table(told: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{told['homes']} homes a feeder, {told['days']:g} days at one minute, "
        f"{told['processors']} processors"
    ]
    lines += [
        f"{row['how']:26} {row['feeders']:4} feeders in {row['clock_s']:6.1f} s "
        f"({row['processor_s']:6.1f} s of processor): {row['per_hour']} an hour, "
        f"{row['per_hour_and_core']} an hour and core"
        for row in told["rows"]
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--feeders", default=8, type=int)
    parser.add_argument("--days", default=1.0, type=float)
    parser.add_argument("--workers", nargs="+", default=[1, 2], type=int)
    parser.add_argument("--looped", default=4, type=int, help="feeders for the single command")
    args = parser.parse_args()
    told = measure(args.feeders, args.days, args.workers, min(args.looped, args.feeders))
    print(json.dumps(told, indent=2) if args.json else table(told))


if __name__ == "__main__":
    main()
