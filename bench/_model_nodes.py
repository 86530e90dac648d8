"""Homes as the controller hears them, in virtual time: what their frames say and how they act on
what they are told, as firmware/pbal_node/link.py and selector.py do it. No contacts, no safety
rules: every transfer succeeds, in `TRANSFER_S`.

A reading is taken each second at a moment of the node's own, takes 130 ms (firmware/pbal_node/
measuring.py), and is sent as it was taken until the next one is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from bench._virtual_time import BEGIN_S
from pbal_protocol import records as r
from pbal_protocol.errors import RemoteError, ReplayError
from pbal_protocol.frames import DOWN, GROUP, UP, Opener, Sealer
from pbal_protocol.kdf import group_key, node_keys
from pbal_protocol.radio.compact import compact
from pbal_protocol.radio.records import SlotAssign

SITE = 7
GROUP_ROOT = bytes(range(32, 64))
VOLTS = (0.0, 240.0, 230.0, 220.0)  # they differ, so that an output shows its phase
TRANSFER_S = 0.15
READ_EVERY_S, READ_TAKES_S = 1.0, 0.13
SEAL = 15
_LANE = 4  # of counters (firmware/pbal_node/counters.py)
# Asking for the time (firmware/pbal_node/clock.py), s.
_ANSWER_S, _SAME_S, _AGAIN_S, _ASK_S = 5.0, 1.0, 5.0, 3600.0
MORE, URGENT = 1, 2  # hints
_FLASH_S = 0.2
_URGENT_ROOM, _ANSWER_ROOM, _WIRED_ROOM = 64, 110, 223


def root_key(address: int) -> bytes:
    """A key that is the same in every run."""
    return bytes((address & 0xFF, address >> 8)) * 16


class ModelNode:
    """One home. `clock` is unix time, s."""

    def __init__(self, address: int, clock: Callable[[], float]) -> None:
        up, down = node_keys(root_key(address), SITE, address)
        self.address = address
        self.rng = random.Random(address)
        self.clock = clock
        self._sealer = Sealer(up, UP, SITE, address)
        self._opener = Opener(down, DOWN, SITE, address)
        # It takes a new group key where `takes_keys`; others leave the question unanswered.
        self.takes_keys = False
        self._group_keys = {1: group_key(GROUP_ROOT, SITE)}
        self._group = [Opener(self._group_keys[1], GROUP, SITE, 0)]
        self._proof: r.GroupProof | None = None
        self._flashed_s = 0.0  # when a new key was written: it is proven from then on
        self._counter = 0
        self._nonce = 0x1000 + address
        self._asked_s = self._set_s = 0.0  # for the time; when it was set
        self._offset_s = self.rng.uniform(0, READ_EVERY_S)
        self.synced = False
        self.phase = 1 + address % 3
        self._since_s = 0.0  # when this phase was closed
        self._before = self.phase
        self._until_s = 0.0  # of the transfer under way
        self._switch: r.Switch | None = None
        self._say_hello = True
        self._say_health = False
        self._first: list[r.SwitchResult] = []  # said once
        self._acks: list[r.Ack] = []
        self._results: list[r.SwitchResult] = []
        self._done: dict[int, r.SwitchResult] = {}
        self.events: list[r.Event] = []
        self._seq = 0
        self.moves = self.ordered = 0
        self.moved_s = 0.0  # when the last transfer ended, s since the beginning
        self.assigned: Callable[[SlotAssign], None] = lambda record: None

    # -- what happens to it -----------------------------------------------------------------------

    def event(self) -> int:
        """Something that should not wait happens; its number."""
        self._seq += 1
        self.events.append(
            r.Event(seq=self._seq, code=r.EVENT_METER_FAULT, severity=2, time_s=int(self.clock()))
        )
        return self._seq

    @property
    def urgent(self) -> bool:
        """Whether something waits that should not."""
        self._tick()
        return bool(self._results or self.events)

    def greet(self) -> None:
        """The next frame says Hello."""
        self._say_hello = True

    def _tick(self) -> None:
        switch = self._switch
        if switch is None or self.clock() < self._until_s:
            return
        self._switch = None
        self._before, self.phase, self._since_s = self.phase, switch.to_phase, self._until_s
        self.moves += 1
        self.moved_s = self._until_s - BEGIN_S
        self._finish(switch, r.DONE)

    def _finish(self, switch: r.Switch, outcome: int, reason: int = 0) -> None:
        result = r.SwitchResult(
            command_id=switch.command_id, outcome=outcome, reason=reason,
            from_phase=switch.from_phase, to_phase=switch.to_phase, phase=self.phase,
            transfer_ms=round(1000 * TRANSFER_S), vout_v=VOLTS[self.phase],
            time_s=int(self.clock()),
        )  # fmt: skip
        self._done[switch.command_id] = result
        self._results.append(result)

    # -- what it is told --------------------------------------------------------------------------

    def told(self, frame: bytes) -> bool:
        """A frame for it; whether it was authentic and new."""
        try:
            items = r.decode_all(self._opener.open(frame), "down")
        except RemoteError as error:
            self._say_hello = self._say_hello or isinstance(error, ReplayError)
            return False
        for record in items:
            self._act(record)
        self._acks.append(r.Ack(counter=int.from_bytes(frame[3:7], "little"), result=0))
        return True

    def opened(self, frame: bytes) -> bytes:
        """A frame of the group under a key that it has. Raises RemoteError."""
        try:
            return self._group[-1].open(frame)
        except RemoteError:
            return self._group[0].open(frame)

    def _take_key(self, record: r.GroupKey) -> None:
        if record.group_key and record.generation not in self._group_keys:
            self._group_keys[record.generation] = record.group_key
            self._group.append(Opener(record.group_key, GROUP, SITE, 0))
            self._flashed_s = self.clock() + _FLASH_S
        newest = max(self._group_keys)
        sealer = Sealer(self._group_keys[newest], GROUP, SITE, 0)
        self._proof = r.GroupProof(
            generation=newest, challenge=record.challenge,
            proof=sealer.proof(self.address, record.challenge),
        )  # fmt: skip

    def _act(self, record: r.Record) -> None:
        if isinstance(record, r.TimeSync):
            if record.nonce == self._nonce and self.clock() - self._asked_s <= _ANSWER_S:
                self.synced, self._set_s = True, self.clock()
        elif isinstance(record, r.Switch):
            self._order(record)
        elif isinstance(record, r.EventAck):
            self.events = [event for event in self.events if event.seq > record.seq]
        elif isinstance(record, r.ResultAck):
            self._results = [x for x in self._results if x.command_id != record.command_id]
        elif isinstance(record, r.StatusGet) and record.what == r.WHAT_HELLO:
            self._say_hello = True
        elif isinstance(record, r.StatusGet) and record.what == r.WHAT_HEALTH:
            self._say_health = True
        elif isinstance(record, SlotAssign):
            self.assigned(record)
        elif isinstance(record, r.GroupKey) and self.takes_keys:
            self._take_key(record)

    def _order(self, switch: r.Switch) -> None:
        self._tick()
        known = self._done.get(switch.command_id)
        if known is not None:
            if known not in self._results:
                self._first.append(known)
        elif self._switch is None and self.synced and self.clock() < switch.expires_s:
            self._switch, self._until_s = switch, self.clock() + TRANSFER_S
            self._first.append(
                r.SwitchResult(command_id=switch.command_id, outcome=r.ACCEPTED, phase=self.phase)
            )
        elif self._switch is None:
            self._finish(switch, r.EXPIRED, r.REASON_EXPIRED)

    # -- what it says -----------------------------------------------------------------------------

    def _reading(self) -> r.Telemetry:
        now = self.clock()
        begun = now - (now - self._offset_s) % READ_EVERY_S
        if now < begun + READ_TAKES_S:
            begun -= READ_EVERY_S
        phase = self.phase if begun >= self._since_s else self._before
        moving = self._switch is not None
        return r.Telemetry(
            time_s=int(now) if self.synced else 0, va_v=VOLTS[1], vb_v=VOLTS[2], vc_v=VOLTS[3],
            vout_v=VOLTS[phase], current_a=4.0, p_w=900.0, freq_hz=50, phase=self.phase,
            state=r.STATE_OPENING if moving else r.STATE_CLOSED,
            flags=(0 if self.synced else r.FLAG_UNSYNCED)
            | (r.FLAG_EVENTS_PENDING if self.events else 0),
            age_ms=round(1000 * (now - begun)),
        )  # fmt: skip

    def _wants_time(self) -> bool:
        now = self.clock()
        old = not self.synced or now - self._set_s >= _ASK_S
        return old and now - self._asked_s >= _AGAIN_S

    def _hello(self) -> r.Hello:
        self._say_hello = False
        if self.clock() - self._asked_s > _SAME_S:
            self._nonce += 1
        self._asked_s = self.clock()
        return r.Hello(
            eui=self.address.to_bytes(8, "big"), nonce=self._nonce, boots=1,
            down_floor=self._opener.floor, fw_version=0x010203, board=1, phase=self.phase,
            state=r.STATE_CLOSED,
        )  # fmt: skip

    def frame(self, room: int = _WIRED_ROOM, *, reading: bool = True) -> tuple[bytes, int]:
        """A sealed frame of at most `room` bytes with what waits; and its hints."""
        self._tick()
        parts = [self._reading().encode()] if reading else []
        left = room - SEAL - sum(map(len, parts))

        def put(record: r.Record) -> bool:
            nonlocal left
            raw = record.encode()
            if len(raw) > left:
                return False
            left -= len(raw)
            parts.append(raw)
            return True

        if (self._say_hello or self._wants_time()) and left >= r.Hello.SIZE:
            put(self._hello())
        while self._first and put(self._first[0]):
            self._first.pop(0)
        if self._say_health and left >= r.Health.SIZE:
            self._say_health = False
            put(r.Health(heap_used_max=60_000, uptime_s=int(self.clock() - BEGIN_S)))
        proven = self.clock() >= self._flashed_s
        if self._proof is not None and proven and put(self._proof):
            self._proof = None
        while self._acks and put(self._acks[0]):
            self._acks.pop(0)
        told = [put(record) for record in [*self._results, *self.events]]
        more = bool(self._first or self._acks or self._say_health or self._proof) or not all(told)
        hints = MORE * more | URGENT * bool(self._results or self.events)
        return self.seal(b"".join(parts)), hints

    def news(self) -> bytes:
        """What is urgent, without a reading."""
        return self.frame(_URGENT_ROOM, reading=False)[0]

    def answer(self) -> bytes:
        """To an exchange over a radio."""
        return self.frame(_ANSWER_ROOM)[0]

    def slot(self) -> bytes:
        """A compact reading."""
        self._tick()
        return self.seal(compact(self._reading()).encode())

    def seal(self, payload: bytes) -> bytes:
        """Under its next counter (firmware/pbal_node/counters.py)."""
        counter = self._counter
        if not self.synced:
            counter += _LANE - counter % _LANE
        else:
            counter += 2 if counter % _LANE == _LANE - 1 else 1
        self._counter = counter
        return self._sealer.seal(counter, payload)
