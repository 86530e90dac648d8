"""The event log: numbered, kept in flash, sent again until the controller acknowledged it.

The oldest that are not acknowledged are held in memory and sent first; those behind them wait in
flash, as an acknowledgment covers all numbers below it. So a home without a connection for days
reports all that its flash still has.

Two append-only segments of fixed-size entries with a check byte each; when the newer one is full
the older is replaced. A torn last entry (power cut) is dropped on loading, the others stay. Repeats
of the same code are rationed, so that an intermittent fault does not wear the flash.
"""

import os
import struct

from micropython import const

_FMT = const("<IBBIiiB")  # seq, code, severity, time_s, arg0, arg1, check
_LEN = const(19)
SEGMENT = const(128)  # entries per segment
PENDING = const(16)  # the oldest unacknowledged events, kept in memory; newer ones wait in flash
_I32 = const(0x7FFFFFFF)
_REFILL_MS = const(300000)  # one more event of the same code per 5 minutes ...
_BURST = const(6)  # ... after so many in a row


def _check(raw) -> int:
    total = 0x5A
    for b in raw:
        total = (total + b) & 0xFF
    return total


class EventLog:
    """`path` is a prefix: PATH.0, PATH.1 and PATH.ack. `now_ms()` and `site_s()` tell the time."""

    def __init__(self, path: str, slot, now_ms, site_s, stats) -> None:
        self._path = path
        self._slot = slot
        self._now = now_ms
        self._site_s = site_s
        self._stats = stats
        stats.emit = self.emit
        self.pending: list = []  # (seq, code, severity, time_s, arg0, arg1), oldest first
        self.dropped = 0
        self._recent: dict = {}  # code -> [how many may still be logged, since when]
        self._buf = bytearray(_LEN)
        raw = slot.load()
        self.acked = struct.unpack("<I", raw)[0] if raw is not None and len(raw) == 4 else 0
        self._seq = self.acked
        self._segment = 0
        self._count = 0
        last = -1
        for i in (0, 1):
            newest = 0
            n = 0
            for entry in self.read(i):
                n += 1
                newest = entry[0]
            if newest > last:
                last = newest
                self._segment = i
                self._count = n
            if newest > self._seq:
                self._seq = newest
        self._fill()

    def _fill(self) -> None:
        """Take from flash what memory has room for, oldest first."""
        pending = self.pending
        last = pending[-1][0] if pending else self.acked
        self._waits = False
        for i in (1 - self._segment, self._segment):
            for entry in self.read(i):
                if entry[0] <= last:
                    continue
                if len(pending) >= PENDING:
                    self._waits = True
                    return
                pending.append(entry)

    def read(self, segment: int):
        """Yield the whole entries of a segment, oldest first."""
        try:
            with open("%s.%d" % (self._path, segment), "rb") as f:
                while True:
                    n = f.readinto(self._buf)
                    if n != _LEN or _check(self._buf[: _LEN - 1]) != self._buf[_LEN - 1]:
                        return
                    yield struct.unpack(_FMT, self._buf)[:6]
        except OSError:
            return

    @property
    def newest(self) -> int:
        """The number of the last event."""
        return self._seq

    def emit(self, code: int, severity: int, arg0: int = 0, arg1: int = 0) -> None:
        """Log an event and queue it for the controller."""
        now = self._now()
        left = self._recent.get(code)
        if left is None:
            left = self._recent[code] = [_BURST, now]
        earned = (now - left[1]) // _REFILL_MS
        if earned:
            left[0] = min(_BURST, left[0] + earned)
            left[1] += earned * _REFILL_MS
        if left[0] == 0:
            self.dropped += 1
            return
        left[0] -= 1
        self._seq += 1
        # A value that no record can hold would be reported wrong, or never.
        arg0 = min(max(arg0, -_I32), _I32)
        arg1 = min(max(arg1, -_I32), _I32)
        entry = (self._seq, code, severity, self._site_s(), arg0, arg1)
        if len(self.pending) >= PENDING:
            self._waits = True
        if not self._waits:
            self.pending.append(entry)
        self._append(entry)

    def _append(self, entry) -> None:
        mode = "ab"
        if self._count >= SEGMENT:
            self._segment = 1 - self._segment
            self._count = 0
            mode = "wb"
        struct.pack_into(_FMT, self._buf, 0, *(entry + (0,)))
        self._buf[_LEN - 1] = _check(self._buf[: _LEN - 1])
        try:
            path = "%s.%d" % (self._path, self._segment)
            if mode == "ab" and self._torn(path):
                self._rewrite(path)
            with open(path, mode) as f:
                f.write(self._buf)
        except OSError:
            self._stats.errors += 1
            if self._waits:
                self.dropped += 1
            return
        self._count += 1
        self._stats.wrote()

    def _torn(self, path: str) -> bool:
        """True when the file is longer or shorter than its whole entries."""
        try:
            return os.stat(path)[6] != self._count * _LEN
        except OSError:
            return self._count != 0

    def _rewrite(self, path: str) -> None:
        """Cut a torn tail off: keep the whole entries, through a temporary file."""
        keep = self._buf[:]
        whole = list(self.read(self._segment))
        with open(path + ".tmp", "wb") as f:
            for entry in whole:
                struct.pack_into(_FMT, self._buf, 0, *(entry + (0,)))
                self._buf[_LEN - 1] = _check(self._buf[: _LEN - 1])
                f.write(self._buf)
        os.rename(path + ".tmp", path)
        self._count = len(whole)
        self._buf[:] = keep

    def forget(self, seq: int) -> None:
        """Stop sending every event up to and including `seq`; touches no flash."""
        while self.pending and self.pending[0][0] <= seq <= self._seq:
            self.pending.pop(0)

    def ack(self, seq: int) -> None:
        """The controller has every event up to and including `seq`: remember that in flash."""
        if seq <= self.acked or seq > self._seq:
            return
        self.acked = seq
        self.forget(seq)
        self._slot.save(struct.pack("<I", seq), True)
        if self._waits:
            self._fill()
