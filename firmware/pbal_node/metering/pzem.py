"""Driver of the PZEM-004T v3 energy meter (Modbus RTU, 9600 8N1, Peacefair data sheet V1.0).

The meter is powered from the line that it measures, so it is silent while the output is dead:
silence is information, not a defect. Wiring with a shared TX/RX pair echoes what we
send, and a long wire adds noise: answers are found inside whatever was received.
"""

import asyncio
import math
import struct

from micropython import const

from pbal_node.metering.base import Meter
from pbal_protocol.loops import crc16

_READ_INPUT = const(0x04)
_ANY_ADDRESS = const(0xF8)  # the general address: one meter on the wire
_REGISTERS = const(10)
_ANSWER_LEN = const(25)
_TIMEOUT_MS = const(250)
_RX = const(64)
# What the meter can measure (data sheet, 1), with room above 260 V, 100 A and 23 kW. It starts up
# after every transfer, and its first answers may have a valid CRC and yet hold all ones.
_V_MAX = const(3000)  # 0.1 V
_I_MAX = const(120000)  # mA
_P_MAX = const(360000)  # 0.1 W
_E_MAX = const(9999990)  # Wh
_F_MIN = const(400)  # 0.1 Hz
_F_MAX = const(700)
_PF_MAX = const(100)  # 0.01


def parse(buf, n: int, unit: int, values: list) -> bool:
    """Find a measurement answer in buf[:n], whatever noise or echo surrounds it.

    Fills `values` with V, A, W, Wh, Hz, PF, alarm and returns True; False when there is none, or
    none that the meter can have measured.
    """
    i = 0
    while i + _ANSWER_LEN <= n:
        if (
            buf[i + 1] == _READ_INPUT
            and buf[i + 2] == 2 * _REGISTERS
            and (buf[i] == unit or unit == _ANY_ADDRESS)
            and crc16(memoryview(buf)[i : i + _ANSWER_LEN - 2])
            == buf[i + _ANSWER_LEN - 2] | buf[i + _ANSWER_LEN - 1] << 8
        ):
            # 32-bit quantities come low word first.
            v, il, ih, pl, ph, el, eh, f, pf, alarm = struct.unpack_from(">10H", buf, i + 3)
            i_ma = il | ih << 16
            p_dw = pl | ph << 16
            e_wh = el | eh << 16
            if v > _V_MAX or i_ma > _I_MAX or p_dw > _P_MAX or e_wh > _E_MAX:
                return False
            if not _F_MIN <= f <= _F_MAX or pf > _PF_MAX:
                return False
            values[0] = v / 10
            values[1] = i_ma / 1000
            values[2] = p_dw / 10
            values[3] = e_wh
            values[4] = f / 10
            values[5] = pf / 100
            values[6] = 1 if alarm == 0xFFFF else 0
            return True
        i += 1
    return False


class Pzem(Meter):
    """`uart` is a machine.UART at 9600 8N1 with timeout 0; `now_ms` the monotonic clock.

    The meter gives no sign and no reactive power: P is taken as import, Q from the power factor
    as inductive, as the data sheet gives nothing better.
    """

    independent = True

    def __init__(self, uart, now_ms, unit: int = 1) -> None:
        super().__init__()
        self._uart = uart
        self._stream = asyncio.StreamReader(uart)
        self._now = now_ms
        self.unit = unit
        self.alarm = False
        self.echo = False  # the wire echoes what we send (found while measuring)
        self.power_factor = 0.0
        self.rx = bytearray(_RX)
        self._view = memoryview(self.rx)
        self._values = [0.0] * 7
        self.request = self.frame(struct.pack(">BBHH", unit, _READ_INPUT, 0, _REGISTERS))

    @staticmethod
    def frame(body: bytes) -> bytes:
        return body + struct.pack("<H", crc16(body))

    async def exchange(self, request: bytes, done) -> int:
        """Send, then collect until `done(n)` or the time is up; returns the bytes in `_rx`."""
        while self._uart.any():
            self._uart.readinto(self.rx)  # stale bytes of an earlier, late answer
        self._uart.write(request)
        end = self._now() + _TIMEOUT_MS
        n = 0
        while True:
            # The answer takes 26 ms at 9600 baud: a few long sleeps instead of a wake-up per byte.
            await asyncio.sleep_ms(15)
            if self._uart.any():
                got = self._uart.readinto(self._view[n:])
                n += got or 0
                if done(n):
                    return n
                if n >= _RX:
                    keep = n - _ANSWER_LEN
                    self.rx[:_ANSWER_LEN] = self._view[keep:n]
                    n = _ANSWER_LEN
            if self._now() >= end:
                return n

    def _measured(self, n: int) -> bool:
        return parse(self.rx, n, self.unit, self._values)

    async def read(self) -> bool:
        n = await self.exchange(self.request, self._measured)
        r = self.reading
        if not self._measured(n):
            self.errors += 1
            r.ok = False
            return False
        v = self._values
        k = len(self.request)
        self.echo = n >= k + _ANSWER_LEN and self.rx[:k] == self.request
        ki = self.trim_i + self.bend_i * v[1] * v[1]
        r.v = v[0]
        r.current_a = v[1] * ki
        r.p_w = v[2] * ki
        r.e_import_wh = v[3]
        r.freq_hz = v[4]
        self.power_factor = v[5]
        self.alarm = bool(v[6])
        s = r.v * r.current_a
        r.q_var = math.sqrt(s * s - r.p_w * r.p_w) if s > r.p_w else 0.0
        r.at_ms = self._now()
        r.ok = True
        return True
