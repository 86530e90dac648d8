"""The settings of one RS-485 segment, and where a home is on it. Does not load pymodbus."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pbal_controller.bearers.base import Where
from pbal_host.tables import Table

MAX_UNIT = 247


class BusConfig(Table):
    """One RS-485 segment; `port` is any pyserial URL."""

    port: str
    baud: int = Field(default=115200, ge=1200, le=4_000_000)
    parity: Literal["N", "E", "O"] = "E"
    stop_bits: Literal[1, 2] = 1
    # A node begins to answer within this long or is taken for silent this time.
    answer_timeout_ms: float = Field(default=60.0, ge=5, le=2000)
    # Quiet time the nodes need after a broadcast before the next request.
    broadcast_gap_ms: float = Field(default=10.0, ge=2, le=1000)
    # For adapters that receive what they send.
    local_echo: bool = False
    # The kernel drives DE through RTS (TIOCSRS485); most adapters do it in hardware.
    rts_de: bool = False


def locate(settings: BusConfig, address: int, at: object) -> Where:
    """The Modbus unit of a home: as the configuration says, else the low byte of its address."""
    if at is None:
        unit = address & 0xFF
        if not 1 <= unit <= MAX_UNIT:
            raise ValueError(
                f"address {address} has Modbus unit {unit}; use segment * 256 + a unit 1..247"
            )
        return unit
    if isinstance(at, bool) or not isinstance(at, int) or not 1 <= at <= MAX_UNIT:
        raise ValueError(f"at = {at!r} is no Modbus unit; use a number 1..247")
    return at
