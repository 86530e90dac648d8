"""What stock Modbus tools see of a node: Read Device Identification (43/14) and a few plain
input registers (04). Read only: no plain request ever switches anything.
"""

import struct

from micropython import const

_MEI = const(14)
_HEAD = const(7)  # function, MEI type, code, conformity, more, next id, number of objects
_CONFORMITY = const(0x83)  # extended identification, stream and individual access
_ROOM = const(240)
REGISTERS = const(12)


class Identity:
    """Objects by id (Modbus Application Protocol V1.1b3, 6.21)."""

    def __init__(self, board: str, version: str, name: str) -> None:
        self._objects = (
            b"pbal",
            board.encode(),
            version.encode(),
            b"https://pbal.invalid/",
            b"pbal node",
            board.encode(),
            name.encode(),
        )

    def answer(self, request, out, at: int) -> int:
        """Write the response PDU of request (43, 14, code, object) at out[at:]; its length."""
        code = request[2]
        first = request[3]
        count = len(self._objects)
        if request[1] != _MEI or not 1 <= code <= 4:
            return self._exception(out, at, 3 if request[1] == _MEI else 1)
        if code == 4:
            if first >= count:
                return self._exception(out, at, 2)
            last = first + 1
        else:
            last = (3, 7, count)[code - 1]
            if last > count:
                last = count
            if first >= last:
                first = 0
        n = at + _HEAD
        i = first
        while i < last and n + 2 + len(self._objects[i]) <= at + _ROOM:
            body = self._objects[i]
            out[n] = i
            out[n + 1] = len(body)
            out[n + 2 : n + 2 + len(body)] = body
            n += 2 + len(body)
            i += 1
        more = 0xFF if i < last else 0
        struct.pack_into("BBBBBBB", out, at, 43, _MEI, code, _CONFORMITY, more, i if more else 0,
                         i - first)
        return n - at

    @staticmethod
    def _exception(out, at: int, code: int) -> int:
        out[at] = 43 | 0x80
        out[at + 1] = code
        return 2


def u16(value: float) -> int:
    """Round into an unsigned 16-bit register, clamped."""
    return 0 if value < 0 else 65535 if value > 65535 else int(value + 0.5)


def registers(node, out) -> None:
    """Write the twelve input registers as 24 big-endian bytes into out[0:24].

    0 protocol version; 1..4 va, vb, vc, vout (0.1 V); 5 current (0.01 A); 6, 7 power (0.1 W,
    signed, high word first); 8 frequency (0.01 Hz); 9 phase; 10 state; 11 flags.
    """
    v = node.sense.v
    r = node.meter.reading
    struct.pack_into(
        ">HHHHHHiHHHH", out, 0, 1, u16(v[1] * 10), u16(v[2] * 10), u16(v[3] * 10),
        u16(node.sense.out_v * 10), u16(r.current_a * 100), int(r.p_w * 10), u16(r.freq_hz * 100),
        node.phase(), node.state(), node.flags(),
    )
