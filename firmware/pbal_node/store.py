"""What must survive a power cut: two-slot files with a CRC; the settings; a ration.

A `Slot` writes alternately to NAME.0 and NAME.1; each holds a sequence number and a CRC-32, and
loading takes the newest valid one. A cut at any instant leaves the other slot whole, so the node
boots with the old value or with the new one, never with a mixture, on any file system.

Wear: littlefs spreads the blocks; the callers write per event or per block of counters, never per
reading. Writes requested over the wire, with whatever keys, are rationed: see `FlashStats`.
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
_LAST = const(0xFFFFFFFF)
_BURST = const(256)  # writes at once: all settings of a node, ten times
_EACH_MS = const(60000)  # one more each minute

_EV_WRITES_REFUSED = const(25)
_WARNING = const(1)


class FlashStats:
    """Writes and failures since boot, shared by all that writes, and the ration.

    All writes use it up, so that no path adds to another's. Only what was asked for (`asked`) is
    refused where it is used up: never the journal of a transfer, a lock-out, a start, an event.
    `emit` of the event log is set by the log itself; one event for each time that it is used up.
    """

    def __init__(self, now_ms=None) -> None:
        self.writes = 0
        self.errors = 0
        self.refused = 0
        self.emit = None
        self._now = now_ms
        self._left = _BURST
        self._since_ms = 0
        self._told = False

    def wrote(self, times: int = 1) -> None:
        """So many writes of a few kilobytes at most were made."""
        self.writes += 1
        self._left = max(self._left - times, -_BURST)

    def may(self) -> bool:
        """True when a requested write may be made."""
        if self._now is not None:
            earned = (self._now() - self._since_ms) // _EACH_MS
            self._since_ms += earned * _EACH_MS
            self._left = min(self._left + earned, _BURST)
        if self._left > 0:
            self._told = self._told and self._left < _BURST // 4
            return True
        self.refused += 1
        if not self._told and self.emit is not None:
            self._told = True
            self.emit(_EV_WRITES_REFUSED, _WARNING, self.writes, self.refused)
        return False


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
    value is on flash; on an OSError (full, worn) it counts the error and returns False, as it does
    for what was `asked` for when the ration is used up.
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

    def may(self) -> bool:
        """True when what was asked for may be written."""
        return self._stats.may()

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

    def save(self, payload: bytes, asked: bool = False) -> bool:
        if asked and not self._stats.may():
            return False
        head = struct.pack(_HEAD, _MAGIC, self._seq + 1 & _LAST, len(payload)) + payload
        try:
            with open("%s.%d" % (self._path, self._next), "wb") as f:
                f.write(head + struct.pack("<I", crc32(head)))
        except OSError:
            self._stats.errors += 1
            return False
        self._seq += 1
        self._next = 1 - self._next
        self._stats.wrote()
        return True


class Config:
    """The settings of `pbal_protocol.config` by key, kept as JSON in a slot.

    `defaults` come from the protocol, `board` overrides them per board or installation, the slot
    overrides both. `legal(key, value)` says what of them is taken.
    """

    def __init__(self, path: str, stats: FlashStats, defaults: dict, board: dict, legal) -> None:
        self._slot = Slot(path, stats)
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

    def get(self, key: int) -> int:
        return self._values[key]

    def keys(self) -> list:
        return sorted(self._values)

    def set(self, key: int, value: int) -> bool:
        """True when the value is on flash; whether it may be is for applying.py."""
        if self._values[key] == value:
            return True
        changed = dict(self._changed)
        changed[key] = value
        if not self._slot.save(json.dumps(changed).encode(), True):
            return False
        self._changed = changed
        self._values[key] = value
        return True
