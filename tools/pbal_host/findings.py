"""What a look over a computer found: of `pbal doctor` and `pbal-hq doctor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "note", "warning", "error"]
_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "error": "ERROR  "}


@dataclass(frozen=True)
class Finding:
    """What a check found; `remedy` says what to do about a warning or an error."""

    check: str
    level: Level
    words: str
    remedy: str = ""


def summed_up(found: Iterable[Finding], *, strict: bool) -> dict[str, Any]:
    """For scripts: whether all is well, findings by level, and each. `strict`: without warnings."""
    found = list(found)
    counts = {level: sum(item.level == level for item in found) for level in _MARKS}
    ok = not counts["error"] and not (strict and counts["warning"])
    return {"ok": ok, "counts": counts, "findings": [asdict(item) for item in found]}


def lines(found: Iterable[Finding]) -> Iterator[str]:
    """For people."""
    for item in found:
        yield f"{_MARKS[item.level]} {item.check:<13} {item.words}"
        if item.remedy and item.level != "ok":
            yield f"{'':22}-> {item.remedy}"
