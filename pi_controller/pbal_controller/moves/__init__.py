"""Moving homes between phases: when to decide, and carrying out what was decided."""

from pbal_controller.moves import memory
from pbal_controller.moves.dispatcher import Dispatcher
from pbal_controller.moves.planner_loop import PlannerLoop, core_config

__all__ = ["Dispatcher", "PlannerLoop", "core_config", "memory"]
