"""Which homes to move, and why: the balancing engine. See docs/balancing.md."""

from .config import PlannerConfig
from .moves import Move
from .phasors import neutral_current, phase_currents
from .planner import Planner

__all__ = ["Move", "Planner", "PlannerConfig", "neutral_current", "phase_currents"]
