"""The meter against the homes: which fault is told, and that a sound site gets no alarm."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pbal_controller.config import ResidualConfig, TransformerConfig
from pbal_controller.meters import (
    RESIDUAL_KINDS,
    HomeNow,
    MeterLoop,
    Residual,
    Sample,
    TransformerReading,
    sample_of,
)

STEP_S = 5.0
TURN = np.exp(-2j * math.pi / 3 * np.arange(3))
Array = np.ndarray[Any, np.dtype[Any]]


class Street:
    """Homes whose loads switch on and off, A: Markov appliances on top of a base load.

    A reading of a home is up to `late_s` old, the meter's is of now, each with its own error.
    """

    def __init__(self, seed: int, homes: int = 30, late_s: float = 10.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.phases = np.arange(homes) % 3
        self.base = self.rng.uniform(0.3, 2.0, homes)
        self.big = self.rng.uniform(4, 14, (homes, 4))
        self.on = self.rng.random((homes, 4)) < 0.15
        self.factor = np.exp(-1j * np.arccos(self.rng.uniform(0.9, 1.0, homes)))
        self.error = 1 + self.rng.normal(0, 0.01, homes)
        self.past: list[Array] = []
        self.keep = int(late_s / STEP_S) + 1

    def step(self) -> tuple[Array, Array]:
        """(what flows in each home, what its latest reading says), complex A."""
        flips = self.rng.random(self.on.shape) < np.where(self.on, STEP_S / 900, STEP_S / 5000)
        self.on ^= flips
        now = (self.base + (self.big * self.on).sum(axis=1)) * self.factor
        self.past = [*self.past[-self.keep + 1 :], now]
        ages = self.rng.integers(0, len(self.past), len(now))
        told = np.array([self.past[-1 - age][k] for k, age in enumerate(ages)]) * self.error
        return now, told

    def sums(self, currents: Array, phases: Array | None = None) -> Array:
        out = np.zeros(3, complex)
        np.add.at(out, self.phases if phases is None else phases, currents)
        return out


def run(
    street: Street,
    hours: float,
    meter: Callable[[Array, Array], Array],
    config: ResidualConfig | None = None,
    directed: bool = True,
) -> tuple[Residual, list[tuple[str, str, int | None, bool]]]:
    """`meter`: from the sums on A, B, C and the currents to what the meter shows."""
    residual = Residual(config or ResidualConfig(), directed=directed)
    told: list[tuple[str, str, int | None, bool]] = []
    for k in range(int(hours * 3600 / STEP_S)):
        now, says = street.step()
        shown = meter(street.sums(now), now) * (1 + street.rng.normal(0, 0.005, 3))
        sample = Sample(shown, says, street.phases)
        for alarm, begins in residual.take(k * STEP_S, sample):
            told.append((*alarm.finding.key, begins))
    return residual, told


def test_sound_sites_have_no_alarm() -> None:
    """Readings up to 10 s apart, errors of 1 %. PBAL_STREETS=20 looks at as many for a day each."""
    streets = int(os.environ.get("PBAL_STREETS", "3"))
    for seed in range(streets):
        _, told = run(Street(seed), 24 if streets > 3 else 8, lambda sums, _: sums)
        assert told == [], seed


def _permuted(sums: Array, order: tuple[int, int, int]) -> Array:
    """The meter's L1, L2, L3 are on the phases of `order`."""
    return sums[list(order)]


def _swapped(sums: Array, order: tuple[int, int, int]) -> Array:
    """The same of the current transformers only: taken against another phase's voltage."""
    return sums[list(order)] * TURN[list(order)] / TURN


FAULTS: list[tuple[str, str, Callable[[Array], Array]]] = [
    ("reversed_ct", "B", lambda s: s * (1, -1, 1)),
    ("reversed_ct", "AC", lambda s: s * (-1, 1, -1)),
    ("reversed_ct", "ABC", lambda s: -s),
    ("phase_labels", "BCA", lambda s: _permuted(s, (1, 2, 0))),
    ("phase_labels", "ACB", lambda s: _permuted(s, (0, 2, 1))),
    ("swapped_cts", "BAC", lambda s: _swapped(s, (1, 0, 2))),
    ("swapped_cts", "CAB", lambda s: _swapped(s, (2, 0, 1))),
    ("ct_ratio", "ABC", lambda s: 0.5 * s),
    ("unmetered", "C", lambda s: s + np.array((0, 0, 25.0))),
    ("overreported", "A", lambda s: s - np.array((25.0, 0, 0))),
]


def _uneven(seed: int) -> Street:
    """Phases that differ in load, as swapped labels need to show: 2, 1 and 0.5 times."""
    street = Street(seed, homes=45)
    street.base = 1.5 * street.base * np.array((2.0, 1.0, 0.5))[street.phases]
    return street


@pytest.mark.parametrize(("kind", "phases", "fault"), FAULTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fault_is_told_for_what_it_is(
    kind: str, phases: str, fault: Callable[[Array], Array], seed: int
) -> None:
    residual, told = run(_uneven(seed), 4, lambda sums, _: fault(sums))
    assert {key[:2] for key in told if key[3]} == {(kind, phases)}
    assert (kind, phases) in {key[:2] for key in residual.alarms}
    assert kind in RESIDUAL_KINDS


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_home_with_a_wrong_label_is_named(seed: int) -> None:
    """It counts at A, its current flows at C."""
    street = Street(seed)
    street.base[6] = 18.0
    flows = street.phases.copy()
    flows[6] = 2
    residual, told = run(street, 8, lambda _, now: street.sums(now, flows))
    assert ("home_label", "AC", 6, True) in told
    assert {key[0] for key in told if key[3]} == {"home_label"}
    [alarm] = residual.as_dict(list(range(100, 130)))["alarms"]
    assert alarm["home"] == 106
    assert "counts as A and its current flows at C" in alarm["why"]


def test_an_alarm_needs_its_time_and_ends_again() -> None:
    on = {"from": 3600.0, "to": 3 * 3600.0}
    residual = Residual(ResidualConfig(lasts_s=900))
    begins: list[float] = []
    ends: list[float] = []
    for k in range(int(5 * 3600 / STEP_S)):
        now = k * STEP_S
        extra = 30.0 if on["from"] <= now < on["to"] else 0.0
        sample = Sample(np.array((20 + extra, 20, 20), complex), np.full(6, 10 + 0j),
                        np.arange(6) % 3)  # fmt: skip
        for _, begin in residual.take(now, sample):
            (begins if begin else ends).append(now)
    [began], [ended] = begins, ends
    assert 900 <= began - on["from"] <= 900 + 130
    assert 900 <= ended - on["to"] <= 900 + 130


def test_a_shorter_difference_is_none() -> None:
    residual = Residual(ResidualConfig(lasts_s=900))
    for k in range(2000):
        extra = 30.0 if (k * STEP_S) % 1200 < 600 else 0.0
        sample = Sample(np.array((20 + extra, 20, 20), complex), np.full(6, 10 + 0j),
                        np.arange(6) % 3)  # fmt: skip
        assert residual.take(k * STEP_S, sample) == []


def test_near_the_limit_it_does_not_come_and_go() -> None:
    """8.5 A is below the limit of 10 A and above the 7 A at which an alarm ends."""
    residual = Residual(ResidualConfig(lasts_s=300))
    changes = 0
    for k in range(6000):
        extra = 12.0 if k < 200 else 8.5
        sample = Sample(np.array((20 + extra, 20, 20), complex), np.full(6, 10 + 0j),
                        np.arange(6) % 3)  # fmt: skip
        changes += len(residual.take(k * STEP_S, sample))
    assert changes == 1
    assert [key[:2] for key in residual.alarms] == [("unmetered", "A")]


def test_known_load_is_no_alarm() -> None:
    street = Street(5)
    config = ResidualConfig(known_a=(0.0, 25.0, 0.0))
    _, told = run(street, 6, lambda sums, _: sums + np.array((0, 25.0, 0)), config)
    assert told == []


def test_a_meter_without_direction_accuses_no_current_transformer() -> None:
    _, told = run(_uneven(1), 4, lambda s, _: s * (1, -1, 1), directed=False)
    assert "reversed_ct" not in {key[0] for key in told}


def test_a_home_that_is_not_heard_widens_its_phase() -> None:
    homes = [(1, 10 + 0j, True, 63.0), (2, 10 + 0j, False, 63.0), (0, math.nan + 0j, True, 63.0)]
    sample = sample_of((10 + 0j, 40 + 0j, 0j), homes)
    assert sample.unheard_a == (0.0, 63.0, 0.0)
    assert sample.phases.tolist() == [0, -1, -1]
    residual = Residual(ResidualConfig(lasts_s=60))
    for k in range(200):
        assert residual.take(k * STEP_S, sample) == []
    # A home never heard may be on any phase.
    assert sample_of((0j,) * 3, [(0, math.nan + 0j, False, 40.0)]).unheard_a == (40.0,) * 3


def test_the_loop_tells_which_home_once() -> None:
    told: list[dict[str, Any]] = []
    homes = [HomeNow(257 + k, k % 3 + 1, 12 + 0j, True, 63.0) for k in range(6)]
    config = TransformerConfig(residual=ResidualConfig(lasts_s=120))
    loop = MeterLoop(config, None, lambda: homes, lambda kind, data: told.append(data))
    loop.compare(0.0)
    v, p = 230.0, 24 * 230.0
    loop.reading = TransformerReading((v,) * 3, (24.0,) * 3, (p, p, p + 40 * v), (0.0,) * 3)
    for k in range(200):
        loop.compare(k * STEP_S)
    [said] = told
    assert (said["kind"], said["phases"], said["begins"]) == ("unmetered", "C", True)
    assert loop.as_dict()["residual_a"] == [0.0, 0.0, 40.0]
