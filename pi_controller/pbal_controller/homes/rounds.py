"""The rounds over one bearer: which home is polled next, and what its silence means.

Everything here is quick and never waits: it runs in the silence between two frames. The content of
frames is `conversation`'s.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pbal_controller.bearers import EVERYBODY, Answer, Bearer, Request, Where
from pbal_controller.config import PollingConfig
from pbal_controller.crash import crash_point
from pbal_controller.homes.conversation import Conversation
from pbal_controller.homes.fleet import Home
from pbal_controller.homes.host import Updates
from pbal_controller.homes.inbox import Inbox, Sent
from pbal_controller.homes.path import Path
from pbal_controller.homes.polling import PollScheduler
from pbal_controller.homes.router import Router
from pbal_controller.homes.session import GroupSession, time_sync
from pbal_controller.journal import clock_is_set
from pbal_controller.standing import POLLED_S, Standing
from pbal_protocol import records as r
from pbal_protocol.codec import Record

log = logging.getLogger(__name__)

# An idle line is used for an application update only when no home is due for this long.
_IDLE_S = 0.03
# The first time on the line after opening the port.
_FIRST_SYNC_S = 2.0
# Two masters destroy each other's frames: homes are polled less often until a person has decided.
RIVAL_INTERVAL_S = 1.0


class Rounds:
    """The traffic of one bearer (see `bearers.Traffic`)."""

    def __init__(
        self,
        name: str,
        router: Router,
        group: GroupSession,
        polling: PollingConfig,
        inbox: Inbox,
        standing: Standing,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.clock = wall
        self.group_frames = 0
        self.last_cycle_s = 0.0
        self.updates: Updates | None = None
        self._router = router
        self._standing = standing
        self._group = group
        self._polling = polling
        self._inbox = inbox
        self._bearer: Bearer | None = None
        self._always_seals: Callable[[Where], bool] | None = None
        self._room = 0
        self._exchange_s = 0.0
        self._homes: dict[int, tuple[Conversation, Path]] = {}
        self._at: dict[Where, int] = {}
        self._all: dict[Where, tuple[Conversation, Path]] = {}  # resting ones as well
        self._sync_due = 0.0
        self._cycle_from = 0.0
        self._cycle_home = 0
        self.scheduler = PollScheduler(
            min_interval_s=polling.min_interval_s,
            dead_after=polling.dead_after,
            dead_backoff_s=polling.dead_backoff_s,
            dead_backoff_max_s=polling.dead_backoff_max_s,
            dead_share=polling.dead_share,
        )

    def serve(self, bearer: Bearer) -> None:
        """The bearer that these rounds go over; before the first request."""
        self._bearer = bearer
        self._room = bearer.room
        # Of places whose nodes answer nothing that is not sealed for them.
        self._always_seals = getattr(bearer, "always_seals", None)
        self._exchange_s = bearer.cost_s(bearer.room)

    # -- whose round it is ---------------------------------------------------------------

    def join(self, talk: Conversation, path: Path) -> None:
        """Ask this home from now on."""
        address = talk.home.address
        self._homes[address] = self._all[path.where] = talk, path
        self._at[path.where] = address
        self.scheduler.add(address)
        if not self._cycle_home:
            self._cycle_home = address

    def leave(self, address: int) -> None:
        """Ask it no more."""
        found = self._homes.pop(address, None)
        if found is None:
            return
        self._at.pop(found[1].where, None)
        self.scheduler.remove(address)
        if self._cycle_home == address:
            self._cycle_home = next(iter(self._homes), 0)

    def expedite(self, address: int) -> None:
        """Something waits to be sent to this home: poll it out of turn."""
        if address in self._homes:
            self.scheduler.request(address)

    # -- Traffic -------------------------------------------------------------------------

    def next_request(self, now: float) -> Request | float:
        """A group time sync when due, else the poll the scheduler wants."""
        if self._sync_due == 0.0:
            self._sync_due = now + _FIRST_SYNC_S
        # An impossible time is sent to no node; it may not fit the record either.
        if now >= self._sync_due and not clock_is_set(self.clock()):
            self._sync_due = now + _FIRST_SYNC_S
        if now >= self._sync_due and self._group.counters.left:
            self._sync_due = now + self._polling.time_sync_every_s
            self.group_frames += 1
            return Request(EVERYBODY, self._group.seal(time_sync(0, self.clock())))
        self.scheduler.min_interval_s = self._polling.min_interval_s
        if self._standing.rival:
            self.scheduler.min_interval_s = max(RIVAL_INTERVAL_S, self._polling.min_interval_s)
        address = self.scheduler.next(now)
        if not isinstance(address, int):
            wait = min(address, self._sync_due)
            extra = None
            if self.updates is not None:
                extra = self.updates.idle_home(self.name, self._exchange_s, now)
            if extra is None or extra not in self._homes or wait - now < _IDLE_S:
                return wait
            # No home is due: time that an application update may use.
            self.scheduler.request(extra)
            address = self.scheduler.next(now)
            if not isinstance(address, int):
                return min(address, self._sync_due)
        if address == self._cycle_home:
            self.last_cycle_s = now - self._cycle_from if self._cycle_from else 0.0
            self._cycle_from = now
        return self._request(address, self._room, now)

    def ask(self, where: Where, now: float, room: int, waiting: bool) -> Request | None:
        """What goes to one home now, out of the order."""
        address = self._at.get(where)
        if address is None or self.scheduler.is_dead(address):
            return None
        if waiting and not self.scheduler.wanted(address):
            return None
        self.scheduler.turn(address, now)
        return self._request(address, room, now)

    def _request(self, address: int, room: int, now: float) -> Request:
        talk, path = self._homes[address]
        home = talk.home
        home.link.polls += 1
        home.signs.polled()
        seals = self._always_seals is not None and self._always_seals(path.where)
        frame = talk.outgoing(room, now, seals)
        sent = None
        if talk.carries is not None:
            sent = self._sent_hook(address, talk.carries.command_id, now)
        return Request(path.where, frame, sent, talk)

    def _sent_hook(self, address: int, command_id: int, now: float) -> Callable[[], None]:
        def sent() -> None:
            crash_point("sent")
            self._inbox.put(Sent(address, command_id, now))

        return sent

    def handle(self, request: Request, answer: Answer | None, now: float) -> None:
        """Evaluate one poll's answer."""
        talk: Conversation = request.tag
        home = talk.home
        address = home.address
        if home.session is None:
            return  # revoked while it was being asked
        good = False
        if answer is None:
            home.not_heard()
        else:
            good = talk.received(answer.frame, now)
        found = self._homes.get(address)
        if found is None:
            return  # another path answered while it was being asked over this one
        if not good:
            # Something may answer, but nothing authentic came: it must not determine how often it
            # is polled.
            self.scheduler.missed(address, now, now - self.scheduler.last_turn(address))
            if found[1].alive and self.scheduler.is_dead(address):
                self._heard(home, found[1], False)
                if not home.alive:
                    silent = "home silent" if answer is None else "home answers nothing usable"
                    log.warning(silent, extra={"home": address})
            return
        assert answer is not None
        self._answered(talk, found[1], answer.more)

    def offered(self, request: Request, answer: Answer, now: float) -> bool:
        """Evaluate what may be a poll's answer; what does not open leaves the poll waiting."""
        talk: Conversation = request.tag
        if talk.home.session is None or not talk.received(answer.frame, now, anybody=True):
            return False
        found = self._homes.get(talk.home.address)
        if found is not None:
            self._answered(talk, found[1], answer.more)
        return True

    def _answered(self, talk: Conversation, path: Path, more: bool) -> None:
        home = talk.home
        home.link.answers += 1
        self.scheduler.answered(home.address, more=more)
        if not (path.alive and home.alive):
            self._heard(home, path, True)
        # On a radio its own turn may be minutes away: until then, e.g., a home without the time.
        asks = self._always_seals is not None and home.requests
        if asks or home.time_nonce is not None or home.switch is not None:
            self.scheduler.request(home.address)

    def _heard(self, home: Home, path: Path, alive: bool) -> None:
        was = home.alive
        self._router.heard(home, path, alive)
        if home.alive and not was:
            log.info("home heard", extra={"home": home.address})

    def unasked(self, where: Where, frame: bytes, now: float, more: bool = False) -> bool:
        """A frame that came on its own."""
        found = self._all.get(where)
        if found is None or found[0].home.session is None:
            return False
        talk, path = found
        home = talk.home
        if not talk.received(frame, now, anybody=True):
            return False
        if home.address not in self._homes:
            home.link.answers += 1
            return True  # it rests: another path is the one in use
        # A slot has no room for events, and the window for urgent frames may lose one that is sent
        # again rounds later: so it is asked.
        reading = home.telemetry
        seals = self._always_seals is not None and self._always_seals(where)
        waits = seals and reading is not None and bool(reading.flags & r.FLAG_EVENTS_PENDING)
        self._answered(talk, path, more or waits)
        return True

    def unheard(self, where: Where, now: float) -> None:
        """A turn in which it sent nothing."""
        address = self._at.get(where)
        if address is None:
            return
        talk, path = self._homes[address]
        talk.home.not_heard()
        if path.alive:
            self.scheduler.silent(address, now)
            self._heard(talk.home, path, False)
            if not talk.home.alive:
                log.warning("home silent", extra={"home": address})

    def quality(self, where: Where, figures: dict[str, float]) -> None:
        """Kept with its path."""
        found = self._all.get(where)
        if found is not None:
            found[1].quality = figures

    def beacon(self, record: Record) -> bytes:
        """Sealed for everybody; empty while no counter is reserved."""
        return self._group.seal_beacon(record) if self._group.beacons.left else b""

    def foreign_beacon(self, frame: bytes, now: float) -> bool:
        """Commands are held back while such beacons come: a clone of this controller sends them
        long before a home shows that it was told something else.
        """
        if not self._group.is_foreign(frame):
            return False
        self._standing.hold(
            f"somebody else sends beacons of this site ({self.name}): a second controller, or "
            "whoever has the keys of a lost node",
            now,
            POLLED_S,
        )
        return True

    def tell(self, where: Where, record: Record) -> None:
        """Into its next frame, which goes out of turn."""
        found = self._all.get(where)
        if found is None:
            return
        home = found[0].home
        home.ask(record)
        if home.address in self._homes:
            self.scheduler.request(home.address)

    def lost(self) -> None:
        """The medium is gone: no home is heard over it until it answers again."""
        for talk, path in list(self._homes.values()):
            self._router.heard(talk.home, path, False)
