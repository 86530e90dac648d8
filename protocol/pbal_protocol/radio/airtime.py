"""Time on air of a LoRa frame, in whole microseconds.

The formula is that of the SX1276 data sheet (rev. 7), section 4.1.1.7, and of Semtech's
AN1200.13. Everything is counted in quarters of a symbol, so that the preamble's 4.25 symbols stay
whole and no float is needed (the chip of a node has 24-bit floats).
"""

from pbal_protocol.compat import const
from pbal_protocol.errors import RangeError

SF_MIN = 7  # SF6 needs an implicit header: not used
_SF_MAX = const(12)
_CR_MIN = const(5)  # the coding rate is 4 / cr
_CR_MAX = const(8)
_PREAMBLE = const(8)  # symbols, without the 4.25 that the modem adds
_PREAMBLE_MIN = const(6)
_MAX_BYTES = const(255)

# Bandwidths of the chip in Hz, by their number in RegModemConfig1 (data sheet, table 87).
BANDWIDTHS = (7800, 10400, 15600, 20800, 31250, 41700, 62500, 125000, 250000, 500000)

_LDRO_US = const(16000)


def check(sf: int, bw_hz: int, cr: int = 5, preamble: int = _PREAMBLE) -> None:
    """Raise RangeError for what the modem can not do."""
    if not (
        SF_MIN <= sf <= _SF_MAX
        and bw_hz in BANDWIDTHS
        and _CR_MIN <= cr <= _CR_MAX
        and _PREAMBLE_MIN <= preamble <= 0xFFFF
    ):
        from pbal_protocol.radio.modem import refuse  # its texts are loaded when there is one

        refuse(sf, bw_hz, cr, preamble, BANDWIDTHS)


def _us(quarters: int, sf: int, bw_hz: int) -> int:
    """Quarters of a symbol in microseconds, rounded up."""
    if bw_hz % 125000 == 0:
        # In steps that fit a small integer of the chip.
        share = bw_hz // 125000
        return ((quarters << sf) * 2 + share - 1) // share
    return ((quarters << sf) * 250000 + bw_hz - 1) // bw_hz


def symbol_us(sf: int, bw_hz: int) -> int:
    """Length of one symbol, rounded up to a microsecond: 2**sf / bandwidth."""
    return _us(4, sf, bw_hz)


def low_data_rate(sf: int, bw_hz: int) -> bool:
    """Whether a symbol is longer than 16 ms, so that LowDataRateOptimize must be on (data sheet,
    section 4.1.1.6).
    """
    slow: bool = symbol_us(sf, bw_hz) > _LDRO_US
    return slow


def payload_symbols(
    size: int, sf: int, cr: int, *, header: bool = True, crc: bool = True, ldro: bool = False
) -> int:
    """Symbols of header, payload and CRC (data sheet, section 4.1.1.7)."""
    bits = 8 * size - 4 * sf + 28 + (16 if crc else 0) - (0 if header else 20)
    if bits <= 0:
        return 8
    per_block = 4 * (sf - (2 if ldro else 0))
    return 8 + (bits + per_block - 1) // per_block * cr


def time_on_air_us(
    size: int,
    sf: int,
    bw_hz: int = 125000,
    cr: int = 5,
    preamble: int = _PREAMBLE,
    *,
    header: bool = True,
    crc: bool = True,
) -> int:
    """Return how long a frame of `size` bytes (0..255) occupies its channel, in microseconds.

    Exact for 125, 250 and 500 kHz, rounded up for others. LowDataRateOptimize follows from `sf` and
    `bw_hz`, as every driver here sets it. Raises RangeError.
    """
    check(sf, bw_hz, cr, preamble)
    if not 0 <= size <= _MAX_BYTES:
        raise RangeError("a frame of %r bytes: a LoRa frame has at most %d" % (size, _MAX_BYTES))
    symbols = payload_symbols(size, sf, cr, header=header, crc=crc, ldro=low_data_rate(sf, bw_hz))
    return _us(4 * (preamble + symbols) + 17, sf, bw_hz)
