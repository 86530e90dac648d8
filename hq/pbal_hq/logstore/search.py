"""What is asked of the logs, as a query of OpenSearch: pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from pbal_hq.errors import ConfigError

LEVELS = ("debug", "info", "warning", "error", "critical")
_PERIOD = re.compile(r"(\d{1,6})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def period(text: str, now: datetime) -> datetime:
    """When `text` was: so long ago (30s, 15m, 2h, 7d, 2w), or a time as ISO 8601, UTC by default.

    Raises ConfigError.
    """
    if found := _PERIOD.fullmatch(text.strip()):
        try:
            return now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
        except OverflowError:
            pass
    else:
        try:
            at = datetime.fromisoformat(text.strip())
        except ValueError:
            pass
        else:
            return at if at.tzinfo else at.replace(tzinfo=UTC)
    raise ConfigError(f"--since {text!r}: needs so long ago as 30m, 2h, 7d, or 2026-11-29T08:00")


@dataclass(frozen=True)
class Wanted:
    """Which lines. Empty: all."""

    since: datetime
    site: str = ""
    level: str = ""  # and what is worse
    role: str = ""
    trace: str = ""
    saved: str = ""

    def query(self, by: str = "time") -> dict[str, Any]:
        """Of OpenSearch. `by`: the time that `since` is of. Raises ConfigError."""
        filters: list[dict[str, Any]] = [{"range": {by: {"gte": self.since.isoformat()}}}]
        if self.level:
            if self.level not in LEVELS:
                raise ConfigError(f"--level {self.level}: needs one of {', '.join(LEVELS)}")
            filters.append({"terms": {"level": LEVELS[LEVELS.index(self.level) :]}})
        exact = {"site": self.site, "role": self.role, "trace": self.trace}
        filters += [{"term": {name: value}} for name, value in exact.items() if value]
        if self.saved:
            filters.append(saved(self.saved)["query"])
        return {"bool": {"filter": filters}}


def names() -> list[str]:
    """Which searches are saved."""
    folder = resources.files("pbal_hq.logstore").joinpath("searches")
    return sorted(each.name.removesuffix(".json") for each in folder.iterdir()
                  if each.name.endswith(".json"))  # fmt: skip


def saved(name: str) -> dict[str, Any]:
    """A saved search: `title` and `query`. Raises ConfigError."""
    if name not in names():
        raise ConfigError(f"--saved {name}: needs one of {', '.join(names())}")
    folder = resources.files("pbal_hq.logstore").joinpath("searches")
    made: dict[str, Any] = json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return made
