"""What must survive a power cut: two-slot files with a CRC, and the records kept in them.

A `Slot` writes alternately to NAME.0 and NAME.1; each holds a sequence number and a CRC-32, and
loading takes the newest valid one. A cut at any instant leaves the other slot whole, so the node
boots with the old value or with the new one, never with a mixture, on any file system.
Wear: littlefs spreads the blocks; the callers write per event or per block of counters, never
per reading. `writes` counts them for the Health record.
"""

import json
import os
import struct
from binascii import crc32

from micropython import const

_MAGIC = const(b"PB1")
_HEAD = const("<3sIH")  # magic, sequence, payload length
_HEAD_LEN = const(9)
_CRC_LEN = const(4)

_UP_BLOCK = const(4096)  # up counters reserved per flash write
_DOWN_BLOCK = const(256)  # the down floor is raised in steps of this, and the group floor
_LAST = const(0xFFFFFFFF)  # no counter is above this
_EPOCH_S = const(1735689600)  # 2025-01-01: up counters follow site time from here on ...
_PER_S = const(4)  # ... faster than a node is polled
_CLOCK_BLOCK = const(32768)  # reserved where it did: 2.3 hours of site time
_SPENT_UP = const(1)  # bits of Counters.spent, as in the event COUNTERS_SPENT
_SPENT_DOWN = const(2)
_GROUP_EVERY_MS = const(600000)  # jumping group counters may not wear the flash faster than this
_PROVEN_EVERY_S = const(21600)  # how far proven time in flash may fall behind
STREAK = const(0x3F)  # the crash byte: how many in a row, and two marks
_YOUNG = const(0x40)
_NOTED = const(0x80)
RESULTS_KEPT = const(8)  # command results kept for repeats
RESULT_FMT = "<IBBBBBHHII"  # one result, see `Result`
_ENTRY_LEN = const(21)


class FlashStats:
    """Write count and failures since boot, shared by all slots."""

    def __init__(self) -> None:
        self.writes = 0
        self.errors = 0


def makedirs(path: str) -> None:
    """Create one directory level if it is missing."""
    try:
        os.mkdir(path)
    except OSError:
        os.stat(path)  # missing for another reason than "exists": tell the caller


class Slot:
    """One small value in two alternating files.

    `load()` returns the newest valid payload or None; after it `damaged` says how many copies are
    there and not valid: the newest may be one of them. `save(payload)` returns True when the
    value is on flash; on an OSError (full, worn) it counts the error and returns False.
    """

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._path = path
        self._stats = stats
        self._seq = 0
        self._next = 0
        self.damaged = 0

    def _read(self, i: int):
        try:
            with open("%s.%d" % (self._path, i), "rb") as f:
                raw = f.read()
        except OSError as e:
            if e.errno != 2:  # there, and not to be read
                self.damaged += 1
            return None
        end = len(raw) - _CRC_LEN
        if end >= _HEAD_LEN:
            magic, seq, n = struct.unpack_from(_HEAD, raw, 0)
            if magic == _MAGIC and n == end - _HEAD_LEN:
                if struct.unpack_from("<I", raw, end)[0] == crc32(raw[:end]):
                    return seq, raw[_HEAD_LEN:end]
        self.damaged += 1
        return None

    def load(self):
        self.damaged = 0
        a = self._read(0)
        b = self._read(1)
        if a is None and b is None:
            return None
        newest = 0 if b is None or (a is not None and a[0] > b[0]) else 1
        self._seq, payload = a if newest == 0 else b
        self._next = 1 - newest
        return payload

    def save(self, payload: bytes) -> bool:
        head = struct.pack(_HEAD, _MAGIC, self._seq + 1 & _LAST, len(payload)) + payload
        try:
            with open("%s.%d" % (self._path, self._next), "wb") as f:
                f.write(head + struct.pack("<I", crc32(head)))
        except OSError:
            self._stats.errors += 1
            return False
        self._seq += 1
        self._next = 1 - self._next
        self._stats.writes += 1
        return True


class Config:
    """The settings of `pbal_protocol.config` by key, kept as JSON in a slot.

    `defaults` come from the protocol, `board` overrides them per board or installation, the slot
    overrides both. `legal(key, value)` is the protocol's range check.
    """

    def __init__(self, path: str, stats: FlashStats, defaults: dict, board: dict, legal) -> None:
        self._slot = Slot(path, stats)
        self._legal = legal
        self._values = dict(defaults)
        self._changed = {}
        for key, value in board.items():
            if legal(key, value):
                self._values[key] = value
        raw = self._slot.load()
        if raw is not None:
            try:
                stored = json.loads(raw)
            except ValueError:
                stored = {}
            for key_text, value in stored.items():
                key = int(key_text)
                if legal(key, value):
                    self._values[key] = value
                    self._changed[key] = value

    def has(self, key: int) -> bool:
        return key in self._values

    def legal(self, key: int, value: int) -> bool:
        return self._legal(key, value)

    def get(self, key: int) -> int:
        return self._values[key]

    def keys(self) -> list:
        return sorted(self._values)

    def set(self, key: int, value: int) -> bool:
        """True when the value is legal and on flash."""
        if not self._legal(key, value):
            return False
        if self._values[key] == value:
            return True
        changed = dict(self._changed)
        changed[key] = value
        if not self._slot.save(json.dumps(changed).encode()):
            return False
        self._changed = changed
        self._values[key] = value
        return True


class Counters:
    """Frame counters that no reboot may reuse, the boot count and the crash streak.

    `crashes` counts the starts in a row that did not last. A crash that the application saw itself
    is counted when it happens (ending.py), because the next boot (build.py) cannot tell it from a
    reset that a person asked for: the port reports both as HARD_RESET.
    """

    _FMT = "<IIIB"

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._slot = Slot(path, stats)
        raw = self._slot.load()
        self.up_ceiling = self.down_floor = self.boots = self.crashes = 0
        if raw is not None and len(raw) >= struct.calcsize(self._FMT):
            self.up_ceiling, self.down_floor, self.boots, self.crashes = struct.unpack_from(
                self._FMT, raw, 0
            )
            if self._slot.damaged:
                # The copy that is lost may have been the newer one: what it reserved may be used.
                self.up_ceiling = min(self.up_ceiling + 2 * _UP_BLOCK, _LAST)
                self.down_floor = min(self.down_floor + 2 * _DOWN_BLOCK, _LAST)
        elif self._slot.damaged:
            # Nothing is known: a place where no counter of this node has been, as far as luck goes.
            self.up_ceiling = 0x40000000 | int.from_bytes(os.urandom(4), "little") >> 2
        self.damaged = self._slot.damaged
        self.noted = self.crashes & _NOTED > 0  # the last crash is counted already
        self.young = self.crashes & _YOUNG > 0  # that start had not proven itself yet
        self.crashes &= STREAK
        self._up = self.up_ceiling  # the rest of the last block is lost, never reused

    @property
    def spent(self) -> int:
        """1: no up counter is left, nothing is sealed any more; 2: no down counter can follow."""
        return (_SPENT_UP if self._up >= _LAST else 0) | (
            _SPENT_DOWN if self.down_floor >= _LAST else 0
        )

    def save(self) -> bool:
        marks = (_NOTED if self.noted else 0) | (_YOUNG if self.young else 0)
        return self._slot.save(
            struct.pack(
                self._FMT, self.up_ceiling, self.down_floor, self.boots, self.crashes | marks
            )
        )

    def settle(self, crashes: int = 0) -> None:
        """This start has proven itself, or a person looks after it: crashes count from zero, or
        from as many as say.
        """
        if self.crashes != crashes or self.young or self.noted:
            self.crashes = crashes
            self.young = self.noted = False
            self.save()

    def next_up(self) -> int:
        """The next up counter (1..2**32-1); 0 when flash refuses the reservation, or none is left:
        a counter never starts again from the beginning.
        """
        if self._up >= self.up_ceiling and not self._reserve():
            return 0
        self._up += 1
        return self._up

    def _reserve(self) -> bool:
        before = self.up_ceiling
        if before >= _LAST:
            return False
        if self._up > before:  # the clock went past the reserve, and will go on
            self.up_ceiling = min(self._up + _CLOCK_BLOCK, _LAST)
        else:
            self.up_ceiling = min(before + _UP_BLOCK, _LAST)
        if self.save():
            return True
        self.up_ceiling = before
        return False

    def follow(self, site_s: int) -> None:
        """Site time was proven: up counters go on above all that was used before it, so that a node
        whose flash was set back to an older copy uses none again.
        """
        base = (site_s - _EPOCH_S) * _PER_S
        if self._up < base < _LAST:
            self._up = base

    def prepare(self, room: int, highest_down: int) -> None:
        """Reserve ahead, at a quiet moment, what the next frames will need."""
        if self.up_ceiling - self._up < room:
            self._reserve()
        if self.down_floor - highest_down < _DOWN_BLOCK // 4 and self.down_floor < _LAST:
            self.accept_down(self.down_floor + 1)

    def accept_down(self, counter: int) -> bool:
        """Call before acting on a frame: True when no reboot can accept this counter again."""
        if counter <= self.down_floor:
            return True
        before = self.down_floor
        self.down_floor = min(counter + _DOWN_BLOCK, _LAST)
        if not self.save():
            self.down_floor = before
            return False
        return True


class Floors:
    """What no reset may forget of the group's frames and of site time (S4).

    `group`: no group frame of `generation` up to this counter is accepted after a reset.
    `proven_s`: see `SiteClock.settled_s`; commands expire by it. In a slot of its own, so that an
    application from before it still reads its counters.
    """

    _FMT = "<III"

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._slot = Slot(path, stats)
        self.generation = self.group = self.proven_s = 0
        self._saved_ms = -_GROUP_EVERY_MS
        raw = self._slot.load()
        if raw is not None and len(raw) >= struct.calcsize(self._FMT):
            self.generation, self.group, self.proven_s = struct.unpack_from(self._FMT, raw, 0)
            if self._slot.damaged:
                self.group = min(self.group + 2 * _DOWN_BLOCK, _LAST)

    def of(self, generation: int) -> int:
        """The floor of a group key's counters: a new key begins at zero."""
        return self.group if generation == self.generation else 0

    def _save(self, generation: int, group: int, proven_s: int) -> bool:
        if not self._slot.save(struct.pack(self._FMT, generation, group, proven_s)):
            return False
        self.generation = generation
        self.group = group
        self.proven_s = proven_s
        return True

    def accept_group(self, generation: int, counter: int, settled_s: int, now_ms: int) -> bool:
        """Call before a group frame counts for anything: True when no reset can accept it again.

        A counter above the floor costs a write, and whoever holds the group key can make counters
        jump: one write in ten minutes, frames that would need more are refused.
        """
        if counter <= self.of(generation):
            return True
        if generation == self.generation and now_ms - self._saved_ms < _GROUP_EVERY_MS:
            return False
        self._saved_ms = now_ms
        return self._save(generation, min(counter + _DOWN_BLOCK, _LAST), settled_s or self.proven_s)

    def keep(self, settled_s: int) -> None:
        """At a quiet moment: proven time, when it went on for hours or had to give way."""
        ahead = settled_s - self.proven_s
        if settled_s and (ahead >= _PROVEN_EVERY_S or ahead < 0):
            self._save(self.generation, self.group, settled_s)


class Result:
    """What became of one Switch command. `phase` is where the home was afterwards."""

    def __init__(
        self,
        command_id=0,
        outcome=0,
        reason=0,
        from_phase=0,
        to_phase=0,
        phase=0,
        transfer_ms=0,
        vout_dv=0,
        time_s=0,
        lifetime=0,
    ):
        self.command_id = command_id
        self.outcome = outcome
        self.reason = reason
        self.from_phase = from_phase
        self.to_phase = to_phase
        self.phase = phase
        self.transfer_ms = transfer_ms  # 0: nothing was interrupted
        self.vout_dv = vout_dv  # 0.1 V
        self.time_s = time_s
        self.lifetime = lifetime

    def pack(self) -> bytes:
        return struct.pack(
            RESULT_FMT,
            self.command_id,
            self.outcome,
            self.reason,
            self.from_phase,
            self.to_phase,
            self.phase,
            min(self.transfer_ms, 65535),
            min(max(self.vout_dv, 0), 65535),
            self.time_s,
            self.lifetime,
        )


class SelectorState:
    """What the selector must know after any reset (S2, S4, S5, S9, S12)."""

    _FMT = "<BBBBBIIHBIH"

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._slot = Slot(path, stats)
        self.proven = 0  # last phase on which the output was proven to follow
        self.lockout = 0  # the phase whose contact welded, 0 = none
        # Journal: 1 while a transfer is under way; 2 at rest, all open; 0 at rest, `proven` closed.
        self.stage = 0
        self.stage_from = 0
        self.stage_to = 0
        self.stage_command = 0  # 0: by local rule
        self.lifetime = 0  # contact closings
        self.day = 0  # site day of `today`
        self.today = 0  # transfers that day
        self.last_transfer_s = 0  # site time, 0 = unknown
        self.inrushes = 0  # closings into more than the rated current
        self.results: list = []  # newest last
        raw = self._slot.load()
        n = struct.calcsize(self._FMT)
        if raw is not None and len(raw) >= n:
            (
                self.proven,
                self.lockout,
                self.stage,
                self.stage_from,
                self.stage_to,
                self.stage_command,
                self.lifetime,
                self.day,
                self.today,
                self.last_transfer_s,
                self.inrushes,
            ) = struct.unpack_from(self._FMT, raw, 0)
            while n + _ENTRY_LEN <= len(raw):
                self.results.append(Result(*struct.unpack_from(RESULT_FMT, raw, n)))
                n += _ENTRY_LEN

    def save(self) -> bool:
        raw = struct.pack(
            self._FMT,
            self.proven,
            self.lockout,
            self.stage,
            self.stage_from,
            self.stage_to,
            self.stage_command,
            self.lifetime,
            self.day,
            min(self.today, 255),
            self.last_transfer_s,
            min(self.inrushes, 65535),
        )
        for r in self.results:
            raw += r.pack()
        return self._slot.save(raw)

    def find(self, command_id: int):
        """The stored result of a command, or None."""
        for r in self.results:
            if r.command_id == command_id:
                return r
        return None

    def remember(self, result: Result) -> None:
        """Keep a result for repeats (in memory until `save`)."""
        old = self.find(result.command_id)
        if old is not None:
            self.results.remove(old)
        self.results.append(result)
        if len(self.results) > RESULTS_KEPT:
            self.results.pop(0)
