"""RS-485: one segment of homes behind one serial port, by Modbus RTU.

Importing this package does not load pymodbus, which takes a while; making a bearer does.
"""

from __future__ import annotations

from typing import Any, Literal

from pbal_controller.bearers.base import Bearer, Registers, Traffic
from pbal_controller.bearers.kinds import Kind
from pbal_controller.bearers.rs485.settings import BusConfig, locate
from pbal_controller.errors import BearerError


def make(name: str, config: BusConfig, traffic: Traffic) -> Bearer:
    """The owner of one segment. Raises BearerError: the pymodbus that is installed does not fit."""
    from pbal_controller.bearers.rs485.bearer import Rs485Bearer

    return Rs485Bearer(name, config, traffic)


def serial_registers(
    port: str, baud: int, parity: Literal["N", "E", "O"], stop_bits: Literal[1, 2]
) -> Registers:
    """Ordinary Modbus devices on a port of their own."""
    from pbal_controller.bearers.rs485.registers import SerialRegisters

    return SerialRegisters(port, baud, parity, stop_bits)


def open_port(config: BusConfig, *, timeout_s: float, write_timeout_s: float) -> Any:
    """A segment's port for a program that masters it by itself: port.py. Raises OSError."""
    from pbal_controller.bearers.rs485 import port

    return port.open_port(
        config.port, baud=config.baud, parity=config.parity, stop_bits=config.stop_bits,
        timeout_s=timeout_s, write_timeout_s=write_timeout_s, rts_de=config.rts_de,
    )  # fmt: skip


def probe(config: BusConfig) -> str:
    """Open a segment's port, send nothing, and say that it opens. Raises BearerError."""
    try:
        open_port(config, timeout_s=0.0, write_timeout_s=0.0).close()
    except OSError as error:
        raise BearerError(
            f"{config.port} cannot be opened ({error}); check the cable, the path (ls "
            "/dev/serial/by-id) and its permissions; while the controller runs, the port is its own"
        ) from None
    return f"{config.port} opens"


KIND = Kind("rs485", BusConfig, locate, make)

__all__ = ["KIND", "BusConfig", "open_port", "probe", "serial_registers"]
