"""The ADC front end: accuracy after a two-point calibration, both signs, frequency, energy."""

import asyncio
import math

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


def accuracy(noise, of_signal, shares, seconds, v_limit, p_limit):
    b = Bench(Plant(noise, of_signal))
    b.calibrate()
    p = b.plant
    for share in shares:
        for pf, sign in ((1.0, 1), (0.8, 1), (0.5, 1), (1.0, -1), (0.5, -1)):
            p.v = 230.0
            p.i = 60 * share
            p.phi = math.acos(pf) + (math.pi if sign < 0 else 0)
            b.mean(3)
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
    accuracy(0.01, False, (0.1, 1.0), 30, 0.005, 0.01)


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
    try:
        adc.two_point(5.0, 5.0, 5.0, 5.0)
        raise AssertionError
    except ValueError:
        pass


def the_coroutine_reads():
    p = Plant(0.0)
    b = Bench(p)
    assert asyncio.run(b.meter.read()) and b.meter.reading.ok
    p.sleep = b.meter._sleep = lambda us: setattr(p, "us", p.us + us + 3000)  # others run
    assert not asyncio.run(b.meter.read()) and b.meter.errors == 1


support.run(
    (
        machine_code_and_plain_sums_agree,
        without_noise,
        with_one_percent_noise,
        with_one_percent_of_full_scale_noise,
        uncalibrated_is_worse,
        harmonics_belong_to_rms_not_to_power,
        follows_the_frequency,
        energy_survives_and_spares_the_flash,
        calibration_survives,
        the_coroutine_reads,
    )
)
