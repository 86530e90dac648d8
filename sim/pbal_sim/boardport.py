"""The serial ports of an emulated board: pseudo-terminal, TCP socket, RFC 2217."""

import contextlib
import os
import select
import socket
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import serial.rfc2217


class Port(Protocol):
    """The board's end of its serial port. No call blocks."""

    url: str

    def filenos(self) -> list[int]:
        """What to wait on for the next byte; empty while a terminal has no other end."""

    def read(self) -> bytes:
        """What has arrived."""

    def write(self, data: bytes) -> None:
        """Sends, or drops if the other end is not open."""

    def hung_up(self) -> bool:
        """True once after the other end has gone away."""

    def close(self) -> None:
        """Frees the port."""


class PtyPort:
    """A pseudo-terminal; `path`, if given, is a link to it under a stable name."""

    def __init__(self, path: Path | None = None) -> None:
        self._fd, child = os.openpty()
        tty.setraw(child)
        os.set_blocking(self._fd, False)
        self.device = os.ttyname(child)
        os.close(child)
        self._path = path
        self._was_open = False
        if path is not None:
            path.unlink(missing_ok=True)
            path.symlink_to(self.device)
        self.url = str(path or self.device)

    def _open_now(self) -> bool:
        events = select.poll()
        events.register(self._fd, select.POLLHUP)
        return not any(event & select.POLLHUP for _, event in events.poll(0))

    def filenos(self) -> list[int]:
        # A terminal that is not open elsewhere is always "readable": waiting on it would spin.
        return [self._fd] if self._open_now() else []

    def read(self) -> bytes:
        try:
            return os.read(self._fd, 4096)
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._open_now():
            try:
                view = view[os.write(self._fd, view) :]
            except BlockingIOError:
                select.select([], [self._fd], [], 0.05)
            except OSError:
                return

    def hung_up(self) -> bool:
        now = self._open_now()
        gone = self._was_open and not now
        self._was_open = now
        return gone

    def close(self) -> None:
        os.close(self._fd)
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class TcpPort:
    """A listening socket on loopback; one client at a time, as USB over IP servers do it."""

    scheme = "socket"

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.setblocking(False)
        self.url = f"{self.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._peer: socket.socket | None = None
        self._gone = False

    def filenos(self) -> list[int]:
        return [(self._peer or self._listener).fileno()]

    def read(self) -> bytes:
        if self._peer is None:
            with contextlib.suppress(BlockingIOError):
                self._peer, _ = self._listener.accept()
                self._peer.setblocking(False)
                self._peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._accepted(self._peer)
            if self._peer is None:
                return b""
        try:
            data = self._peer.recv(4096)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._drop()
            return b""
        return self._decode(data)

    def _accepted(self, peer: socket.socket) -> None:
        """A client has come."""

    def _decode(self, data: bytes) -> bytes:
        return data

    def _encode(self, data: bytes) -> bytes:
        return data

    def _drop(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None
            self._gone = True

    def write(self, data: bytes) -> None:
        self.send_plain(self._encode(data))

    def send_plain(self, data: bytes) -> None:
        """Sends without any encoding of the bytes."""
        view = memoryview(data)
        while view and self._peer is not None:
            try:
                view = view[self._peer.send(view) :]
            except BlockingIOError:
                select.select([], [self._peer], [], 0.05)
            except OSError:
                self._drop()

    def hung_up(self) -> bool:
        gone, self._gone = self._gone, False
        return gone

    def close(self) -> None:
        self._drop()
        self._listener.close()


class _Uart:
    """The serial port behind an RFC 2217 server; only DTR and RTS have an effect."""

    def __init__(self, changed: Callable[[bool, bool], None]) -> None:
        self._changed = changed
        self._dtr = self._rts = False
        self.baudrate = 115200
        self.bytesize = 8
        self.parity = "N"
        self.stopbits = 1
        self.xonxoff = self.rtscts = self.break_condition = False
        self.cts = self.dsr = self.ri = self.cd = False

    @property
    def dtr(self) -> bool:
        """Data terminal ready, as the client set it."""
        return self._dtr

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self._dtr = value
        self._changed(self._dtr, self._rts)

    @property
    def rts(self) -> bool:
        """Request to send, as the client set it."""
        return self._rts

    @rts.setter
    def rts(self, value: bool) -> None:
        self._rts = value
        self._changed(self._dtr, self._rts)

    def reset_input_buffer(self) -> None:
        """Nothing is buffered here."""

    def reset_output_buffer(self) -> None:
        """Nothing is buffered here."""


class Rfc2217Port(TcpPort):
    """A serial port over telnet with its control lines; the protocol is pyserial's own server."""

    scheme = "rfc2217"

    def __init__(self, changed: Callable[[bool, bool], None], port: int = 0) -> None:
        super().__init__(port)
        self._uart = _Uart(changed)
        self._manager: Any = None

    def _accepted(self, peer: socket.socket) -> None:
        self._manager = serial.rfc2217.PortManager(
            cast(Any, self._uart), cast(Any, _Connection(self))
        )

    def _decode(self, data: bytes) -> bytes:
        return b"".join(self._manager.filter(data))

    def _encode(self, data: bytes) -> bytes:
        return b"".join(self._manager.escape(data)) if self._manager is not None else b""


class _Connection:
    """The socket with the interface that pyserial's server needs."""

    def __init__(self, port: TcpPort) -> None:
        self._port = port

    def write(self, data: bytes) -> None:
        """Sends the server's own telnet bytes."""
        self._port.send_plain(data)


def open_port(kind: str, changed: Callable[[bool, bool], None]) -> Port:
    """Opens "pty", "pty:PATH", "tcp", "tcp:PORT", "rfc2217" or "rfc2217:PORT".

    `changed(dtr, rts)` is called when the other end moves the control lines.
    """
    name, _, detail = kind.partition(":")
    if name == "pty":
        return PtyPort(Path(detail) if detail else None)
    if name == "tcp":
        return TcpPort(int(detail or 0))
    if name == "rfc2217":
        return Rfc2217Port(changed, int(detail or 0))
    raise ValueError(f"no such kind of port: {kind!r}")
