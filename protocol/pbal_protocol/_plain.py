"""The inner loops in plain Python: CPython, and boards without a native emitter."""

from array import array


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


def crc(buf: bytes | bytearray | memoryview, start: int, end: int, table: "array[int]") -> int:
    """The reflected CRC of buf[start:end] by half bytes, start value 0xFFFF."""
    c = 0xFFFF
    for i in range(start, end):
        c ^= buf[i]
        c = (c >> 4) ^ table[c & 15]
        c = (c >> 4) ^ table[c & 15]
    return c
