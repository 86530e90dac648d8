"""Structured logging: a fixed sentence and fields, as text for people or JSON for machines.

Call sites write `log.info("site is born", extra={"site": 5})`. Fields with a secret's name are
blanked.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from pbal_hq.config import LogConfig

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}
_SECRET = ("key", "passphrase", "secret", "password", "token")


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
        return json.dumps(item, default=str)


def set_up(config: LogConfig) -> None:
    """Log to standard error as configured."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())
    for name in ("aiohttp.access", "asyncio", "psycopg.pool", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.WARNING)
