"""Which homes to move, and why: the balancing engine. See docs/balancing.md."""

try:
    from . import _core, _gains, _outlook, _paths  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"{error}: the compiled part of the balancing engine is missing or older than its source. "
        "In a checkout build it: .venv/bin/python setup.py build_ext --inplace"
    ) from error

from .config import PlannerConfig
from .moves import Move
from .phasors import neutral_current, phase_currents
from .planner import Planner

__all__ = ["Move", "Planner", "PlannerConfig", "neutral_current", "phase_currents"]
