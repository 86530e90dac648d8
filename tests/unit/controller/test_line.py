"""The port's owner: time-outs, noise, strays, priorities, exceptions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import serial
from pymodbus.pdu.register_message import ReadInputRegistersRequest
from serial.rfc2217 import PortManager

from pbal_controller.bearers import EVERYBODY, Answer, Request
from pbal_controller.bearers.rs485.bearer import PortState, Rs485Bearer
from pbal_controller.config import BusConfig
from pbal_controller.errors import BearerError
from pbal_host import check_cancelled
from pbal_protocol.modbus import crc16

from .conftest import until
from .fake import FakeBus


@dataclass
class Script:
    """A Traffic that sends what it is told and keeps what came."""

    todo: list[Request] = field(default_factory=list)
    got: list[tuple[int, Answer | None]] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    _at: float = 0.0

    def next_request(self, now: float) -> Request | float:
        if not self.todo:
            return now + 0.05
        self._at = now
        return self.todo.pop(0)

    def lost(self) -> None:
        pass

    def unasked(self, where: object, frame: bytes, now: float) -> None:
        raise AssertionError("a bus hears nothing unasked")

    def handle(self, request: Request, answer: Answer | None, now: float) -> None:
        self.got.append((request.to, answer))
        self.took.append(now - self._at)


class RawBus(FakeBus):
    """A pty that answers each request with what `reply` says, in pieces."""

    def __init__(self, reply: Callable[[bytes], list[bytes | float]]) -> None:
        super().__init__([])
        self.reply = reply
        self.requests: list[bytes] = []
        self.sending: list[asyncio.Task[None]] = []
        self.written: Callable[[], None] = lambda: None

    def _readable(self) -> None:
        import os

        with contextlib.suppress(BlockingIOError):
            data = os.read(self.master, 1024)
            self.requests.append(data)
            self.sending.append(asyncio.create_task(self._send(self.reply(data))))

    async def _send(self, pieces: list[bytes | float]) -> None:
        import os

        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif self.master >= 0:
                self.written()  # before: the reader may be faster than our next line
                os.write(self.master, piece)

    async def settle(self) -> None:
        """Let everything under way end."""
        await asyncio.gather(*self.sending)


def answer(unit: int, body: bytes = b"x" * 30, flags: int = 0) -> bytes:
    raw = bytes((unit, 100, flags, len(body))) + body
    return raw + crc16(raw).to_bytes(2, "little")


@contextlib.asynccontextmanager
async def line(
    reply: Callable[[bytes], list[bytes | float]], script: Script
) -> AsyncIterator[tuple[Rs485Bearer, RawBus]]:
    """A bearer at work on a raw bus."""
    with RawBus(reply) as bus:
        bearer = Rs485Bearer("a", BusConfig(port=bus.path, answer_timeout_ms=500), script)
        task = asyncio.create_task(bearer.run(check_cancelled))
        try:
            yield bearer, bus
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await bus.settle()
    assert bearer.state is PortState.CLOSED


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy test machine may pause for longer than a real line does."""
    monkeypatch.setattr("pbal_controller.bearers.rs485.line.FRAME_GAP_S", 2.0)


async def test_an_answer_byte_by_byte(patient: None) -> None:
    script = Script([Request(5, b"abc")])
    frame = answer(5, b"hello", 3)
    pieces: list[bytes | float] = []
    for k in range(len(frame)):
        pieces += [frame[k : k + 1], 0.001]
    async with line(lambda _: pieces, script) as (_, bus):
        await until(lambda: script.got)
        assert script.got == [(5, Answer(b"hello", True))]
        sent = bytes((5, 100, 0, 3)) + b"abc"
        assert bus.requests == [sent + crc16(sent).to_bytes(2, "little")]


async def test_a_slow_answer_is_not_cut_off_once_it_has_begun(patient: None) -> None:
    script = Script([Request(5)])
    frame = answer(5, b"y" * 200)
    pieces: list[bytes | float] = [0.03]
    for k in range(0, len(frame), 40):
        pieces += [frame[k : k + 40], 0.015]
    async with line(lambda _: pieces, script):
        await until(lambda: script.got)
        assert script.got[0][1] == Answer(b"y" * 200)


async def test_silence_costs_its_time_out_and_no_more() -> None:
    script = Script([Request(5), Request(6)])
    async with line(lambda data: [answer(6)] if data[0] == 6 else [], script) as (bearer, _):
        await until(lambda: len(script.got) == 2)
        assert script.got[0] == (5, None)
        assert script.got[1][1] is not None
        assert bearer.stats.timeouts == 1
        assert script.took[0] >= 0.5


async def test_a_late_answer_is_not_taken_for_the_next_node() -> None:
    """Node 5 answers after its time-out, just when node 6 has been asked."""
    script = Script([Request(5), Request(6), Request(6)])
    late: list[bytes | float] = [answer(5, b"late"), 0.02]

    def reply(data: bytes) -> list[bytes | float]:
        if data[0] == 5:
            return []
        first, late[:] = list(late), []
        return [*first, answer(6, b"six")]

    async with line(reply, script) as (bearer, _):
        await until(lambda: len(script.got) == 3)
        assert script.got[0] == (5, None)
        assert [got for _, got in script.got[1:]] == [Answer(b"six")] * 2
        assert bearer.stats.strays >= 1


@pytest.mark.parametrize("noise", [b"\x00", b"\x05\x64\x00", b"\xff" * 20, b"\x05\xe4\x01\x00\x00"])
async def test_noise_loses_one_answer_at_most(noise: bytes) -> None:
    script = Script([Request(5), Request(5)])
    count = 0

    def reply(_: bytes) -> list[bytes | float]:
        nonlocal count
        count += 1
        return [noise, answer(5)] if count == 1 else [answer(5)]

    async with line(reply, script):
        await until(lambda: len(script.got) == 2)
        assert script.got[1][1] is not None


async def test_babble_ends_and_the_line_recovers() -> None:
    """More bytes than any frame has, for longer than any answer lasts."""
    script = Script([Request(5)])

    def reply(data: bytes) -> list[bytes | float]:
        return [answer(6)] if data[0] == 6 else [x for _ in range(90) for x in (b"U" * 64, 0.01)]

    async with line(reply, script) as (bearer, bus):
        await until(lambda: script.got)
        assert script.got[0][1] is None
        assert bearer.stats.garbled >= 1
        assert not all(task.done() for task in bus.sending), "it was given up before it ended"
        await bus.settle()
        script.todo += [Request(6), Request(6)]
        await until(lambda: len(script.got) == 3)
        assert script.got[2][1] is not None


async def test_silence_between_frames() -> None:
    """3.5 characters, 1.75 ms above 19200 baud, from an answer's end to the next request."""
    ends: list[float] = []
    starts: list[float] = []
    script = Script([Request(5) for _ in range(20)])

    def reply(_: bytes) -> list[bytes | float]:
        starts.append(time.perf_counter())
        return [answer(5)]

    async with line(reply, script) as (_, bus):
        bus.written = lambda: ends.append(time.perf_counter())
        await until(lambda: len(script.got) == 20)
    gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
    assert len(gaps) == 19
    assert min(gaps) >= 0.00175


async def test_an_exception_answer_is_no_answer() -> None:
    raw = bytes((5, 0xE4, 1))
    script = Script([Request(5)])
    frame = raw + crc16(raw).to_bytes(2, "little")
    async with line(lambda _: [frame], script) as (bearer, _):
        await until(lambda: script.got)
        assert script.got == [(5, None)]
        assert bearer.stats.exceptions == 1


async def test_broadcasts_expect_nothing_and_leave_a_gap() -> None:
    at: list[float] = []
    script = Script([Request(EVERYBODY, b"g" * 20), Request(5)])

    def reply(data: bytes) -> list[bytes | float]:
        at.append(asyncio.get_running_loop().time())
        return [answer(5)] if data[0] == 5 else []

    async with line(reply, script):
        await until(lambda: script.got)
        assert script.got[0][0] == 5
        assert at[1] - at[0] >= 0.010


async def test_sent_is_called_before_the_answer() -> None:
    order: list[str] = []
    script = Script([Request(5, b"", lambda: order.append("sent"))])

    def reply(_: bytes) -> list[bytes | float]:
        order.append("arrived")
        return [answer(5)]

    async with line(reply, script):
        await until(lambda: script.got)
    assert order[0] == "sent"


def registers(data: bytes) -> list[bytes | float]:
    """Function 04 answers with registers 1, 2; function 100 with something sealed."""
    if data[1] == 100:
        return [answer(data[0])]
    raw = bytes((data[0], 4, 4, 0, 1, 0, 2))
    return [raw + crc16(raw).to_bytes(2, "little")]


async def test_plain_requests_go_between_the_polls() -> None:
    script = Script([Request(5) for _ in range(40)])
    async with line(registers, script) as (bearer, bus):
        await until(lambda: bearer.state is PortState.OPEN)
        request = ReadInputRegistersRequest(dev_id=9, address=0, count=2)
        got = await bearer.execute(request)
        assert got.registers == [1, 2]
        assert len(script.got) < 40, "it did not wait for the polls to end"
        await until(lambda: len(script.got) == 40)
        assert all(a is not None for _, a in script.got)
        assert sum(data[1] == 4 for data in bus.requests) == 1


async def test_a_plain_request_to_nobody_fails_and_the_line_goes_on() -> None:
    script = Script([])

    def reply(data: bytes) -> list[bytes | float]:
        return [answer(5)] if data[1] == 100 else []

    async with line(reply, script) as (bearer, _):
        await until(lambda: bearer.state is PortState.OPEN)
        with pytest.raises(BearerError):
            await bearer.execute(ReadInputRegistersRequest(dev_id=9, address=0, count=2))
        script.todo.append(Request(5))
        bearer.wake()
        await until(lambda: script.got)
        assert script.got[0][1] is not None


async def test_execute_on_a_closed_port() -> None:
    bearer = Rs485Bearer("a", BusConfig(port="/nowhere"), Script())
    with pytest.raises(BearerError, match="closed"):
        await bearer.execute(ReadInputRegistersRequest(dev_id=9))


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
async def test_a_serial_server_on_the_network(scheme: str) -> None:
    """No tty underneath; the same owner works through it, and reconnects."""
    open_links: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_links.append(writer)
        telnet = PortManager(serial.serial_for_url("loop://"), writer)
        while data := await reader.read(300):
            request = data if scheme == "socket" else b"".join(telnet.filter(data))
            if request:
                writer.write(answer(request[0], b"tcp"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    script = Script([Request(5)])
    # No line is as slow; a test at idle priority may be.
    config = BusConfig(port=f"{scheme}://127.0.0.1:{port}").model_copy(
        update={"answer_timeout_ms": 30_000.0}
    )
    bearer = Rs485Bearer("a", config, script)
    task = asyncio.create_task(bearer.run(check_cancelled))
    try:
        await until(lambda: script.got)
        assert script.got == [(5, Answer(b"tcp"))]
        open_links[0].close()
        await until(lambda: len(open_links) == 2)
        script.todo.append(Request(6))
        await until(lambda: len(script.got) >= 2)
        assert script.got[-1] == (6, Answer(b"tcp"))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for link in open_links:
            link.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.05)


async def test_a_url_that_pyserial_does_not_know() -> None:
    bearer = Rs485Bearer("a", BusConfig(port="nonsense://x"), Script())
    task = asyncio.create_task(bearer.run(check_cancelled))
    try:
        await until(lambda: "nonsense" in bearer.last_error)
        assert bearer.state is PortState.WAITING
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
