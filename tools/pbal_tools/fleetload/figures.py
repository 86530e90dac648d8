"""What a made-up transformer reports for a window: a street's day, the same for the same seed.

Phase currents follow the hour with an evening peak; a site's phases differ by shares of its own,
and one in twenty sites is loaded beyond its rated power in the evening. The neutral is the phasor
sum of three currents in phase with their voltages; the hot spot is the controller's, settled, at
30 degC.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass

from pbal_controller.uplink import thermal
from pbal_uplink import Summary, names

VOLTS = 230.0
_RATED_KVA = (63.0, 100.0, 160.0, 250.0)
_AMBIENT_C = 30.0


@dataclass(frozen=True)
class Street:
    """A transformer with its street. `shares`: of the load, by phase, before pbal moved homes."""

    site: int
    rated_kva: float
    homes: int
    peak: float  # of the rated power, in the evening
    shares: tuple[float, float, float]
    balanced: float  # how much of the imbalance pbal takes away

    @classmethod
    def of(cls, site: int) -> Street:
        """The street of a site, always the same."""
        rng = random.Random(site)
        rated = rng.choice(_RATED_KVA)
        parts = [rng.uniform(0.6, 1.4) for _ in range(3)]
        total = sum(parts)
        peak = rng.uniform(1.1, 1.35) if rng.random() < 0.05 else rng.uniform(0.35, 0.9)
        a, b, c = (part / total for part in parts)
        return cls(site, rated, int(rated / 2.5), peak, (a, b, c), rng.uniform(0.5, 0.95))

    def summary(self, start_s: int, length_s: int) -> Summary:
        """The window that begins at `start_s`."""
        rng = random.Random(self.site << 32 | start_s)
        hour = time.gmtime(start_s + length_s // 2)
        total = self.rated_kva * self.peak * _shape(hour.tm_hour + hour.tm_min / 60)
        total *= rng.uniform(0.92, 1.08)
        before = [total * share * 1000 / VOLTS for share in self.shares]
        mean = sum(before) / 3
        amps = [mean + (one - mean) * (1 - self.balanced) for one in before]
        rated_a = self.rated_kva * 1000 / 3 / VOLTS
        worst = max(amps) * 1.15 / rated_a
        volts = [VOLTS + 6 - 14 * a / rated_a for a in amps]
        kwh = [a * VOLTS * length_s / 3.6e6 for a in amps]
        saved_w = 0.05 * (_losses(before) - _losses(amps))
        hot = thermal.Heat.settled(max(amps) / rated_a).hot_spot_c(_AMBIENT_C)
        return Summary(
            site=self.site, start_s=start_s, length_s=length_s, complete_percent=100,
            ia_mean_a=amps[0], ib_mean_a=amps[1], ic_mean_a=amps[2], in_mean_a=_neutral(amps),
            ia_max_a=amps[0] * 1.15, ib_max_a=amps[1] * 1.15, ic_max_a=amps[2] * 1.15,
            in_max_a=_neutral(amps) * 1.3,
            va_min_v=volts[0] - 5, vb_min_v=volts[1] - 5, vc_min_v=volts[2] - 5,
            va_mean_v=volts[0], vb_mean_v=volts[1], vc_mean_v=volts[2],
            va_max_v=volts[0] + 3, vb_max_v=volts[1] + 3, vc_max_v=volts[2] + 3,
            ea_import_kwh=kwh[0], eb_import_kwh=kwh[1], ec_import_kwh=kwh[2],
            load_mean_percent=100 * total / self.rated_kva, load_max_percent=100 * worst,
            hotspot_c=hot, losses_avoided_wh=round(saved_w * length_s / 3600),
            losses_method=1, homes=self.homes, homes_alive=self.homes,
            homes_fresh=self.homes - (rng.random() < 0.05), rs485_percent=99.5,
            confirmed=int(rng.random() < 0.02), mode=names.MODE_RUN,
        )  # fmt: skip


def _shape(hour: float) -> float:
    """Of the day's peak: a rise in the morning, the peak at eight in the evening."""
    evening = math.exp(-(min(abs(hour - 20), 24 - abs(hour - 20)) ** 2) / 8)
    return 0.35 + 0.2 * math.exp(-((hour - 7.5) ** 2) / 4) + 0.65 * evening


def _neutral(amps: list[float]) -> float:
    a, b, c = amps
    return math.sqrt(max(0.0, a * a + b * b + c * c - a * b - b * c - c * a))


def _losses(amps: list[float]) -> float:
    """Of a line of 1 ohm in each of its four conductors, W."""
    return sum(a * a for a in amps) + _neutral(amps) ** 2
