"""`pbal study fleet`: which of many transformers first."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from pbal_study.errors import InputError

from ..context import app_context
from ..extras import require
from ..output import emit
from .fleetoptions import FleetCommandOptions

if TYPE_CHECKING:
    from pbal_study.fleet import Fleet, FleetOptions

_FAILED_SHOWN = 5
"""So many stations that could not be studied are named on the screen."""


def fleet(ctx: typer.Context, options: FleetCommandOptions) -> None:
    """Which of many transformers to equip first.

    Studies each station (a transformer with its low-voltage feeders) as built and with pbal, and
    ranks them by money, capacity or violations. A run that was interrupted goes on where it was
    when the same command is started again.
    """
    # Before NumPy is loaded, here and in the workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    options.check()
    if options.out is None:
        raise InputError(
            "--out is missing.", "Name a folder: the report, and what is done so far, go there."
        )
    if options.table is None and options.feeders is None and options.customers is None:
        raise InputError(
            "Neither a table of stations nor a folder of feeders is given.",
            "Give a table, --feeders FOLDER, or --customers FILE.",
        )
    if options.table is not None and options.feeders is not None:
        raise InputError(
            "Both a table and --feeders are given.", "Name the feeders in the table, or leave it."
        )
    if options.scheduler:
        require("fleet", "distributed")
    require("study", "matplotlib")
    out = options.out
    read = (options.table, options.customers, options.profiles, options.classes)
    _check_folder(out, read)
    from pbal_study.fleet.files import as_dict, parquet_here, write_all

    quiet = options.json_output or app_context(ctx).quiet
    result = _run_with_progress(options.fleet(), out, quiet)
    written = write_all(result, out)

    def show(data: dict[str, Any]) -> None:
        from pbal_study.fleet.page import headline

        console = Console()
        console.print(headline(result), highlight=False)
        console.print(_table(result, options.top))
        failed = [row for row in result.rows if row["status"] != "done"]
        for row in failed[:_FAILED_SHOWN]:
            console.print(
                f"- not studied: {row['station']}: {row['reason']}", highlight=False, markup=False
            )
        if len(failed) > _FAILED_SHOWN:
            console.print(f"- and {len(failed) - _FAILED_SHOWN} more: fleet.csv", highlight=False)
        for path in written:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
        if not parquet_here():
            console.print("No Parquet: the extra 'fleet' is not installed.", highlight=False)

    emit(as_dict(result), options.json_output, show)


def _check_folder(out: Path, read: tuple[Path | None, ...]) -> None:
    from pbal_study.fleet.files import NAMES
    from pbal_study.report.files import check_folder

    check_folder(out, read, NAMES)


def _run_with_progress(options: "FleetOptions", out: Path, quiet: bool) -> "Fleet":
    """A bar on a terminal; elsewhere a line for every tenth of the fleet."""
    from pbal_study.fleet import run_fleet

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    ) as bars:
        task = bars.add_task("Stations", total=None)
        told = -1

        def progress(done: int, total: int, name: str) -> None:
            nonlocal told
            bars.update(task, completed=done, total=total, description=name[:28] or "Stations")
            tenth = 10 * done // max(1, total)
            if not quiet and not console.is_terminal and tenth > told:
                console.print(f"{done} of {total} stations", highlight=False)
                told = tenth

        return run_fleet(options, out, progress)


def _table(result: "Fleet", top: int) -> Table:
    table = Table(box=None, pad_edge=False)
    unit = result.options.shared.money.currency
    for k, name in enumerate(
        ("", "station", "homes", "neutral cut", f"value, {unit}", "kW released", "violations gone")
    ):
        table.add_column(name, justify="left" if k == 1 else "right")

    def text(value: Any, form: str) -> str:
        return "-" if value is None else format(value, form)

    for row in [r for r in result.rows if r["status"] == "done"][:top]:
        table.add_row(
            str(row["rank"]),
            str(row["station"]),
            str(row["homes"]),
            text(row["neutral_cut"], ".0%"),
            text(row["net_present_value"], ",.0f"),
            text(row["capacity_released_kw"], ".1f"),
            text(row["violations_gone"], "d"),
        )
    return table
