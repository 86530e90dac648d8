"""Where the processor time of `pbal study` goes, stage by stage and within pbal's own run.

    python -m bench.study --json            quick: 2 days, about a minute
    python -m bench.study --days 35         five weeks, and what a year takes by them
    python -m bench.study --days 365        a whole year for real, as the command runs it
    python -m bench.study --parts           pbal's own run taken apart, too

A street of made-up homes on the IEEE European LV feeder where that is at hand (55 homes), else on
the demonstration's feeder (30), at one minute, all four controllers, with the default objective, up
to the report. Seconds are the processor's, of all processes, so that other work does not count but
for what it takes of the caches; the shares are of one and the same run. Up to 6 days all of it
happens in one process; beyond, pbal's own run is in a second one, whose seconds are its row's.

*A year* is the mean day times 365; what happens once is counted once: the feeder, the order of the
homes, both objectives, the second opinion, the report, and the search for the hindsight optimum's
price on two days. It is told from five weeks on. The hindsight optimum is searched a week at a
time, a week once to three times, and a study of no more than four weeks searches each thrice: a few
days say nothing about what a year of it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from pbal_study.report import write_all
from pbal_study.report.page import render
from pbal_study.run import controllers, secondprocess
from pbal_study.run import study as study_module
from pbal_study.run.study import run_study
from pbal_tools.study.demo import START, feeder_text, write_profiles

ONCE = ("Reading", "Ranking", "Which homes", "Both objectives", "Second opinion", "Report")
"""Stages that do not grow with the days, but for what GROWING names of them."""
Part = tuple[str, Any, str]
"""Label, owner, and the name of what is called."""
GROWING: tuple[Part, ...] = (
    ("Reading", study_module, "_profiles"),
    ("Second opinion", study_module, "summarise"),
)
"""By the stage that each is in."""
SINGLE: tuple[Part, ...] = (("at a budget", controllers, "at_budget"),)
"""The search that a study makes once."""
YEAR_FROM_DAYS = 35
"""From here on the hindsight optimum is searched as in a year."""
OWN_RUN = "pbal, minute by minute"
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


def _inputs(folder: Path, days: int, seed: int) -> Options:
    """A street's feeder and profiles, written into a folder."""
    feeder, homes = _data.IEEE / "Master.dss", 55
    if not feeder.exists():
        feeder, homes = folder / "demo.dss", 30
        feeder.write_text(feeder_text(), encoding="utf-8")
    profiles = folder / "profiles.csv.gz"
    write_profiles(profiles, START, street(homes, days, seed))
    return Options(feeder=feeder, profiles=profiles, loop=Loop(use_feeder=None))


def _children_s() -> float:
    """Processor seconds of the processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(days: int, seed: int) -> dict[str, Any]:
    """Runs the study once, up to its report."""
    single: dict[str, float] = {}
    stages: list[tuple[str, float]] = []

    def stage(title: str, total: int | None) -> Callable[[int], None]:
        stages.append((title, time.process_time()))
        return lambda done: None

    with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
        folder = Path(name)
        options = _inputs(folder, days, seed)
        children_s = _children_s()
        with timed((*SINGLE, *GROWING), time.process_time, single):
            study = run_study(options, stage)
        stage("Report", None)
        write_all(study, folder / "out", render(study))
        stage("", None)
        children_s = _children_s() - children_s
    rows = []
    for (title, at), (_, after) in pairwise(stages):
        taken = after - at + (children_s if title == OWN_RUN else 0.0)
        fixed = 0.0
        if title.startswith(ONCE):
            fixed = taken - sum(single.get(label, 0.0) for label in ONCE if title.startswith(label))
        elif title.startswith("Hindsight"):
            fixed = single.get(SINGLE[0][0], 0.0)
        row: dict[str, Any] = {"stage": title, "s": round(taken, 2)}
        if days >= YEAR_FROM_DAYS:
            row["year_s"] = round(fixed + (taken - fixed) / days * 365, 1)
        rows.append(row)
    homes = study.feeder.n_homes
    return {
        "bench": "study",
        "homes": homes,
        "feeder": "IEEE European LV" if homes == 55 else "demonstration",
        "days": days,
        "stages": rows,
        "total_s": round(sum(row["s"] for row in rows), 1),
        "year_s": round(sum(row["year_s"] for row in rows)) if days >= YEAR_FROM_DAYS else None,
        "neutral_cut": round(study.summary["pbal"]["neutral_a"]["cut"], 6),
        "hindsight_cut": round(study.summary["hindsight"]["neutral_a"]["cut"], 6),
        "losses_cut": round(study.summary["pbal"]["losses"]["cut"], 6),
    }


def take_apart(days: int, seed: int) -> dict[str, float]:
    """Milliseconds of processor a day studied, of pbal's own run alone, by part. The watches
    themselves take some per cent."""
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
        options = _inputs(Path(name), days, seed)
        alone = replace(options, controllers=("as_built", "pbal"), rank_days=0.0)
        with timed((("all of it", secondprocess, "pbal"), *PARTS), time.process_time, spent):
            run_study(alone, lambda title, total: lambda done: None)
    return {label: round(1000 * s / days, 1) for label, s in spent.items()}


def table(told: dict[str, Any]) -> str:
    """The report for people."""
    year_s = told["year_s"]
    lines = [
        f"{told['homes']} homes, {told['feeder']} feeder, {told['days']} days at one minute: "
        f"{told['total_s']:.1f} s of processor; "
        + (f"a year takes --days {YEAR_FROM_DAYS}" if year_s is None else f"a year {year_s} s")
    ]
    for row in told["stages"]:
        line = f"  {row['stage']:34} {row['s']:8.2f} s"
        if year_s is None:
            line += f" {100 * row['s'] / max(told['total_s'], 0.1):5.1f} %"
        else:
            line += f"  {row['year_s']:8.1f} s a year {100 * row['year_s'] / max(year_s, 1):5.1f} %"
        lines.append(line)
    lines.append(
        f"neutral current: pbal -{100 * told['neutral_cut']:.2f} %, hindsight "
        f"-{100 * told['hindsight_cut']:.2f} %; losses -{100 * told['losses_cut']:.2f} %"
    )
    parts = told.get("parts_ms_per_day", {})
    if parts:
        lines.append("of pbal's own run, ms of processor a day studied:")
        lines += [
            f"  {name:34} {ms:8.1f} {100 * ms / parts['all of it']:5.1f} %"
            for name, ms in sorted(parts.items(), key=lambda row: -row[1])
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--days", default=2, type=int, help="1 to 366")
    parser.add_argument("--parts", action="store_true", help="take pbal's own run apart, too")
    parser.add_argument("--seed", default=3, type=int)
    args = parser.parse_args()
    if not 1 <= args.days <= 366:
        print("bench.study: --days is from 1 to 366.", file=sys.stderr)
        raise SystemExit(2)
    if args.parts and args.days > 6:
        print("bench.study: --parts is for up to 6 days: one process.", file=sys.stderr)
        raise SystemExit(2)
    told = measure(args.days, args.seed)
    if args.parts:
        told["parts_ms_per_day"] = take_apart(args.days, args.seed)
    print(json.dumps(told, indent=2) if args.json else table(told))


if __name__ == "__main__":
    main()
