"""Modbus RTU: the checksum, how long a frame is, the server's decoder, and function 100.

The server's half; what only a client needs is in modbus_client.py, as a node has no room for it.
Sans-IO: bytes and silences go in, requests come out. Lengths come from the function code
("MODBUS Application Protocol V1.1b3"), never from searching for a matching checksum; after
anything unexpected the decoder waits for the next silence of 3.5 characters ("MODBUS over
serial line V1.02", 2.5.1.1).
"""

from pbal_protocol.compat import const
from pbal_protocol.errors import SpaceError
from pbal_protocol.loops import CRC_TABLE, copy, crc
from pbal_protocol.loops import crc16 as crc16  # a meter needs nothing else of this module

READ_INPUT_REGISTERS = 4
REPORT_SERVER_ID = 17
ENCAPSULATED = 43
READ_DEVICE_ID = 14  # the MEI type of function 43
PBAL = 100

ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
SERVER_FAILURE = 4

BROADCAST = 0
UNPROVISIONED = 247  # the unit id of a node that has no address yet
MAX_ADU = 256
MAX_BODY = 240  # one sealed frame

# Function 100, request: op; response: flags (hints for the poller, never trusted).
OP_POLL, OP_GROUP = 0, 1
MORE_PENDING, URGENT = 1, 2

_MAX = const(256)
_NO_BUDGET = const(0x3FFFFFFF)
_PBAL = const(100)

# Whole request lengths (address to CRC) of the standard functions that have one length.
_FIXED = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6}
_FIXED[43] = 7
# Functions with a length byte: its offset. So many bytes follow it, then the CRC.
_COUNTED = {15: 6, 16: 6, 20: 2, 21: 2, 23: 10, 100: 3}
# The same for responses; the others answer with a byte count in byte 2.
_FIXED_RESPONSE = {5: 8, 6: 8, 8: 8, 11: 8, 15: 8, 16: 8, 22: 10, 7: 5}


def silence_us(baud: int) -> int:
    """Return t3.5, the silence that ends a frame, in microseconds.

    11 bits a character; fixed at 1750 us above 19200 baud (serial line V1.02, 2.5.1.1).
    """
    return 1750 if baud > 19200 else 38500000 // baud


def request_length(buf: bytes | bytearray | memoryview, n: int) -> int:
    """Return the length of the request ADU that starts with buf[:n].

    0 while too few bytes are there to tell, -1 for a function whose length is not known.
    """
    if n < 2:
        return 0
    function = buf[1]
    fixed = _FIXED.get(function)
    if fixed is not None:
        return fixed
    at = _COUNTED.get(function)
    if at is None:
        return -1
    return at + 3 + buf[at] if n > at else 0


def response_length(buf: bytes | bytearray | memoryview, n: int) -> int:
    """Return the length of the response ADU that starts with buf[:n]; 0 and -1 as above."""
    if n < 2:
        return 0
    function = buf[1]
    if function & 0x80:
        return 5
    if function == _PBAL:
        return 6 + buf[3] if n > 3 else 0
    fixed = _FIXED_RESPONSE.get(function)
    if fixed is not None:
        return fixed
    # 24 has a count of two bytes and 43 has lists: a silence ends their frames.
    if function in (24, 43) or (function not in _FIXED and function not in _COUNTED):
        return -1
    return 5 + buf[2] if n > 2 else 0


def seal_adu(buf: bytearray, n: int) -> int:
    """Append the CRC to the n bytes of unit and PDU in `buf`; return the ADU's length."""
    if n + 2 > len(buf) or n + 2 > _MAX:
        raise SpaceError("ADU: %d bytes" % (n + 2))
    c: int = crc(buf, 0, n, CRC_TABLE)
    buf[n] = c & 0xFF
    buf[n + 1] = c >> 8
    return n + 2


class RtuServer:
    """Finds the requests for one unit in what arrives on a shared line.

    Feed whatever was read; a request for this unit (or a broadcast) is then in `buf[:length]`
    with its CRC checked. A request with bytes after it came too late to answer (the poller has
    given up, and an answer would collide): it is counted in `stale` and dropped.
    Tell the decoder about every silence of t3.5 with silence(). Frames for other
    units are not buffered, only counted down, and so are broadcasts other than function 100: no
    node acts on them.

    What a flood costs is bounded: set `budget` before each piece is fed. When so many frames were
    found, all bytes are ignored until the next silence, which Modbus requires between any two
    frames. While `broadcasts` is False, broadcasts are ignored.

        rx.budget = 8
        at = 0
        while at < n:
            at = rx.feed(data, at, n)
            if rx.length:
                answer(rx.buf, rx.length)
    """

    def __init__(self, unit: int) -> None:
        self.unit = unit
        self.buf = bytearray(_MAX)
        self.length = 0  # of the complete request in buf; 0: none
        self.bad_crc = 0
        self.malformed = 0  # too long, or cut off by a silence
        self.stale = 0
        self.others = 0
        self.budget = _NO_BUDGET
        self.broadcasts = True
        self._n = 0
        self._want = 0  # bytes of the frame in buf, 0 while not known, -1 never
        self._skip = 0  # bytes of another unit's frame still to come; -1: until a silence
        self._asked = 0  # unit << 8 | function of the request just seen; its answer may follow

    def feed(self, data: bytes | bytearray | memoryview, at: int, n: int) -> int:
        """Take data[at:n]; return how far it got, which is `n` or just after a request."""
        self.length = 0
        while at < n:
            if self._skip:
                if self._skip < 0:
                    return n
                step = n - at
                if step < self._skip:
                    self._skip -= step
                    return n
                at += self._skip
                self._skip = 0
                self.others += 1
                continue
            if self._n == 0:
                if self.budget <= 0:
                    self._skip = -1
                    return n
                self.budget -= 1
            # Bytes up to where the length can be told, then up to the end of the frame.
            step = (self._want or self._n + 1) - self._n
            if self._want < 0:
                step = n - at
            if step > n - at:
                step = n - at
            if self._n + step > _MAX:
                self._lost()
                return n
            copy(self.buf, self._n, data, at, step)
            self._n += step
            at += step
            if self._want == 0:
                self._measure()
            elif self._n == self._want and self._finish(at < n):
                return at
        return n

    def passing(self) -> int:
        """Bytes of another unit's frame still to come; -1: bytes are ignored until a silence."""
        return self._skip

    def goes_on(self, n: int) -> bool:
        """Whether n late bytes can be the rest of the frame that is arriving.

        A frame for another unit is skipped by its length; one for this unit must end with them.
        """
        return 0 < self._skip <= n or (self._want > 0 and self._n + n == self._want)

    def wants_silence(self) -> bool:
        """True while only a silence can end what is arriving (a function of unknown length)."""
        return self._want < 0

    def silence(self) -> bool:
        """The line was quiet for t3.5; True when that completed a request.

        Only a function of unknown length ends by silence: with a good CRC it is a request
        (to be answered with exception 1). Anything else half received is dropped.
        """
        self.length = 0
        done = False
        if self._n and self._want < 0:
            done = self._n >= 4 and self._finish(False)
        elif self._n:
            self.malformed += 1
        self._n = self._want = self._skip = 0
        return done

    def _measure(self) -> None:
        """Find out the length of the frame in buf, and whether it is for this unit."""
        buf = self.buf
        n = self._n
        if n < 2:
            return
        unit = buf[0]
        everyone = unit == BROADCAST
        if unit == self.unit or (everyone and buf[1] == _PBAL and self.broadcasts):
            self._want = request_length(buf, n)
            if self._want > _MAX:
                self._lost()
            return
        key = unit << 8 | buf[1] & 0x7F
        answer = key == self._asked and not everyone  # a broadcast has no answer
        want = response_length(buf, n) if answer else request_length(buf, n)
        if want:
            self._asked = 0 if answer or everyone else key
            self._n = self._want = 0
            self._skip = want - n if 0 < want <= _MAX else -1

    def _finish(self, more: bool) -> bool:
        """A whole frame is in buf: True when it is to be served."""
        n = self._n
        buf = self.buf
        self._n = self._want = self._asked = 0
        if crc(buf, 0, n - 2, CRC_TABLE) != buf[n - 2] | buf[n - 1] << 8:
            self.bad_crc += 1
            self._skip = -1
            return False
        if more and buf[0] != BROADCAST:
            self.stale += 1
            # What follows is the poller's next frame, or already another unit's answer.
            return False
        self.length = n
        return True

    def _lost(self) -> None:
        self.malformed += 1
        self._n = self._want = 0
        self._skip = -1
