"""The three loops that touch every byte: copy, exclusive or, CRC.

On a board they are machine code (_native); elsewhere plain Python.
"""

from array import array

try:
    from pbal_protocol._native import copy, crc, xor
except (ImportError, SyntaxError, NameError, ValueError, NotImplementedError):

    def copy(dst: bytearray, d: int, src: bytes | bytearray | memoryview, s: int, n: int) -> None:
        """dst[d:d+n] = src[s:s+n]"""
        for i in range(n):
            dst[d + i] = src[s + i]

    def xor(
        dst: bytearray,
        d: int,
        src: bytes | bytearray | memoryview,
        s: int,
        key: bytes | bytearray | memoryview,
        k: int,
        n: int,
    ) -> None:
        """dst[d:d+n] = src[s:s+n] ^ key[k:k+n]"""
        for i in range(n):
            dst[d + i] = src[s + i] ^ key[k + i]

    def crc(
        buf: bytes | bytearray | memoryview, start: int, end: int, table: "array[int]"
    ) -> int:
        """The reflected CRC of buf[start:end] by half bytes, start value 0xFFFF."""
        c = 0xFFFF
        for i in range(start, end):
            c ^= buf[i]
            c = (c >> 4) ^ table[c & 15]
            c = (c >> 4) ^ table[c & 15]
        return c


def _entry(value: int) -> int:
    for _ in range(4):
        value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


# CRC-16/MODBUS, polynomial 0x8005 reflected (Modbus over serial line V1.02, 6.2.2).
CRC_TABLE = array("H", [_entry(i) for i in range(16)])

__all__ = ["CRC_TABLE", "copy", "crc", "xor"]
