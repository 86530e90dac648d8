"""What the registers of an SX1276 mean: how it is tuned, how strong it sends, for how long."""

from __future__ import annotations

from pbal_protocol.radio.airtime import payload_symbols
from pbal_sim.radio import registers as r
from pbal_sim.radio.air import Tuning

FXOSC_HZ = 32_000_000
SILENT_DBM = -80.0

# Current of PA_BOOST in mA (data sheet, table 6): above it the protection holds the power down.
_PA_MA = ((20.0, 120), (17.0, 87), (13.0, 29))


class Modem:
    """A view of the registers as they are now."""

    def __init__(self, shared: bytearray, lora: bytearray) -> None:
        self._shared = shared
        self._lora = lora

    @property
    def hz(self) -> int:
        """Carrier (data sheet, section 4.1.4)."""
        frf = int.from_bytes(self._shared[r.FRF_MSB : r.FRF_LSB + 1], "big")
        return round(frf * FXOSC_HZ / 2**19)

    @property
    def bw_hz(self) -> int:
        """Bandwidth; a reserved number counts as the widest."""
        return r.BANDWIDTHS_HZ[min(self._lora[r.MODEM_CONFIG1] >> 4, 9)]

    @property
    def sf(self) -> int:
        """Spreading factor."""
        return max(6, min(12, self._lora[r.MODEM_CONFIG2] >> 4))

    @property
    def cr(self) -> int:
        """n of the coding rate 4/n."""
        return 4 + max(1, min(4, self._lora[r.MODEM_CONFIG1] >> 1 & 7))

    @property
    def explicit(self) -> bool:
        """Frames carry a header."""
        return not self._lora[r.MODEM_CONFIG1] & 1

    @property
    def crc(self) -> bool:
        """RxPayloadCrcOn."""
        return bool(self._lora[r.MODEM_CONFIG2] & 4)

    @property
    def slow(self) -> bool:
        """LowDataRateOptimize."""
        return bool(self._lora[r.MODEM_CONFIG3] & 8)

    @property
    def preamble(self) -> int:
        """Symbols, without the 4.25 of the modem."""
        return self._lora[r.PREAMBLE_MSB] << 8 | self._lora[r.PREAMBLE_LSB]

    @property
    def symbol_timeout(self) -> int:
        """Symbols that a single reception waits for a preamble."""
        return (self._lora[r.MODEM_CONFIG2] & 3) << 8 | self._lora[r.SYMB_TIMEOUT_LSB]

    def tuning(self, transmits: bool = False) -> Tuning:
        """The settings that the other end must share."""
        invert = self._lora[r.INVERT_IQ]
        return Tuning(
            hz=self.hz,
            bw_hz=self.bw_hz,
            sf=self.sf,
            sync=self._lora[r.SYNC_WORD],
            inverted=not invert & 1 if transmits else bool(invert & 0x40),
            slow=self.slow,
        )

    def time_on_air_us(self, size: int) -> int:
        """Time on air by the registers as they are, whether or not they are right."""
        symbols = payload_symbols(
            size, self.sf, self.cr, header=self.explicit, crc=self.crc, ldro=self.slow
        )
        return round((self.preamble + 4.25 + symbols) * self.tuning().symbol_us)

    @property
    def header_us(self) -> int:
        """From the start to the end of the header: preamble, 4.25 and its first 8 symbols."""
        return round((self.preamble + 4.25 + 8) * self.tuning().symbol_us)

    def power_dbm(self, wired: str) -> float:
        """Power at the output that has the antenna (data sheet, section 5.4.2)."""
        config = self._shared[r.PA_CONFIG]
        boost = bool(config & 0x80)
        if boost != (wired == "boost"):
            return SILENT_DBM
        output = config & 0x0F
        if not boost:
            return 10.8 + 0.6 * (config >> 4 & 7) - (15 - output)
        high = self._shared[r.PA_DAC] & 7 == 7
        power = (20.0 if high else 17.0) - (15 - output)
        ocp = self._shared[r.OCP]
        if ocp & 0x20:
            trim = ocp & 0x1F
            limit = 45 + 5 * trim if trim <= 15 else min(240, -30 + 10 * trim)
            for above, needs in _PA_MA:
                if power >= above and limit < needs:
                    power = above - 3.0
        return power

    @property
    def errata_21_applied(self) -> bool:
        """Sensitivity at 500 kHz (errata note, section 2.1)."""
        want = {True: (0x02, 0x64), False: (0x02, 0x7F)}[self.hz >= 862_000_000]
        have = (self._lora[r.HIGH_BW_OPTIMIZE1], self._lora[r.HIGH_BW_OPTIMIZE2])
        return self.bw_hz != 500_000 or have == want

    @property
    def errata_23_applied(self) -> bool:
        """Spurious reception (errata note, section 2.3)."""
        auto = bool(self._lora[r.DETECT_OPTIMIZE] & 0x80)
        if self.bw_hz == 500_000:
            return auto
        want = 0x40 if self.bw_hz >= 62_500 else 0x44 if self.bw_hz > 7800 else 0x48
        return not auto and self._lora[r.IF_FREQ1] == want and self._lora[r.IF_FREQ2] == 0
