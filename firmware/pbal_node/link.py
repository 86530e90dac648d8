"""Opens DOWN frames, acts on their records, seals UP frames. Any bearer may carry them.

One poll is one call: the DOWN frame in the request is processed first, the answer carries one
sealed frame with Telemetry and whatever else is due and fits. It is written into the bearer's own
buffer, at the bearer's offset (docs/node.md, "Bearers"). Nothing here touches flash while the
poller waits, except where safety requires it (a counter above the stored floor); everything slow
is left to `slow_work`, which runs after the answer.

No record, however authentic, ends the application: an error while one is acted on, or sent,
affects that one alone, and is reported (faults.py). Queues are bounded.
"""

import os

from micropython import const

from pbal_protocol import frames, records
from pbal_protocol.errors import RemoteError

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.update import Updater

_MAX_PLAIN = const(200)  # plaintext bytes an answer aims at
_HEAD = const(7)
_TAG = const(8)
_NONCE = const(12)
_NARROW = const(71)  # room of less has no place for a nonce beside Telemetry
_NARROWEST = const(51)  # ... beside what a bearer begins with
_ROOM = const(96)  # up counters kept reserved
_ANSWERS = const(48)  # encoded records that wait for room in an answer

_EV_AUTH_FAILURES = const(9)
_EV_COUNTERS_SPENT = const(23)
_WARNING = const(1)
_ALARM = const(2)

# Places of an error, see faults.py; others are record ids.
_SEALING = const(65)
_SLOW_WORK = const(66)
_DOWN_FRAME = const(69)
_GROUP_FRAME = const(70)
_LAST = const(0xFFFFFFFF)

_WHAT_HELLO = const(1)
_WHAT_HEALTH = const(2)
_WHAT_RESULT = const(3)
_WHAT_CONFIG = const(4)
_ALL_KEYS = const(255)

_MORE_PENDING = const(1)  # of the hints, which are not encrypted
_URGENT = const(2)
_EXPIRED = const(5)  # SwitchResult.outcome

_RESULT_OK = const(0)
_RESULT_REFUSED = const(3)


class Link:
    """`ends`: Sealer (up), Opener (down) and the group's keys; `memory`: counters and floors in
    flash; `settings`: see settings.py; `report` fills in the records, see report.py.
    """

    def __init__(self, ends, memory, clock, selector, settings, report, log, faults) -> None:
        self._sealer, self._opener, self.groups = ends
        self._counters, self._floors = memory
        self._clock = clock
        self._selector = selector
        self._settings = settings
        self._report = report
        self._log = log
        self._faults = faults
        # Called when there is a command, and when the controller wants a reading now.
        self.wake_selector = self.wake_meter = lambda: None
        # A bearer's own: what begins a frame in place of Telemetry (`lead(tx, at, x)` returns where
        # it ends; x is a Telemetry to fill), and what acts on records that only this bearer knows.
        self.lead = self.others = None
        self._rx = bytearray(256)
        self._rx_view = memoryview(self._rx)
        self._telemetry = records.Telemetry()
        self._hello = True
        self._health = False
        self._answers: list = []  # encoded Ack and ConfigValue records
        self._results: list = []  # first answers to Switch commands, sent once
        self._event_ack = 0  # the highest acknowledged event, waits for it
        self._spent = 0  # of the counters, as reported
        self.hints = 0
        self.bad = {"bad_crc": 0, "auth_failed": 0, "replayed": 0, "malformed": 0}
        self.expired = 0
        self.heard_ms = 0  # the last authentic, unseen frame for this node alone
        self.updater: "Updater | None" = None
        self.wants_updater = False

    # down -------------------------------------------------------------------------------------

    def poll(self, buf, start: int, end: int, tx, at: int, room: int) -> int:
        """Process the DOWN frame buf[start:end] (may be empty), write the answer's frame of at most
        `room` bytes to tx[at:]; returns its length, 0 when there is none. Sets `hints`.
        """
        if end > start:
            try:
                self._down(buf, start, end)
            except Exception as e:
                self._faults.note(_DOWN_FRAME, e)
        try:
            return self._seal(tx, at, room)
        except Exception as e:
            self._faults.note(_SEALING, e)
            return 0

    def _open(self, opener, buf, start: int, end: int, last: bool = True) -> int:
        """The payload's length in `_rx`[7:], 0 when the frame was refused (and counted, unless
        another key is tried).
        """
        n = end - start
        self._rx[:n] = memoryview(buf)[start:end]
        try:
            return opener.open_into(self._rx, n)
        except RemoteError as e:
            if last:
                self._refused(e)
            return 0

    def _refused(self, error) -> None:
        name = error.COUNTER
        self.bad[name] = count = self.bad[name] + 1
        if name == "replayed":
            self._hello = True  # a sender that lost its counter learns our floor
        if name == "auth_failed" and count in (1, 10, 100, 1000, 10000):
            self._log.emit(_EV_AUTH_FAILURES, _WARNING, count, 0)

    def _down(self, buf, start: int, end: int) -> None:
        n = self._open(self._opener, buf, start, end)
        if not n:
            return
        counter = frames.peek(self._rx_view)[3]
        if not self._counters.accept_down(counter):
            return  # flash refuses: acting would let a reboot accept this frame again
        self.heard_ms = self._report.now_ms()
        try:
            items = records.decode_all(self._rx_view[_HEAD : _HEAD + n], "down")
        except RemoteError as e:
            self._refused(e)
            return
        result = _RESULT_OK
        for record in items:
            try:
                result = self._act(record, counter) or result
            except Exception as e:
                self._faults.note(record.ID, e)
                result = _RESULT_REFUSED
        self._answer(records.Ack(counter=counter, result=result).encode())

    def _answer(self, raw: bytes) -> None:
        """Send an encoded record once, when there is room; the queue is limited if not fetched."""
        if len(self._answers) < _ANSWERS:
            self._answers.append(raw)

    def _act(self, r, counter: int) -> int:
        kind = r.ID
        if kind == records.Switch.ID:
            return self._switch(r)
        if kind == records.TimeSync.ID:
            if not self._clock.set(r.time_s, r.time_ms, r.nonce, True):
                return _RESULT_REFUSED
            self._counters.follow(r.time_s)
            return _RESULT_OK
        if kind == records.EventAck.ID:
            self._log.forget(r.seq)
            if self._event_ack < r.seq <= self._log.newest:
                self._event_ack = r.seq
        elif kind == records.ResultAck.ID:
            box = self._selector.outbox
            for result in box[:]:
                if result.command_id == r.command_id:
                    box.remove(result)
        elif kind == records.Config.ID:
            if not self._settings.order(r.key, r.value, counter):
                return _RESULT_REFUSED
        elif kind == records.ConfigGet.ID:
            self._tell_config(r.key)
        elif kind == records.StatusGet.ID:
            self._status(r.what)
        elif kind == records.GroupKey.ID:
            return self._group_key(r)
        elif kind == records.Update.ID:
            return self._update(r)
        elif self.others:
            self.others(r)
        return _RESULT_OK

    def _group_key(self, r) -> int:
        try:
            proof = self.groups.order(r)
        except ValueError:
            return _RESULT_REFUSED
        if proof is not None:
            self._answer(proof)
        return _RESULT_OK

    def _update(self, r) -> int:
        updater = self.updater
        if updater is None:
            self.wants_updater = True  # loaded after the answer; the controller asks again
            return _RESULT_REFUSED
        result = updater.order(r)
        self._answer(updater.status().encode())
        return result

    def _switch(self, r) -> int:
        result = self._selector.command(
            r.command_id, r.from_phase, r.to_phase, r.issued_s, r.expires_s, self._report.now_ms()
        )
        if result.outcome == _EXPIRED:
            self.expired += 1
        if result not in self._selector.outbox and result not in self._results:
            self._results.append(result)
        self.wake_selector()
        return _RESULT_OK

    def _tell_config(self, key: int) -> None:
        for k, value, result in self._settings.values(key):
            if len(self._answers) >= _ANSWERS:
                return  # a frame may ask for all of them a hundred times
            self._answer_config(k, value, result)

    def _answer_config(self, key: int, value: int, result: int) -> None:
        if len(self._answers) >= _ANSWERS:
            return  # not even encoded
        self._answer(records.ConfigValue(key=key, value=value, result=result).encode())

    def _status(self, what: int) -> None:
        if what == _WHAT_HELLO:
            self._hello = True
        elif what == _WHAT_HEALTH:
            self._health = True
        elif what == _WHAT_RESULT:
            last = self._selector.last_result()
            if last is not None and last not in self._selector.outbox + self._results:
                self._results.append(last)
        elif what == _WHAT_CONFIG:
            self._tell_config(_ALL_KEYS)

    def group(self, buf, start: int, end: int) -> None:
        """A GROUP frame: time and measure-now only, whatever it claims. It does not prove that the
        controller sent it: every node has its key.
        """
        try:
            self._group_frame(buf, start, end)
        except Exception as e:
            self._faults.note(_GROUP_FRAME, e)

    def _group_frame(self, buf, start: int, end: int) -> None:
        groups = self.groups
        older = groups.older
        n = self._open(groups.newest, buf, start, end, older is None)
        if n:
            groups.older = None  # the controller uses the new key: the old one opens nothing more
            counter = frames.peek(self._rx_view)[3]
            settled_s = self._clock.settled_s
            if not self._floors.accept_group(
                groups.generation, counter, settled_s, self._report.now_ms()
            ):
                return  # after a reset it could be replayed
        elif older is not None:
            n = self._open(older, buf, start, end)  # no replay after a reset: it is in RAM only
        if not n:
            return
        try:
            items = records.decode_all(self._rx_view[_HEAD : _HEAD + n], "group")
        except RemoteError as e:
            self._refused(e)
            return
        for record in items:
            self._act_group(record)

    def _act_group(self, r) -> None:
        if r.ID == records.TimeSync.ID:
            self._clock.set(r.time_s, r.time_ms, r.nonce, False)
        elif r.ID == records.MeasureNow.ID:
            self.wake_meter()

    # up ---------------------------------------------------------------------------------------

    def greet(self) -> None:
        """The next answer carries a Hello."""
        self._hello = True

    def urgent(self) -> bool:
        """Whether something is pending that should not wait: a result, a warning, an alarm."""
        for entry in self._log.pending:
            if entry[2]:
                return True
        return len(self._selector.outbox) > 0

    def _seal(self, tx, start: int, room: int) -> int:
        nonce = b""
        narrow = room < (_NARROWEST if self.lead else _NARROW)
        if self._counters.wants_nonce(self._clock.now_s()):
            if narrow:
                return 0  # silence is better than a counter used twice
            nonce = os.urandom(_NONCE)
        head = start + _HEAD + len(nonce)
        if self._clock.wants_answer():
            self._hello = True
        limit = head + min(_MAX_PLAIN, room - (head - start) - _TAG)
        at = (
            self.lead(tx, head, self._telemetry)
            if self.lead
            else self._put(records.Telemetry, self._telemetry, tx, head)
        )
        if at == head and not self.lead:
            # Not a reading that a record can hold: marked as old, so that it is not used.
            self._telemetry = records.Telemetry()
            bare = records.Telemetry(age_ms=65535, flags=self._report.flags())
            at = self._put(None, bare, tx, at)
        if self._hello and at + records.Hello.SIZE <= limit:
            self._hello = False
            at = self._put(records.Hello, None, tx, at)
        size = records.SwitchResult.SIZE
        while self._results and at + size <= limit:
            at = self._put(records.SwitchResult, self._results.pop(0), tx, at)
        # Records sent once come before those repeated until acknowledged.
        if self._health and at + records.Health.SIZE <= limit:
            self._health = False
            at = self._put(records.Health, None, tx, at)
        while self._answers and at + len(self._answers[0]) <= limit:
            raw = self._answers.pop(0)
            tx[at : at + len(raw)] = raw
            at += len(raw)
        box = self._selector.outbox
        told = 0
        while told < len(box) and at + size <= limit:
            at = self._put(records.SwitchResult, box[told], tx, at)
            told += 1
        pending = self._log.pending
        i = 0
        size = records.Event.SIZE
        while i < len(pending) and at + size <= limit:
            at = self._put(records.Event, pending[i], tx, at)
            i += 1
        more = (
            self._hello
            or self._results
            or self._answers
            or self._health
            or told < len(box)
            or i < len(pending)
        )
        self.hints = (_MORE_PENDING if more else 0) | (_URGENT if box or pending else 0)
        counter = self._counters.next_up()
        if not counter or at == head:
            return 0  # none can be reserved
        return self._sealer.seal_into(counter, tx, at - head, start, nonce)

    def _put(self, cls, x, tx, at: int) -> int:
        """Encode a record of this class, made from x, to tx[at:]; where it ends. One that cannot
        be encoded is left out and reported: it must not silence the node.
        """
        try:
            if cls is records.Telemetry:
                self._report.fill_telemetry(x)
            elif cls is records.Hello:
                x = self._report.hello(self._opener.floor)
            elif cls is records.Health:
                x = self._report.health(self)
            elif cls is records.Event:
                x = self._report.event(x)
            elif cls is records.SwitchResult:
                x = self._report.result(x)
            return at + x.encode_into(tx, at)
        except Exception as e:
            self._faults.note(_SEALING, e)
            return at

    # after the answer -------------------------------------------------------------------------

    def slow_work(self) -> None:
        """Flash writes after the answer: floors ahead of need, acknowledgements, settings."""
        try:
            self._counters.prepare(_ROOM, self._opener.floor)
            self._floors.keep(self._clock.settled_s)
            spent = self._counters.spent | (4 if self.groups.newest.floor >= _LAST else 0)
            for i in range(3):
                # Counters never start again: this needs a person.
                if spent & ~self._spent & 1 << i:
                    self._log.emit(_EV_COUNTERS_SPENT, _ALARM, i + 1, 0)
            self._spent = spent
            if self._event_ack:
                seq, self._event_ack = self._event_ack, 0
                self._log.ack(seq)
            proof = self.groups.slow_work(self._report.now_ms())
            if proof is not None:
                self._answer(proof)
        except Exception as e:
            self._faults.note(_SLOW_WORK, e)
        # Not between two phases: a longer good time would keep the home open for that long.
        while self._settings.ordered and not self._selector.busy:
            self._answer_config(*self._settings.take_next(self._log.emit, self._faults))
