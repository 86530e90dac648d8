"""Which homes to move, and why: the balancing engine. See docs/balancing.md."""

from .config import PlannerConfig
from .phasors import neutral_current, phase_currents
from .planner import Move, Planner

__all__ = ["Move", "Planner", "PlannerConfig", "neutral_current", "phase_currents"]
