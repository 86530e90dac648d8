"""One place with a virtual clock, and chips that are set up by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pbal_protocol.radio.airtime import low_data_rate
from pbal_sim.radio import FREE, Air, PathLoss, Sx1276, VirtualClock
from pbal_sim.radio import registers as r

HZ = 868_100_000


class Place:
    """An air, its clock, and radios on it."""

    def __init__(self, loss: PathLoss = FREE, seed: int = 0) -> None:
        self.clock = VirtualClock()
        self.air = Air(self.clock, loss=loss, seed=seed)
        self.clock.watch.append(self.air.catch_up)

    def chip(self, name: str, x_m: float = 0.0, **more: object) -> Hand:
        return Hand(self, Sx1276(self.air, name, (x_m, 0.0), **more))  # type: ignore[arg-type]


class Hand:
    """A chip driven register by register."""

    def __init__(self, place: Place, chip: Sx1276) -> None:
        self.place = place
        self.chip = chip
        self.put(r.OP_MODE, r.SLEEP)
        self.put(r.OP_MODE, r.LONG_RANGE | r.SLEEP)
        self.put(r.OP_MODE, r.LONG_RANGE | r.STDBY)
        self.tune()

    def put(self, register: int, *values: int) -> None:
        self.chip.exchange(bytes([register | 0x80, *values]))

    def get(self, register: int, count: int = 1) -> int:
        return int.from_bytes(self.chip.exchange(bytes([register, *bytes(count)]))[1:], "big")

    def tune(self, hz: int = HZ, sf: int = 7, bw: int = 125_000, power: int = 0xFF) -> None:
        self.put(r.FRF_MSB, *round(hz * 2**19 / 32e6).to_bytes(3, "big"))
        self.put(r.MODEM_CONFIG1, r.BANDWIDTHS_HZ.index(bw) << 4 | 0x02)
        self.put(r.MODEM_CONFIG2, sf << 4 | 0x04)
        self.put(r.MODEM_CONFIG3, 0x0C if low_data_rate(sf, bw) else 0x04)
        self.put(r.PA_CONFIG, power)
        # Both errata.
        self.put(r.DETECT_OPTIMIZE, 0xC3 if bw == 500_000 else 0x43)
        self.put(r.IF_FREQ1, 0x40, 0)
        if bw == 500_000:
            self.put(r.HIGH_BW_OPTIMIZE1, 0x02)
            self.put(r.HIGH_BW_OPTIMIZE2, 0x64)

    def mode(self, mode: int) -> None:
        self.put(r.OP_MODE, r.LONG_RANGE | mode)

    def send(self, data: bytes) -> None:
        self.mode(r.STDBY)
        self.put(r.FIFO_ADDR_PTR, self.get(r.FIFO_TX_BASE_ADDR))
        self.put(r.FIFO, *data)
        self.put(r.PAYLOAD_LENGTH, len(data))
        self.mode(r.TX)

    def listen(self) -> None:
        self.mode(r.RX_CONTINUOUS)
        self.place.clock.advance(1000)

    def flags(self) -> int:
        return self.get(r.IRQ_FLAGS)

    def received(self) -> bytes:
        """The last frame, its flags cleared."""
        self.put(r.FIFO_ADDR_PTR, self.get(r.FIFO_RX_CURRENT_ADDR))
        count = self.get(r.RX_NB_BYTES)
        data = self.get(r.FIFO, count).to_bytes(count, "big")
        self.put(r.IRQ_FLAGS, 0xFF)
        return data


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def places() -> Callable[..., Place]:
    return Place
