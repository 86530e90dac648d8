"""Ordinary Modbus devices: their input registers, on a serial port of their own."""

from __future__ import annotations

from typing import Literal

from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

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
        self._parity = parity
        self._stop_bits = stop_bits
        self._client: AsyncModbusSerialClient | None = None

    async def input_registers(self, unit: int, first: int, count: int) -> list[int]:
        """As `Registers` says."""
        client = await self._opened()
        try:
            answer = await client.read_input_registers(first, count=count, device_id=unit)
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
            if not await client.connect():
                client.close()
                raise BearerError(f"{self._port} does not open")
            self._client = client
        return self._client

    def close(self) -> None:
        """Close the port."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
