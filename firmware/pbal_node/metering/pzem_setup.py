"""Settings of a PZEM-004T: alarm threshold, energy reset, address. Loaded only when asked for.

`m` is a pzem.Pzem. A call raises OSError when the meter stays silent, PzemError when it refuses.
"""

import struct

from micropython import const

from pbal_protocol.loops import crc16

_READ_HOLDING = const(0x03)
_WRITE_SINGLE = const(0x06)
_RESET_ENERGY = const(0x42)
_READ_INPUT = const(0x04)
_REGISTERS = const(10)
_REG_ALARM = const(0x0001)
_REG_ADDRESS = const(0x0002)
_ETIMEDOUT = const(110)


class PzemError(Exception):
    """The meter refused a request; the argument is its exception code."""


async def _command(m, body: bytes, size: int) -> bytes:
    """Send a request and return its answer of `size` bytes. OSError when there is none."""
    request = m.frame(body)
    k = len(request)
    found = b""

    def done(n):
        nonlocal found
        # The answer to a write repeats the request: on a wire that echoes, skip the echo.
        i = k if m.echo and m.rx[:k] == request else 0
        while i + 4 <= n:
            error = m.rx[i + 1] == body[1] | 0x80
            size_i = 5 if error else size
            if (error or m.rx[i + 1] == body[1]) and i + size_i <= n:
                frame = bytes(memoryview(m.rx)[i : i + size_i])
                if crc16(frame[:-2]) == frame[-2] | frame[-1] << 8:
                    found = frame
                    return True
            i += 1
        return False

    await m.exchange(request, done)
    if not found:
        m.errors += 1
        raise OSError(_ETIMEDOUT)
    if found[1] & 0x80:
        raise PzemError(found[2])
    return found


async def set_alarm_w(m, watts: int) -> None:
    """Set the power alarm threshold, 0..25000 W."""
    if not 0 <= watts <= 25000:
        raise ValueError("alarm: 0..25000 W")
    await _command(m, struct.pack(">BBHH", m.unit, _WRITE_SINGLE, _REG_ALARM, watts), 8)


async def get_alarm_w(m) -> int:
    """The power alarm threshold in watts."""
    answer = await _command(m, struct.pack(">BBHH", m.unit, _READ_HOLDING, _REG_ALARM, 1), 7)
    return answer[3] << 8 | answer[4]


async def set_address(m, unit: int) -> None:
    """Give the meter another Modbus address, 1..247, and use that from now on."""
    if not 1 <= unit <= 247:
        raise ValueError("address: 1..247")
    await _command(m, struct.pack(">BBHH", m.unit, _WRITE_SINGLE, _REG_ADDRESS, unit), 8)
    m.unit = unit
    m.request = m.frame(struct.pack(">BBHH", unit, _READ_INPUT, 0, _REGISTERS))


async def reset_energy(m) -> None:
    """Set the energy register to zero."""
    await _command(m, bytes((m.unit, _RESET_ENERGY)), 4)
