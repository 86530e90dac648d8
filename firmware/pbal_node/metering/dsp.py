"""From a burst of time-stamped samples to RMS, power and phasors.

A burst covers one mains cycle. Every sample is weighted with the time that it stands for (half the
way to both neighbours, the cycle closes on itself), so late samples bias nothing.
"""

import math
from array import array

from micropython import const

try:
    from pbal_node.metering._dsp import accumulate
except (ImportError, SyntaxError, NameError, ValueError, NotImplementedError, MemoryError):
    # No emitter for this chip, or no memory left that may hold code.
    from pbal_node.metering.plain import accumulate  # type: ignore[assignment]


_STEP_UV = const(256)
SINE = array("h", [int(round(1024 * math.sin(2 * math.pi * i / 256))) for i in range(256)])


class Sums:
    """Work space for bursts of up to `rounds` samples, and what the last `pair` found.

    Voltages at the pins: means and RMS in microvolts, `xy` the mean product in microvolts
    squared, (re, im) the fundamental of x as a peak phasor in microvolts, its angle at the
    start of the burst.
    """

    def __init__(self, rounds: int) -> None:
        self.t = array("i", [0] * rounds)
        self._w = array("i", [0] * rounds)
        self._index = array("H", [0] * rounds)
        self._out = array("i", [0] * 12)
        self.x_mean = self.y_mean = 0.0
        self.x_rms = self.y_rms = self.xy = 0.0
        self.re = self.im = 0.0

    def window(self, n: int, span_us: int, hole_us: int) -> bool:
        """Weigh the n samples at self.t over a cycle of span_us; False when there is a hole."""
        t = self.t
        w = self._w
        index = self._index
        if n < 8:
            return False
        k = (256 << 20) // span_us
        before = t[n - 1] - span_us
        for i in range(n):
            now = t[i]
            after = t[i + 1] if i + 1 < n else t[0] + span_us
            if now - before > hole_us or after - now > hole_us:
                return False
            w[i] = after - before
            index[i] = (now * k) >> 20
            before = now
        return True

    def pair(self, x, y, n: int, span_us: int, x_bias_uv: int, y_bias_uv: int) -> None:
        """Sums of two channels over the window; pass the same array twice for one channel."""
        out = self._out
        sums = (x, y, self._w, self._index, SINE, n, x_bias_uv, y_bias_uv, out)
        accumulate(*sums)  # type: ignore[arg-type]
        total = 2.0 * span_us
        # The steps were rounded down: half a step is missing in the means, not in the rest.
        mx = out[0] / total
        my = out[1] / total
        xx = (out[2] * 4096.0 + out[3]) / total - mx * mx
        yy = (out[4] * 4096.0 + out[5]) / total - my * my
        self.x_mean = x_bias_uv + (mx + 0.5) * _STEP_UV
        self.y_mean = y_bias_uv + (my + 0.5) * _STEP_UV
        self.x_rms = math.sqrt(xx) * _STEP_UV if xx > 0 else 0.0
        self.y_rms = math.sqrt(yy) * _STEP_UV if yy > 0 else 0.0
        self.xy = ((out[6] * 4096.0 + out[7]) / total - mx * my) * _STEP_UV * _STEP_UV
        scale = 2.0 * _STEP_UV / 1024
        self.re = (out[8] * 4096.0 + out[9]) / total * scale
        self.im = (out[10] * 4096.0 + out[11]) / total * scale
