"""An emulated LoRaWAN modem on a pseudo-terminal, and the network behind it.

Two dialects: a RAK3172 with RUI3 (RAKwireless, RUI3 AT Command Manual), and a Murata Type ABZ with
its modem firmware (HARDWARIO lora-modem, AT Command Interface; Arduino MKRWAN). What is said to it
is checked as the modem checks it: commands in another order, strange parameters, payloads too
long for the data rate and sends without a join get the errors that the modem gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import tty
from collections import deque
from typing import ClassVar

# Bytes of payload at DR0 to DR5 of EU868 (RP002-1.0.4, table 7), and of US915 at DR0 to DR4.
ROOM = {"EU868": (51, 51, 51, 115, 222, 222), "US915": (11, 53, 125, 242, 242)}
# Commands that set a key or an EUI: hexadecimal digits.
_KEYS = {"AT+DEVEUI": 16, "AT+APPEUI": 16, "AT+APPKEY": 32}


class Network:
    """A network server with one device. `lost`: so many of the next uplinks get no answer."""

    def __init__(self, app_key: str, join_eui: str) -> None:
        self.app_key, self.join_eui = app_key.upper(), join_eui.upper()
        self.uplinks: list[tuple[int, bytes]] = []
        self.downlinks: deque[tuple[int, bytes]] = deque()
        self.refused_joins = 0
        self.lost = 0
        self.joins = 0

    def join(self, app_key: str, join_eui: str) -> bool:
        """Whether it lets the device in."""
        if self.refused_joins:
            self.refused_joins -= 1
            return False
        self.joins += 1
        return (app_key.upper(), join_eui.upper()) == (self.app_key, self.join_eui)

    def uplink(self, port: int, data: bytes) -> bool:
        """Whether it is acknowledged."""
        if self.lost:
            self.lost -= 1
            return False
        self.uplinks.append((port, data))
        return True


class Modem:
    """What both dialects share. `port` is the path for the program under test."""

    end = b"\r\n"

    def __init__(self, network: Network, data_rate: int = 0) -> None:
        self.network = network
        self.data_rate = data_rate
        self.said: list[str] = []
        self.joined = False
        self.busy = 0  # so many of the next sends
        self.restricted_ms = 0  # the next send
        self.silent = False
        self.region = "EU868"
        self.keys = dict.fromkeys(_KEYS, "")
        self._buffer = b""
        self._master, slave = pty.openpty()
        tty.setraw(self._master)
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._slave = slave
        os.set_blocking(self._master, False)

    async def __aenter__(self) -> Modem:
        asyncio.get_running_loop().add_reader(self._master, self._readable)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.unplug()

    def unplug(self) -> None:
        """The cable is pulled."""
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def reset(self) -> None:
        """The module starts again: it has left the network."""
        self.joined = False

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._buffer += os.read(self._master, 4096)
        self.take()

    def take(self) -> None:
        """Lines that are complete."""
        while self.end in self._buffer:
            self.obey(self.line())

    def line(self) -> str:
        """The next line, which is complete."""
        line, _, self._buffer = self._buffer.partition(self.end)
        return line.decode("ascii", "replace").strip()

    def obey(self, text: str) -> None:
        """Do what a line says."""
        self.said.append(text)
        if not self.silent:
            self.command(text)

    def command(self, text: str) -> None:
        """One command of the dialect."""
        raise NotImplementedError

    def keep(self, name: str, value: str) -> bool:
        """A key or an EUI is set; False for what is none."""
        if not re.fullmatch(f"[0-9A-Fa-f]{{{_KEYS[name]}}}", value):
            return False
        self.keys[name] = value
        return True

    def join(self) -> bool:
        """Whether the network lets it in."""
        return self.network.join(self.keys["AT+APPKEY"], self.keys["AT+APPEUI"])

    def write(self, text: str) -> None:
        """Text to the program."""
        with contextlib.suppress(OSError):
            os.write(self._master, text.encode("ascii"))

    @property
    def room(self) -> int:
        """The longest payload at this data rate."""
        return ROOM[self.region][self.data_rate]


class Rak3172(Modem):
    """RUI3: answers in `OK` and `AT_...`, events in `+EVT:...`."""

    _BANDS: ClassVar = {"4": "EU868", "5": "US915"}

    def _status(self, words: str = "OK") -> None:
        self.write(f"\r\n{words}\r\n")

    def command(self, text: str) -> None:
        name, _, value = text.partition("=")
        if name in _KEYS:
            return self._status("OK" if self.keep(name, value) else "AT_PARAM_ERROR")
        if name == "AT+BAND":
            if value not in self._BANDS:
                return self._status("AT_PARAM_ERROR")
            self.region = self._BANDS[value]
            return self._status()
        if name == "AT+DR":
            self.data_rate = int(value)
            return self._status()
        if text in ("AT", "AT+NJM=1", "AT+CLASS=A", "AT+CFM=1", "AT+ADR=0", "AT+ADR=1"):
            return self._status()
        if name == "AT+JOIN" and re.fullmatch(r"[01]:[01]:\d{1,3}:\d{1,3}", value):
            self._status()
            self.joined = self.join()
            return self.write(f"+EVT:{'JOINED' if self.joined else 'JOIN_FAILED_RX_TIMEOUT'}\r\n")
        if name == "AT+SEND":
            return self._send(value)
        return self._status("AT_ERROR")

    def _send(self, value: str) -> None:
        found = re.fullmatch(r"(\d{1,3}):((?:[0-9A-Fa-f]{2})+)", value)
        if found is None or not 1 <= int(found[1]) <= 223 or len(found[2]) > 2 * self.room:
            return self._status("AT_PARAM_ERROR")
        if not self.joined:
            return self._status("AT_NO_NETWORK_JOINED")
        if self.busy:
            self.busy -= 1
            return self._status("AT_BUSY_ERROR")
        if self.restricted_ms:
            self.write(f"Restricted_Wait_{self.restricted_ms}_ms\r\n")
            self.restricted_ms = 0
            return self._status("AT_BUSY_ERROR")
        self._status()
        good = self.network.uplink(int(found[1]), bytes.fromhex(found[2]))
        if good and self.network.downlinks:
            port, data = self.network.downlinks.popleft()
            self.write(f"+EVT:RX_1:-70:8:UNICAST:{port}:{data.hex()}\r\n")
        return self.write(f"+EVT:SEND_CONFIRMED_{'OK' if good else 'FAILED(4)'}\r\n")


class MurataAbz(Modem):
    """Type ABZ: answers in `+OK` and `+ERR=n`; the payload follows the command's line."""

    end = b"\r"
    _BANDS: ClassVar = {"5": "EU868", "8": "US915"}

    def __init__(self, network: Network, data_rate: int = 0) -> None:
        super().__init__(network, data_rate)
        self._hex = False
        self._wants: tuple[int, int] | None = None

    def take(self) -> None:
        """Commands end in CR; the payload after AT+PCTX has the length that was given."""
        while True:
            if self._wants is not None:
                port, size = self._wants
                digits = size * (2 if self._hex else 1)
                if len(self._buffer) < digits:
                    return
                data, self._buffer = self._buffer[:digits], self._buffer[digits:].lstrip(b"\r")
                self._wants = None
                self._transmit(port, bytes.fromhex(data.decode()) if self._hex else data)
            elif self.end in self._buffer:
                text = self.line()
                if text:
                    self.obey(text)
            else:
                return

    def _ok(self) -> None:
        self.write("+OK\r\n\r\n")

    def _error(self, number: int) -> None:
        self.write(f"+ERR={number}\r\n\r\n")

    def command(self, text: str) -> None:
        name, _, value = text.partition("=")
        if name in _KEYS:
            return self._ok() if self.keep(name, value) else self._error(-3)
        if name == "AT+BAND":
            if value not in self._BANDS:
                return self._error(-15)
            self.region = self._BANDS[value]
            self._ok()
            return self.write("+EVENT=0,0\r\n\r\n")
        if name == "AT+DFORMAT":
            self._hex = value == "1"
            return self._ok()
        if name == "AT+DR":
            self.data_rate = int(value)
            return self._ok()
        if text in ("AT", "AT+MODE=1", "AT+CLASS=0", "AT+ADR=0", "AT+ADR=1"):
            return self._ok()
        if text == "AT+JOIN":
            if self.joined:
                return self._error(-6)
            self._ok()
            self.joined = self.join()
            return self.write(f"+EVENT=1,{int(self.joined)}\r\n\r\n")
        found = re.fullmatch(r"AT\+PCTX (\d{1,3}),(\d{1,3})", text)
        if found is None:
            return self._error(-1)
        self._wants = int(found[1]), int(found[2])
        return None

    def _transmit(self, port: int, data: bytes) -> None:
        if not self.joined:
            return self._error(-5)
        if len(data) > self.room:
            return self._error(-12)
        if self.busy:
            self.busy -= 1
            return self._error(-7)
        if self.restricted_ms:
            self.restricted_ms = 0
            return self._error(-18)
        self._ok()
        good = self.network.uplink(port, data)
        if good and self.network.downlinks:
            down, payload = self.network.downlinks.popleft()
            self.write(f"+RECV={down},{len(payload)}\r\n\r\n{payload.hex().upper()}")
            self.write("\r\n\r\n")
        return self.write("+ACK\r\n\r\n" if good else "+NOACK\r\n\r\n")
