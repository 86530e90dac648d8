"""HQ's log (pbal_host): every line of JSON says which role it is of, besides `fields`."""

from __future__ import annotations

from contextvars import ContextVar

import pbal_host
from pbal_hq.config import LogConfig

# The role that a task works for; its own tasks and threads have it from it.
role: ContextVar[str] = ContextVar("role", default="")


def set_up(config: LogConfig) -> None:
    """Log to standard error as configured."""
    pbal_host.set_up(
        config.level, config.format, quiet=("psycopg.pool", "uvicorn.error", "httpx"),
        context=_context,
    )  # fmt: skip


def _context() -> dict[str, str]:
    name = role.get()
    return {"role": name} if name else {}
