"""An emulated SX1276, at the level of its pins: SPI, reset and the DIO lines.

LoRa only (the FSK page can be read and written, and does nothing). What a driver can get wrong
is modelled: LongRangeMode changes in sleep only, the FIFO is lost in sleep, flags stay until they
are cleared and a flag that is still set makes no new edge, base pointers keep their last values, a
module wired for PA_BOOST is silent on RFO. The errata have an effect as well, with figures of this
model and not of the data sheet: 2.1, 3 dB of sensitivity at 500 kHz; 2.3, a receiver that also
receives its neighbour channels, 25 dB down.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from pbal_sim.radio import registers as r
from pbal_sim.radio.air import Air, Transmission, Tuning
from pbal_sim.radio.bank import Bank
from pbal_sim.radio.modem import Modem

RESET_US = 5000  # data sheet, section 7.2.2
_TO_RX_US = 250  # from standby: PLL and receiver start-up
_TO_TX_US = 120
_ERRATA_21_DB = 3.0


class Sx1276:
    """One chip on its module.

    `wired`: which amplifier output has the antenna, "boost" or "rfo". `on_dio(pin, level)` is told
    of every edge of DIO0..3. `ppm`: error of the module's crystal.
    """

    def __init__(
        self,
        air: Air,
        name: str,
        at: tuple[float, float] = (0.0, 0.0),
        *,
        wired: str = "boost",
        band_hz: tuple[int, int] = (862_000_000, 1_020_000_000),
        antenna_db: float = 0.0,
        ppm: float = 0.0,
        on_dio: Callable[[int, int], None] | None = None,
    ) -> None:
        self.air = air
        self.name = name
        self.at = at
        self.ppm = ppm
        self.only_from = ""
        self.wired = wired
        self.band_hz = band_hz
        self.antenna_db = antenna_db
        self.on_dio = on_dio
        self.dio = [0, 0, 0, 0]
        self.writes: list[tuple[int, int]] = []  # every register written, FIFO apart
        self.transmitted = 0
        self._noise = random.Random(name)
        self._hung = False
        self._in_reset = False
        self._ready_us = 0
        self._selected = False
        self._address: int | None = None
        self._write = False
        self._following: Transmission | None = None
        self._sending: Transmission | None = None
        self._epoch = 0  # counts changes of the mode, so that what was planned before is dropped
        self._power_up()
        air.stations.append(self)

    # -- faults and pins --------------------------------------------------------------------------

    def _power_up(self) -> None:
        self._bank = Bank()
        self.shared = self._bank.shared
        self.lora = self._bank.lora
        self.fifo = bytearray(256)
        self._rx_at = 0
        self._since_us = 0
        self._leave()
        self._show()

    def brown_out(self) -> None:
        """The supply dipped: all registers are as after a reset, without any signal."""
        self.air.catch_up()
        self._power_up()

    def hang(self) -> None:
        """It answers nothing but zeros until the reset line is pulled."""
        self.air.catch_up()
        self._leave()
        self._hung = True

    def reset_pin(self, level: int) -> None:
        """The reset line, active low."""
        self.air.catch_up()
        if not level:
            self._in_reset = True
            self._leave()
        elif self._in_reset:
            self._in_reset = self._hung = False
            self._power_up()
            self._ready_us = self.air.now_us + RESET_US

    # -- SPI --------------------------------------------------------------------------------------

    def select(self, level: int) -> None:
        """The chip select line, active low."""
        self._selected = not level
        self._address = None

    def transfer(self, out: bytes | bytearray | memoryview) -> bytes:
        """Clock bytes through; returns as many. Without chip select the line floats high."""
        self.air.catch_up()
        if not self._selected:
            return b"\xff" * len(out)
        if self._hung or self._in_reset or self.air.now_us < self._ready_us:
            return bytes(len(out))
        back = bytearray()
        for byte in out:
            if self._address is None:
                self._address, self._write = byte & 0x7F, bool(byte & 0x80)
                back.append(0)
                continue
            address = self._address
            back.append(self._read(address))
            if self._write:
                self._put(address, byte)
            if address == r.FIFO:
                pointer = self.lora[r.FIFO_ADDR_PTR]
                self.lora[r.FIFO_ADDR_PTR] = (pointer + 1) & 0xFF
            else:
                self._address = (address + 1) & 0x7F
        return bytes(back)

    def exchange(self, out: bytes | bytearray | memoryview) -> bytes:
        """One whole access: select, transfer, deselect."""
        self.select(0)
        back = self.transfer(out)
        self.select(1)
        return back

    # -- registers --------------------------------------------------------------------------------

    @property
    def mode(self) -> int:
        """The low bits of RegOpMode."""
        return self._bank.mode

    @property
    def long_range(self) -> bool:
        """LoRa, not FSK."""
        return self._bank.long_range

    @property
    def modem(self) -> Modem:
        """What the registers say now."""
        return Modem(self.shared, self.lora)

    def _read(self, address: int) -> int:
        if address == r.FIFO:
            if not self.long_range or self.mode == r.SLEEP:
                return 0
            return self.fifo[self.lora[r.FIFO_ADDR_PTR]]
        if self._bank.page(address) is self.lora:
            if address == r.RSSI_VALUE:
                modem = self.modem
                return self._bank.rssi(self.air.busy_dbm(self, modem.hz, modem.bw_hz))
            if address == r.MODEM_STAT:
                following = self._following
                if following is None:
                    return self.lora[address] | 0x10
                done = self.air.now_us >= following.start_us + following.header_us
                return self.lora[address] & 0xE0 | (0x0F if done else 0x07)
        return self._bank.page(address)[address]

    def _put(self, address: int, value: int) -> None:
        if address == r.FIFO:
            if self.long_range and self.mode not in (r.SLEEP, r.TX):
                self.fifo[self.lora[r.FIFO_ADDR_PTR]] = value
            return
        self.writes.append((address, value))
        if address == r.OP_MODE:
            self._set_mode(value)
            return
        page = self._bank.page(address)
        if address in r.READ_ONLY and (page is self.lora or address == r.VERSION):
            return
        if page is self.lora and address == r.IRQ_FLAGS:
            self.lora[address] &= ~value & 0xFF
        else:
            page[address] = value
        if address in (r.DIO_MAPPING1, r.IRQ_FLAGS):
            self._show()
        if address in (r.FRF_LSB, r.MODEM_CONFIG1, r.MODEM_CONFIG2) and self._listens():
            self._since_us = self.air.now_us + _TO_RX_US
            self._following = None

    def _set_mode(self, value: int) -> None:
        before = self.shared[r.OP_MODE]
        if before & 7 != r.SLEEP:
            value = value & 0x7F | before & r.LONG_RANGE
        if value == before and value & 7 in (r.RX_CONTINUOUS, r.STDBY, r.SLEEP):
            return
        if self._sending is not None:
            self.air.stop(self._sending, self.air.now_us)
        self._leave()
        self.shared[r.OP_MODE] = value
        if not value & r.LONG_RANGE:
            return
        mode = value & 7
        if mode == r.SLEEP:
            self.fifo = bytearray(256)
        elif mode == r.TX:
            self._begin_tx()
        elif mode in (r.RX_CONTINUOUS, r.RX_SINGLE):
            self._rx_at = self.lora[r.FIFO_RX_BASE_ADDR]
            self._since_us = self.air.now_us + _TO_RX_US
            if mode == r.RX_SINGLE:
                modem = self.modem
                wait_us = round(modem.symbol_timeout * modem.tuning().symbol_us)
                self._later(self._since_us + wait_us, self._timeout)
        elif mode == r.CAD:
            begin_us = self.air.now_us
            symbol_us = round(self.modem.tuning().symbol_us)
            self._later(begin_us + 2 * symbol_us, lambda: self._cad_done(begin_us))

    def _leave(self) -> None:
        """Abort what was under way."""
        self._epoch += 1
        self._following = None
        self._sending = None

    def _later(self, us: int, what: Callable[[], None]) -> None:
        epoch = self._epoch

        def run() -> None:
            if epoch == self._epoch:
                what()

        self.air.call_at(us, run)

    def _standby(self) -> None:
        self._leave()
        self.shared[r.OP_MODE] = self.shared[r.OP_MODE] & 0xF8 | r.STDBY

    # -- flags ------------------------------------------------------------------------------------

    def _raise(self, flags: int) -> None:
        self.lora[r.IRQ_FLAGS] |= flags & ~self.lora[r.IRQ_FLAGS_MASK] & 0xFF
        self._show()

    def _show(self) -> None:
        """Drive the DIO lines; one that is up already makes no edge."""
        mapping = self.shared[r.DIO_MAPPING1]
        flags = self.lora[r.IRQ_FLAGS] if self.long_range else 0
        for pin, by_field in enumerate(r.DIO_FLAGS):
            level = 1 if flags & by_field[mapping >> (6 - 2 * pin) & 3] else 0
            if level != self.dio[pin]:
                self.dio[pin] = level
                if self.on_dio is not None:
                    self.on_dio(pin, level)

    # -- sending ----------------------------------------------------------------------------------

    def _begin_tx(self) -> None:
        modem = self.modem
        base = self.lora[r.FIFO_TX_BASE_ADDR]
        size = self.lora[r.PAYLOAD_LENGTH]
        start_us = self.air.now_us + _TO_TX_US
        sent = Transmission(
            source=self.name,
            at=self.at,
            tuning=modem.tuning(transmits=True),
            payload=bytes(self.fifo[(base + i) & 0xFF] for i in range(size)),
            power_dbm=modem.power_dbm(self.wired) + self.antenna_db - self._out_of_band(modem.hz),
            start_us=start_us,
            us=modem.time_on_air_us(size),
            preamble=modem.preamble,
            header_us=modem.header_us,
            cr=modem.cr,
            explicit=modem.explicit,
            crc=modem.crc,
            ppm=self.ppm,
        )
        self._sending = sent
        self.transmitted += 1
        self.air.send(sent)
        self._later(sent.end_us, self._tx_done)

    def _out_of_band(self, hz: int) -> float:
        """The loss of a matching network for another band."""
        return 0.0 if self.band_hz[0] <= hz <= self.band_hz[1] else 60.0

    def _tx_done(self) -> None:
        self._standby()
        self._raise(r.TX_DONE)

    def _cad_done(self, begin_us: int) -> None:
        found = self.air.preamble_now(self, self.modem.tuning(), begin_us, self.air.now_us)
        self._standby()
        self._raise(r.CAD_DONE | (r.CAD_DETECTED if found else 0))

    # -- receiving: the air calls these -----------------------------------------------------------

    @property
    def loss_db(self) -> float:
        """The loss of this receiver by its settings."""
        modem = self.modem
        loss = self._out_of_band(modem.hz) - self.antenna_db
        return loss if modem.errata_21_applied else loss + _ERRATA_21_DB

    @property
    def leaks(self) -> bool:
        """Whether spurious reception (errata 2.3) is not suppressed."""
        return not self.modem.errata_23_applied

    def _listens(self) -> bool:
        return self.long_range and self.mode in (r.RX_CONTINUOUS, r.RX_SINGLE)

    def listening(self) -> Tuning | None:
        """Its tuning, None while it can not begin a frame."""
        if not self._listens() or self._following is not None or self._hung or self._in_reset:
            return None
        return self.modem.tuning()

    def listening_since_us(self) -> int:
        """Since when, without a break."""
        return self._since_us

    def lock(self, sent: Transmission) -> None:
        """Follow a frame."""
        self._following = sent

    def header(self, sent: Transmission) -> None:
        """The header is over: good, or the receiver looks for the next preamble."""
        if sent is not self._following:
            return
        end_us = sent.start_us + sent.header_us
        if not sent.payload or not self.air.heard(self, sent, sent.critical_us, end_us).good:
            self._following = None
            self._since_us = self.air.now_us
            return
        self.lora[r.MODEM_STAT] = (sent.cr - 4) << 5
        self.lora[r.HOP_CHANNEL] = 0x40 if sent.crc else 0
        self._bank.count(r.RX_HEADER_CNT_VALUE_MSB)
        self._raise(r.VALID_HEADER)

    def finished(self, sent: Transmission) -> None:
        """The frame is over."""
        if sent is not self._following:
            return
        self._following = None
        self._since_us = self.air.now_us
        modem = self.modem
        heard = self.air.heard(self, sent, sent.critical_us, sent.end_us)
        good = heard.good and bool(sent.payload)
        payload = bytearray(sent.payload)
        if not modem.explicit:
            size = self.lora[r.PAYLOAD_LENGTH]
            payload = payload[:size] + bytes(max(0, size - len(payload)))
        if not good:
            for _ in range(max(1, len(payload) // 8)):
                if payload:
                    payload[self._noise.randrange(len(payload))] ^= self._noise.randrange(1, 256)
        checked = sent.crc if modem.explicit else modem.crc
        flags = r.RX_DONE
        if checked and not good:
            flags |= r.PAYLOAD_CRC_ERROR
        else:
            self._bank.count(r.RX_PACKET_CNT_VALUE_MSB)
        self.lora[r.FIFO_RX_CURRENT_ADDR] = self._rx_at
        for byte in payload:
            self.fifo[self._rx_at] = byte
            self._rx_at = (self._rx_at + 1) & 0xFF
        self.lora[r.FIFO_RX_BYTE_ADDR] = (self._rx_at - 1) & 0xFF
        self.lora[r.RX_NB_BYTES] = len(payload) & 0xFF
        quarters = max(-128, min(127, round(4 * min(heard.snr_db, 12.0))))
        self.lora[r.PKT_SNR_VALUE] = quarters & 0xFF
        self.lora[r.PKT_RSSI_VALUE] = self._bank.rssi(heard.rssi_dbm - min(0.0, quarters / 4))
        if self.mode == r.RX_SINGLE:
            self._standby()
        self._raise(flags)

    def _timeout(self) -> None:
        if self._following is None:
            self._standby()
            self._raise(r.RX_TIMEOUT)
