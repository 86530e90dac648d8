"""Phase-voltage sensing on ADC1: true RMS of the three supplies and the output.

A burst reads the four channels in turn, spread evenly over one whole mains cycle, so that the
mean is the bias and the mean square is exact for everything below half the sampling rate. Each
round is time-stamped: late rounds are weighted with the time that they really stand for, and a
burst with a gap in it is discarded.
"""

import math
from array import array

from micropython import const

from pbal_node.metering.dsp import Sums

_OUT = const(0)  # channel index; 1, 2, 3 are the supply phases
_CHANNELS = const(4)
_ROUNDS = const(24)  # per cycle
_HOLE_US = const(2500)  # a larger gap between two rounds spoils the burst
_STRETCHED_US = const(1200)  # a round of this length was interrupted: its sampling time is unknown
_BIAS_OFF_UV = const(300000)  # a mean further than this from the bias is a broken sensor
_LIVE_SHARE = const(0.25)  # of nominal peak: above it the output is alive at that instant


class Sense:
    """`adcs`: four objects with read_uv() (output, A, B, C); `volts_per_volt`: mains volts per
    volt at the pin, one per channel; `bias_uv` where the sensors idle.

    `ticks_us`, `diff` and `sleep_us` are the functions of `time`; `now_ms` the monotonic clock.
    """

    def __init__(
        self, adcs, volts_per_volt, bias_uv, nominal_v, hz, now_ms, ticks_us, diff, sleep_us
    ) -> None:
        self.channels = adcs
        self._read = [adc.read_uv for adc in adcs]
        self._scale = [s / 1000000 for s in volts_per_volt]
        self._trim = [0] * _CHANNELS
        self._bias_uv = bias_uv
        self._mean = [float(bias_uv)] * _CHANNELS
        self._now = now_ms
        self._ticks = ticks_us
        self._diff = diff
        self._sleep = sleep_us
        self._period_us = int(1000000 / hz)
        self._live_v = _LIVE_SHARE * nominal_v * math.sqrt(2)
        self._sums = Sums(_ROUNDS)
        self._t = self._sums.t
        self._start_us = 0
        self._uv = [array("i", [0] * _ROUNDS) for _ in range(_CHANNELS)]
        self.v = [0.0] * _CHANNELS  # RMS volts, index as the channels
        # How alike the waves of the output and of each phase are in the last burst: 1 in phase, -1
        # a sensor connected the other way round, about -0.5 another phase, 0 one of them dead.
        self.alike = [0.0] * _CHANNELS
        self.fault = [False] * _CHANNELS
        self.at_ms = -1  # end of the last good burst
        self.spoiled = 0  # bursts discarded
        self.out_v = 0.0
        self.out_at_ms = -1  # start of the last reading of the output
        self.last_live_ms = -1
        self.first_live_ms = -1
        self._out_live = False
        self._ref_us = 0  # start of the last burst, and the output's angle then
        self._ref_rad = 0.0

    def trim(self, channel: int, ppm: int) -> None:
        """Calibration on site: the channel reads 1 + ppm / 10^6 times what the board file says."""
        more = (1000000 + ppm) / (1000000 + self._trim[channel])
        self._scale[channel] *= more
        self.v[channel] *= more
        self._trim[channel] = ppm

    def set_frequency(self, hz: float) -> None:
        """Follow the mains: the window stays one whole cycle."""
        if 40.0 < hz < 70.0:
            self._period_us = int(1000000 / hz)

    def _burst(self, rounds: int, span_us: int, channels) -> int:
        """Sample `channels` at `rounds` even times over span_us; returns the rounds taken, 0 when
        the converter fails.
        """
        try:
            return self._take(rounds, span_us, channels)
        except OSError:
            return 0

    def _take(self, rounds: int, span_us: int, channels) -> int:
        ticks = self._ticks
        diff = self._diff
        times = self._t
        start = self._start_us = ticks()
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
            if diff(ticks(), start) - at < _STRETCHED_US:
                k += 1
        return k

    def sample(self) -> bool:
        """One burst over a whole cycle, 20 ms; False when it was spoiled (nothing changes)."""
        period = self._period_us
        n = self._burst(_ROUNDS, period, (0, 1, 2, 3))
        sums = self._sums
        if not sums.window(n, period, _HOLE_US):
            self.spoiled += 1
            return False
        base = self._bias_uv
        out = self._uv[_OUT]
        for c in (1, 2, 3):
            sums.pair(out, self._uv[c], n, period, base, base)
            self._note(c, sums.y_mean, sums.y_rms)
            both = sums.x_rms * sums.y_rms
            self.alike[c] = sums.xy / both if both > 0 else 0.0
        self._note(_OUT, sums.x_mean, sums.x_rms)
        self._ref_us = self._start_us
        self._ref_rad = math.atan2(sums.im, sums.re)
        now = self._now()
        self.at_ms = now
        self._note_out(self.v[_OUT], now - period // 1000, now)
        return True

    def _off_bias(self, mean_uv: float) -> bool:
        return not -_BIAS_OFF_UV < mean_uv - self._bias_uv < _BIAS_OFF_UV

    def _note(self, c: int, mean_uv: float, rms_uv: float) -> None:
        self._mean[c] = mean_uv
        self.fault[c] = self._off_bias(mean_uv)
        # A broken supply sensor never makes a phase look good.
        self.v[c] = 0.0 if self.fault[c] and c else rms_uv * self._scale[c]

    def sample_out(self) -> bool:
        """The output only, over half a cycle (10 ms): quick enough to follow a transfer."""
        half = self._period_us // 2
        start = self._now()
        n = self._burst(_ROUNDS // 2, half, (_OUT,))
        sums = self._sums
        if not sums.window(n, half, _HOLE_US):
            self.spoiled += 1
            return False
        t = self._t
        uv = self._uv[_OUT]
        mean = int(self._mean[_OUT])
        sums.pair(uv, uv, n, half, mean, mean)
        # Half a cycle has a mean of its own: it belongs to the RMS, the bias is known already.
        off = sums.x_mean - mean
        v = math.sqrt(sums.x_rms * sums.x_rms + off * off) * self._scale[_OUT]
        if v * math.sqrt(2) < self._live_v and self._off_bias(sums.x_mean):
            self.fault[_OUT] = True  # no signal, but not at the idle level: it proves nothing
        limit = self._live_v / self._scale[_OUT]
        for k in range(n):
            if not -limit < uv[k] - mean < limit:
                at = start + t[k] // 1000
                self.last_live_ms = at
                if not self._out_live:
                    self.first_live_ms = at
                    self._out_live = True
        self._note_out(v, start, start)
        return True

    def us_to_zero(self, lead_us: int, behind_rad: float) -> int:
        """How long to wait so that what happens lead_us later meets a zero of the current, which
        is behind the output's voltage by behind_rad. Call right after a burst: 0 .. half a cycle.
        """
        half = self._period_us / 2
        at = self._diff(self._ticks(), self._ref_us) + lead_us
        # The current goes as cos(wt - ref - behind): zero a quarter of a cycle from its peaks.
        zero = (self._ref_rad + behind_rad + math.pi / 2) / math.pi * half
        return int((zero - at) % half)

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
