"""Structured logging: a fixed sentence and fields, as text for people or JSON for machines.

Call sites write `log.info("home heard", extra={"home": 5})`. Keys never reach a log: nothing
that holds one has it in its repr, and fields with a secret's name are blanked all the same. Lines
that outsiders can cause are limited, so that they cannot fill the disk.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}
_SECRET = ("key", "passphrase", "root", "secret", "password", "token")


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """The extra fields of a record; what is named like a secret is blanked."""
    return {
        name: "***" if any(word in name.lower() for word in _SECRET) else value
        for name, value in record.__dict__.items()
        if name not in _STANDARD and not name.startswith("_")
    }


class TextFormatter(logging.Formatter):
    """time level logger: sentence key=value ..."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        extra = " ".join(f"{k}={v!r}" for k, v in fields(record).items())
        line = super().formatMessage(record)
        return f"{line} {extra}" if extra else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, context: Callable[[], Mapping[str, Any]] = dict) -> None:
        """`context`: fields of every line, unless the line has its own."""
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        item: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._context(),
            **fields(record),
        }
        if record.exc_info:
            item["traceback"] = self.formatException(record.exc_info)
        return json.dumps(_finite(item), default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with null in place of NaN and infinity, which are no JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


class Ration(logging.Filter):
    """At most so many lines in a window from one place in the code; the next one says how many
    were not shown. Libraries get less: what they log repeatedly is caused by what they are sent.
    """

    WINDOW_S = 60.0
    OURS, OTHERS = 300, 5

    def __init__(
        self,
        now: Callable[[], float] = time.monotonic,
        sent_to_us: tuple[type[BaseException], ...] = (),
    ) -> None:
        """`sent_to_us`: errors that are a sender's mistake, and need no traceback of ours."""
        super().__init__()
        self._now = now
        self._sent_to_us = sent_to_us
        self._places: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is shown."""
        if isinstance(record.exc_info, tuple) and isinstance(record.exc_info[1], self._sent_to_us):
            record.exc_info = None
        place = (record.pathname, record.lineno)
        limit = self.OURS if record.name.startswith("pbal_") else self.OTHERS
        now = self._now()
        since, count = self._places.get(place, (now, 0))
        if now - since >= self.WINDOW_S:
            if count > limit:
                record.not_shown = count - limit
            since, count = now, 0
        self._places[place] = (since, count + 1)
        return count < limit


def set_up(
    level: str,
    form: str,
    quiet: Iterable[str] = (),
    sent_to_us: tuple[type[BaseException], ...] = (),
    context: Callable[[], Mapping[str, Any]] = dict,
) -> None:
    """Log to standard error from `level` on; `form` is "json" or "text".

    `quiet`: loggers of which only warnings are shown. `sent_to_us`: as in `Ration`. `context`:
    fields of every line of JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(context) if form == "json" else TextFormatter())
    handler.addFilter(Ration(sent_to_us=sent_to_us))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("aiohttp.access", "asyncio", *quiet):
        logging.getLogger(name).setLevel(logging.WARNING)
