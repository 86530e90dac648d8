"""How HQ restrains the planner: a mode, and limits tighter than the configured ones.

HQ can never make a site do more than its own configuration allows; without an order of HQ, and
after `run`, everything is as configured.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mode(enum.StrEnum):
    """What is done with the planner's moves."""

    RUN = "run"
    DRY_RUN = "dry-run"  # decided and explained, never ordered
    HOLD = "hold"  # not even decided


@dataclass
class Restraint:
    """Shared by the planner, which keeps to it, and the uplink, which sets it by HQ's orders."""

    mode: Mode = Mode.RUN
    phase_limit_a: float | None = None
    max_moving_share: float | None = None

    def limit_a(self, configured: float | None) -> float | None:
        """The phase limit in force, A; None when there is none."""
        given = [limit for limit in (configured, self.phase_limit_a) if limit is not None]
        return min(given, default=None)

    def moving_share(self, configured: float) -> float:
        """The share of homes that may move at once."""
        return (
            configured if self.max_moving_share is None else min(configured, self.max_moving_share)
        )

    def why_not(self) -> str:
        """Why nothing is decided; empty when it is."""
        return "held by HQ" if self.mode is Mode.HOLD else ""
