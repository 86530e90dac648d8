"""The homes of one RS-485 segment: what to send next, and what an answer means.

Everything here is quick and never waits: it runs in the silence between two frames. What
needs the disk (events, results, counters) goes to the inbox, and comes back as flags on the
home: `event_ack`, `result_ack`, a longer counter block.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Protocol

from pbal_controller.bearers.rs485 import Answer, Request
from pbal_controller.config import PollingConfig
from pbal_controller.crash import crash_point
from pbal_controller.homes.fleet import CLOCK_AHEAD_S, REPLAYS, Home
from pbal_controller.homes.inbox import Doubtful, Inbox, Received, Sent
from pbal_controller.homes.polling import PollScheduler
from pbal_controller.homes.session import GroupSession, Session, pack, time_sync
from pbal_controller.journal import clock_is_set
from pbal_controller.naming import version_text
from pbal_controller.standing import POLLED_S, Reason, Standing
from pbal_protocol import errors as e
from pbal_protocol import records as r
from pbal_protocol.codec import Record
from pbal_protocol.frames import WINDOW, peek
from pbal_protocol.modbus import MORE_PENDING, URGENT

log = logging.getLogger(__name__)

# Asking again for something the node did not give yet.
_ASK_AGAIN_S = 2.0
# A node's clock further off than this is set outside the usual group sync, which moves a clock
# by no more than that. Whole seconds on the wire make one second normal.
_CLOCK_OFF_S = 2.0
# An idle line is used for an application update only when nobody is due for this long.
_IDLE_S = 0.03
# The first time on the line after opening the port.
_FIRST_SYNC_S = 2.0
# After somebody else was seen to poll a home: so often a look at whose frames it accepts. The other
# stands down first, perhaps, and polls too seldom to be seen again.
_LOOK_AGAIN_S = 5.0
# While a home's word that somebody else commands it waits for another's: each one is made to tell
# its floor this often, by a poll that is sealed with nothing, which no second controller's counters
# can make it refuse.
_KNOCK_EVERY_S = 15.0
# While a second controller is about: one frame this often to each home, far enough above what the
# home has accepted that the other's next one is refused. So the other learns of us, too.
_CLAIM_EVERY_S = 30.0
_CLAIM = 2 * WINDOW
_CLAIM_SPREAD = 1024
# Two masters wreck each other's frames: homes are asked less often until a person has decided.
_RIVAL_INTERVAL_S = 1.0


class Updates(Protocol):
    """What a segment asks of whoever brings updates, between two frames."""

    def order(self, home: Home, now: float) -> r.Update | None:
        """What this poll of the home may carry."""

    def received(self, home: Home, status: r.UpdateStatus, now: float) -> None:
        """A home's answer."""

    def idle_unit(self, bus: str, now: float) -> int | None:
        """The unit of a home on an idle line that could take more now."""


class Segment:
    """The traffic of one segment (see `rs485.Traffic`)."""

    def __init__(
        self,
        name: str,
        homes: list[Home],
        group: GroupSession,
        polling: PollingConfig,
        inbox: Inbox,
        wall: Callable[[], float] = time.time,
        standing: Standing | None = None,
    ) -> None:
        self.name = name
        self._standing = Standing() if standing is None else standing
        self.group_frames = 0
        self.last_cycle_s = 0.0
        self._homes = {home.unit: home for home in homes if home.session is not None}
        self._group = group
        self._polling = polling
        self._inbox = inbox
        self._wall = wall
        self.updates: Updates | None = None
        self._sync_due = 0.0
        self._cycle_from = 0.0
        self._cycle_unit = next(iter(self._homes), 0)
        self.scheduler = PollScheduler(
            min_interval_s=polling.min_interval_s,
            dead_after=polling.dead_after,
            dead_backoff_s=polling.dead_backoff_s,
            dead_backoff_max_s=polling.dead_backoff_max_s,
            dead_share=polling.dead_share,
        )
        for unit in self._homes:
            self.scheduler.add(unit)

    def expedite(self, home: Home) -> None:
        """This home has something to be told: poll it out of turn."""
        if home.unit in self._homes:
            self.scheduler.request(home.unit)

    def drop(self, home: Home) -> None:
        """Never ask this home again: its key was revoked."""
        home.session = None
        home.alive = False
        if self._homes.pop(home.unit, None) is not None:
            self.scheduler.remove(home.unit)
        if self._cycle_unit == home.unit:
            self._cycle_unit = next(iter(self._homes), 0)

    # -- Traffic -------------------------------------------------------------------------

    def next_request(self, now: float) -> Request | float:
        """A group time sync when due, else the poll the scheduler wants."""
        if self._sync_due == 0.0:
            self._sync_due = now + _FIRST_SYNC_S
        # A time that cannot be is told to nobody: some of them do not fit the record either.
        if now >= self._sync_due and not clock_is_set(self._wall()):
            self._sync_due = now + _FIRST_SYNC_S
        if now >= self._sync_due and self._group.counters.left:
            self._sync_due = now + self._polling.time_sync_every_s
            self.group_frames += 1
            return Request(0, self._group.seal(time_sync(0, self._wall())))
        self.scheduler.min_interval_s = self._polling.min_interval_s
        if self._standing.rival:
            self.scheduler.min_interval_s = max(_RIVAL_INTERVAL_S, self._polling.min_interval_s)
        unit = self.scheduler.next(now)
        if not isinstance(unit, int):
            wait = min(unit, self._sync_due)
            extra = self.updates.idle_unit(self.name, now) if self.updates is not None else None
            if extra is None or wait - now < _IDLE_S:
                return wait
            # Nobody is due: time that an application update may use.
            self.scheduler.request(extra)
            unit = self.scheduler.next(now)
            if not isinstance(unit, int):
                return min(unit, self._sync_due)
        if unit == self._cycle_unit:
            self.last_cycle_s = now - self._cycle_from if self._cycle_from else 0.0
            self._cycle_from = now
        home = self._homes[unit]
        home.link.polls += 1
        home.signs.polled()
        switch = None
        body = b""
        session = home.session
        assert session is not None
        if home.hello is None:
            # Nothing is sealed before the node has told its floor.
            if now - home.asked_hello_at >= _ASK_AGAIN_S:
                home.asked_hello_at = now
                body = session.knock()
        elif self._standing.asking(now) and now >= home.knock_due:
            home.knock_due = now + _KNOCK_EVERY_S
            body = session.knock()
        elif session.counters.left:
            if self._standing.rival or self._standing.waiting(home.address, now):
                records = self._claim(home, session, now)
            else:
                records = self._outgoing(home, now)
            if records:
                body = session.seal(records)
                switch = next((x for x in records if isinstance(x, r.Switch)), None)
        sent = None
        if switch is not None:
            sent = self._sent_hook(home.address, switch.command_id, now)
        return Request(unit, body, sent, home)

    def _sent_hook(self, address: int, command_id: int, now: float) -> Callable[[], None]:
        def sent() -> None:
            crash_point("sent")
            self._inbox.put(Sent(address, command_id, now))

        return sent

    def _outgoing(self, home: Home, now: float) -> list[Record]:
        """What this poll tells the home, most urgent first."""
        records: list[Record] = []
        if home.time_nonce is not None:
            if clock_is_set(self._wall()):
                records.append(time_sync(home.time_nonce, self._wall()))
            home.time_nonce = None
        if home.switch is not None:
            # A home that came back after a silence: what waited for it may be out of date.
            if self._wall() < home.switch.expires_s and self._may_command(home, now):
                records.append(home.switch)
            home.switch = None
        if home.result_ack is not None:
            records.append(r.ResultAck(command_id=home.result_ack))
            home.result_ack = None
        if home.event_ack is not None:
            records.append(r.EventAck(seq=home.event_ack))
            home.event_ack = None
        if now < home.shared_until and now - home.asked_hello_at >= _LOOK_AGAIN_S:
            _ask_hello(home, now)
        if home.requests:
            waiting = list(home.requests)
            fits, rest = pack(records + waiting)
            home.requests.clear()
            home.requests.extend(rest)
            return fits
        if now - home.asked_health_at >= self._polling.health_every_s and home.alive:
            home.asked_health_at = now
            records.append(r.StatusGet(what=r.WHAT_HEALTH))
        if not records and home.group_key is not None:
            records.append(home.group_key)
            home.group_key = None
        if not records and self.updates is not None and not self._standing.why_not(now):
            update = self.updates.order(home, now)
            if update is not None:
                records.append(update)
        return records

    def _may_command(self, home: Home, now: float) -> bool:
        accused = home.address in self._standing.accused
        return not (accused or home.quarantined or self._standing.why_not(now))

    def _claim(self, home: Home, session: Session, now: float) -> list[Record]:
        """What is sealed while a second controller is about: a claim, now and then."""
        if now < home.claim_due:
            return []
        counters = session.counters
        if not home.claiming:
            home.claiming = True
            spread = secrets.randbelow(_CLAIM_SPREAD)
            counters.raise_floor(max(session.sealed, counters.floor) + _CLAIM + spread)
        if not counters.left:
            return []  # reserved soon
        home.claiming = False
        home.claim_due = now + _CLAIM_EVERY_S
        return [r.StatusGet(what=r.WHAT_HELLO)]

    def handle(self, request: Request, answer: Answer | None, now: float) -> None:
        """Judge one poll's answer."""
        home = request.tag
        assert isinstance(home, Home)
        if home.session is None:
            return  # revoked while it was being asked
        if answer is None:
            home.link.lost += 1
            self.scheduler.missed(home.unit, now, now - self._started(home))
            if home.alive and self.scheduler.is_dead(home.unit):
                home.alive = False
                log.warning("home silent", extra={"home": home.address})
            return
        good = self._open(home, answer.body, now)
        if not good:
            # Something answers, but nothing authentic came: do not let it set the pace.
            self.scheduler.missed(home.unit, now, now - self._started(home))
            if home.alive and self.scheduler.is_dead(home.unit):
                home.alive = False
                log.warning("home answers nothing usable", extra={"home": home.address})
            return
        home.link.answers += 1
        if not home.alive:
            home.alive = True
            log.info("home heard", extra={"home": home.address})
        self.scheduler.answered(home.unit, more=bool(answer.flags & (MORE_PENDING | URGENT)))
        if home.time_nonce is not None or home.switch is not None:
            self.scheduler.request(home.unit)

    def lost(self) -> None:
        """The port is gone: no home of this segment is heard until it answers again."""
        for home in self._homes.values():
            home.alive = False

    def _started(self, home: Home) -> float:
        return self.scheduler.last_turn(home.unit)

    def _open(self, home: Home, body: bytes, now: float) -> bool:
        if not body:
            home.link.malformed += 1
            return False
        assert home.session is not None
        try:
            received = home.session.open(body)
        except e.AuthError:
            home.link.auth_failed += 1
            return False
        except e.ReplayError:
            home.link.replayed += 1
            home.replays_in_a_row += 1
            if home.replays_in_a_row == REPLAYS:
                log.error("home repeats itself", extra={"home": home.address})
            return False
        except e.RemoteError:
            home.link.malformed += 1
            return False
        home.heard_at = now
        home.replays_in_a_row = 0
        if home.signs.answered(peek(body)[3]) and home.hello is not None:
            if not self._standing.polled_by_others(home.address, now):
                home.hold_until = max(home.hold_until, now + POLLED_S)
                home.hold_reason = "somebody else polls it: another master, or the node itself"
            # Whose frames does it accept? Its floor tells.
            home.shared_until = now + POLLED_S
            _ask_hello(home, now)
        # A Hello first: the reading may otherwise ask for the nonce that it brings.
        for record in sorted(received, key=lambda x: isinstance(x, r.Telemetry)):
            self._apply(home, record, now)
        return True

    # -- records -------------------------------------------------------------------------

    def _apply(self, home: Home, record: Record, now: float) -> None:
        if isinstance(record, r.Telemetry):
            self._telemetry(home, record, now)
        elif isinstance(record, r.Hello):
            self._hello(home, record, now)
        elif isinstance(record, r.Health):
            home.health = record
            home.asked_health_at = now
            self._doubt(home, home.signs.uptime_verdict(home.boots, record.uptime_s, now))
        elif isinstance(record, r.ConfigValue):
            if record.result == r.RESULT_OK:
                home.settings[record.key] = record.value
        elif isinstance(record, r.GroupProof):
            home.group_proof = record
        elif isinstance(record, r.UpdateStatus):
            if self.updates is not None:
                self.updates.received(home, record, now)
        elif isinstance(record, (r.SwitchResult, r.Event)):
            self._inbox.put(Received(home.address, record, now))

    def _telemetry(self, home: Home, reading: r.Telemetry, now: float) -> None:
        age = reading.age_ms / 1000
        unsynced = bool(reading.flags & r.FLAG_UNSYNCED) or reading.time_s == 0
        if unsynced:
            # Only an answer to the nonce of its latest Hello sets its clock: ask for one.
            if home.time_nonce is None:
                _ask_hello(home, now)
        else:
            behind = self._wall() - reading.time_s - age
            if abs(behind) > _CLOCK_OFF_S:
                # Moved so far only in answer to a nonce: its Hello brings one.
                _ask_hello(home, now)
            self._note_clock(home, -behind)
            if behind > self._polling.max_delay_s:
                # Held back on the way, or the node's clock is far behind: not used.
                home.link.delayed += 1
                return
        home.telemetry = reading
        home.sampled_at = now - age
        home.readings += 1
        if home.watched:
            self._inbox.put(Received(home.address, reading, now))

    def _note_clock(self, home: Home, ahead_s: float) -> None:
        """A node whose clock is ahead takes every command for old."""
        was, home.clock_ahead_s = home.clock_ahead_s, ahead_s
        if (ahead_s > CLOCK_AHEAD_S) != (was > CLOCK_AHEAD_S):
            log.log(
                logging.WARNING if ahead_s > CLOCK_AHEAD_S else logging.INFO,
                "clock of a home and ours differ"
                if ahead_s > CLOCK_AHEAD_S
                else "clock of a home and ours agree again",
                extra={"home": home.address, "ahead_s": round(ahead_s, 1)},
            )

    def _hello(self, home: Home, hello: r.Hello, now: float) -> None:
        again = home.hello is not None and home.boots == hello.boots
        assert home.session is not None
        self._doubt(home, home.signs.node_verdict(hello))
        rival = home.signs.floor_verdict(
            hello, home.session.sealed, home.session.stored, self._standing.fresh_journal
        )
        if rival:
            known = home.session.stored or home.session.sealed
            reason = Reason.RIVAL if known else Reason.LOST
            self._standing.accuse(home.address, reason, rival, now, bool(home.quarantined))
        home.hello = hello
        home.boots = hello.boots
        home.session.counters.node_floor(hello.down_floor)
        home.time_nonce = hello.nonce
        # A node asks for the time about once an hour: only a start is worth a line.
        log.log(
            logging.DEBUG if again else logging.INFO,
            "home said hello",
            extra={
                "home": home.address,
                "boots": hello.boots,
                "reset_cause": hello.reset_cause,
                "firmware": version_text(hello.fw_version),
            },
        )

    def _doubt(self, home: Home, why: str) -> None:
        if why:
            self._inbox.put(Doubtful(home.address, why))


def _ask_hello(home: Home, now: float) -> None:
    """Have the node say who it is, with a new nonce; not again while the answer may be coming."""
    if now - home.asked_hello_at >= _ASK_AGAIN_S:
        home.asked_hello_at = now
        home.ask(r.StatusGet(what=r.WHAT_HELLO))
