"""The output of `pbal flash`: a bar for each board on a terminal, plain lines elsewhere."""

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from .job import Report

# What share of the whole each step is, for one bar over all of them.
_PARTS = {
    "port": (0.0, 0.0),
    "looking": (0.0, 0.02),
    "connecting": (0.02, 0.04),
    "erasing": (0.04, 0.08),
    "writing": (0.08, 0.55),
    "verifying": (0.55, 0.58),
    "prompt": (0.58, 0.6),
    "comparing": (0.6, 0.62),
    "copying": (0.62, 0.94),
    "self-test": (0.94, 0.97),
    "starting": (0.97, 0.99),
    "done": (1.0, 1.0),
}


def overall(words: str, share: float) -> float | None:
    """How far the whole is, 0..1, at a step; None for a word that is no step."""
    span = _PARTS.get(words.split(" ")[0].rstrip(","))
    return None if span is None else span[0] + (span[1] - span[0]) * share


class Quiet:
    """Shows nothing: for --json and -q."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""

    def step(self, port: str, words: str, share: float) -> None:
        """A step; not shown."""

    def note(self, port: str, words: str) -> None:
        """A note; not shown."""


class Lines(Quiet):
    """One line for each step, for logs and pipes."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def step(self, port: str, words: str, share: float) -> None:
        """A step; the same one again at most every 10 s."""
        head = words.split(" ")[0]
        now = time.monotonic()
        with self._lock:
            last, at = self._last.get(port, ("", 0.0))
            if last == head and now - at < 10:
                return
            self._last[port] = (head, now)
            print(
                f"{port}: {words} ({share:.0%})" if 0 < share < 1 else f"{port}: {words}",
                file=sys.stderr,
                flush=True,
            )

    def note(self, port: str, words: str) -> None:
        """A note."""
        print(f"{port}: {words}", file=sys.stderr, flush=True)


class Bars(Quiet):
    """A progress bar for each board."""

    def __init__(self, targets: list[str], console: Console | None = None) -> None:
        width = max(len(port) for port in targets)
        self._progress = Progress(
            TextColumn(f"{{task.fields[port]:<{width}}}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}"),
            console=console or Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {
            port: self._progress.add_task("", total=1.0, port=port, words="") for port in targets
        }

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def step(self, port: str, words: str, share: float) -> None:
        """Moves the board's bar."""
        whole = overall(words, share)
        task = self._tasks[port]
        if whole is None:
            self._progress.update(task, words=words)
        else:
            self._progress.update(task, words=words, completed=whole)

    def note(self, port: str, words: str) -> None:
        """Prints above the bars."""
        self._progress.console.print(f"{port}: {words}", highlight=False)


def print_reports(reports: list[Report]) -> None:
    """The result for people: one paragraph for each board and what to do next."""
    for report in reports:
        if not report.ok:
            print(f"{report.port}: FAILED: {report.error}")
            if report.remedy:
                print(f"  {report.remedy}")
            continue
        put = report.installed
        fresh = f"{len(put.copied)} of {put.files} files copied ({put.bytes_copied} B)"
        print(f"{report.port}: ok in {report.seconds:.0f} s")
        print(f"  chip {report.mac}, EUI {report.eui}, MicroPython {report.micropython}")
        print(f"  application {report.application}: {fresh}, every hash verified on the board")
        for name, _, text in put.tests:
            print(f"  self-test {name:<9} ok  {text}")
        if not report.provisioned:
            print(f"  next: pbal provision add --port {report.port} --address N --keys FILE")
