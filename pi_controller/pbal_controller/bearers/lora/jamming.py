"""Whether the channel is jammed, by its quietest moment in each round. Sans-IO.

Homes that are not heard may be dead, far, or jammed. Turns leave gaps, so in every round there is a
moment in which the receiver hears its own noise alone; where there is none and the homes are lost
as well, something sends without a pause. Who sends just while a home does is not told from loss.
"""

from __future__ import annotations

import math

# Noise of a receiver at room temperature, dBm in 1 Hz, with a noise figure of 6 dB (AN1200.13).
_NOISE_DBM_HZ = -174.0 + 6.0
_ABOVE_DB = 12.0
_ENOUGH = 0.7  # of the homes in a round
_ROUNDS = 2  # in a row, until it is said, or said to be over


class Jamming:
    """Of one channel; `jammed` and why."""

    def __init__(self, bw_hz: int) -> None:
        self.limit_dbm = _NOISE_DBM_HZ + 10 * math.log10(bw_hz) + _ABOVE_DB
        self.quietest_dbm: float | None = None
        self.jammed = False
        self._against = 0

    def round(self, quietest_dbm: float | None, heard: float) -> bool:
        """After a round: the least power in the channel in it, None where nobody measured, and the
        share of homes that were heard. Returns whether `jammed` changed.
        """
        self.quietest_dbm = quietest_dbm
        loud = quietest_dbm is not None and quietest_dbm > self.limit_dbm
        seems = loud and (heard < _ENOUGH or self.jammed)
        self._against = self._against + 1 if seems != self.jammed else 0
        if self._against < _ROUNDS:
            return False
        self.jammed, self._against = seems, 0
        return True

    def why(self) -> str:
        """For a person; empty while it is not jammed."""
        if not self.jammed:
            return ""
        return (
            f"jammed: the channel is never quieter than {self.quietest_dbm:.0f} dBm, and homes are "
            "lost; look for a transmitter, or take another channel of the region "
            "(docs/radio.md, Jamming)"
        )
