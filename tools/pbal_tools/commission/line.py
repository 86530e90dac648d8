"""A serial line that this laptop alone masters, one request at a time.

Blocking on purpose: commissioning is one conversation, and every wait has a bound. The controller
must be stopped; a port that it holds is refused, and so is a line on which another master sends.
"""

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import serial

from pbal_controller.bearers.rs485 import open_port
from pbal_controller.homes import Conversation
from pbal_protocol import modbus, modbus_client
from pbal_protocol.errors import RemoteError

from ..errors import PortBusy, RefusedError, UnreachableError
from ..flash import ports
from ..sitefile import Bus
from .medium import Reserve

_STEP_S = 0.004
_GAP_S = 0.02  # bytes of one answer come closer together than this, also through USB
_ALL = 1024  # bytes; no more are ever needed
_BLOCK = 64  # counters that are reserved at a time
_READ_S = 0.4  # a whole answer of 256 bytes, with a slow adapter


class Line:
    """One RS-485 segment. `answer_s`: how long a node may take to begin its answer."""

    steps = ("scan", "contact", "phases", "calibrate", "transfer", "report")
    turn_s = 0.0
    most_tries = 8

    def __init__(self, bus: Bus, answer_s: float | None = None) -> None:
        self.bus = bus
        self.answer_s = answer_s or max(bus.answer_timeout_ms / 1000, 0.05)
        self.requests = 0
        self.silent = 0
        self.garbled = 0
        self.extra = 0  # answers after which more came: another node's
        self._port: Any  # pyserial's
        self._quiet_from = 0.0
        self._reserves: dict[int, Reserve] = {}

    def __enter__(self) -> "Line":
        try:
            ports.check(self.bus.port)
            self._port = self._open()
        except PortBusy as exc:
            exc.remedy = (
                "Stop the controller first (systemctl stop pbal-controller), or the program that "
                f"`fuser {self.bus.port}` names."
            )
            raise
        return self

    def _open(self) -> Any:
        try:
            return open_port(self.bus, timeout_s=_STEP_S, write_timeout_s=2.0)
        except OSError as exc:
            raise ports.explain(self.bus.port, exc) from None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._port.close()

    def listen(self, seconds: float = 1.0) -> None:
        """Makes sure that the line has no other master. Raises RefusedError."""
        end = time.monotonic() + seconds
        heard = b""
        while time.monotonic() < end:
            heard += self._read(64)
        if len(heard) > 8:
            raise RefusedError(
                f"Somebody talks on {self.bus.port} already ({len(heard)} bytes in {seconds:g} s).",
                "Stop the controller on this line: systemctl stop pbal-controller",
            )

    def _read(self, size: int) -> bytes:
        try:
            return bytes(self._port.read(size))
        except (OSError, serial.SerialException) as exc:
            raise UnreachableError(
                f"{self.bus.port} is gone: {exc}.", "Plug the adapter in again and repeat."
            ) from None

    def _send(self, frame: bytes) -> None:
        wait = self._quiet_from - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        try:
            self.extra += bool(self._port.in_waiting)
            self._port.reset_input_buffer()
            self._port.write(frame)
            self._port.flush()
        except (OSError, serial.SerialException) as exc:
            raise UnreachableError(
                f"{self.bus.port} is gone: {exc}.", "Plug the adapter in again and repeat."
            ) from None
        self.requests += 1
        if self.bus.local_echo:
            left = len(frame)
            end = time.monotonic() + 0.1 + len(frame) * 11 / self.bus.baud
            while left and time.monotonic() < end:
                left -= len(self._read(left))

    def broadcast(self, pdu: bytes, window_s: float) -> bytes:
        """Sends to all and returns everything heard until the window closes."""
        frame = modbus_client.adu(modbus.BROADCAST, pdu)
        self._send(frame)
        last = time.monotonic()
        end = last + len(frame) * 11 / self.bus.baud + window_s
        heard = b""
        while time.monotonic() < end or (heard and time.monotonic() < last + _GAP_S):
            more = self._read(256)
            if more:
                heard += more
                last = time.monotonic()
        self._quiet_from = time.monotonic() + _STEP_S
        return heard

    def hear(self, unit: int, pdu: bytes) -> bytes:
        """Sends once and returns all that comes within the answer time, from any sender."""
        frame = modbus_client.adu(unit, pdu)
        self._send(frame)
        end = time.monotonic() + len(frame) * 11 / self.bus.baud + self.answer_s
        last = 0.0
        heard = b""
        while time.monotonic() < end or (heard and time.monotonic() < last + _GAP_S):
            more = self._read(256)
            if more:
                heard += more
                last = time.monotonic()
            if len(heard) > _ALL:
                break
        self._quiet_from = time.monotonic() + _STEP_S
        return heard

    def request(self, unit: int, pdu: bytes, tries: int = 3) -> bytes | None:
        """The answer's PDU, or None where the unit stays silent or garbled."""
        frame = modbus_client.adu(unit, pdu)
        for _ in range(tries):
            self._send(frame)
            answer = self._collect(len(frame))
            self._quiet_from = time.monotonic() + _STEP_S
            if not answer:
                self.silent += 1
                continue
            try:
                who, got = modbus_client.split_adu(answer)
            except RemoteError:
                self.garbled += 1
                continue
            if who == unit and got and got[0] & 0x7F == pdu[0]:
                return got
            self.garbled += 1
        return None

    def exchange(self, unit: int, frame: bytes) -> bytes | None:
        """Carries a sealed frame, or an empty one that only asks; the node's frame.

        None where it stays silent, empty where what came is no frame.
        """
        answer = self.request(unit, modbus_client.request_pdu(modbus.OP_POLL, frame), 1)
        if answer is None:
            return None
        try:
            return modbus_client.parse_pdu(answer)[1]
        except RemoteError:
            return b""

    # -- conversations -------------------------------------------------------------------

    @property
    def words(self) -> str:
        return self.bus.port

    def place(self, address: int) -> str:
        return f"at unit {address & 0xFF}"

    def remedy(self) -> str:
        return "Check its supply, A and B, and whether it is provisioned for this site."

    def join(self, talk: Conversation, reserve: Reserve) -> None:
        self._reserves[talk.home.address] = reserve

    def ask(self, talk: Conversation, meanwhile: Callable[[], None]) -> bool | None:
        home, session = talk.home, talk.session
        counters = session.counters
        if home.hello is not None and not counters.left:
            reserve = self._reserves[home.address]
            first = reserve(home.address, session.key_id, max(1, counters.floor), _BLOCK)
            counters.extend(first, _BLOCK)
        frame = talk.outgoing(modbus.MAX_BODY, time.monotonic())
        home.signs.polled()
        answer = self.exchange(home.address & 0xFF, frame)
        return None if answer is None else talk.received(answer, time.monotonic())

    def next_reading(self, talk: Conversation, meanwhile: Callable[[], None]) -> bool:
        before = talk.home.readings
        for _ in range(self.most_tries):
            if self.ask(talk, meanwhile) and talk.home.readings != before:
                return True
            time.sleep(_GAP_S)
        return False

    def _collect(self, sent: int) -> bytes:
        now = time.monotonic()
        first = now + sent * 11 / self.bus.baud + self.answer_s
        hard = first + _READ_S
        buf = b""
        last = now
        while True:
            more = self._read(256)
            now = time.monotonic()
            if more:
                buf += more
                last = now
                want = modbus.response_length(buf, len(buf))
                if want > 0 and len(buf) >= want:
                    self.extra += len(buf) > want
                    return buf[:want]
            elif (buf and now - last > _GAP_S) or (not buf and now > first):
                return buf
            if now > hard:
                return buf
