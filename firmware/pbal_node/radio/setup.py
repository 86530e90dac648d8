"""The registers of an SX1276/77/78/79 that stay as they are while it works: sx127x.py sets channel,
spreading factor and mode. Loaded while a radio is set up, and unloaded again.
"""

from micropython import const

from pbal_protocol.errors import RangeError
from pbal_protocol.radio.airtime import BANDWIDTHS

_REG_PA_CONFIG = const(0x09)
_REG_OCP = const(0x0B)
_REG_LNA = const(0x0C)
_REG_FIFO_TX_BASE_ADDR = const(0x0E)
_REG_FIFO_RX_BASE_ADDR = const(0x0F)
_REG_IRQ_FLAGS_MASK = const(0x11)
_REG_MODEM_CONFIG1 = const(0x1D)
_REG_SYMB_TIMEOUT_LSB = const(0x1F)
_REG_PREAMBLE_MSB = const(0x20)
_REG_PREAMBLE_LSB = const(0x21)
_REG_MAX_PAYLOAD_LENGTH = const(0x23)
_REG_HOP_PERIOD = const(0x24)
_REG_IF_FREQ1 = const(0x2F)
_REG_IF_FREQ2 = const(0x30)
_REG_DETECT_OPTIMIZE = const(0x31)
_REG_INVERT_IQ = const(0x33)
_REG_HIGH_BW_OPTIMIZE1 = const(0x36)
_REG_DETECTION_THRESHOLD = const(0x37)
_REG_SYNC_WORD = const(0x39)
_REG_HIGH_BW_OPTIMIZE2 = const(0x3A)
_REG_INVERT_IQ2 = const(0x3B)
_REG_PA_DAC = const(0x4D)
_IRQ_UNUSED = const(0x82)  # RxTimeout, FhssChangeChannel


def registers(boost, high_band, bw_hz, cr, power_dbm, preamble, sync) -> bytes:
    """Return (register, value) pairs, one after the other. `boost`: the module is wired for
    PA_BOOST; `high_band`: above 525 MHz. Raises RangeError for a power that the module has not.
    """
    least, most = (2, 20) if boost else (0, 14)
    if not least <= power_dbm <= most:
        raise RangeError("%d dBm: this module has %d to %d" % (power_dbm, least, most))
    pairs = [
        _REG_LNA, 0x23,  # highest gain, LnaBoostHf (section 5.5.4)
        _REG_FIFO_TX_BASE_ADDR, 0,
        _REG_FIFO_RX_BASE_ADDR, 0,
        _REG_IRQ_FLAGS_MASK, _IRQ_UNUSED,
        _REG_PREAMBLE_MSB, preamble >> 8,
        _REG_PREAMBLE_LSB, preamble & 0xFF,
        _REG_MAX_PAYLOAD_LENGTH, 0xFF,
        _REG_HOP_PERIOD, 0,
        _REG_INVERT_IQ, 0x27,
        _REG_INVERT_IQ2, 0x1D,
        _REG_SYNC_WORD, sync,
        _REG_DETECTION_THRESHOLD, 0x0A,  # SF7 to SF12
        # Explicit header always: an implicit one left by another program loses frames.
        _REG_MODEM_CONFIG1, BANDWIDTHS.index(bw_hz) << 4 | cr - 4 << 1,
        _REG_SYMB_TIMEOUT_LSB, 0x64,
    ]  # fmt: skip
    pairs += _power(boost, power_dbm)
    if bw_hz == 500000:
        # Errata 2.1: sensitivity at 500 kHz. 2.3: the automatic IF stays on.
        pairs += [
            _REG_HIGH_BW_OPTIMIZE1, 0x02,
            _REG_HIGH_BW_OPTIMIZE2, 0x64 if high_band else 0x7F,
            _REG_DETECT_OPTIMIZE, 0xC3,
        ]  # fmt: skip
    else:
        # Errata 2.3: spurious reception.
        pairs += [
            _REG_HIGH_BW_OPTIMIZE1, 0x03,
            _REG_DETECT_OPTIMIZE, 0x43,
            _REG_IF_FREQ1, 0x40 if bw_hz >= 62500 else 0x44 if bw_hz > 7800 else 0x48,
            _REG_IF_FREQ2, 0x00,
        ]  # fmt: skip
    return bytes(pairs)


def _power(boost, dbm) -> list:
    """Section 5.4: PA_BOOST makes 2 to 17 dBm, with PaDac 0x87 5 to 20; RFO here 0 to 14.

    Above 17 dBm the module may send 1 % of the time, and needs 120 mA (table 6).
    """
    if not boost:
        return [_REG_PA_CONFIG, 0x70 | dbm, _REG_PA_DAC, 0x84, _REG_OCP, 0x2B]  # 100 mA
    if dbm > 17:
        return [_REG_PA_CONFIG, 0x80 | dbm - 5, _REG_PA_DAC, 0x87, _REG_OCP, 0x31]  # 140 mA
    return [_REG_PA_CONFIG, 0x80 | dbm - 2, _REG_PA_DAC, 0x84, _REG_OCP, 0x2B]
