"""A simulated ADC front end in virtual time: 12-bit steps, an ESP32-like residual curve, noise.

`conv_us` is the time of one conversion. Noise is uniform, its peak given as a share of full scale
(1.2 V around the bias) or of the signal's own peak; the generator is seeded, so every run is the
same.
"""

import math

from pbal_node import store
from pbal_node.metering import adc

FULL_UV = 1200000
BIAS_UV = 1300000


def two_point(low: float, low_true: float, high: float, high_true: float) -> tuple:
    """(g0, g1) so that x (g0 + g1 x^2) is right at both points. ValueError when they coincide."""
    if low <= 0 or high <= low:
        raise ValueError("two-point calibration needs two different, positive points")
    a = low_true / low
    b = high_true / high
    g1 = (b - a) / (high * high - low * low)
    return a - g1 * low * low, g1


class Plant:
    def __init__(self, noise=0.01, of_signal=False, curve_uv=8000, conv_us=45):
        self.us = 0
        self.hz = 50.0
        self.v = 230.0
        self.i = 5.0
        self.phi = 0.0  # current behind voltage
        self.h3 = 0.0  # third harmonic of the current, share of the fundamental
        self.noise = noise
        self.of_signal = of_signal
        self.curve_uv = curve_uv
        self.conv_us = conv_us
        self.v_gain, self.i_gain, self.ct_lead = 1.013, 0.981, math.radians(1.2)
        self._seed = 12345

    def ticks(self):
        return self.us

    def sleep(self, us):
        self.us += us

    def now(self):
        return self.us // 1000

    def _random(self):
        """xorshift32, -1..1"""
        x = self._seed
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._seed = x
        return x / 0x80000000 - 1

    def _adc(self, uv, peak_uv):
        uv += self.noise * (peak_uv if self.of_signal else FULL_UV) * self._random()
        # The error that the factory calibration leaves: a smooth curve of a few mV, flat at the
        # ends.
        uv += self.curve_uv * math.sin(2 * math.pi * (uv - BIAS_UV) / 3100000)
        uv = min(max(uv, 142000), 3100000)
        step = 3100000 / 4096
        return int(int(uv / step) * step)

    def read_v(self):
        w = 2 * math.pi * self.hz * self.us / 1e6
        self.us += self.conv_us
        peak = self.v * math.sqrt(2) * self.v_gain * 2500
        return self._adc(BIAS_UV + peak * math.sin(w), peak)

    def read_i(self):
        w = 2 * math.pi * self.hz * self.us / 1e6 - self.phi
        self.us += self.conv_us
        k = self.h3
        wave = math.sin(w + self.ct_lead) + k * math.sin(3 * w)
        wave = wave / math.sqrt(1 + k * k)
        peak = self.i * math.sqrt(2) * self.i_gain / 120 * 1e6
        return self._adc(BIAS_UV + 7000 + peak * wave, peak)


class Bench:
    """An AdcMeter on a plant, its calibration, and readings averaged over seconds."""

    def __init__(self, plant, slots="/afe"):
        self.plant = p = plant
        stats = store.FlashStats()
        self.meter = adc.AdcMeter(
            p.read_v,
            p.read_i,
            400.0,
            120.0,
            BIAS_UV,
            50.0,
            adc.Calibration(store.Slot(slots + "c", stats)),
            adc.Energy(store.Slot(slots + "e", stats), 0),
            p.now,
            p.ticks,
            lambda a, b: a - b,
            p.sleep,
        )

    def second(self):
        """One reading, as read() makes it, and the rest of the second."""
        m = self.meter
        p = self.plant
        end = p.us + 1000000
        for k in range(m.begin()):
            p.us += 5000 if k else 0
            m.add_burst()
        assert m.publish()
        p.us = end
        return m.reading

    def mean(self, seconds):
        """(V, I, P, Q, Hz) averaged over readings."""
        total = [0.0] * 5
        for _ in range(seconds):
            r = self.second()
            for k, x in enumerate((r.v, r.current_a, r.p_w, r.q_var, r.freq_hz)):
                total[k] += x / seconds
        return total

    def _raw(self, seconds=20):
        m = self.meter
        v = i = phi = 0.0
        for _ in range(seconds):
            self.second()
            v += m.raw_v / seconds
            i += m.raw_i * m.raw_i / seconds
            phi += m.phi_rad / seconds
        return v, math.sqrt(i), phi

    def calibrate(self):
        """Calibrates as an installer does: output open, then a heater at two powers."""
        p = self.plant
        m = self.meter
        c = m.calibration
        p.i = 0.0
        self.mean(30)  # the bias is learnt
        c.noise_a = self._raw()[1]
        p.phi = 0.0
        points = []
        for p.v, p.i in ((180.0, 8.0), (250.0, 55.0)):
            self.mean(3)
            v, i, phi = self._raw()
            points.append((v, i, p.v, p.i))  # the noise is removed already
            m.phi_rad = phi
        low, high = points
        c.gv = two_point(low[0], low[2], high[0], high[2])
        c.gi = two_point(low[1], low[3], high[1], high[3])
        # The load is a heater, so the remaining angle is the current's phase error and the skew.
        c.phase_rad = -m.phi_rad - 2 * math.pi * m._hz * m._skew_us / 1000000
