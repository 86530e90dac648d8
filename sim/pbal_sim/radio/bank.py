"""The registers of an SX1276 as a place: two pages behind one range of addresses, and the rest.

What they mean is read by modem.py; what happens when one is written is sx1276.py's.
"""

from __future__ import annotations

from pbal_sim.radio import registers as r

_PAGED = range(0x0D, 0x40)


class Bank:
    """All registers, as after a reset; `shared`, `lora` and `fsk`: 128 bytes each, by address."""

    def __init__(self) -> None:
        self.shared = bytearray(0x80)
        self.lora = bytearray(0x80)
        self.fsk = bytearray(0x80)
        for place, values in (
            (self.shared, r.RESET),
            (self.lora, r.RESET_LORA),
            (self.fsk, r.RESET_FSK),
        ):
            for register, value in values.items():
                place[register] = value

    @property
    def mode(self) -> int:
        """The low bits of RegOpMode."""
        return self.shared[r.OP_MODE] & 7

    @property
    def long_range(self) -> bool:
        """LoRa, not FSK."""
        return bool(self.shared[r.OP_MODE] & r.LONG_RANGE)

    def page(self, address: int) -> bytearray:
        """Where the register at an address is found now."""
        if address not in _PAGED:
            return self.shared
        lora = self.long_range and not self.shared[r.OP_MODE] & r.ACCESS_SHARED
        return self.lora if lora else self.fsk

    def rssi(self, dbm: float) -> int:
        """As in RegRssiValue (data sheet, section 5.5.5)."""
        offset = 164 if self.shared[r.OP_MODE] & r.LOW_FREQUENCY else 157
        return max(0, min(255, round(dbm + offset)))

    def count(self, register: int) -> None:
        """One more in a counter of two bytes, which begins anew behind its last value."""
        value = (self.lora[register] << 8 | self.lora[register + 1]) + 1
        self.lora[register : register + 2] = (value & 0xFFFF).to_bytes(2, "big")
