"""The inner loops as machine code, for MicroPython boards with a native emitter.

Kept as source on the node: the board compiles it for its own processor.
"""
# ruff: noqa: F821
# mypy: ignore-errors

import micropython


@micropython.viper
def copy(dst: ptr8, d: int, src: ptr8, s: int, n: int):
    i = 0
    while i < n:
        dst[d + i] = src[s + i]
        i += 1


@micropython.viper
def xor(dst: ptr8, d: int, src: ptr8, s: int, key: ptr8, k: int, n: int):
    i = 0
    while i < n:
        dst[d + i] = src[s + i] ^ key[k + i]
        i += 1


@micropython.viper
def crc(buf: ptr8, start: int, end: int, table: ptr16) -> int:
    c = 0xFFFF
    i = start
    while i < end:
        c ^= buf[i]
        c = (c >> 4) ^ table[c & 15]
        c = (c >> 4) ^ table[c & 15]
        i += 1
    return c
