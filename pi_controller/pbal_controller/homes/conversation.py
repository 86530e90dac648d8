"""The sealed conversation with one home: what is to be sent to it next, and what its frame means.

No clock, no port, no bearer: the bearer's side asks for the next frame, given the room there is,
and hands in what came. So the controller, the commissioning on a laptop and the test rigs use the
same conversation, over any bearer:

    frame = talk.outgoing(room, now)
    talk.received(answer, now)

`now` is seconds of one monotonic clock. Nothing here waits, and nothing is repeated by itself: what
was lost with a frame is requested again by the part that still needs it.
"""

from __future__ import annotations

import logging
import math
import time

from pbal_controller.homes.fleet import CLOCK_AHEAD_S, REPLAYS, Home
from pbal_controller.homes.session import Session, time_sync
from pbal_controller.journal import clock_is_set
from pbal_controller.naming import version_text
from pbal_protocol import errors as e
from pbal_protocol import records as r
from pbal_protocol.codec import Record
from pbal_protocol.frames import HEADER_LEN, MAX_PAYLOAD, TAG_LEN, peek
from pbal_protocol.radio.readings import whole
from pbal_protocol.radio.records import CompactTelemetry, TelemetryGet

log = logging.getLogger(__name__)

OVERHEAD = HEADER_LEN + TAG_LEN
# A node's clock further off than this is set outside the usual group sync, which moves a clock
# by no more than that. Whole seconds on the wire make one second normal.
_CLOCK_OFF_S = 2.0
# After another controller was seen to poll a home: how often its floor is asked for. The other may
# stand down first, and then polls too seldom to be seen again.
_LOOK_AGAIN_S = 5.0
# What a node is in. A medium may change the order of frames: of each what was sealed last counts,
# not what came last.
_STATES = (r.Telemetry, r.Hello, r.Health, r.UpdateStatus)


class Host:
    """The owner of conversations: what they ask of it and report to it. Calls never wait.

    This base class forbids nothing, adds nothing, and drops what is reported.
    """

    def wall(self) -> float:
        """Unix time, s."""
        return time.time()

    def may_switch(self, home: Home, now: float) -> bool:
        """Whether this home may be ordered to change its phase."""
        return True

    def may_update(self, home: Home, now: float) -> bool:
        """Whether this home may be sent parts of an update."""
        return True

    def requests_hello(self, home: Home, now: float) -> bool:
        """Whether this poll is to request a Hello by a frame that no key has sealed."""
        return False

    def instead(self, home: Home, now: float) -> list[Record] | None:
        """The records that this frame carries instead of the usual ones; None: the usual ones."""
        return None

    def update(self, home: Home, room: int, now: float) -> r.Update | None:
        """What this frame may carry of an update, in at most `room` bytes of payload."""
        return None

    def polled_by_others(self, home: Home, now: float) -> None:
        """Its counter rose by more than our polls explain: it answers another controller."""

    def greeting(self, home: Home, hello: r.Hello, now: float) -> None:
        """A Hello came, and is not stored yet: `home.hello` is the one before."""

    def record(self, home: Home, record: Record, now: float) -> None:
        """A record that was authentic, unseen and, if a reading, fresh; `home` knows it by now."""


class Conversation:
    """With one home that has a session."""

    def __init__(
        self,
        home: Home,
        host: Host,
        *,
        health_every_s: float = math.inf,
        max_delay_s: float = math.inf,
        look_every_s: float = math.inf,
        floor_skip: int | None = None,
    ) -> None:
        """`health_every_s`: how often its health is asked for. `max_delay_s`: a synced node's
        reading older than this on arrival was delayed on the way, and is not used. `look_every_s`:
        where no radio's airtime is spent, a frame is sealed for it at least this often (`standing`
        says why). `floor_skip`: as `CounterBlock.node_floor` has it.
        """
        assert home.session is not None
        self.home = home
        self.session: Session = home.session
        # The Switch that the latest frame carries, until its sender reports that it has left.
        self.carries: r.Switch | None = None
        self._host = host
        self._health_every_s = health_every_s
        self._max_delay_s = max_delay_s
        self._look_every_s = look_every_s
        self._sealed_at = -math.inf
        self._floor_skip = floor_skip
        self._parts: list[bytes] = []
        self._left = 0

    # -- what the home is sent -----------------------------------------------------------

    def outgoing(self, room: int, now: float, something: bool = False) -> bytes:
        """The next frame, of at most `room` bytes; empty when there is nothing to tell.

        With `something`, which is for bearers whose nodes answer sealed frames only, it then asks
        for a whole reading; what can not be sealed is empty all the same.
        """
        home = self.home
        self.carries = None
        if home.hello is None:
            # Nothing is sealed before the node has reported its floor.
            return (
                self.session.hello_request() if not something and home.may_ask_hello(now) else b""
            )
        if self._host.requests_hello(home, now):
            return self.session.hello_request()
        if not self.session.counters.left:
            return b""
        self._left = min(room - OVERHEAD, MAX_PAYLOAD)
        self._parts.clear()
        instead = self._host.instead(home, now)
        if instead is not None:
            for record in instead:
                self._put(record)
        else:
            self._tell(now)
        if not self._parts and something:
            self._put(TelemetryGet(every=0))
        if not self._parts:
            return b""
        self._sealed_at = now
        return self.session.seal_payload(b"".join(self._parts))

    def _put(self, record: Record) -> bool:
        """Adds it to the frame where there is room."""
        part = record.encode()
        if len(part) > self._left:
            return False
        self._left -= len(part)
        self._parts.append(part)
        return True

    def _tell(self, now: float) -> None:
        """Most urgent first; what finds no room waits for the next frame."""
        home = self.home
        if home.time_nonce is not None:
            wall = self._host.wall()
            if not clock_is_set(wall) or self._put(time_sync(home.time_nonce, wall)):
                home.time_nonce = None
        if home.switch is not None:
            # A home that came back after a silence: what waited for it may be out of date.
            if self._host.wall() >= home.switch.expires_s or not self._host.may_switch(home, now):
                home.switch = None
            elif self._put(home.switch):
                self.carries = home.switch
                home.switch = None
        if home.result_ack is not None and self._put(r.ResultAck(command_id=home.result_ack)):
            home.result_ack = None
        if home.event_ack is not None and self._put(r.EventAck(seq=home.event_ack)):
            home.event_ack = None
        if now < home.shared_until and now - home.asked_hello_at >= _LOOK_AGAIN_S:
            home.ask_hello(now)
        if home.requests:
            while home.requests and self._put(home.requests[0]):
                home.requests.popleft()
            return
        if home.alive and (
            now - home.asked_health_at >= self._health_every_s
            or (not self._parts and self._look_due(now))
        ):
            home.asked_health_at = now
            self._put(r.StatusGet(what=r.WHAT_HEALTH))
        # These have a frame of their own.
        if not self._parts and home.group_key is not None and self._put(home.group_key):
            home.group_key = None
        if not self._parts and self._host.may_update(home, now):
            update = self._host.update(home, self._left, now)
            if update is not None:
                self._put(update)

    def _look_due(self, now: float) -> bool:
        """Whether nothing was sealed for it for so long that a frame of ours must be tried."""
        return now - self._sealed_at >= self._look_every_s and not self.home.round_s

    # -- what its frame means ------------------------------------------------------------

    def received(self, frame: bytes, now: float, anybody: bool = False) -> bool:
        """Take in one frame of the home; False when it was not authentic, or seen before.

        `anybody`: on this medium a node also sends unasked, and anybody, or the medium, may repeat
        a frame. So a frame seen before shows nothing about the home, and neither does a counter
        that rose by more than our polls.
        """
        home = self.home
        if not frame:
            home.link.malformed += 1
            return False
        try:
            records = self.session.open(frame)
        except e.AuthError:
            home.link.auth_failed += 1
            return False
        except e.ReplayError:
            home.link.replayed += 1
            if anybody:
                return False
            home.replays_in_a_row += 1
            if home.replays_in_a_row == REPLAYS:
                log.error("home repeats itself", extra={"home": home.address})
            return False
        except e.RemoteError:
            home.link.malformed += 1
            return False
        home.heard_at = now
        if records and isinstance(records[0], CompactTelemetry):
            records[0] = whole(records[0], int(self._host.wall()), home.telemetry)
        home.held_s = self._held_s(records) if anybody else 0.0
        home.replays_in_a_row = 0
        counter = peek(frame)[3]
        if anybody:
            home.signs.heard(counter)
        elif home.signs.answered(counter) and home.hello is not None:
            self._host.polled_by_others(home, now)
            # Its floor shows whose frames it accepts.
            home.ask_hello(now)
        if len(records) > 1:
            # A Hello first: the reading may otherwise ask for the nonce that it brings.
            records.sort(key=_is_reading)
        for record in records:
            if isinstance(record, _STATES) and self.session.overtaken(record, counter):
                home.link.delayed += isinstance(record, r.Telemetry)
            else:
                self._take(record, now)
        return True

    def _held_s(self, records: list[Record]) -> float | None:
        """How long a frame was on the way, by the time in it; None where it has none."""
        for record in records:
            if isinstance(record, r.Telemetry) and not _unsynced(record):
                late = self._host.wall() - record.time_s
                return late if late > _CLOCK_OFF_S else 0.0
        return None

    def _take(self, record: Record, now: float) -> None:
        home = self.home
        if isinstance(record, r.Telemetry):
            if not self._telemetry(record, now):
                return
        elif isinstance(record, r.Hello):
            self._hello(record, now)
        elif isinstance(record, r.Health):
            home.health = record
            home.asked_health_at = now
        elif isinstance(record, r.ConfigValue):
            if record.result == r.RESULT_OK:
                home.settings[record.key] = record.value
        elif isinstance(record, r.GroupProof):
            home.group_proof = record
        self._host.record(home, record, now)

    def _telemetry(self, reading: r.Telemetry, now: float) -> bool:
        """Whether the reading is fresh enough to be used."""
        home = self.home
        age = reading.age_ms / 1000
        if _unsynced(reading):
            # Only an answer to the nonce of its latest Hello sets its clock: ask for one.
            if home.time_nonce is None:
                home.ask_hello(now)
        else:
            behind = self._host.wall() - reading.time_s - age
            if abs(behind) > _CLOCK_OFF_S:
                # A step so large is made only in answer to a nonce: its Hello brings one.
                home.ask_hello(now)
            self._note_clock(-behind)
            if behind > self._max_delay_s:
                # Held back on the way, or the node's clock is far behind: not used.
                home.link.delayed += 1
                return False
        home.telemetry = reading
        home.sampled_at = now - age - (home.held_s or 0.0)
        home.readings += 1
        return True

    def _note_clock(self, ahead_s: float) -> None:
        """A node whose clock is ahead takes every command for an expired one."""
        home = self.home
        was, home.clock_ahead_s = home.clock_ahead_s, ahead_s
        if (ahead_s > CLOCK_AHEAD_S) != (was > CLOCK_AHEAD_S):
            log.log(
                logging.WARNING if ahead_s > CLOCK_AHEAD_S else logging.INFO,
                "clock of a home and ours differ"
                if ahead_s > CLOCK_AHEAD_S
                else "clock of a home and ours agree again",
                extra={"home": home.address, "ahead_s": round(ahead_s, 1)},
            )

    def _hello(self, hello: r.Hello, now: float) -> None:
        home = self.home
        again = home.hello is not None and home.boots == hello.boots
        self._host.greeting(home, hello, now)
        home.hello = hello
        home.boots = hello.boots
        self.session.counters.node_floor(hello.down_floor, self._floor_skip)
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


def _unsynced(reading: r.Telemetry) -> bool:
    return bool(reading.flags & r.FLAG_UNSYNCED) or reading.time_s == 0


def _is_reading(record: Record) -> bool:
    return isinstance(record, r.Telemetry)
