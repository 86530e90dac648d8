"""The settings: which values are legal here, and where each one is used."""

from micropython import const

from pbal_protocol import config as settings
from pbal_protocol.errors import PbalError

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.autonomy import Settings as Autonomous
    from pbal_node.metering.base import Meter
    from pbal_node.metering.sense import Sense
    from pbal_node.report import Report
    from pbal_node.selector import Limits, Timing
    from pbal_node.store import Config
    from pbal_node.supply import Supply


def legal(key: int, value) -> bool:
    """True when the setting may have this value."""
    try:
        settings.check(key, value)
    except PbalError:
        return False
    return True


def legal_beside(marked: list):
    """`legal`, and no setting takes back what the identity marks on site (S10)."""
    return lambda key, value: legal(key, value) and (value != 0 or key not in marked)


class Settings:
    """`config` has the values; `apply` copies them to where they are used."""

    # Filled in by build.py.
    config: "Config"
    limits: "Limits"
    supply: "Supply"
    timing: "Timing"
    autonomous: "Autonomous"
    sense: "Sense"
    meter: "Meter"
    report: "Report"
    board_rated_a: float
    board_dead_ms: int

    def apply(self) -> None:
        """Copy the settings to where they are used; the board's own limits still bind."""
        get = self.config.get
        lim = self.limits
        lim.dwell_ms = get(settings.DWELL_S) * 1000
        lim.daily_cap = get(settings.DAILY_CAP)
        lim.fixed = get(settings.FIXED)
        lim.opted_out = get(settings.OPTED_OUT)
        lim.good_time_ms = get(settings.GOOD_TIME_MS)
        lim.rated_a = min(self.board_rated_a, get(settings.RATED_SWITCH_MA) / 1000)
        # A band without the nominal voltage would keep a home open for good after an outage (S3).
        self.supply.low_v = min(get(settings.BAND_LOW_DV) / 10, 0.95 * lim.nominal_v)
        self.supply.high_v = max(get(settings.BAND_HIGH_DV) / 10, 1.05 * lim.nominal_v)
        self.timing.dead_time_ms = max(self.board_dead_ms, get(settings.DEAD_TIME_MS))
        s = self.autonomous
        s.confirm_ms = get(settings.AUTONOMY_CONFIRM_MS)
        s.spread_ms = get(settings.AUTONOMY_SPREAD_MS)
        s.return_spread_ms = get(settings.RETURN_SPREAD_MS)
        s.good_time_ms = lim.good_time_ms
        s.silent_hours = get(settings.SILENT_HOURS)
        for c in range(4):
            self.sense.trim(c, get(settings.TRIM_OUT_PPM + c))
        self.meter.trim(
            get(settings.TRIM_OUT_PPM), get(settings.TRIM_I_PPM), get(settings.BEND_I_PPB)
        )

    def fits(self, key: int, value: int) -> bool:
        """False for a calibration with which the output would not follow the phase that is closed:
        no contact could be closed with it any more (S1). One that brings them nearer always fits.
        """
        c = key - settings.TRIM_OUT_PPM
        phase = self.report.phase()
        if not phase or c not in (0, phase):
            return True
        v = self.sense.v
        more = (1000000 + value) / (1000000 + self.config.get(key))
        other = v[phase - c]
        off = abs(v[c] * more - other)
        return off <= 0.10 * self.limits.nominal_v or off <= abs(v[c] - other)
