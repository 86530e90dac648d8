"""A street of fake nodes on a pty: function 100 with real sealing, none of the real timing.

The nodes obey the parts of the safety contract that the controller can see: they execute an
id once, want their clock set by their own nonce, repeat events and results until they are
acknowledged. A test may make them silent, wrong, deaf or slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import tty
from collections.abc import Callable
from dataclasses import dataclass, field

from pbal_controller.standing.rivals import LANE
from pbal_protocol import records as r
from pbal_protocol.errors import RemoteError, ReplayError, UnknownRecord
from pbal_protocol.frames import DOWN, GROUP, UP, Opener, Sealer, peek
from pbal_protocol.kdf import group_key, node_keys
from pbal_protocol.modbus import crc16

SITE = 7
GROUP_ROOT = bytes(range(32, 64))


def root_key(address: int) -> bytes:
    """A key that is the same in every run."""
    return bytes([address & 0xFF, address >> 8]) * 16


def next_up(counter: int, proven: bool) -> int:
    """The counter of a node's next frame, as firmware/pbal_node/counters.py gives them."""
    if proven:
        return counter + (2 if counter % LANE == LANE - 1 else 1)
    return counter + LANE - counter % LANE


@dataclass
class FakeNode:
    """One node. Voltages differ by phase so that a wrong output can be told."""

    address: int
    phase: int = 1
    p_w: float = 1000.0
    v: tuple[float, float, float] = (240.0, 230.0, 220.0)
    transfer_s: float = 0.05
    synced: bool = False
    silent: bool = False
    deaf: bool = False  # answers, but ignores what it is told
    lose_answers: int = 0  # executes, but its next answers get lost
    lie: bool = False  # reports the new phase without moving
    dead: bool = False
    boots: int = 1
    knows_groups: bool = True  # False: firmware from before there were group key records
    forgets_keys: bool = False  # its flash is worn: takes no group key
    executed: dict[int, int] = field(default_factory=dict)  # command id -> times moved
    flags: int = 0
    state: int = r.STATE_CLOSED
    polled: int = 0
    refused_frames: int = 0

    def __post_init__(self) -> None:
        up, down = node_keys(root_key(self.address), SITE, self.address)
        self.sealer = Sealer(up, UP, SITE, self.address)
        self.opener = Opener(down, DOWN, SITE, self.address)
        self.group = Opener(group_key(GROUP_ROOT, SITE), GROUP, SITE, 0)
        self.older_group: Opener | None = None
        self.generation = 1
        self.group_refused = 0
        self.counter = 0
        self.born = time.time()
        self.nonce = 0x1000 + self.address
        self.clock_offset = 0.0
        self.pending: list[r.Record] = []
        self.events: list[r.Event] = []
        self.results: dict[int, r.SwitchResult] = {}
        self.unacked_result: r.SwitchResult | None = None
        self.true_phase = self.phase
        self.moving: tuple[float, r.Switch] | None = None
        self.group_times: list[int] = []
        self.hello()

    def hello(self) -> None:
        """Queue a Hello, with a nonce of its own."""
        self.nonce += 1
        self.pending.append(
            r.Hello(
                eui=self.address.to_bytes(8, "big"), nonce=self.nonce, boots=self.boots,
                down_floor=self.opener.floor, fw_version=0x010203, board=1, phase=self.phase,
                state=self.state, flags=self.flags,
            )
        )  # fmt: skip

    def reset(self) -> None:
        """As after a reset: clock lost, counters and results kept."""
        self.boots += 1
        self.born = time.time()
        self.synced = False
        self.pending.clear()
        self.hello()

    def event(self, code: int = r.EVENT_METER_FAULT) -> None:
        """Something happened."""
        self.events.append(
            r.Event(seq=len(self.events) + 1, code=code, severity=1, time_s=int(time.time()))
        )

    def vout(self) -> float:
        """What is measured at the output."""
        return (0.0, *self.v)[self.true_phase]

    def _tick(self) -> None:
        if self.moving and time.time() >= self.moving[0]:
            _, switch = self.moving
            self.moving = None
            self.state = r.STATE_CLOSED
            self.phase = switch.to_phase
            if not self.lie:
                self.true_phase = switch.to_phase
            self.executed[switch.command_id] = self.executed.get(switch.command_id, 0) + 1
            self._finish(switch, r.DONE)

    def _finish(self, switch: r.Switch, outcome: int, reason: int = 0) -> None:
        result = r.SwitchResult(
            command_id=switch.command_id, outcome=outcome, reason=reason,
            from_phase=switch.from_phase, to_phase=switch.to_phase, phase=self.phase,
            transfer_ms=80, vout_v=self.vout(), time_s=int(time.time()),
        )  # fmt: skip
        self.results[switch.command_id] = result
        self.unacked_result = result

    def _switch(self, switch: r.Switch) -> None:
        known = self.results.get(switch.command_id)
        if known is not None:
            self.unacked_result = known
        elif self.moving:
            self.unacked_result = None
            same = self.moving[1].command_id == switch.command_id
            self.pending.append(
                r.SwitchResult(command_id=switch.command_id, outcome=r.ACCEPTED if same else
                               r.REFUSED, reason=0 if same else r.REASON_BUSY, phase=self.phase)
            )  # fmt: skip
        elif not self.synced:
            self._finish(switch, r.REFUSED, r.REASON_UNSYNCED)
        elif time.time() >= switch.expires_s:
            self._finish(switch, r.EXPIRED, r.REASON_EXPIRED)
        elif switch.from_phase != self.phase:
            self._finish(switch, r.REFUSED, r.REASON_WRONG_PHASE)
        else:
            self.state = r.STATE_OPENING
            self.moving = (time.time() + self.transfer_s, switch)
            self.pending.append(
                r.SwitchResult(command_id=switch.command_id, outcome=r.ACCEPTED, phase=self.phase)
            )

    def process(self, frame: bytes) -> None:
        """A DOWN frame."""
        try:
            got = r.decode_all(self.opener.open(frame), "down")
            if not self.knows_groups and any(isinstance(x, r.GroupKey) for x in got):
                raise UnknownRecord("id 16")
        except RemoteError as error:
            self.refused_frames += peek(frame)[3] > 0  # 0 only asks for a Hello
            if isinstance(error, ReplayError):
                self.hello()
            return
        if self.deaf:
            return
        for record in got:
            if isinstance(record, r.TimeSync):
                # Far only in answer to its nonce; one far behind is one that cannot be set.
                if record.nonce == self.nonce or (self.synced and abs(self.clock_offset) <= 2):
                    self.synced = True
                    if self.clock_offset > -30:
                        self.clock_offset = 0.0
            elif isinstance(record, r.Switch):
                self._switch(record)
            elif isinstance(record, r.GroupKey):
                self._group_key(record)
            elif isinstance(record, r.EventAck):
                self.events = [event for event in self.events if event.seq > record.seq]
            elif isinstance(record, r.ResultAck):
                if self.unacked_result and self.unacked_result.command_id == record.command_id:
                    self.unacked_result = None
            elif isinstance(record, r.StatusGet):
                if record.what == r.WHAT_HELLO:
                    self.hello()
                elif record.what == r.WHAT_RESULT and self.results:
                    self.unacked_result = self.results[max(self.results)]
                elif record.what == r.WHAT_HEALTH:
                    uptime_s = int(time.time() - self.born)
                    self.pending.append(r.Health(heap_used_max=60_000, uptime_s=uptime_s))

    def _group_key(self, order: r.GroupKey) -> None:
        if order.group_key and not self.forgets_keys:
            fresh = Opener(order.group_key, GROUP, SITE, 0)
            if fresh.proof(0, 0) != self.group.proof(0, 0):
                self.older_group = self.older_group or self.group
                self.group = fresh
            self.generation = order.generation
        self.pending.append(
            r.GroupProof(
                generation=self.generation, challenge=order.challenge,
                proof=self.group.proof(self.address, order.challenge),
            )
        )  # fmt: skip

    def group_frame(self, frame: bytes) -> None:
        """A GROUP frame, under the newest key or the one before."""
        try:
            payload = self.group.open(frame)
            self.older_group = None
        except RemoteError:
            try:
                if self.older_group is None:
                    raise
                payload = self.older_group.open(frame)
            except RemoteError:
                self.group_refused += 1
                return
        self.group_times.append(r.decode_all(payload, "group")[0].time_s)

    def answer(self, frame: bytes) -> tuple[int, bytes] | None:
        """(flags, sealed frame) for one poll, or None for silence."""
        self.polled += 1
        if self.silent:
            return None
        if frame:
            self.process(frame)
        self._tick()
        flags = self.flags | (0 if self.synced else r.FLAG_UNSYNCED)
        out: list[r.Record] = [
            r.Telemetry(
                time_s=int(time.time() + self.clock_offset) if self.synced else 0,
                va_v=self.v[0], vb_v=self.v[1], vc_v=self.v[2], vout_v=self.vout(),
                current_a=self.p_w / 230, p_w=self.p_w, freq_hz=50, phase=self.phase,
                state=self.state, flags=flags, age_ms=5,
            )
        ]  # fmt: skip
        out += self.pending[:2]
        self.pending = self.pending[2:]
        if self.unacked_result:
            out.append(self.unacked_result)
        out += self.events[:2]
        self.counter = next_up(self.counter, self.synced)
        sealed = self.sealer.seal(self.counter, b"".join(x.encode() for x in out))
        if self.lose_answers:
            self.lose_answers -= 1
            return None
        return (2 if self.events else 0), sealed


class FakeBus:
    """A pty whose far end is a street of FakeNodes. `path` goes into the configuration."""

    def __init__(self, nodes: list[FakeNode]) -> None:
        self.nodes = {node.address & 0xFF: node for node in nodes}
        self.master = -1
        self.slave = -1
        self.path = ""
        self.broadcasts = 0
        self.log: list[int] = []
        self.group_log: list[bytes] = []
        self.answer_hook: Callable[[int, bytes], bytes | None] | None = None
        self._buffer = b""
        self.open()

    def open(self) -> None:
        """A fresh pty."""
        self.master, self.slave = os.openpty()
        tty.setraw(self.master)
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self.slave)

    def __enter__(self) -> FakeBus:
        asyncio.get_running_loop().add_reader(self.master, self._readable)
        return self

    def __exit__(self, *exc: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """The cable is pulled: the port goes away."""
        if self.master >= 0:
            asyncio.get_running_loop().remove_reader(self.master)
            os.close(self.master)
            os.close(self.slave)
            self.master = self.slave = -1

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._buffer += os.read(self.master, 1024)
        while len(self._buffer) >= 4:
            if self._buffer[1] != 100:
                self._other()
                return
            length = self._buffer[3] + 6
            if len(self._buffer) < length:
                return
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            self._frame(frame)

    def _other(self) -> None:
        """Function 04: answers with the register addresses themselves, as a meter might."""
        if len(self._buffer) < 8:
            return
        frame, self._buffer = self._buffer[:8], self._buffer[8:]
        start = int.from_bytes(frame[2:4], "big")
        count = int.from_bytes(frame[4:6], "big")
        body = b"".join((start + i).to_bytes(2, "big") for i in range(count))
        self.write(bytes((frame[0], frame[1], len(body))) + body)

    def _frame(self, frame: bytes) -> None:
        assert crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")
        unit, op, body = frame[0], frame[2], frame[4:-2]
        if unit == 0:
            assert op == 1
            self.broadcasts += 1
            self.group_log.append(body)
            for node in self.nodes.values():
                if not node.silent:
                    node.group_frame(body)
            return
        self.log.append(unit)
        node = self.nodes.get(unit)
        if node is None:
            return
        answer = node.answer(body)
        if answer is None:
            return
        flags, sealed = answer
        raw = bytes((unit, 100, flags, len(sealed))) + sealed
        if self.answer_hook is not None:
            changed = self.answer_hook(unit, raw)
            if changed is None:
                return
            raw = changed
        self.write(raw)

    def write(self, raw: bytes) -> None:
        """Put bytes with their checksum on the line."""
        os.write(self.master, raw + crc16(raw).to_bytes(2, "little"))
