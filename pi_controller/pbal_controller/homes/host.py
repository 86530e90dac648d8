"""The controller as the host of its conversations: standing, facts for the slow half, updates."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Protocol

from pbal_controller.homes.conversation import Host
from pbal_controller.homes.fleet import Home
from pbal_controller.homes.inbox import Doubtful, Inbox, Received
from pbal_controller.standing import POLLED_S, Reason, Standing
from pbal_protocol import records as r
from pbal_protocol.codec import Record
from pbal_protocol.frames import WINDOW

# While a home's report of a second controller waits for confirmation: each home is asked for its
# floor this often, by a frame that no key has sealed, to which it answers whatever counters the
# second controller has used.
_REQUEST_EVERY_S = 15.0
# While a second controller is present: one frame this often to each home, far enough above what the
# home has accepted that the other's next one is refused. So the other notices us, too.
_CLAIM_EVERY_S = 30.0
# Two masters destroy each other's frames: both are repeated this soon until a Hello comes.
_AGAIN_S = 2.0
_CLAIM = 2 * WINDOW
_CLAIM_SPREAD = 1024


class Updates(Protocol):
    """The part that delivers updates, called between two frames."""

    def order(self, home: Home, room: int, now: float) -> r.Update | None:
        """What this frame may carry, in at most `room` bytes."""

    def received(self, home: Home, status: r.UpdateStatus, now: float) -> None:
        """A home's answer."""

    def idle_home(self, bearer: str, exchange_s: float, now: float) -> int | None:
        """The address of a home on an idle bearer that could take more now.

        `exchange_s`: what one exchange with a full frame takes of the medium.
        """


class SiteHost(Host):
    """Shared by the conversations of one site."""

    def __init__(
        self,
        inbox: Inbox,
        standing: Standing,
        wall: Callable[[], float] = time.time,
        dry_run: bool = False,
    ) -> None:
        self.updates: Updates | None = None
        self.clock = wall
        self._inbox = inbox
        self._standing = standing
        self._dry_run = dry_run

    def wall(self) -> float:
        """Unix time, s."""
        return self.clock()

    def may_switch(self, home: Home, now: float) -> bool:
        """Not in a dry run, a stand-down or a quarantine, nor while this home's report is open."""
        if self._dry_run:
            return False  # nor what was ordered before the mode was set
        reported = home.address in self._standing.reported
        return not (reported or home.quarantined or self._standing.why_not(now))

    def may_update(self, home: Home, now: float) -> bool:
        """Not while the site stands down."""
        return not self._standing.why_not(now)

    def requests_hello(self, home: Home, now: float) -> bool:
        """While one home's report waits for confirmation, each home is asked at intervals."""
        if (
            not self._standing.reported
            or now < home.hello_request_due
            or not self._standing.asking(now)
        ):
            return False
        home.hello_request_due = now + _AGAIN_S
        return True

    def instead(self, home: Home, now: float) -> list[Record] | None:
        """While a second controller is or may be present: a claim at intervals, nothing else."""
        if not (self._standing.rival or self._standing.waiting(home.address, now)):
            home.claiming = False
            return None
        # Neither is told meanwhile; a home for which one waits is polled without a pause.
        home.time_nonce = home.switch = None
        if now < home.claim_due:
            return []
        session = home.session
        assert session is not None
        counters = session.counters
        if not home.claiming:
            home.claiming = True
            spread = secrets.randbelow(_CLAIM_SPREAD)
            counters.raise_floor(max(session.sealed, counters.floor) + _CLAIM + spread)
        if not counters.left:
            return []  # reserved soon
        home.claim_due = now + _AGAIN_S
        return [r.StatusGet(what=r.WHAT_HELLO)]

    def update(self, home: Home, room: int, now: float) -> r.Update | None:
        """As the rollout wants it."""
        return None if self.updates is None else self.updates.order(home, room, now)

    def polled_by_others(self, home: Home, now: float) -> None:
        """Hold commands back for a while, and check whose frames the home accepts."""
        if not self._standing.polled_by_others(home.address, now):
            home.hold_until = max(home.hold_until, now + POLLED_S)
            home.hold_reason = "somebody else polls it: another master, or the node itself"
        home.shared_until = now + POLLED_S

    def greeting(self, home: Home, hello: r.Hello, now: float) -> None:
        """What it shows about the node itself, and about others that sealed frames for it."""
        session = home.session
        assert session is not None
        if self._standing.asking(now):
            home.hello_request_due = now + _REQUEST_EVERY_S
        if home.claiming and session.counters.floor <= session.sealed <= hello.down_floor:
            home.claiming = False
            home.claim_due = now + _CLAIM_EVERY_S
        self._doubt(home, home.signs.node_verdict(hello))
        rival = home.signs.floor_verdict(
            hello, session.sealed, session.stored, self._standing.fresh_journal
        )
        if rival:
            known = session.stored or session.sealed
            reason = Reason.RIVAL if known else Reason.LOST
            self._standing.report(home.address, reason, rival, now, bool(home.quarantined))

    def record(self, home: Home, record: Record, now: float) -> None:
        """Passes on what the slow half or an update waits for."""
        if isinstance(record, r.Telemetry):
            if home.watched:
                self._inbox.put(Received(home.address, record, now))
        elif isinstance(record, (r.SwitchResult, r.Event)):
            self._inbox.put(Received(home.address, record, now))
        elif isinstance(record, r.UpdateStatus):
            if self.updates is not None:
                self.updates.received(home, record, now)
        elif isinstance(record, r.Health) and home.held_s is not None:
            # A bridge may have held it for longer than two running times may differ.
            sent = now - home.held_s
            self._doubt(home, home.signs.uptime_verdict(home.boots, record.uptime_s, sent))

    def _doubt(self, home: Home, why: str) -> None:
        if why:
            self._inbox.put(Doubtful(home.address, why))
