"""Where the processor time of `pbal study` goes, stage by stage and within pbal's own run.

    python -m bench.study --json            quick: 2 days, about a minute

A street of made-up homes on the IEEE European LV feeder where that is at hand (55 homes), else on
the demonstration's feeder (30), at one minute, all four controllers, with the default objective. Up
to 6 days all of it happens in one process, so that its processor time tells each stage's. *A year*
is the mean day times 365; stages that look at the first days only, or once, are counted once, and
so is the search for the hindsight optimum's price on two days. Its further searches at the same
price count for nothing there: a study of more than four weeks makes none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command does

from bench import _data
from bench._homes import street
from pbal_controller.balancing import Planner, _core
from pbal_controller.balancing import planner as planner_module
from pbal_controller.balancing.lasting import Lasting
from pbal_controller.balancing.persistence import Persistence
from pbal_controller.balancing.readings import Readings
from pbal_controller.balancing.wear import Wear
from pbal_study import Loop, Options
from pbal_study.feeder.powerflow import MinuteFlow
from pbal_study.run import controllers
from pbal_study.run.study import run_study
from pbal_tools.study.demo import START, feeder_text, write_profiles

ONCE = ("Reading", "Ranking", "Which homes", "Both objectives", "Second opinion")
"""Stages that do not grow with the days."""
Part = tuple[str, Any, str]
"""Label, owner, and the name of what is called."""
SINGLE: tuple[Part, ...] = (
    ("at a budget", controllers, "at_budget"),
    ("again", controllers, "again"),
)
"""Searches of which a longer study makes one, and none."""
PARTS: tuple[Part, ...] = (
    ("meters: power flow", MinuteFlow, "currents"),
    ("readings", Readings, "observe"),
    ("what lasts", Lasting, "observe"),
    ("steps: learn", Persistence, "observe"),
    ("steps: forecast", Persistence, "forecast"),
    ("Gram array", _core, "build_gram"),
    ("search", _core, "solve"),
    ("waiting", Planner, "_patient"),
    ("wear", Wear, "see"),
    ("reasons", planner_module, "explain"),
    ("decide, all of it", Planner, "decide"),
    ("observe, all of it", Planner, "observe"),
)


@contextmanager
def timed(
    parts: tuple[Part, ...], clock: Callable[[], float], spent: dict[str, float]
) -> Iterator[None]:
    """Adds the seconds of `clock` within each of `parts`, by label, while the block runs."""
    kept = [(owner, name, getattr(owner, name)) for _, owner, name in parts]

    def watch(label: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **more: Any) -> Any:
            began = clock()
            try:
                return call(*args, **more)
            finally:
                spent[label] = spent.get(label, 0.0) + clock() - began

        return watched

    for label, owner, name in parts:
        setattr(owner, name, watch(label, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, call in kept:
            setattr(owner, name, call)


def measure(days: int, seed: int, parts: bool) -> dict[str, Any]:
    """Runs the study once; with parts, pbal's own run is split up as well, which takes it some per
    cent more time."""
    with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
        folder = Path(name)
        feeder, homes = _data.IEEE / "Master.dss", 55
        if not feeder.exists():
            feeder, homes = folder / "demo.dss", 30
            feeder.write_text(feeder_text(), encoding="utf-8")
        profiles = folder / "profiles.csv.gz"
        write_profiles(profiles, START, street(homes, days, seed))
        stages: list[tuple[str, float]] = []

        def stage(title: str, total: int | None) -> Callable[[int], None]:
            stages.append((title, time.process_time()))
            return lambda done: None

        spent: dict[str, float] = {}
        single: dict[str, float] = {}
        options = Options(feeder=feeder, profiles=profiles, loop=Loop(use_feeder=None))
        began = time.process_time()
        with (
            timed(SINGLE, time.process_time, single),
            timed(PARTS if parts else (), time.perf_counter, spent),
        ):
            run_study(options, stage)
        stages.append(("", time.process_time()))
    rows = []
    year = 0.0
    for (title, at), (_, after) in pairwise(stages):
        once = title.startswith(ONCE)
        hindsight = title.startswith("Hindsight")
        single_s, extra_s = (single.get(label, 0.0) if hindsight else 0.0 for label, *_ in SINGLE)
        daily = (after - at - single_s - extra_s) / days
        scaled = after - at if once else single_s + daily * 365
        year += scaled
        rows.append({"stage": title, "s": round(after - at, 2), "year_s": round(scaled, 1)})
    return {
        "bench": "study",
        "homes": homes,
        "feeder": "IEEE European LV" if homes == 55 else "demonstration",
        "days": days,
        "stages": rows,
        "total_s": round(stages[-1][1] - began, 1),
        "year_s": round(year),
        "parts_ms_per_day": {k: round(1000 * v / days) for k, v in spent.items()},
    }


def table(told: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"{told['homes']} homes, {told['feeder']} feeder, {told['days']} days at one minute: "
        f"{told['total_s']:.1f} s of processor; a year {told['year_s']} s"
    ]
    lines += [
        f"  {row['stage']:34} {row['s']:8.2f} s  {row['year_s']:8.1f} s a year"
        for row in told["stages"]
    ]
    if told["parts_ms_per_day"]:
        lines.append("of the planner, over all its runs, ms on the clock a day studied:")
        lines += [f"  {name:34} {ms:8d}" for name, ms in told["parts_ms_per_day"].items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--days", default=2, type=int, help="at most 6: one process")
    parser.add_argument("--parts", action="store_true", help="take the planner apart, too")
    parser.add_argument("--seed", default=3, type=int)
    args = parser.parse_args()
    if not 1 <= args.days <= 6:
        print("bench.study: --days is from 1 to 6: one process.", file=sys.stderr)
        raise SystemExit(2)
    told = measure(args.days, args.seed, args.parts)
    print(json.dumps(told, indent=2) if args.json else table(told))


if __name__ == "__main__":
    main()
