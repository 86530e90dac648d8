"""How well one home is heard: the latest frame, and means over about the last thirty."""

from __future__ import annotations

from dataclasses import dataclass

_SHARE = 1 / 30


@dataclass(slots=True)
class Quality:
    """Of one home; `snr_db` and `rssi_dbm` are of the latest frame."""

    rssi_dbm: float = 0.0
    snr_db: float = 0.0
    frames: int = 0
    airtime_us: int = 0
    mean_rssi_dbm: float = 0.0
    mean_snr_db: float = 0.0

    def note(self, rssi_dbm: float, snr_db: float, us: int) -> None:
        """One frame, and its time on air."""
        share = _SHARE if self.frames else 1.0
        self.frames += 1
        self.airtime_us += us
        self.rssi_dbm, self.snr_db = rssi_dbm, snr_db
        self.mean_rssi_dbm += share * (rssi_dbm - self.mean_rssi_dbm)
        self.mean_snr_db += share * (snr_db - self.mean_snr_db)

    def figures(self, sf: int, alive_s: float) -> dict[str, float]:
        """For the status API."""
        return {
            "rssi_dbm": round(self.mean_rssi_dbm, 1),
            "snr_db": round(self.mean_snr_db, 1),
            "sf": sf,
            "frames": self.frames,
            "airtime_share": round(self.airtime_us / 1e6 / alive_s, 5),
        }
