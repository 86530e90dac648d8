"""The parts of the large profile of `bench.hq`: each is measured by itself and kept as it ends.

A file holds what is there already, in the form that `pbal-hq size --costs` reads. Whoever calls the
bench again with the same file has only measured what is missing, or what `--only` names.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench._processors import busy_s, tree_cpu_s


class Parts:
    """Figures, in a file where one is named. `only`: parts that are measured even if they are
    there, and no others; empty: all that are missing."""

    def __init__(self, path: Path | None, only: tuple[str, ...] = ()) -> None:
        self._path, self._only = path, only
        self.figures: dict[str, Any] = self._read()

    def roles(self, measure: Callable[[], dict[str, Any]]) -> None:
        """What a summary costs, role by role."""
        if self._wanted("roles", "roles" in self.figures):
            self._keep(_beside(measure))

    def fleet(self, transformers: int, measure: Callable[[], dict[str, Any]]) -> None:
        """What a fleet of this size costs."""
        there = any(f["transformers"] == transformers for f in self.figures.get("fleets", []))
        if self._wanted("fleets", there):
            self._keep({"fleets": [_beside(measure)]})

    def _wanted(self, name: str, there: bool) -> bool:
        return name in self._only if self._only else not there

    def _read(self) -> dict[str, Any]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SystemExit(f"--keep {self._path}: {error}; name another file") from None
        return dict(found)

    def _keep(self, part: dict[str, Any]) -> None:
        # Read anew: another process may have measured another part.
        figures = self.figures if self._path is None else self._read()
        new = {f["transformers"]: f for f in part.get("fleets", [])}
        old = {f["transformers"]: f for f in figures.get("fleets", [])}
        fleets = [each for _, each in sorted((old | new).items())]
        self.figures = figures | part | ({"fleets": fleets} if fleets else {})
        if self._path is not None:
            self._path.write_text(json.dumps(self.figures, indent=1) + "\n", encoding="utf-8")


def _beside(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, and what else the computer did meanwhile."""
    own, computer, began = tree_cpu_s(os.getpid()), busy_s(), time.monotonic()
    before = os.getloadavg()[0]
    found = measure()
    took = time.monotonic() - began
    others = (busy_s() - computer - (tree_cpu_s(os.getpid()) - own)) / took
    processors = os.cpu_count() or 1
    return found | {
        "processors": processors, "load_before": round(before, 1),
        "load_after": round(os.getloadavg()[0], 1), "took_s": round(took),
        "others": round(min(max(0.0, others), processors), 2),  # the clocks of both are coarse
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }  # fmt: skip
