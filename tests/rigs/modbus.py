"""Ordinary Modbus devices on a serial line of this computer, served by pymodbus's own server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import tty
from collections.abc import Mapping

from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from . import needs


class ModbusLine:
    """Devices (unit -> function 3 or 4 -> first register -> words) at the pty `path`.

    What a device does not have is refused by the server with an exception answer, as real ones do.
    Two ptys stand back to back: the server has the other one. It runs in a thread of its own, so
    that commands under test may bring their own event loop.
    """

    def __init__(self, devices: Mapping[int, Mapping[int, Mapping[int, list[int]]]]) -> None:
        self._devices = [
            SimDevice(
                id=unit,
                simdata=(
                    [SimData(0, values=False, datatype=DataType.BITS)],
                    [SimData(0, values=False, datatype=DataType.BITS)],
                    self._blocks(tables.get(3, {})),
                    self._blocks(tables.get(4, {})),
                ),
            )
            for unit, tables in devices.items()
        ]
        self._units = set(devices)
        self.path = ""
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._failed: BaseException | None = None

    @staticmethod
    def _blocks(table: Mapping[int, list[int]]) -> list[SimData]:
        """Registers as blocks, one at the very end where there is none."""
        blocks = table or {0xFFFF: [0]}
        return [
            SimData(first, values=list(words), datatype=DataType.REGISTERS)
            for first, words in sorted(blocks.items())
        ]

    def _only_ours(self, sending: bool, packet: bytes) -> bytes:
        """The server answers for units that it does not have; on a real line nobody would."""
        return packet if not sending or packet[0] in self._units else b""

    def __enter__(self) -> ModbusLine:
        self._thread.start()
        if not self._started.wait(needs.PATIENCE_S) or self._failed is not None:
            raise RuntimeError(f"the Modbus server does not start: {self._failed!r}")
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(needs.PATIENCE_S)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        pairs = [os.openpty() for _ in range(2)]
        loop = self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            for ends in pairs:
                for end in ends:
                    tty.setraw(end)
                os.set_blocking(ends[0], False)
            (near, slave), (far, other) = pairs
            self.path = os.ttyname(slave)

            def carry(source: int, to: int) -> None:
                with contextlib.suppress(OSError):
                    os.write(to, os.read(source, 4096))

            loop.add_reader(near, carry, near, far)
            loop.add_reader(far, carry, far, near)
            server = ModbusSerialServer(
                self._devices, port=os.ttyname(other), baudrate=115200,
                trace_packet=self._only_ours,
            )  # fmt: skip
            await server.serve_forever(background=True)
            self._started.set()
            await self._stop.wait()
            await server.shutdown()
        except BaseException as error:
            self._failed = error
            raise
        finally:
            self._started.set()
            for ends in pairs:
                loop.remove_reader(ends[0])
                for end in ends:
                    os.close(end)
