"""Access to the twin's radio: a socket for SPI and pins, and a page with the pins' levels."""

import mmap
import os
import socket
import struct
import threading

_MOVE, _PIN = 1, 2
_HEAD = struct.Struct("<BH")

_lock = threading.Lock()
_wire: "socket.socket | None" = None
_page: "mmap.mmap | None" = None


def _open() -> "tuple[socket.socket, mmap.mmap]":
    global _wire, _page
    if _wire is None or _page is None:
        where = os.environ["PBAL_TWIN_PI"]
        wire = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wire.connect(where)
        with open(where + ".pins", "r+b") as file:
            _page = mmap.mmap(file.fileno(), 0)
        _wire = wire
    return _wire, _page


def move(out: bytes) -> bytes:
    """Clock bytes through the radio."""
    with _lock:
        wire, _ = _open()
        wire.sendall(_HEAD.pack(_MOVE, len(out)) + out)
        back = b""
        while len(back) < len(out):
            more = wire.recv(len(out) - len(back))
            if not more:
                raise OSError(5, "the twin is gone")
            back += more
        return back


def drive(pin: int, level: int) -> None:
    """Set a pin that leads to the radio."""
    with _lock:
        wire, page = _open()
        page[pin] = level
        wire.sendall(_HEAD.pack(_PIN, 2) + bytes((pin, level)))


def level(pin: int) -> int:
    """Of a pin."""
    return _open()[1][pin]
