"""The PZEM driver (known answer, noise, echo, silence, commands) and the voltage sensing."""

import asyncio
import io
import math
import struct
import time

import support
from pbal_protocol.modbus import crc16

from pbal_node.clock import Monotonic
from pbal_node.metering import pzem, pzem_setup
from pbal_node.metering.sense import Sense
from pbal_node.measuring import Rhythm

# An answer of a real meter: 225.7 V, 0.108 A, 24.4 W, 38 Wh, 50.0 Hz, PF 1.00.
KNOWN = bytes.fromhex("01041408D1006C000000F400000026000001F4006400005134")


class Wire(io.IOBase):
    """A UART with a meter at the other end; `answer(request)` gives what the meter says."""

    def __init__(self, answer):
        self.answer = answer
        self.rx = b""
        self.sent = []
        self.echo = False
        self.noise = (b"", b"")

    def any(self):
        return len(self.rx)

    def readinto(self, buf):
        n = min(len(buf), len(self.rx))
        buf[:n] = self.rx[:n]
        self.rx = self.rx[n:]
        return n or None

    def write(self, data):
        data = bytes(data)
        self.sent.append(data)
        if self.echo:
            self.rx += data
        self.rx += self.noise[0] + self.answer(data) + self.noise[1]
        return len(data)

    def ioctl(self, request, arg):
        return arg & 5 if self.rx else arg & 4


def sealed(body):
    return body + struct.pack("<H", crc16(body))


def known_answer():
    assert sealed(KNOWN[:-2]) == KNOWN
    values = [0.0] * 7
    good = KNOWN
    assert pzem.parse(good, len(good), 1, values)
    v, a, w, wh, hz, pf, alarm = values
    assert abs(v - 225.7) < 1e-3 and abs(a - 0.108) < 1e-6 and abs(w - 24.4) < 1e-3
    assert wh == 38 and hz == 50.0 and pf == 1.0 and alarm == 0
    for i in range(len(good)):
        bad = good[:i] + bytes((good[i] ^ 4,)) + good[i + 1 :]
        assert not pzem.parse(bad, len(bad), 1, values), i
    for n in range(len(good)):
        assert not pzem.parse(good, n, 1, values)
    assert not pzem.parse(good, len(good), 2, values) and pzem.parse(good, len(good), 0xF8, values)
    for before in (b"\x00", b"\xff\x01\x04", b"\x01\x04\x14" * 3):
        noisy = before + good + b"\x55"
        assert pzem.parse(noisy, len(noisy), 1, values), before


def what_the_meter_cannot_have_measured():
    """Sealed, and yet no reading: the energy of all ones at power-up, and every value alone."""

    def answer(v=2310, i=1200, p=2700, e=45000, f=499, pf=97):
        words = (v, i & 0xFFFF, i >> 16, p & 0xFFFF, p >> 16, e & 0xFFFF, e >> 16, f, pf, 0)
        return sealed(b"\x01\x04\x14" + struct.pack(">10H", *words))

    values = [0.0] * 7
    for good in (
        answer(),
        answer(v=800, i=0, p=0, e=0, pf=0),
        answer(v=2600, i=100000, p=230000, e=9999990, pf=100),
        answer(v=2980, f=401),
        answer(f=650),
    ):
        assert pzem.parse(good, len(good), 1, values), good
    before = list(values)
    for bad in (
        answer(e=0xFFFFFFFF),
        answer(e=9999991),
        answer(v=3001),
        answer(v=0xFFFF),
        answer(i=120001),
        answer(i=0xFFFFFFFF),
        answer(p=360001),
        answer(p=0xFFFF0000),
        answer(f=0),
        answer(f=399),
        answer(f=701),
        answer(pf=101),
        sealed(b"\x01\x04\x14" + b"\xff" * 20),
    ):
        assert not pzem.parse(bad, len(bad), 1, values), bad
        assert values == before
    # Such an answer is like none: the next good one is taken, and the energy is the meter's again.
    told = [answer(e=0xFFFFFFFF), answer(e=46000)]
    wire, m = meter(lambda request: told.pop(0))
    assert not asyncio.run(m.read()) and not m.reading.ok and m.errors == 1
    assert asyncio.run(m.read()) and m.reading.ok and m.reading.e_import_wh == 46000


def meter(answer):
    mono = Monotonic(time.ticks_ms, time.ticks_diff)
    wire = Wire(answer)
    return wire, pzem.Pzem(wire, mono.now)


def reads_and_survives_the_line():
    good = KNOWN
    wire, m = meter(lambda request: good)
    assert asyncio.run(m.read()) and m.reading.ok
    assert wire.sent[0] == bytes.fromhex("01040000000A700D")
    assert abs(m.reading.v - 225.7) < 1e-3 and m.reading.e_import_wh == 38 and not m.echo
    wire.echo = True
    assert asyncio.run(m.read()) and m.echo
    wire.echo = False
    wire.noise = (bytes(range(40)), b"\xaa")
    assert asyncio.run(m.read())
    wire.noise = (b"", b"")
    wire.rx = b"\x01\x04\x14 an old, late answer"
    assert asyncio.run(m.read())
    wire.answer = lambda request: b""  # the output is dead: so is the meter
    at = m.reading.at_ms
    assert not asyncio.run(m.read()) and not m.reading.ok and m.errors == 1
    assert m.reading.at_ms == at
    wire.answer = lambda request: good[:-1] + b"\x00"
    assert not asyncio.run(m.read())


def commands():
    state = {"alarm": 100, "unit": 1, "energy": 5}

    def answer(request):
        assert request[-2:] == struct.pack("<H", crc16(request[:-2])), "bad request"
        unit, function = request[0], request[1]
        if unit != state["unit"]:
            return b""
        if function == 0x42:
            state["energy"] = 0
            return request
        if function == 6:
            register, value = struct.unpack(">HH", request[2:6])
            if register == 1:
                if value > 20000:
                    return sealed(bytes((unit, 0x86, 3)))
                state["alarm"] = value
            else:
                state["unit"] = value
            return request
        return sealed(bytes((unit, 3, 2)) + struct.pack(">H", state["alarm"]))

    for echo in (False, True):
        state.update({"alarm": 100, "unit": 1, "energy": 5})
        wire, m = meter(answer)
        wire.echo = m.echo = echo
        asyncio.run(pzem_setup.set_alarm_w(m, 2300))
        assert state["alarm"] == 2300 and asyncio.run(pzem_setup.get_alarm_w(m)) == 2300
        asyncio.run(pzem_setup.reset_energy(m))
        assert state["energy"] == 0
        try:
            asyncio.run(pzem_setup.set_alarm_w(m, 24000))
            refused = 0
        except pzem_setup.PzemError as e:
            refused = e.args[0]
        assert refused == 3
        asyncio.run(pzem_setup.set_address(m, 9))
        assert state["unit"] == 9 and m.unit == 9
        wire.answer = lambda request: b""
        try:
            asyncio.run(pzem_setup.reset_energy(m))
            raise AssertionError
        except OSError:
            pass
    for bad in (-1, 25001):
        try:
            asyncio.run(pzem_setup.set_alarm_w(m, bad))
            raise AssertionError
        except ValueError:
            pass


class Mains:
    """Virtual time: every ADC reading takes 40 us; sleeps can be made to overshoot."""

    def __init__(self):
        self.us = 0
        self.rms = [0.0, 230.0, 215.0, 245.0]
        self.hz = 50.0
        self.late = {}
        self.offset = [0] * 4
        self.harmonic = 0.0

    def adc(self, ch):
        return Adc(self, ch)

    def sleep(self, us):
        self.us += us + self.late.pop(0, 0) if 0 in self.late else us
        for at in list(self.late):
            if self.us >= at:
                self.us += self.late.pop(at)

    def sense(self):
        return Sense(
            [self.adc(i) for i in range(4)],
            [400.0] * 4,
            1300000,
            230.0,
            50.0,
            lambda: self.us // 1000,
            lambda: self.us,
            lambda a, b: a - b,
            self.sleep,
        )


class Adc:
    def __init__(self, mains, ch):
        self.mains = mains
        self.ch = ch

    def read_uv(self):
        m = self.mains
        m.us += 40
        w = 2 * math.pi * m.hz * m.us / 1e6 - self.ch
        k = m.harmonic
        wave = (math.sin(w) + k * math.sin(5 * w)) / math.sqrt(1 + k * k)
        return int(1300000 + m.offset[self.ch] + m.rms[self.ch] * math.sqrt(2) * wave * 2500)


def true_rms_over_whole_cycles():
    m = Mains()
    s = m.sense()
    for hz, harmonic in ((50.0, 0.0), (49.7, 0.1), (50.3, 0.1)):
        m.hz = hz
        m.harmonic = harmonic
        s.set_frequency(hz)
        m.rms[0] = 230.0
        for start in range(0, 20000, 1700):
            m.us = 100000 + start
            assert s.sample()
            for ch in range(4):
                assert abs(s.v[ch] / m.rms[ch] - 1) < 0.005, (hz, ch, s.v)
            assert s.sample_out() and abs(s.out_v / 230 - 1) < 0.03, s.out_v
    m.rms[0] = 0.0
    assert s.sample() and s.v[0] < 1 and s.sample_out() and s.out_v < 1


def bursts_with_holes_are_thrown_away():
    m = Mains()
    s = m.sense()
    assert s.sample()
    good = list(s.v)
    m.late = {m.us + 9000: 6000}
    assert not s.sample() and s.spoiled == 1 and s.v == good
    m.late = {m.us + 9000: 1200}  # a small delay is weighted, not believed blindly
    assert s.sample()
    for ch in (1, 2, 3):
        assert abs(s.v[ch] / m.rms[ch] - 1) < 0.02, s.v


def broken_sensors_never_look_good():
    m = Mains()
    s = m.sense()
    m.offset[2] = 900000  # the input hangs at a rail, with hum on it
    assert s.sample() and s.fault[2] and s.v[2] == 0.0 and not s.fault[1]


def output_edges_are_stamped():
    m = Mains()
    s = m.sense()
    m.rms[0] = 230.0
    s.sample()
    m.rms[0] = 0.0
    gone = m.us // 1000
    for _ in range(10):
        s.sample_out()
    assert abs(s.last_live_ms - gone) <= 10, (s.last_live_ms, gone)
    m.rms[0] = 230.0
    back = m.us // 1000
    s.sample_out()
    assert 0 <= s.first_live_ms - back <= 5, (s.first_live_ms, back)


def opening_meets_a_current_zero():
    m = Mains()
    s = m.sense()
    m.rms[0] = 230.0
    for k in range(40):
        m.us = 5000000 + 1370 * k
        assert s.sample()
        behind = 0.1 * (k % 10)
        wait = s.us_to_zero(10000, behind)
        assert 0 <= wait <= 10000
        w = 2 * math.pi * m.hz * (m.us + wait + 10000) / 1e6
        assert abs(math.sin(w - behind)) < 0.06, (k, math.sin(w - behind))


def told_ages(period, jitter=0, seconds=60):
    """Ages of readings when told, ms, and the gaps between readings, of a node polled so often.

    A reading takes 90 ms.
    """
    rhythm = Rhythm()
    ages, gaps = [], []
    start, done, poll, turn = 0, 90, period, 0
    begin = start + max(rhythm.rest_ms(start, done), done)
    while poll < 1000 * seconds:
        if begin < poll:
            gaps.append(begin - start)
            start, done = begin, begin + 90
            begin = done + rhythm.rest_ms(start, done)
        else:
            rhythm.answered(poll)
            ages.append(poll - done if poll >= done else poll - start + (gaps[-1] if gaps else 0))
            turn += 1
            poll += period + (jitter if turn % 2 else -jitter)
    return ages[5:], gaps[5:]


def readings_are_young_when_told():
    for period, jitter in ((770, 0), (770, 60), (1300, 40), (450, 0), (2600, 0), (9000, 0)):
        ages, gaps = told_ages(period, jitter)
        assert sum(ages) / len(ages) <= 260, (period, jitter, ages)
        assert 400 <= min(gaps) and max(gaps) <= 1000, (period, gaps)
    # Polled faster than it measures, or by nobody: at its own pace.
    for period in (40, 250, 15000):
        ages, gaps = told_ages(period)
        assert 400 <= min(gaps) and max(gaps) <= 1000, (period, gaps)


def ticks_may_wrap():
    period = 1 << 30
    t = [period - 500]
    mono = Monotonic(
        lambda: t[0] % period, lambda a, b: (a - b + period // 2) % period - period // 2
    )
    last = 0
    for _ in range(50):
        t[0] += 100
        now = mono.now()
        assert now == last + 100
        last = now
    t[0] += period // 2 - 1
    assert mono.now() == last + period // 2 - 1


support.run(
    (
        known_answer,
        what_the_meter_cannot_have_measured,
        reads_and_survives_the_line,
        commands,
        true_rms_over_whole_cycles,
        bursts_with_holes_are_thrown_away,
        broken_sensors_never_look_good,
        output_edges_are_stamped,
        opening_meets_a_current_zero,
        readings_are_young_when_told,
        ticks_may_wrap,
    )
)
