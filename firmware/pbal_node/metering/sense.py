"""Phase-voltage sensing on ADC1: true RMS of the three supplies and the output.

A burst reads the four channels in turn, spread evenly over one whole mains cycle, so that the
mean is the bias and the mean square is exact for everything below half the sampling rate. Each
round is time-stamped: late rounds are weighted with the time that they really stand for, and a
burst with a hole in it is thrown away instead of believed.
"""

import math
from array import array

from micropython import const

OUT = const(0)  # channel index; 1, 2, 3 are the supply phases
_CHANNELS = const(4)
ROUNDS = const(24)  # per cycle
_HOLE_US = const(2500)  # a larger gap between two rounds spoils the burst
_BIAS_OFF_UV = const(300000)  # a mean further than this from the bias is a broken sensor
_LIVE_SHARE = 0.25  # of nominal peak: above it the output is alive at that instant


class Sense:
    """`adcs`: four objects with read_uv() (output, A, B, C); `volts_per_volt`: mains volts per
    volt at the pin, one per channel; `bias_uv` where the sensors idle.

    `ticks_us`, `diff` and `sleep_us` are the functions of `time`; `now_ms` the monotonic clock.
    """

    def __init__(self, adcs, volts_per_volt, bias_uv, nominal_v, hz, now_ms, ticks_us, diff,
                 sleep_us) -> None:
        self._read = [adc.read_uv for adc in adcs]
        self._scale = [s / 1000000 for s in volts_per_volt]
        self._bias_uv = bias_uv
        self._mean = [float(bias_uv)] * _CHANNELS
        self._now = now_ms
        self._ticks = ticks_us
        self._diff = diff
        self._sleep = sleep_us
        self._period_us = int(1000000 / hz)
        self._live_v = _LIVE_SHARE * nominal_v * math.sqrt(2)
        self._t = array("i", [0] * ROUNDS)
        self._uv = [array("i", [0] * ROUNDS) for _ in range(_CHANNELS)]
        self.v = [0.0] * _CHANNELS  # RMS volts, index as the channels
        self.fault = [False] * _CHANNELS
        self.at_ms = -1  # end of the last good burst
        self.spoiled = 0  # bursts thrown away
        self.out_v = 0.0
        self.out_at_ms = -1  # start of the last reading of the output
        self.last_live_ms = -1
        self.first_live_ms = -1
        self._out_live = False

    def set_frequency(self, hz: float) -> None:
        """Follow the mains: the window stays one whole cycle."""
        if 40.0 < hz < 70.0:
            self._period_us = int(1000000 / hz)

    def _burst(self, rounds: int, span_us: int, channels) -> int:
        """Sample `channels` at `rounds` even times over span_us; returns the rounds taken."""
        ticks = self._ticks
        diff = self._diff
        times = self._t
        start = ticks()
        step = span_us // rounds
        k = 0
        while k < rounds:
            wait = k * step - diff(ticks(), start)
            if wait > 0:
                self._sleep(wait)
            at = diff(ticks(), start)
            if at >= span_us:
                break
            times[k] = at
            for c in channels:
                self._uv[c][k] = self._read[c]()
            k += 1
        return k

    def _whole(self, n: int, span_us: int) -> bool:
        """No hole in the burst, the wrap from the last round to the first included."""
        t = self._t
        if n < 8 or t[0] + span_us - t[n - 1] > _HOLE_US:
            return False
        for k in range(1, n):
            if t[k] - t[k - 1] > _HOLE_US:
                return False
        return True

    def sample(self) -> bool:
        """One burst over a whole cycle, 20 ms; False when it was spoiled (nothing changes)."""
        period = self._period_us
        n = self._burst(ROUNDS, period, (0, 1, 2, 3))
        if not self._whole(n, period):
            self.spoiled += 1
            return False
        t = self._t
        for c in range(_CHANNELS):
            uv = self._uv[c]
            s1 = s2 = 0.0
            base = self._bias_uv
            for k in range(n):
                # Half the way to both neighbours; the cycle closes on itself.
                before = t[k - 1] if k else t[n - 1] - period
                after = t[k + 1] if k + 1 < n else t[0] + period
                w = after - before
                x = uv[k] - base
                s1 += w * x
                s2 += w * x * x
            m = s1 / (2 * period)
            square = s2 / (2 * period) - m * m
            self._mean[c] = base + m
            self.fault[c] = not -_BIAS_OFF_UV < m < _BIAS_OFF_UV
            self.v[c] = math.sqrt(square) * self._scale[c] if square > 0 else 0.0
            if self.fault[c] and c:
                self.v[c] = 0.0  # a broken supply sensor never makes a phase look good
        now = self._now()
        self.at_ms = now
        self._note_out(self.v[OUT], now - period // 1000, now)
        return True

    def sample_out(self) -> bool:
        """The output only, over half a cycle (10 ms): quick enough to follow a transfer."""
        half = self._period_us // 2
        start = self._now()
        n = self._burst(ROUNDS // 2, half, (OUT,))
        if not self._whole(n, half):
            self.spoiled += 1
            return False
        t = self._t
        uv = self._uv[OUT]
        mean = self._mean[OUT]
        s2 = 0.0
        for k in range(n):
            before = t[k - 1] if k else t[n - 1] - half
            after = t[k + 1] if k + 1 < n else t[0] + half
            x = uv[k] - mean
            s2 += (after - before) * x * x
        v = math.sqrt(s2 / (2 * half)) * self._scale[OUT]
        limit = self._live_v / self._scale[OUT]
        for k in range(n):
            if not -limit < uv[k] - mean < limit:
                at = start + t[k] // 1000
                self.last_live_ms = at
                if not self._out_live:
                    self.first_live_ms = at
                    self._out_live = True
        self._note_out(v, start, start)
        return True

    def _note_out(self, v: float, start_ms: int, live_ms: int) -> None:
        self.out_v = v
        self.out_at_ms = start_ms
        if v * math.sqrt(2) < self._live_v:
            self._out_live = False
            return
        if live_ms > self.last_live_ms:
            self.last_live_ms = live_ms
        if not self._out_live:
            self._out_live = True
            self.first_live_ms = live_ms
