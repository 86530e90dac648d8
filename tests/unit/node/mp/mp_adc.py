"""The ADC front end: accuracy after a two-point calibration, both signs, frequency, energy."""

import asyncio
import math
import struct

import support

support.ram_disk()

from adc_plant import Bench, Plant  # noqa: E402

from pbal_node import store  # noqa: E402
from pbal_node.metering import adc, dsp, plain  # noqa: E402


def machine_code_and_plain_sums_agree():
    fast = dsp.accumulate
    assert fast is not plain.accumulate, "this interpreter should have machine code"
    found = []
    for way in (fast, plain.accumulate):
        dsp.accumulate = way
        b = Bench(Plant(), "/sums")
        b.plant.phi = 0.7
        b.second()
        found.append(list(b.meter._found))
    dsp.accumulate = fast
    assert found[0] == found[1], found


ALL = ((1.0, 1), (0.8, 1), (0.5, 1), (1.0, -1), (0.5, -1))  # power factor, sign


def accuracy(noise, of_signal, shares, seconds, v_limit, p_limit, steady_s=3, loads=ALL):
    b = Bench(Plant(noise, of_signal))
    b.calibrate()
    p = b.plant
    for share in shares:
        for pf, sign in loads:
            p.v = 230.0
            p.i = 60 * share
            p.phi = math.acos(pf) + (math.pi if sign < 0 else 0)
            b.mean(steady_s)
            v, i, w, q, hz = b.mean(seconds)
            true = p.v * p.i * pf * sign
            where = (noise, share, pf, sign, v, i, w, q)
            assert abs(v / p.v - 1) < v_limit, where
            assert abs(w / true - 1) < p_limit, where
            assert abs(q - p.v * p.i * math.sin(p.phi)) < 0.02 * p.v * p.i + 3, where
            assert abs(hz - 50.0) < 0.05, where


def without_noise():
    accuracy(0.0, False, (0.02, 0.1, 1.0), 5, 0.002, 0.005)


def with_one_percent_noise():
    accuracy(0.01, True, (0.02, 0.1, 0.5, 1.0), 10, 0.005, 0.01)


def with_one_percent_of_full_scale_noise():
    """Half as much noise as signal at 2 %: a reading of a load that is steady for two minutes."""
    some = ((1.0, 1), (0.5, -1))
    accuracy(0.01, False, (0.02,), 2, 0.005, 0.01, 120, some)
    accuracy(0.01, False, (0.1, 1.0), 2, 0.005, 0.01, 30, some)


def steps_are_followed_at_once():
    b = Bench(Plant(0.01))
    b.calibrate()
    p = b.plant
    p.v = 230.0
    for amps in (1.2, 20.0, 2.0, 24.0, 25.0):
        p.i = amps
        b.second()  # the step may fall between two bursts of a reading
        assert abs(b.second().p_w - 230 * amps) < 0.01 * 230 * amps + 30, (amps, b.second().p_w)
        b.mean(25)
    # A slow ramp, 1 kW in two minutes, as of a cloud over panels.
    for n in range(120):
        p.i = 25.0 - n * 1000 / 230 / 120
        w = b.second().p_w
        # Behind by no more than four times the noise of a reading, which is 11 W here.
        assert abs(w - 230 * p.i) < 75, (n, w, 230 * p.i)


def a_sensor_at_a_rail_is_no_zero():
    """A broken current transformer must not look like a load that may be switched."""
    b = Bench(Plant(0.0))
    assert b.second().ok
    b.meter._read_i = lambda: 3100000
    b.meter.begin()
    for _ in range(4):
        b.meter.add_burst()
    errors = b.meter.errors
    assert not b.meter.publish() and not b.meter.reading.ok and b.meter.errors == errors + 1
    b.meter._read_i = b.plant.read_i
    assert b.second().ok

    def fails():
        raise OSError(5)

    b.meter._read_v = fails
    b.meter.begin()
    assert b.meter.add_burst() == 0 and not b.meter.publish()


def single(x):
    """As the chip's floats keep it: 24 bits."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def energy_counts_after_ten_years_in_single_precision():
    """At 40 MWh a float of the chip no longer notices a watt-hour."""
    slot = store.Slot("/ten", store.FlashStats())
    slot.save(struct.pack("<II", 400000000, 123))
    e = adc.Energy(slot, 0)
    for n in range(1, 3601):
        e.add(100.0, 1000 * n)
        for name in e.__dict__:
            value = getattr(e, name)
            if isinstance(value, float):
                setattr(e, name, single(value))
    assert 40000099 <= e.import_wh <= 40000100 and e.export_wh == 12, e.import_wh


def uncalibrated_is_worse():
    b = Bench(Plant(0.0))
    b.plant.i = 30.0
    b.mean(10)
    v = b.mean(3)[0]
    assert abs(v / 230 - 1) > 0.005, "the plant has no errors: the calibration tests prove nothing"


def harmonics_belong_to_rms_not_to_power():
    b = Bench(Plant(0.0))
    b.calibrate()
    p = b.plant
    p.v, p.i, p.h3 = 230.0, 20.0, 0.6
    b.mean(3)
    _v, i, w, _q, _hz = b.mean(5)
    assert abs(i / 20 - 1) < 0.01
    assert abs(w / (230 * 20 / math.sqrt(1.36)) - 1) < 0.01, w


def follows_the_frequency():
    b = Bench(Plant(0.0))
    for hz in (49.2, 50.0, 51.3):
        b.plant.hz = hz
        assert abs(b.mean(25)[4] - hz) < 0.4 and abs(b.second().freq_hz - hz) < 0.02
    b.plant.v = 0.0
    assert b.second().freq_hz == 0.0


def a_contact_that_moves_is_no_frequency():
    """The first burst of a reading finds a dead output, or another phase, the last one its own."""
    b = Bench(Plant(0.0))
    p, m = b.plant, b.meter
    for k in range(20):
        b.mean(3)
        m.begin()
        p.v = 0.0
        p.us += 1370 * k
        m.add_burst()
        p.v = 230.0
        p.us += 5000
        m.add_burst()
        assert m.publish() and abs(m.reading.freq_hz - 50.0) < 0.02, (k, m.reading.freq_hz)


def energy_survives_and_spares_the_flash():
    stats = store.FlashStats()
    e = adc.Energy(store.Slot("/en", stats), 0)
    now = 0
    saves = 0
    for k in range(86400):
        now += 1000
        e.add(2000.0 if k % 2 else -500.0, now)
        saves += e.save_if_due(now)
    assert abs(e.import_wh - e.export_wh - 750 * 24) < 5, (e.import_wh, e.export_wh)
    assert 40 <= saves <= 48 and stats.writes == saves
    again = adc.Energy(store.Slot("/en", stats), now)
    lost = e.import_wh - again.import_wh
    assert 0 <= lost <= 0.6 * 2000, lost  # at most half an hour is lost
    again.add(1000.0, now)
    again.add(1000.0, now + 60000)  # a hole of a minute is unknown, not energy
    assert again.import_wh == adc.Energy(store.Slot("/en", stats), now).import_wh


def calibration_survives():
    b = Bench(Plant(0.0), "/keep")
    b.calibrate()
    assert b.meter.calibration.save()
    c = Bench(Plant(0.0), "/keep").meter.calibration
    for a, x in ((c.gv, b.meter.calibration.gv), (c.gi, b.meter.calibration.gi)):
        assert abs(a[0] - x[0]) < 1e-5 and abs(a[1] - x[1]) < 1e-9


def the_coroutine_reads():
    p = Plant(0.0)
    b = Bench(p)
    assert asyncio.run(b.meter.read()) and b.meter.reading.ok
    p.sleep = b.meter._sleep = lambda us: setattr(p, "us", p.us + us + 3000)  # others run
    at = b.meter.reading.at_ms
    assert not asyncio.run(b.meter.read()) and b.meter.errors == 1
    assert b.meter.reading.ok and b.meter.reading.at_ms == at  # the last one stands for a while
    p.us += 4000000
    assert not asyncio.run(b.meter.read()) and not b.meter.reading.ok


support.run(
    (
        machine_code_and_plain_sums_agree,
        without_noise,
        with_one_percent_noise,
        with_one_percent_of_full_scale_noise,
        steps_are_followed_at_once,
        a_sensor_at_a_rail_is_no_zero,
        energy_counts_after_ten_years_in_single_precision,
        uncalibrated_is_worse,
        harmonics_belong_to_rms_not_to_power,
        follows_the_frequency,
        a_contact_that_moves_is_no_frequency,
        energy_survives_and_spares_the_flash,
        calibration_survives,
        the_coroutine_reads,
    )
)
