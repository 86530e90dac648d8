"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """What a check found; `remedy` says what to do about a warning or an error."""

    check: str
    level: Level
    words: str
    remedy: str = ""


def by_days(check: str, what: str, days: float, warn: float, remedy: str) -> Finding:
    """Of something that ends in so many days; an error in the last quarter of `warn`."""
    if days <= 0:
        return Finding(check, "error", f"{what} has ended", remedy)
    level: Level = "error" if days < warn / 4 else "warning" if days < warn else "ok"
    return Finding(check, level, f"{what} is good for {days:.0f} days", remedy)
