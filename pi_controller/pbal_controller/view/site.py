"""What status, metrics and the page read of a running controller: this and nothing else.

The controller makes one `SiteView` of its parts. Everything here is read; nothing is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pbal_controller.config import SiteConfig
from pbal_controller.homes import Fleet


class Shown(Protocol):
    """A part that itself provides the data shown of it."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""


class MovesView(Protocol):
    """Moves: what was ordered, the results, and whether more can be ordered."""

    @property
    def ordered_total(self) -> int: ...
    @property
    def open_count(self) -> int: ...
    @property
    def finished_total(self) -> Mapping[str, int]: ...
    @property
    def events_total(self) -> int: ...
    @property
    def put_off_total(self) -> int: ...
    @property
    def recent(self) -> Collection[dict[str, Any]]:
        """The latest moves, oldest first."""

    def why_not(self, now: float) -> str:
        """Why nothing is ordered now; empty when orders are possible."""


class PlannerView(Shown, Protocol):
    """Decisions: how many, how long the last one took."""

    @property
    def decisions_total(self) -> int: ...
    @property
    def skipped_total(self) -> int: ...
    @property
    def held_back_total(self) -> int: ...
    @property
    def last_decide_s(self) -> float: ...


class LoopView(Protocol):
    """One supervised loop."""

    @property
    def name(self) -> str: ...
    @property
    def limit_s(self) -> float: ...
    @property
    def restarts(self) -> int: ...
    @property
    def failing(self) -> str: ...

    def age_s(self, now: float) -> float:
        """Seconds since its last success."""


class LoopsView(Protocol):
    """All supervised loops."""

    @property
    def loops(self) -> Mapping[str, LoopView]: ...

    def late(self, now: float) -> list[str]:
        """Essential loops whose last success is too old."""


class BearerView(Shown, Protocol):
    """One bearer: whether it can carry now, and the results of its exchanges."""

    @property
    def up(self) -> bool: ...
    @property
    def reconnects(self) -> int: ...

    def counts(self) -> Mapping[str, int]:
        """Exchanges since start, by outcome."""


class RoundView(Protocol):
    """The rounds of polls over one bearer."""

    @property
    def last_cycle_s(self) -> float: ...
    @property
    def group_frames(self) -> int: ...


class UpdatesView(Shown, Protocol):
    """Releases on their way to the homes."""

    @property
    def bytes_total(self) -> int: ...

    def steps(self) -> Mapping[str, int]:
        """Homes of the rollout under way, by step."""


class StandingView(Protocol):
    """Whether this controller may command."""

    def why_not(self, now: float) -> str:
        """Why it may not; empty when it may."""


class StandbyView(Shown, Protocol):
    """This controller as one of two."""

    @property
    def well(self) -> bool:
        """At work, or ready to be."""


class DoubtsView(Protocol):
    """Homes whose reports were not plausible."""

    def history(self) -> list[dict[str, Any]]:
        """The last doubts, oldest first."""


@dataclass(frozen=True)
class SiteView:
    """One site as it is now. Times: `now` and `started` in loop time, `wall` in unix time."""

    site: SiteConfig
    max_age_s: float  # a reading older than this does not count
    phase_limit_a: float | None
    started: float
    now: Callable[[], float]
    wall: Callable[[], float]
    fleet: Fleet
    moves: MovesView
    planner: PlannerView
    loops: LoopsView
    standing: StandingView
    firmware: Shown
    group_keys: Shown
    doubts: DoubtsView
    updates: UpdatesView
    updates_on: bool
    bearers: Mapping[str, BearerView]
    rounds: Mapping[str, RoundView]
    transformer: Callable[[], Shown | None]
    residual: Shown  # the meter's difference from the homes
    uplink: Shown  # the link to HQ
    neutral_history: Iterable[tuple[float, float]]  # unix time, A
    facts_dropped: Callable[[], int]
    node_events: Callable[[], Awaitable[list[dict[str, Any]]]]
    standby: StandbyView | None = None  # where this controller is one of two
