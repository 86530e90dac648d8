"""Says which setting the modem can not do; loaded when there is one (airtime.py)."""

from pbal_protocol.errors import RangeError


def refuse(sf: int, bw_hz: int, cr: int, preamble: int, widths: tuple[int, ...]) -> None:
    """Raise RangeError for the first setting that is out of range. `widths`: the bandwidths that
    the chip has, Hz.
    """
    if not 7 <= sf <= 12:
        raise RangeError("spreading factor %r: give 7 to 12" % sf)
    if bw_hz not in widths:
        raise RangeError("bandwidth %r Hz: the chip has %s" % (bw_hz, widths))
    if not 5 <= cr <= 8:
        raise RangeError("coding rate 4/%r: give 4/5 to 4/8" % cr)
    raise RangeError("preamble of %r symbols: give 6 to 65535" % preamble)
