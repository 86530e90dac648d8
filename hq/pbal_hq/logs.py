"""HQ's log (pbal_host)."""

from __future__ import annotations

import pbal_host
from pbal_hq.config import LogConfig


def set_up(config: LogConfig) -> None:
    """Log to standard error as configured."""
    pbal_host.set_up(config.level, config.format, quiet=("psycopg.pool", "uvicorn.error"))
