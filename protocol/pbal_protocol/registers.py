"""The input registers a node shows to stock Modbus tools (function 04).

Read-only and small: enough to see that a node is alive and what it measures. Nothing here is
authenticated, so the controller never uses it; nothing is secret, so what a home draws is shown
only by a node without keys, or where the setting plain_registers allows it.
"""

import struct

from pbal_protocol.codec import Record
from pbal_protocol.compat import const
from pbal_protocol.frames import VERSION

# (address, name, words, steps per unit, unit, attribute of Telemetry or "" for the constant)
REGISTERS = (
    (0, "protocol version", 1, 1, "", ""),
    (1, "voltage of phase A", 1, 10, "V", "va_v"),
    (2, "voltage of phase B", 1, 10, "V", "vb_v"),
    (3, "voltage of phase C", 1, 10, "V", "vc_v"),
    (4, "voltage at the output", 1, 10, "V", "vout_v"),
    (5, "current", 1, 100, "A", "current_a"),
    (6, "active power (signed, high word first)", 2, 10, "W", "p_w"),
    (8, "frequency", 1, 100, "Hz", "freq_hz"),
    (9, "phase (0 open, 1 A, 2 B, 3 C)", 1, 1, "", "phase"),
    (10, "selector state", 1, 1, "", "state"),
    (11, "flags", 1, 1, "", "flags"),
)
COUNT = 12
_USE_FIRST = const(5)  # current and power: they reveal presence and appliances
_USE_END = const(8)


def shows_use(start: int, count: int) -> bool:
    """True when a read of these registers would show what the home draws."""
    return bool(start < _USE_END and start + count > _USE_FIRST)


def fill(telemetry: Record, out: bytearray, at: int = 0) -> None:
    """Write all registers, big endian, to out[at : at + 24].

    A value that does not fit its register is shown as the nearest that does.
    """
    for address, _name, words, steps, _unit, attribute in REGISTERS:
        value = VERSION if not attribute else getattr(telemetry, attribute)
        if value != value:  # NaN: not measured
            value = 0
        raw = round(value * steps)
        if words == 1:
            struct.pack_into(">H", out, at + 2 * address, min(max(raw, 0), 0xFFFF))
        else:
            raw = min(max(raw, -0x7FFFFFFF), 0x7FFFFFFF)
            struct.pack_into(">i", out, at + 2 * address, raw)
