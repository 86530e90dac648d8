"""What `pbal study` shows on the screen: progress while it works, the answer when it is done."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ..output import emit

if TYPE_CHECKING:
    from pbal_study import Options, Study


def run_with_progress(options: "Options", quiet: bool) -> "Study":
    """Runs a study with a bar per stage on a terminal, a line per stage elsewhere."""
    from pbal_study import run_study

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    ) as bars:

        def stage(name: str, total: int | None) -> Callable[[int], None]:
            if not quiet and not console.is_terminal:
                console.print(f"{name} ...", highlight=False)
            # A stage of known length may still run in another process; the others are over.
            for task in bars.tasks:
                if task.total is None:
                    bars.update(task.id, completed=1, total=1)
            task_id = bars.add_task(name, total=total)
            return lambda amount: bars.advance(task_id, amount)

        study = run_study(options, stage)
        for task in bars.tasks:
            bars.update(task.id, completed=task.total or 1, total=task.total or 1)
        return study


def finish(result: "Study", out: Path | None, json_output: bool) -> None:
    """Writes the files if a folder is named, and prints the result for a person or a script."""
    from pbal_study.report import (
        DOUBT,
        as_dict,
        first_homes_text,
        headline,
        hosting_text,
        money_text,
        room_text,
        write_all,
    )

    written: list[Path] = []
    if out is not None:
        from pbal_study.report.page import render

        written = write_all(result, out, render(result))

    def show(data: dict[str, Any]) -> None:
        console = Console()
        told = (headline, money_text, room_text, hosting_text, first_homes_text)
        for text in (sentence(result) for sentence in told):
            if text:
                console.print(text, highlight=False, markup=False)
        console.print(_table(data))
        for note in sorted(data["notes"], key=lambda n: not n.startswith(DOUBT)):
            console.print(f"- {note}", highlight=False, markup=False)
        for path in written:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
        if not written:
            console.print("Add --out FOLDER for the report with pictures.", highlight=False)

    emit(as_dict(result), json_output, show)


def _table(data: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    figures = data["controllers"]
    for summary in figures.values():
        table.add_column(summary["title"].split(",")[0], justify="right")

    def row(label: str, get: Callable[[dict[str, Any]], str]) -> None:
        table.add_row(label, *(get(s) for s in figures.values()))

    row("neutral current, mean A", lambda s: f"{s['neutral_a']['mean']:.1f}")
    row("  cut", lambda s: f"{s['neutral_a']['cut']:.0%}")
    row("highest phase, 10 min, A", lambda s: f"{s['peak_10min']['phase_a']:.0f}")
    first = next(iter(figures.values()))
    if "losses" in first:
        row("losses, kWh", lambda s: f"{s['losses']['kwh']:.1f}")
        row("  cut", lambda s: f"{s['losses']['cut']:.1%}")
        row("VUF 95 %, worst bus", lambda s: f"{s['vuf']['worst_home_p95']:.2%}")
        row("lowest voltage, V", lambda s: f"{s['voltage']['min_v']:.1f}")
    if "transformer" in first:
        row("hot-spot, °C", lambda s: f"{s['transformer']['peak_hot_spot_c']:.0f}")
    row("switchings/home/day", lambda s: f"{s['switchings']['per_home_per_day']:.2f}")
    return table
