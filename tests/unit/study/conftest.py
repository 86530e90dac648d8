"""What the tests of the study share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rigs import needs

from pbal_study.feeder.opendss import load_feeder
from pbal_study.feeder.powerflow import PowerFlow, load_power
from pbal_study.run.enginecheck import Judge


def against_engine(
    path: Path,
    watts: np.ndarray,
    phases: np.ndarray,
    kind: str = "feeder",
    transformer: str = "",
) -> float:
    """Largest difference in A, V and mW-scaled losses between our solver and the engine."""
    feeder = load_feeder(path, transformer)
    power = load_power(watts, [*feeder.homes, *feeder.fixed])
    flow = PowerFlow(feeder, kind).solve(power, phases)
    judge = Judge(path, feeder)
    worst = 0.0
    for k in range(len(watts)):
        said = judge.solve(power[k], phases[k])
        neutral = said["lv_current"].sum() - flow.neutral[k]
        worst = max(
            worst,
            float(np.abs(said["lv_current"] - flow.lv_current[k]).max()),
            float(abs(neutral)),
            float(np.abs(said["home_volts"] - flow.home_voltage[k]).max()),
            abs(said["losses_w"] - flow.losses_w[k]) / 100,
        )
    return worst


@pytest.fixture
def compare() -> Callable[..., float]:
    """`against_engine`, for the tests."""
    return against_engine


@pytest.fixture
def engine() -> None:
    """For tests that run OpenDSS."""
    needs.require_module("dss", "study")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a feeder's text to a file, and says which."""

    def writer(text: str, name: str = "Master.dss") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return writer
