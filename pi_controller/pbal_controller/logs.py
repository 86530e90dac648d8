"""Structured logging: a fixed sentence and fields, as text for people or JSON for machines.

Call sites write `log.info("home heard", extra={"home": 5})`. Keys never reach a log: nothing
that holds one has it in its repr, and fields with a secret's name are blanked all the same. Lines
that outsiders can cause are limited, so that they cannot fill the disk.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

from pbal_controller.config import LogConfig
from pbal_controller.documents import dump_json

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}
_SECRET = ("key", "passphrase", "root", "secret", "password")


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

    def format(self, record: logging.LogRecord) -> str:
        item: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields(record),
        }
        if record.exc_info:
            item["traceback"] = self.formatException(record.exc_info)
        return dump_json(item, default=str)


class Ration(logging.Filter):
    """At most so many lines in a window from one place in the code; the next one says how many
    were not shown. Libraries get less: what they log repeatedly is caused by what they are sent.
    """

    WINDOW_S = 60.0
    OURS, OTHERS = 300, 5

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._places: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is shown."""
        if isinstance(record.exc_info, tuple) and isinstance(
            record.exc_info[1], HttpProcessingError
        ):
            record.exc_info = None  # the sender's mistake, no defect of ours
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


def set_up(config: LogConfig) -> None:
    """Log to standard error as configured."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    handler.addFilter(Ration())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
