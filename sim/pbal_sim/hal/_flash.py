"""The chip's flash: blocks in memory that outlives the process, as flash outlives a reset."""

import _chip
import hwmap
import uctypes
from micropython import const

_BLOCK = const(4096)


class Flash:
    def __init__(self, address, size):
        self._blocks = size // _BLOCK
        self._data = memoryview(uctypes.bytearray_at(address, size))

    def readblocks(self, block, buf, offset=0):
        start = block * _BLOCK + offset
        buf[:] = self._data[start : start + len(buf)]

    def writeblocks(self, block, buf, offset=0):
        start = block * _BLOCK + offset
        size = len(buf)
        if _chip.page is not None:
            _chip.add_u32(hwmap.FLASH_WRITES, 1)
            if _chip.cut(hwmap.CUT_FLASH):
                # Half a write, as after a supply failure while programming.
                half = size // 2
                self._data[start : start + half] = memoryview(buf)[:half]
                _chip.stop()
        self._data[start : start + size] = buf

    def ioctl(self, op, arg):
        if op == 4:
            return self._blocks
        if op == 5:
            return _BLOCK
        if op == 6:
            if _chip.page is not None:
                _chip.add_u32(hwmap.FLASH_ERASES, 1)
                if _chip.cut(hwmap.CUT_FLASH):
                    _chip.stop()
            start = arg * _BLOCK
            step = b"\xff" * 256
            for i in range(start, start + _BLOCK, 256):
                self._data[i : i + 256] = step
        return 0
