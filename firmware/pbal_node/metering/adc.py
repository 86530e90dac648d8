"""The meter without a PZEM: output voltage and current on two ADC1 channels.

Each reading takes two bursts of one cycle, a few tens of ms apart, or six at a small current. True
RMS and real power come from the samples themselves; the fundamental's phasors give reactive power,
frequency (from the phase that passed between the bursts) and the correction of the phase error of
CT, transformer and interleaved sampling. Gains and phase come from a two-point calibration kept in
flash.

    V = v (gv0 + gv1 v^2)     the same for I: the cubic term is the ADC's remaining curvature
    P = mean(v i) gains + V1 I1 (cos(phi + d) - cos phi),   Q = V1 I1 sin(phi + d)

with d the calibrated phase error plus the time between a voltage and its current sample.
"""

import asyncio
import json
import math
import struct
from array import array

from micropython import const

from pbal_node.metering.base import Meter
from pbal_node.metering.dsp import Sums
from pbal_node.metering.steady import Steady
from pbal_node.store import Slot

_ROUNDS = const(160)  # pairs per cycle; a pair of conversions takes some 90 us
_HOLE_US = const(1500)
_PAUSE_MS = const(5)  # between the two bursts
_SAVE_MS = const(1800000)  # energy goes to flash at most this often ...
_SAVE_DWH = const(100)  # ... and only when it moved by 10 Wh
_STRETCHED_US = const(500)  # a pair of this length was interrupted: its sampling time is unknown
_STALE_MS = const(4000)
_JUMP_HZ = const(0.5)
_BIAS_OFF_UV = const(300000)  # a mean further than this from the bias is a broken sensor
_FULL_UV = const(1200000)  # peak of a full-range signal
_BURSTS = const(2)  # of a reading ...
_BURSTS_LOW = const(6)  # ... and of one below a tenth of the range (peak of full scale / 7)
_SPARE = const(2)  # tries to replace spoiled ones
_LOW = const(0.07)
_QUIET = const(0.0004)  # of full scale: a current below this is noise
_FMT = const("<II")  # import and export in 0.1 Wh


class Calibration:
    """Gains of voltage and current and the phase error, kept as JSON in a slot."""

    def __init__(self, slot: Slot) -> None:
        self._slot = slot
        self.gv = (1.0, 0.0)
        self.gi = (1.0, 0.0)
        self.phase_rad = 0.0  # how far the measured current leads the true one
        self.noise_a = 0.0  # RMS of the current channel with no current
        raw = slot.load()
        if raw is not None:
            try:
                t = json.loads(raw)
                self.gv = (float(t["gv"][0]), float(t["gv"][1]))
                self.gi = (float(t["gi"][0]), float(t["gi"][1]))
                self.phase_rad = float(t["phase"])
                self.noise_a = float(t["noise"])
            except (ValueError, KeyError, IndexError, TypeError):
                pass  # a damaged calibration is ignored

    def save(self) -> bool:
        t = {"gv": self.gv, "gi": self.gi, "phase": self.phase_rad, "noise": self.noise_a}
        return self._slot.save(json.dumps(t).encode())


class Energy:
    """Import and export that survive a reboot, with bounded flash wear.

    The totals are whole tenths of a watt-hour: the chip's floats have 24 bits, and from 2 MWh on
    they could not count a tenth any more.
    """

    def __init__(self, slot: Slot, now_ms: int) -> None:
        self._slot = slot
        raw = slot.load()
        self._import, self._export = (
            struct.unpack(_FMT, raw) if raw is not None and len(raw) == 8 else (0, 0)
        )
        self._part_wh = 0.0  # not yet in the totals, below a tenth
        self._saved = self._import + self._export
        self._saved_ms = now_ms
        self._last_ms = -1

    @property
    def import_wh(self) -> int:
        return self._import // 10

    @property
    def export_wh(self) -> int:
        return self._export // 10

    def add(self, p_w: float, now_ms: int) -> None:
        """Integrate; gaps longer than 10 s count as unknown, not as energy."""
        last = self._last_ms
        self._last_ms = now_ms
        if last < 0 or not 0 < now_ms - last <= 10000:
            return
        self._part_wh += p_w * (now_ms - last) / 3600000
        tenths = int(self._part_wh * 10)
        if tenths:
            self._part_wh -= tenths / 10
            if tenths > 0:
                self._import += tenths
            else:
                self._export -= tenths

    def save_if_due(self, now_ms: int) -> bool:
        """At most 48 writes a day. True when it wrote."""
        total = self._import + self._export
        if now_ms - self._saved_ms < _SAVE_MS or total - self._saved < _SAVE_DWH:
            return False
        self._saved_ms = now_ms
        if self._slot.save(struct.pack(_FMT, self._import, self._export)):
            self._saved = total
            return True
        return False


class AdcMeter(Meter):
    """`read_v`, `read_i`: read_uv of the two channels; scales: mains volts and amperes per volt at
    the pin; `bias_uv` where the sensors idle. Times as in sense.py.
    """

    def __init__(
        self,
        read_v,
        read_i,
        volts_per_volt,
        amps_per_volt,
        bias_uv,
        hz,
        calibration,
        energy,
        now_ms,
        ticks_us,
        diff,
        sleep_us,
    ) -> None:
        super().__init__()
        self._read_v = read_v
        self._read_i = read_i
        self._vs = volts_per_volt / 1000000
        self._is = amps_per_volt / 1000000
        self._bias = [bias_uv, bias_uv]
        self._idle_uv = bias_uv
        self.broken = False  # a sensor that is stuck at a rail
        self._nominal_hz = hz
        self._hz = hz
        self._odd_hz = hz
        self.calibration = calibration
        self.energy = energy
        self._now = now_ms
        self._ticks = ticks_us
        self._diff = diff
        self._sleep = sleep_us
        self._sums = Sums(_ROUNDS)
        self._v = array("i", [0] * _ROUNDS)
        self._i = array("i", [0] * _ROUNDS)
        self._skew_us = 0.0
        self._good = 0  # bursts in this reading
        self._start_us = 0
        self._apart_us = 0
        self._angle = 0.0
        self._amps = 0.0  # the last reading, for the number of bursts of the next
        self._found = [0.0] * 6  # of one burst: V, I, P, V1 I1 cos, V1 I1 sin, angle of V
        self._sum = [0.0] * 5
        self._steady = Steady(4)  # I squared, V1 I1 cos, V1 I1 sin, P
        self.raw_v = self.raw_i = 0.0  # uncalibrated RMS, for a calibration
        self.phi_rad = 0.0  # measured angle between voltage and current, uncorrected

    def burst(self) -> int:
        """One cycle of pairs; the start time in us, or -1 when it was spoiled."""
        ticks = self._ticks
        diff = self._diff
        t = self._sums.t
        period = int(1000000 / self._hz)
        step = period // _ROUNDS
        start = ticks()
        skew = 0
        k = 0
        while k < _ROUNDS:
            wait = k * step - diff(ticks(), start)
            if wait > 0:
                self._sleep(wait)
            a = ticks()
            at = diff(a, start)
            if at >= period:
                break
            t[k] = at
            self._v[k] = self._read_v()
            b = ticks()
            self._i[k] = self._read_i()
            if diff(ticks(), a) < _STRETCHED_US:
                skew += diff(b, a)
                k += 1
        if not self._sums.window(k, period, _HOLE_US):
            return -1
        self._skew_us = skew / k
        self._evaluate(k, period)
        return start

    def _evaluate(self, n: int, period: int) -> None:
        s = self._sums
        bv, bi = self._bias
        s.pair(self._i, self._v, n, period, bi, bv)
        i_re, i_im = s.re, s.im
        s.pair(self._v, self._i, n, period, bv, bi)
        v_re, v_im = s.re, s.im
        off = max(abs(s.x_mean - self._idle_uv), abs(s.y_mean - self._idle_uv))
        self.broken = off > _BIAS_OFF_UV
        if self.broken:
            return
        self._bias[0] += int((s.x_mean - bv) / 8)  # follow the bias slowly
        self._bias[1] += int((s.y_mean - bi) / 8)
        scale = self._vs * self._is
        f = self._found
        f[0] = s.x_rms * self._vs
        f[1] = s.y_rms * self._is
        f[2] = s.xy * scale
        # Fundamental x = re cos + im sin, so the phasor is re - j im.
        f[3] = (v_re * i_re + v_im * i_im) / 2 * scale
        f[4] = (v_re * i_im - v_im * i_re) / 2 * scale
        f[5] = math.atan2(-v_im, v_re)

    async def read(self) -> bool:
        n = self.begin()
        for k in range(n + _SPARE):
            if k:
                await asyncio.sleep_ms(_PAUSE_MS)
            if self.add_burst() >= n:
                break
        return self.publish()

    def begin(self) -> int:
        """Start a reading; the number of bursts that it takes.

        Noise of the converter is the same at every load and averages out with the number of
        samples, so a small current gets more of them.
        """
        total = self._sum
        for k in range(5):
            total[k] = 0.0
        self._good = 0
        return _BURSTS_LOW if self._amps < _LOW * self._is * _FULL_UV else _BURSTS

    def add_burst(self) -> int:
        """One burst more; how many there are. A spoiled one is left out."""
        try:
            start = self.burst()
        except OSError:  # the converter failed
            return self._good
        if start < 0 or self.broken:
            return self._good
        f = self._found
        for k in range(5):
            self._sum[k] += f[k]
        self._good += 1
        if self._good == 1:
            self._start_us = start
            self._angle = f[5]
        self._apart_us = self._diff(start, self._start_us)
        return self._good

    def _follow(self, turned_rad: float, apart_us: int) -> None:
        """Frequency from the angle that passed between the bursts, in turns beyond whole cycles."""
        if self._found[0] < 20.0:
            self._hz = self._nominal_hz
            return
        turns = turned_rad / (2 * math.pi)
        expected = apart_us * self._hz / 1000000
        whole = math.floor(expected - turns + 0.5)
        hz = (whole + turns) * 1000000 / apart_us
        if not 0.9 * self._nominal_hz < hz < 1.1 * self._nominal_hz:
            return
        odd = self._odd_hz
        self._odd_hz = hz
        # A contact that moved between the bursts looks like a jump: accepted when seen again.
        if abs(hz - self._hz) < _JUMP_HZ or abs(hz - odd) < _JUMP_HZ:
            self._hz += (hz - self._hz) / 4

    def publish(self) -> bool:
        """Correct what the bursts found and make it the reading; False when too few were good."""
        n = self._good
        if n < _BURSTS:
            self.errors += 1
            r = self.reading
            # Spoiled bursts say nothing of the sensor: for a while the last reading stands, with
            # its age.
            if self.broken or self._now() - r.at_ms > _STALE_MS:
                r.ok = False
            return False
        # Over the longest time there is: less depends on when exactly a burst began.
        self._follow(self._found[5] - self._angle, self._apart_us)
        v, i, p, re, im = [x / n for x in self._sum]
        c = self.calibration
        self.raw_v = v
        self.raw_i = self._true_rms(i * i)
        # Positive im: the current is behind the voltage (inductive), apart from the errors.
        self.phi_rad = math.atan2(im, re)
        # Noise of 2 % of the range, in the mean of so many samples.
        most = 0.02 * self._is * _FULL_UV * v / math.sqrt(n * _ROUNDS)
        square, re, im, p = self._steady.add((i * i, re, im, p), most / 100, most)
        i = self._true_rms(square)
        kv = (c.gv[0] + c.gv[1] * v * v) * self.trim_v
        ki = c.gi[0] + c.gi[1] * i * i
        ki *= self.trim_i + self.bend_i * (i * ki) ** 2
        # The current was sampled later: it seems ahead of where it was.
        d = c.phase_rad + 2 * math.pi * self._hz * self._skew_us / 1000000
        cos_d = math.cos(d)
        sin_d = math.sin(d)
        re_true = re * cos_d - im * sin_d
        im_true = im * cos_d + re * sin_d
        r = self.reading
        r.v = v * kv
        self._amps = i * ki
        quiet = self._amps < _QUIET * self._is * _FULL_UV
        r.current_a = 0.0 if quiet else i * ki
        r.p_w = 0.0 if quiet else (p + re_true - re) * kv * ki
        r.q_var = 0.0 if quiet else im_true * kv * ki
        r.freq_hz = self._hz if v * kv > 20.0 else 0.0
        now = self._now()
        self.energy.add(r.p_w, now)
        r.e_import_wh = self.energy.import_wh
        r.e_export_wh = self.energy.export_wh
        r.at_ms = now
        r.ok = True
        return True

    def _true_rms(self, square: float) -> float:
        """Noise adds to the RMS, not to P."""
        square -= self.calibration.noise_a * self.calibration.noise_a
        return math.sqrt(square) if square > 0 else 0.0

    def slow_work(self) -> None:
        self.energy.save_if_due(self._now())
