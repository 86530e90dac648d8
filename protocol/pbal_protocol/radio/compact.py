"""Converts a whole reading to a compact one (back: readings.py).

A compact reading leaves out reactive power, both energies and the frequency, and rounds the rest.
"""

from pbal_protocol.radio.records import CompactTelemetry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pbal_protocol.records import Telemetry

SAME = ("va_v", "vb_v", "vc_v", "vout_v", "current_a", "phase", "state", "flags", "switches_today")


def compact(whole: "Telemetry", snr_db: float = 0.0, missed: int = 0) -> CompactTelemetry:
    """Return the compact form; `snr_db` and `missed` are of the beacons this node heard.

    The age and the rest of the dwell are rounded up, so that neither looks smaller than it is.
    Values outside the compact form's range are limited to it.
    """
    out = CompactTelemetry()
    for name in SAME:
        setattr(out, name, getattr(whole, name))
    out.time_low_s = whole.time_s & 0xFFFF
    out.p_kw = whole.p_w / 1000
    tenths = (whole.age_ms + 99) // 100
    out.age_s = (tenths if tenths < 250 else 250) / 10
    minutes = (whole.dwell_left_s + 59) // 60
    out.dwell_left_min = minutes if minutes < 255 else 255
    out.heard_snr_db = float(max(-31.0, min(31.0, snr_db)))
    out.missed = missed if missed < 255 else 255
    return out
