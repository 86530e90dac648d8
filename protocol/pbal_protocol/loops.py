"""The three loops that touch every byte: copy, exclusive or, CRC.

On a board they are machine code (_native); elsewhere plain Python (_plain).
"""

import sys
from array import array

if sys.implementation.name == "micropython":
    try:
        from pbal_protocol._native import copy, crc, xor
    except (ImportError, SyntaxError, NameError, ValueError, NotImplementedError, MemoryError):
        # This port was built without the native emitter.
        from pbal_protocol._plain import copy, crc, xor
else:
    from pbal_protocol._plain import copy, crc, xor


def _entry(value: int) -> int:
    for _ in range(4):
        value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


# CRC-16/MODBUS, polynomial 0x8005 reflected (Modbus over serial line V1.02, 6.2.2).
CRC_TABLE = array("H", [_entry(i) for i in range(16)])


def crc16(buf: bytes | bytearray | memoryview, n: "int | None" = None) -> int:
    """Return the Modbus CRC of buf[:n]; it goes on the wire low byte first."""
    return crc(buf, 0, len(buf) if n is None else n, CRC_TABLE)


__all__ = ["CRC_TABLE", "copy", "crc", "crc16", "xor"]
