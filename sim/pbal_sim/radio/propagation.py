"""Path loss of a transmission, and the signal that a receiver needs. Pure functions.

Sources: path loss, M. Bor et al., "Do LoRa Low-Power Wide-Area Networks Scale?" (2016), and J.
Petajajarvi et al., "On the Coverage of LPWANs" (2015); sensitivities and limits of the signal to
noise ratio, SX1276 data sheet, rev. 7, tables 10 and 13; rejection of other spreading factors, D.
Croce et al., "Impact of LoRa Imperfect Orthogonality" (2018); of the same one, C. Goursaud and
J. M. Gorce, "Dedicated Networks for IoT" (2015).
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass

NOISE_FIGURE_DB = 6.0

# dBm at 125, 250 and 500 kHz, high band.
_SENSITIVITY = {
    6: (-118.0, -115.0, -111.0),
    7: (-123.0, -120.0, -116.0),
    8: (-126.0, -123.0, -119.0),
    9: (-129.0, -125.0, -122.0),
    10: (-132.0, -128.0, -125.0),
    11: (-133.0, -130.0, -128.0),
    12: (-136.0, -133.0, -130.0),
}
SNR_LIMIT_DB = {6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}

# Least ratio of signal to interference in dB: by the wanted spreading factor, then the other's.
_REJECTION = {
    7: (6, -8, -9, -9, -9, -9),
    8: (-11, 6, -11, -12, -13, -13),
    9: (-15, -13, 6, -13, -14, -15),
    10: (-19, -18, -17, 6, -17, -18),
    11: (-22, -22, -21, -20, 6, -20),
    12: (-25, -25, -25, -24, -23, 6),
}


@dataclass(frozen=True)
class PathLoss:
    """Log-distance path loss with log-normal shadowing; defaults: a built-up area (Bor et al.)."""

    at_m: float = 40.0
    loss_db: float = 127.41
    exponent: float = 2.08
    sigma_db: float = 3.57

    def mean_db(self, distance_m: float) -> float:
        """Loss without shadowing."""
        return self.loss_db + 10 * self.exponent * math.log10(max(distance_m, 1.0) / self.at_m)

    def shadow_db(self, seed: int, one: str, other: str) -> float:
        """The shadowing of one link: the same both ways and in every run with this seed."""
        link = "|".join(sorted((one, other)))
        digest = hashlib.sha256(f"{seed}|{link}".encode()).digest()
        return random.Random(digest).gauss(0.0, self.sigma_db)


FREE = PathLoss(1.0, 31.2, 2.0, 0.0)  # free space at 868 MHz
OPEN_COUNTRY = PathLoss(1000.0, 128.95, 2.32, 7.8)  # Petajajarvi et al., Oulu, cars on land


def noise_dbm(bw_hz: int) -> float:
    """Thermal noise of a receiver."""
    return -174.0 + 10 * math.log10(bw_hz) + NOISE_FIGURE_DB


def sensitivity_dbm(sf: int, bw_hz: int) -> float:
    """Weakest signal a receiver can demodulate."""
    narrow, middle, wide = _SENSITIVITY[sf]
    if bw_hz >= 500000:
        return wide
    if bw_hz >= 250000:
        return middle
    return narrow + 10 * math.log10(bw_hz / 125000)


def needed_dbm(sf: int, bw_hz: int) -> float:
    """The weakest signal that is received where nobody else sends: by the chip's sensitivity, and
    above the noise.
    """
    return max(sensitivity_dbm(sf, bw_hz), noise_dbm(bw_hz) + SNR_LIMIT_DB[sf])


def rejection_db(wanted_sf: int, other_sf: int) -> float:
    """How much stronger a signal must be than one of another (or the same) spreading factor."""
    row = _REJECTION.get(wanted_sf)
    if row is None or not 7 <= other_sf <= 12:
        return 6.0 if wanted_sf == other_sf else -8.0
    return float(row[other_sf - 7])


def milliwatt(dbm: float) -> float:
    """dBm as a power that can be added."""
    return float(10 ** (dbm / 10))


def dbm(milliwatts: float) -> float:
    """A power in dBm; -200 for none."""
    return 10 * math.log10(milliwatts) if milliwatts > 1e-20 else -200.0
