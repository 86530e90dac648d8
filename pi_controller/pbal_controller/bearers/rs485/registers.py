"""Ordinary Modbus devices: their registers, on a serial port of their own."""

from __future__ import annotations

import termios
from typing import Literal

from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from pbal_controller.bearers.rs485.port import is_pty
from pbal_controller.errors import BearerError

_TIMEOUT_S = 0.5


def registers_of(answer: ModbusPDU, unit: int, first: int, count: int) -> list[int]:
    """The registers of an answer. Raises BearerError: it is an exception, or holds others."""
    if answer.isError() or len(answer.registers) != count:
        raise BearerError(f"unit {unit}: no such registers {first}")
    return list(answer.registers)


class SerialRegisters:
    """A serial port with ordinary Modbus devices and nothing else, opened when first needed."""

    def __init__(
        self, port: str, baud: int, parity: Literal["N", "E", "O"], stop_bits: Literal[1, 2]
    ) -> None:
        self._port = port
        self._baud = baud
        self._parity: Literal["N", "E", "O"] = "N" if is_pty(port) else parity
        self._stop_bits = stop_bits
        self._client: AsyncModbusSerialClient | None = None

    async def input_registers(self, unit: int, first: int, count: int) -> list[int]:
        """As `Registers` says."""
        return await self._read(4, unit, first, count)

    async def holding_registers(self, unit: int, first: int, count: int) -> list[int]:
        """As `Registers` says."""
        return await self._read(3, unit, first, count)

    async def _read(self, function: int, unit: int, first: int, count: int) -> list[int]:
        client = await self._opened()
        read = client.read_holding_registers if function == 3 else client.read_input_registers
        try:
            answer = await read(first, count=count, device_id=unit)
        except (ModbusException, OSError) as error:
            self.close()
            raise BearerError(f"unit {unit}: {error}") from None
        return registers_of(answer, unit, first, count)

    async def _opened(self) -> AsyncModbusSerialClient:
        if self._client is None or not self._client.connected:
            self.close()
            client = AsyncModbusSerialClient(
                self._port, baudrate=self._baud, parity=self._parity, stopbits=self._stop_bits,
                timeout=_TIMEOUT_S, retries=1, reconnect_delay=0,
            )  # fmt: skip
            try:
                opened = await client.connect()
            except termios.error as error:  # no OSError: the adapter refuses the settings
                client.close()
                line = f"{self._baud} 8{self._parity}{self._stop_bits}"
                raise BearerError(f"{self._port} refuses {line}: {error.args[-1]}") from None
            if not opened:
                client.close()
                raise BearerError(f"{self._port} does not open")
            self._client = client
        return self._client

    def close(self) -> None:
        """Close the port."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
