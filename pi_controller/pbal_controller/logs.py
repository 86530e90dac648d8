"""The controller's log (pbal_host): what strangers send to its server is no fault of its own."""

from __future__ import annotations

from aiohttp.http_exceptions import HttpProcessingError

import pbal_host
from pbal_controller.config import LogConfig


def set_up(config: LogConfig) -> None:
    """Log to standard error as configured."""
    pbal_host.set_up(config.level, config.format, sent_to_us=(HttpProcessingError,))
