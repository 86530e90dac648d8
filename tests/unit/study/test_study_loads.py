"""The compiled loads against the same in NumPy, load by load, by the definition of the models."""

import numpy as np
import pytest

from pbal_study.feeder import _loads
from pbal_study.feeder.loadmodel import LoadModel, part_shares
from pbal_study.feeder.model import LoadPoint


class Points:
    """As much of a feeder as a load model asks for."""

    def __init__(self, homes):
        self.homes, self.fixed = homes, []


def point(model=1, **more):
    return LoadPoint("h", "b", 0, model=model, **more)


ZIP = {"zip_p": (0.3, 0.5, 0.2), "zip_q": (0.6, 0.1, 0.3)}
KINDS = {
    "constant power": point(),
    "wide band": point(v_min=0.8, v_max=1.2),
    "impedance": point(2, zip_p=(1.0, 0.0, 0.0), zip_q=(1.0, 0.0, 0.0)),
    "motor": point(3, zip_p=(0.0, 0.0, 1.0), zip_q=(1.0, 0.0, 0.0)),
    "saver": point(4, exponent_p=0.8, exponent_q=2.0),
    "current": point(5, zip_p=(0.0, 1.0, 0.0), zip_q=(0.0, 1.0, 0.0)),
    "held vars": point(6, base_kw=3.0),
    "held vars, impedance": point(7, base_kw=3.0, zip_q=(1.0, 0.0, 0.0)),
    "zip": point(8, **ZIP),
    "floor above the band": point(8, v_low=0.97, **ZIP),
    "parts": point(8, parts_of_it=(point(2, zip_p=(1.0, 0.0, 0.0)), point(6, base_kw=2.0)), **ZIP),
}  # fmt: skip


def factor(p, share, exponent, u, reactive):
    """What one load draws at u per unit, as a share of its power at 1."""

    def band(u):
        return share[0] * u * u + share[1] * u + share[2] * u**exponent

    motor, held = p.model in (3, 4), p.model in (6, 7)
    if u > p.v_max:
        above = 1.0 if reactive and held else (1.0 if motor else band(p.v_max)) / p.v_max**2
        return above * u * u
    if u < p.v_low:
        return u * u
    if u >= p.v_min:
        return band(u)
    if held:
        return u * u if reactive else (u / p.v_min) ** 2
    current = (1.0 if motor else band(p.v_min)) / p.v_min
    slope = (current - p.v_low) / max(p.v_min - p.v_low, 1e-9)
    return u * (p.v_low + slope * (u - p.v_low))


def drawn(p, power, v):
    total = 0.0
    for part, (of_p, of_q, held) in zip(p.written, part_shares(p.written), strict=True):
        u = abs(v) / part.v_base
        watts = power.real * of_p * factor(part, part.zip_p, part.exponent_p, u, False)
        vars_ = (power.imag * of_q + held) * factor(part, part.zip_q, part.exponent_q, u, True)
        total += np.conj((watts + 1j * vars_) / v)
    return total


@pytest.mark.parametrize(
    "kinds", [["constant power"], ["constant power", "wide band"], list(KINDS)]
)
def test_every_load_draws_what_its_model_says(kinds):
    points = [KINDS[k] for k in kinds] * 3
    rng = np.random.default_rng(len(points))
    rows = 60
    size = 230 * np.linspace(0.3, 1.3, rows)[:, None] * rng.uniform(0.97, 1.03, len(points))
    v = size * np.exp(1j * rng.uniform(-3, 3, size.shape))
    power = rng.uniform(-3e3, 9e3, size.shape) + 1j * rng.uniform(-2e3, 2e3, size.shape)
    model = LoadModel(Points(points))
    expected = [
        [drawn(p, s, volts) for p, s, volts in zip(points, *row, strict=True)]
        for row in zip(power, v, strict=True)
    ]
    assert model.current(power, v) == pytest.approx(np.array(expected), rel=1e-12)
    assert model.loads.plain == (len(kinds) < 3)


def test_settled_means_all_of_a_row_and_never_what_is_no_number():
    v = np.zeros((5, 7), complex)
    fresh = v + 1e-7j
    fresh[1, 6] = 2e-6
    fresh[2, 0] = 1e-6j
    fresh[3, 3] = complex(0.0, np.nan)
    fresh[4, 3] = complex(np.inf, 0.0)
    assert _loads.settled(fresh, v, 1e-12).tolist() == [True, False, False, False, False]


@pytest.mark.parametrize("stiff", [False, True])
def test_a_minute_is_one_round_from_the_minute_before(stiff):
    rng = np.random.default_rng(4)
    points = [KINDS["wide band"], KINDS["zip"]] * 4
    n, homes = len(points), 5
    model = LoadModel(Points(points))
    v0 = 235 * np.exp(1j * rng.uniform(-3, 3, n))
    z = rng.uniform(0, 0.2, (n, n)) + 1j * rng.uniform(0, 0.1, (n, n))
    turn = np.exp(1j * rng.uniform(-3, 3, homes))
    minute = _loads.Minute(model.loads, v0, None if stiff else z, turn)
    v = v0
    for _ in range(4):
        power = rng.uniform(-3e3, 9e3, n) + 1j * rng.uniform(0, 2e3, n)
        current = model.current(power[None], v[None])[0]
        if not stiff:
            v = v0 - current @ z
            current = model.current(power[None], v[None])[0]
        assert minute.currents(power) == pytest.approx(current[:homes] * turn, rel=1e-12)
        assert minute.drawn == pytest.approx(current, rel=1e-12)
