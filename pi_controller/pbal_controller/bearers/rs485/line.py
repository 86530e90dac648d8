"""pymodbus's serial client, trimmed for one transaction after another at line speed.

What is kept: the client, its connection handling and its RTU framer (expected length and
checksum). What is bypassed, because at 115200 baud a whole transaction lasts 10 ms:

- `asyncio.wait_for` and the retry loop: one timer for the first byte, one for the gap
  within a frame, so that a silent node costs its answer timeout and not a whole frame's;
- writing through `add_writer`, which costs one turn of the event loop;
- pyserial's read, which calls `select` twice and `read` once for each chunk;
- decoding into PDU objects and formatting them for a debug log.

Other functions (input registers of a meter, device identification) take pymodbus's own way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import serial
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager
from pymodbus.transport.serialtransport import SerialTransport

from pbal_controller.bearers.base import Answer
from pbal_controller.bearers.rs485.port import open_port
from pbal_protocol.modbus import MORE_PENDING, URGENT

FUNCTION = 100
OP_POLL = 0
OP_GROUP = 1
BITS_PER_CHAR = 11
MAX_ADU = 256
_HINTS = MORE_PENDING | URGENT
# Silence this long inside an answer ends it. USB adapters hold bytes back for up to 16 ms, and a
# busy computer may be late; only a damaged answer costs this time.
FRAME_GAP_S = 0.040

# Failures are reported by the bearer, once; pymodbus would report each attempt.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class SealedPDU(ModbusPDU):
    """Function 100: one byte of op or flags, one of length, then at most one sealed frame."""

    function_code = FUNCTION
    rtu_byte_count_pos = 3

    def __init__(self, op: int = 0, body: bytes = b"", dev_id: int = 0) -> None:
        super().__init__(dev_id=dev_id)
        self.op = op
        self.body = body

    def encode(self) -> bytes:
        """The PDU behind the function code."""
        return bytes((self.op, len(self.body))) + self.body

    def decode(self, data: bytes) -> None:
        """From the bytes behind the function code."""
        self.op = data[0]
        self.body = data[2 : 2 + data[1]]

    def __str__(self) -> str:
        return f"SealedPDU({self.dev_id}, {self.op}, {len(self.body)} B)"


@dataclass(slots=True)
class LineStats:
    """Counts since start."""

    requests: int = 0
    answers: int = 0
    timeouts: int = 0
    garbled: int = 0
    strays: int = 0
    exceptions: int = 0
    tx_bytes: int = 0
    rx_bytes: int = 0


class FastTransport(SerialTransport):
    """Reads the file descriptor directly; falls back to polling where there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, port: Any) -> None:
        asyncio.Transport.__init__(self)
        self.async_loop = loop
        self.intern_protocol = protocol
        self.sync_serial = port
        self.intern_write_buffer: list[bytes] = []
        self.poll_task = None
        self._poll_wait_time = 0.0005
        try:
            self._fd = port.fileno()
        except (AttributeError, OSError):  # loop://, rfc2217://: no descriptor to wait on
            self._fd = -1
            self.force_poll = True
        self.may_send: Callable[[], bool] | None = None  # asked before anything is written
        # Only a tty gives plain bytes by os.read; socket:// answers recv in its own class.
        self._plain = self._fd >= 0 and isinstance(port, serial.Serial)

    def intern_read_ready(self) -> None:
        """Read what is there."""
        if not self._plain:
            super().intern_read_ready()
            return
        try:
            data = os.read(self._fd, 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(exc=error)
            return
        if not data:
            self.close(exc=OSError("the port was hung up"))
            return
        self.intern_protocol.data_received(data)  # type: ignore[attr-defined]

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """The usual way, by pymodbus, where it may be sent at all."""
        if self.may_send is None or self.may_send():
            super().write(bytes(data))

    def write_now(self, data: bytes) -> None:
        """Write without a turn of the event loop; the rest, if any, goes the usual way."""
        if self.may_send is not None and not self.may_send():
            return
        done = 0
        if self._plain and not self.intern_write_buffer:
            try:
                done = os.write(self._fd, data)
            except (BlockingIOError, InterruptedError):
                done = 0
            except OSError as error:
                self.close(exc=error)
                return
        if done < len(data):
            self.write(data[done:])


class _Line(TransactionManager):
    """The transaction manager with a fast path for function 100."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.stats = LineStats()
        self.last_rx = 0.0
        self.first_rx = 0.0
        self.on_lost: Callable[[Exception | None], None] | None = None
        self._waiter: asyncio.Future[Answer | None] | None = None
        self._unit = 0
        self._garbled = False
        self._deadline = 0.0
        self._hard_deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def callback_disconnected(self, exc: Exception | None) -> None:
        super().callback_disconnected(exc)
        self._finish(None)
        if self.on_lost is not None:
            self.on_lost(exc)

    def data_received(self, data: bytes) -> None:
        now = self.loop.time()
        if self.first_rx == 0.0:
            self.first_rx = now
        self.last_rx = now
        self.stats.rx_bytes += len(data)
        super().data_received(data)

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        """Called with everything received since the request; returns how much was used."""
        waiter = self._waiter
        if waiter is None:
            if self.response_future.done() or self.request_dev_id == 0:
                self.stats.strays += 1
                return len(data)
            try:
                return int(super().callback_data(data, addr))
            except Exception as error:  # pymodbus raises what it should return
                logging.getLogger(__name__).debug("undecodable answer: %s", error)
                self.stats.garbled += 1
                return len(data)
        length = len(data)
        if length < 5:
            return 0
        if data[0] == self._unit and data[1] == FUNCTION and length < data[3] + 6:
            return 0  # the usual case while bytes arrive: no whole frame yet
        used, unit, _, pdu = self.framer.decode(data)
        if used == 0:
            return 0
        if not pdu:
            self._garbled = True
            return int(used)
        if unit != self._unit:
            self.stats.strays += 1
            return int(used)
        if pdu[0] == FUNCTION and len(pdu) == 3 + pdu[2]:
            self.stats.answers += 1
            self._finish(Answer(bytes(pdu[3:]), bool(pdu[1] & _HINTS)))
        else:
            self.stats.exceptions += 1
            self._finish(None)
        return int(used)

    def _finish(self, answer: Answer | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time()
        if self.first_rx:
            # An answer has begun: it may run on while bytes keep coming, but not for ever.
            due = min(self.last_rx + FRAME_GAP_S, self._hard_deadline)
        else:
            due = self._deadline
        if now < due:
            self._timer = self.loop.call_at(due, self._on_timer)
            return
        if self._garbled or self.first_rx:
            self.stats.garbled += 1
        else:
            self.stats.timeouts += 1
        self._finish(None)

    def write(self, packet: bytes) -> None:
        """Put bytes on the line now."""
        transport = self.transport
        if transport is None:
            return
        self.recv_buffer = b""
        if self.comm_params.handle_local_echo:
            self.sent_buffer += packet
        self.stats.requests += 1
        self.stats.tx_bytes += len(packet)
        transport.write_now(packet)  # type: ignore[attr-defined]

    def start(self, unit: int, packet: bytes, timeout_s: float, char_s: float) -> Any:
        """Send a request and return the future of its answer (None: silent or garbled)."""
        now = self.loop.time()
        waiter: asyncio.Future[Answer | None] = self.loop.create_future()
        self._waiter = waiter
        self._unit = unit
        self._garbled = False
        self.first_rx = 0.0
        self._deadline = now + len(packet) * char_s + timeout_s
        self._hard_deadline = self._deadline + MAX_ADU * char_s + FRAME_GAP_S
        self._timer = self.loop.call_at(self._deadline, self._on_timer)
        self.write(packet)
        return waiter

    def abandon(self) -> None:
        """Forget the request under way (the waiting task was cancelled)."""
        self._waiter = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LineClient(AsyncModbusSerialClient):
    """pymodbus's asynchronous serial client on our transaction manager and transport."""

    def __init__(
        self,
        port: str,
        *,
        baudrate: int,
        parity: str,
        stopbits: int,
        local_echo: bool = False,
        rts_de: bool = False,
        timeout: float = 1.0,
    ) -> None:
        super().__init__(
            port,
            baudrate=baudrate,
            parity=parity,
            stopbits=stopbits,
            handle_local_echo=local_echo,
            timeout=timeout,
            retries=0,
            reconnect_delay=0,  # the bearer reconnects, with a state machine of its own
        )
        self.line = _Line(self.comm_params, FramerRTU(DecodePDU(False)), 0, False, None, None, None)
        self.ctx = self.line
        self.register(SealedPDU)
        self._rts_de = rts_de
        self.may_send: Callable[[], bool] | None = None  # before `open`

    async def open(self) -> None:
        """Open the port; the caller bounds the time. Raises OSError.

        Instead of `connect`, whose `wait_for` can swallow a cancellation and whose error
        text is lost.
        """
        params = self.comm_params
        loop = asyncio.get_running_loop()
        given_up = False

        def opened() -> Any:
            # In a thread: socket:// and rfc2217:// connect while they open.
            port = open_port(
                params.host, baud=params.baudrate, parity=params.parity,
                stop_bits=params.stopbits, timeout_s=0, write_timeout_s=0, rts_de=self._rts_de,
            )  # fmt: skip
            if given_up:
                port.close()
            return port

        try:
            port = await loop.run_in_executor(None, opened)
        except asyncio.CancelledError:
            given_up = True
            raise
        self.line.is_closing = False
        transport = FastTransport(loop, self.line, port)
        transport.may_send = self.may_send
        self.line.transport = transport
        transport.setup()

    def close(self) -> None:
        """Close the port; a request under way ends without an answer."""
        self.line.abandon()
        with contextlib.suppress(OSError, ValueError):
            super().close()
