"""One RS-485 segment: its port and the order of access to it; frames are not interpreted.

The segment has one owner, the task inside `Rs485Bearer.run`. It asks the `Traffic` object
it was given for the next thing to send and hands back what came of it; others may put plain
Modbus requests (a meter on the same wires) in between through `execute`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from typing import Any

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
)

from pbal_controller.bearers.base import EVERYBODY, Lease, Request, Traffic, Where
from pbal_controller.bearers.rs485 import fit
from pbal_controller.bearers.rs485.line import (
    BITS_PER_CHAR,
    OP_GROUP,
    OP_POLL,
    LineClient,
    LineStats,
    SealedPDU,
)
from pbal_controller.bearers.rs485.plain import PlainRequests
from pbal_controller.bearers.rs485.registers import registers_of
from pbal_controller.bearers.rs485.settings import BusConfig
from pbal_controller.errors import BearerError
from pbal_controller.loops import Backoff
from pbal_host import check_cancelled
from pbal_protocol.modbus import MAX_BODY

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0
# Bytes around a sealed frame: unit, function, op, length and checksum. Bytes of an answer with
# little more than a reading. Time until a node begins its answer (docs/node.md).
_POLL_CHARS = 6
_ANSWER_CHARS = 80
_TURNAROUND_S = 0.004
# A poll of this unit keeps a lease where nothing else is sent: Modbus reserves it, nobody answers.
SIGN_UNIT = 248
_LEASE_TURN_S = 0.05
_ECHO_S = 0.02  # an adapter's echo comes this late


class PortState(enum.Enum):
    """State of the port."""

    CLOSED = "closed"
    OPENING = "opening"
    OPEN = "open"
    WAITING = "waiting"  # failed; waiting before the next attempt


class Rs485Bearer:
    """The owner of one segment."""

    def __init__(self, name: str, config: BusConfig, traffic: Traffic) -> None:
        fit.check()
        self.name = name
        self.room = MAX_BODY
        self.config = config
        self.traffic = traffic
        self.state = PortState.CLOSED
        self.reconnects = 0
        self.last_error = ""
        self.busy_s = 0.0
        self.turnaround_s = 0.0  # smoothed, from the end of our request to the first byte back
        self.char_s = BITS_PER_CHAR / config.baud
        # Modbus over serial line 1.02, 2.5.1.1: above 19200 baud the silence is fixed.
        self.silence_s = 3.5 * self.char_s if config.baud <= 19200 else 0.00175
        self._client: LineClient | None = None
        self._stats = LineStats()
        self._lost = False
        self._woken = False
        self._sleeper: asyncio.Future[None] | None = None
        self._plain = PlainRequests(name)
        self._quiet_until = 0.0
        self._heard_until = 0.0
        self._plain_turn = False
        self.lease: Lease | None = None  # where a second controller stands by on these wires

    # -- what others may ask -------------------------------------------------------------

    @property
    def stats(self) -> LineStats:
        """Counts since start, over all openings of the port."""
        return self._stats

    def wake(self) -> None:
        """Something new may be due: end the present wait."""
        self._woken = True
        if self._sleeper is not None:
            _set(self._sleeper)

    async def execute(self, pdu: ModbusPDU, timeout_s: float = 5.0) -> ModbusPDU:
        """Run one plain Modbus request between the polls.

        Raises BearerError when the port is closed, the unit is silent or answers with an
        exception.
        """
        if self.state is not PortState.OPEN:
            raise BearerError(f"bus {self.name}: the port is {self.state.value}")
        return await self._plain.ask(pdu, self.wake, timeout_s)

    # -- the owner -----------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Own the segment until cancelled; `beat` is called after each thing done.

        Opens the port, and again after each loss, with a capped back-off.
        """
        backoff = Backoff(0.5, 15.0)
        try:
            while True:
                try:
                    await self._open()
                except BearerError as error:
                    self.state = PortState.WAITING
                    if self.last_error != str(error):
                        log.error("port unusable", extra={"bus": self.name, "why": str(error)})
                    self.last_error = str(error)
                    await asyncio.sleep(backoff.next())
                    beat()
                    continue
                if self.last_error:
                    log.info("port usable again", extra={"bus": self.name})
                    self.last_error = ""
                opened = asyncio.get_running_loop().time()
                await self._serve(beat)
                self._close()
                self.reconnects += 1
                if asyncio.get_running_loop().time() - opened > 30:
                    backoff.reset()
                self.state = PortState.WAITING
                await asyncio.sleep(backoff.next())
        finally:
            self._close()
            self.state = PortState.CLOSED

    async def _open(self) -> None:
        self.state = PortState.OPENING
        self._lost = False
        c = self.config
        client = LineClient(
            c.port,
            baudrate=c.baud,
            parity=c.parity,
            stopbits=c.stop_bits,
            local_echo=c.local_echo,
            rts_de=c.rts_de,
        )
        client.line.stats = self._stats
        if self.lease is not None:
            client.may_send = self.lease.may_send
        client.line.on_lost = self._on_lost
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await client.open()
        except (OSError, TimeoutError) as error:
            client.close()
            why = str(error) or f"it did not open within {OPEN_TIMEOUT_S:.0f} s"
            raise BearerError(
                f"{c.port}: {why}; check the cable, the path and its permissions"
            ) from None
        except BaseException:
            client.close()
            raise
        self._client = client
        self.state = PortState.OPEN
        if self.lease is not None:
            self.lease.opened(self.name)

    def _on_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.last_error = f"the port was lost: {error}" if error else "the port was lost"
        log.error("port lost", extra={"bus": self.name, "why": self.last_error})
        self.traffic.lost()
        self.wake()

    def _close(self) -> None:
        client, self._client = self._client, None
        if self.lease is not None:
            self.lease.closed(self.name)
        if client is not None:
            client.close()
        self._plain.lost()

    async def _serve(self, beat: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        assert self._client is not None
        client = self._client
        line = client.line
        self._quiet_until = loop.time() + self.silence_s
        while not self._lost:
            now = loop.time()
            if self.lease is not None and await self._lease_turn(client, self.lease):
                beat()
                continue
            # Between two polls at most one plain request, so that neither starves the other.
            if self._plain.waiting and self._plain_turn:
                self._plain_turn = False
                await self._send_plain(client)
                beat()
                continue
            self._plain_turn = True
            self._woken = False
            todo = self.traffic.next_request(now)
            if not isinstance(todo, Request):
                if self._plain.waiting or self._woken:
                    continue
                beat()
                idle_s = 1.0 if self.lease is None else _LEASE_TURN_S
                await self._sleep(min(todo, now + idle_s), interruptible=True)
                continue
            if loop.time() < self._quiet_until:
                await self._sleep(self._quiet_until)
            began = loop.time()
            if todo.to is EVERYBODY:
                size = self._send_broadcast(client, todo)
                self._quiet_until = (
                    began
                    + size * self.char_s
                    + max(self.silence_s, self.config.broadcast_gap_ms / 1e3)
                )
                beat()
                continue
            unit: int = todo.to  # type: ignore[assignment]  # as `locate` made it
            packet = line.framer.buildFrame(SealedPDU(OP_POLL, todo.frame, unit))
            waiter = line.start(unit, packet, self.config.answer_timeout_ms / 1e3, self.char_s)
            if todo.sent is not None:
                todo.sent()
            try:
                answer = await waiter
            finally:
                line.abandon()
            now = loop.time()
            self._quiet_until = (line.last_rx if line.first_rx else now) + self.silence_s
            self.busy_s += now - began
            if answer is not None:
                took = line.first_rx - began - len(packet) * self.char_s
                self.turnaround_s += 0.05 * (took - self.turnaround_s)
            # The silence after an answer is long enough to open and check it.
            self.traffic.handle(todo, answer, now)
            beat()

    async def _lease_turn(self, client: LineClient, lease: Lease) -> bool:
        """What the lease asks of this port; True when the turn is used up by it."""
        loop = asyncio.get_running_loop()
        if not lease.serving:
            # Bytes that arrive within the time of our own sign are its echo, where there is one.
            if client.line.last_rx > max(self._heard_until, self._quiet_until):
                lease.heard(self.name)
            self._heard_until = client.line.last_rx
        if lease.sign_due(self.name):
            if loop.time() < self._quiet_until:
                await self._sleep(self._quiet_until)
            packet = client.line.framer.buildFrame(SealedPDU(OP_POLL, b"", SIGN_UNIT))
            client.line.write(packet)
            own_s = len(packet) * self.char_s + _ECHO_S * self.config.local_echo
            self._quiet_until = loop.time() + own_s + self.silence_s
            return True
        if lease.serving:
            return False
        await self._sleep(loop.time() + _LEASE_TURN_S)
        return True

    def _send_broadcast(self, client: LineClient, todo: Request) -> int:
        packet = client.line.framer.buildFrame(SealedPDU(OP_GROUP, todo.frame, 0))
        client.line.write(packet)
        if todo.sent is not None:
            todo.sent()
        return len(packet)

    async def _send_plain(self, client: LineClient) -> None:
        job = self._plain.next()
        if job is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._quiet_until:
            await self._sleep(self._quiet_until)
        try:
            await self._plain.send(client, job)
        finally:
            self._quiet_until = loop.time() + self.silence_s
        check_cancelled()

    async def _sleep(self, until: float, interruptible: bool = False) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(until, _set, done)
        if interruptible:
            self._sleeper = done
        try:
            await done
        finally:
            self._sleeper = None
            timer.cancel()

    @property
    def up(self) -> bool:
        """Whether the port is open."""
        return self.state is PortState.OPEN

    def reaches(self, where: Where) -> str:
        """All units are on the same wires: they are reached while the port is open."""
        return "" if self.up else self.last_error or f"the port is {self.state.value}"

    def cost_s(self, size: int) -> float:
        """Both silences, both frames, and the time in which a node begins to answer."""
        chars = size + _POLL_CHARS + _ANSWER_CHARS
        return 2 * self.silence_s + chars * self.char_s + _TURNAROUND_S

    def freshness_s(self, homes: int) -> float:
        """One round, in which each is asked once."""
        return homes * self.cost_s(0)

    async def input_registers(self, unit: int, first: int, count: int) -> list[int]:
        """As `Registers` says, between the polls."""
        request = ReadInputRegistersRequest(dev_id=unit, address=first, count=count)
        answer = await self.execute(request)
        return registers_of(answer, unit, first, count)

    async def holding_registers(self, unit: int, first: int, count: int) -> list[int]:
        """As `Registers` says, between the polls."""
        request = ReadHoldingRegistersRequest(dev_id=unit, address=first, count=count)
        answer = await self.execute(request)
        return registers_of(answer, unit, first, count)

    def close(self) -> None:
        """The homes use the port: it stays open."""

    def counts(self) -> dict[str, int]:
        """Exchanges since start, by outcome."""
        s = self._stats
        return {
            "requests": s.requests,
            "answers": s.answers,
            "timeouts": s.timeouts,
            "garbled": s.garbled,
            "strays": s.strays,
            "exceptions": s.exceptions,
        }

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        s = self._stats
        return {
            "name": self.name,
            "kind": "rs485",
            "port": self.config.port,
            "baud": self.config.baud,
            "state": self.state.value,
            "last_error": self.last_error,
            "reconnects": self.reconnects,
            **self.counts(),
            "tx_bytes": s.tx_bytes,
            "rx_bytes": s.rx_bytes,
            "turnaround_s": round(self.turnaround_s, 6),
        }


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
