"""An AT modem on a serial port: one command at a time, and what comes unasked."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
from collections import deque
from dataclasses import dataclass

import serial

from pbal_controller.config import LorawanConfig
from pbal_controller.errors import BearerError
from pbal_controller.uplink.modem import Modem, Step

_LONGEST = 1024  # bytes of a line
_WAITING = 256  # lines that nobody reads; the oldest are dropped
_KEPT = 32  # downlinks that wait to be taken


class Outcome(enum.Enum):
    """How a join or a message ended."""

    DONE = 1  # joined; acknowledged by the network
    FAILED = 2
    BUSY = 3
    NOT_JOINED = 4
    RESTRICTED = 5  # the duty cycle is used up
    TOO_LONG = 6  # for the data rate


@dataclass(frozen=True)
class Result:
    """An outcome; `wait_s`: how long the modem says to wait, 0 where it says nothing."""

    outcome: Outcome
    line: str = ""
    wait_s: float = 0.0


@dataclass(frozen=True)
class Downlink:
    """What the network sent."""

    port: int
    data: bytes


class AtPort:
    """The owner of one modem's port."""

    def __init__(self, config: LorawanConfig, modem: Modem, app_key: str) -> None:
        self._config = config
        self._modem = modem
        self._secret = app_key
        self._port: serial.Serial | None = None
        self._buffer = bytearray()
        self._lines: asyncio.Queue[str] = asyncio.Queue(_WAITING)
        self._payload_of: int | None = None  # the port of the payload that is the next line
        self._restricted_s = 0.0
        self.downlinks: deque[Downlink] = deque(maxlen=_KEPT)

    # -- the port ---------------------------------------------------------------------------

    def open(self) -> None:
        """Open the port. Raises BearerError."""
        try:
            self._port = serial.Serial(
                self._config.port, self._config.baud or self._modem.line.baud, timeout=0,
                write_timeout=5, exclusive=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise BearerError(
                f"{self._config.port}: the modem's port cannot be opened ({error}); is it plugged "
                "in, and this user in the group dialout?"
            ) from None
        asyncio.get_running_loop().add_reader(self._port.fileno(), self._readable)

    def close(self) -> None:
        """Close it; safe to call twice."""
        if self._port is not None:
            with contextlib.suppress(OSError, ValueError):
                asyncio.get_running_loop().remove_reader(self._port.fileno())
            with contextlib.suppress(OSError):
                self._port.close()
            self._port = None

    def _readable(self) -> None:
        assert self._port is not None
        try:
            data = self._port.read(4096)
        except (OSError, serial.SerialException):
            self.close()
            self._put("")  # the end
            return
        self._buffer += data
        *lines, rest = re.split(rb"[\r\n]", bytes(self._buffer))
        self._buffer = bytearray(rest[-_LONGEST:])
        for line in lines:
            text = line.decode("ascii", "replace").strip()
            if text:
                self._line(text)

    def _line(self, text: str) -> None:
        if self._payload_of is not None:
            self._downlink(self._payload_of, text)
            self._payload_of = None
        elif found := self._modem.means("received", text):
            groups = found.groupdict()
            if "hex" in groups:
                self._downlink(int(groups["port"]), groups["hex"])
            elif int(groups["size"]):
                self._payload_of = int(groups["port"])
        elif found := self._modem.means("restricted", text):
            self._restricted_s = int(found["ms"]) / 1000
        else:
            self._put(text)

    def _put(self, line: str) -> None:
        if self._lines.full():
            self._lines.get_nowait()
        self._lines.put_nowait(line)

    def _downlink(self, port: int, digits: str) -> None:
        with contextlib.suppress(ValueError):
            self.downlinks.append(Downlink(port, bytes.fromhex(digits)))

    # -- commands ---------------------------------------------------------------------------

    def _say(self, step: Step, **more: object) -> None:
        c = self._config
        words = step.say.format(
            region=self._modem.regions[c.region], dev_eui=(c.dev_eui or "").upper(),
            join_eui=c.join_eui.upper(), app_key=self._secret, adr=int(c.adr),
            data_rate=c.data_rate, **more,
        )  # fmt: skip
        if self._port is None:
            raise BearerError(f"{c.port}: the modem is gone")
        while not self._lines.empty():
            self._lines.get_nowait()
        self._restricted_s = 0.0
        try:
            self._port.write((words + self._modem.line.end).encode("ascii"))
        except (OSError, serial.SerialException) as error:
            raise BearerError(f"{c.port}: the modem takes nothing ({error})") from None

    async def _next(self, seconds: float, step: Step) -> str:
        try:
            async with asyncio.timeout(seconds):
                line = await self._lines.get()
        except TimeoutError:
            raise BearerError(
                f"{self._config.port}: no answer to {step.say.split('=')[0]!r} within "
                f"{seconds:g} s; is it a {self._modem.modem.title} at "
                f"{self._config.baud or self._modem.line.baud} baud?"
            ) from None
        if not line:
            raise BearerError(f"{self._config.port}: the modem is gone")
        return line

    async def set_up(self) -> None:
        """Configure the modem. Raises BearerError: which command it refuses."""
        for step in self._modem.setup:
            if "{dev_eui}" in step.say and self._config.dev_eui is None:
                continue
            if "{data_rate}" in step.say and self._config.adr:
                continue
            self._say(step)
            while True:
                line = await self._next(step.wait_s, step)
                if self._modem.means("ok", line):
                    break
                if self._modem.means("error", line):
                    # Without what was said: it may be the key.
                    raise BearerError(
                        f"{self._config.port}: the modem refuses {step.say!r}: {line}"
                    )
            await asyncio.sleep(step.pause_s)

    async def join(self) -> Result:
        """Join the network (OTAA). Raises BearerError."""
        return await self._long(self._modem.join, "joined", "join_failed")

    async def send(self, port: int, data: bytes) -> Result:
        """A confirmed uplink. Raises BearerError."""
        return await self._long(
            self._modem.send, "acknowledged", "not_acknowledged", port=port, size=len(data),
            hex=data.hex().upper(),
        )  # fmt: skip

    async def _long(self, step: Step, good: str, bad: str, **more: object) -> Result:
        """A command whose end comes as an event."""
        modem = self._modem
        self._say(step, **more)
        while True:
            line = await self._next(step.wait_s, step)
            if modem.means(good, line) or modem.means("errors.already_joined", line):
                return Result(Outcome.DONE, line)
            if modem.means(bad, line):
                return Result(Outcome.FAILED, line)
            if modem.means("error", line):
                return Result(self._error(line), line, self._restricted_s)

    def _error(self, line: str) -> Outcome:
        if self._restricted_s or self._modem.means("errors.restricted", line):
            return Outcome.RESTRICTED
        for name, outcome in (
            ("busy", Outcome.BUSY), ("not_joined", Outcome.NOT_JOINED),
            ("too_long", Outcome.TOO_LONG),
        ):  # fmt: skip
            if self._modem.means(f"errors.{name}", line):
                return outcome
        return Outcome.FAILED
