"""Whether this controller may command: its journal, and signs of a second controller."""

from pbal_controller.standing import mark, store
from pbal_controller.standing.restraint import Mode, Restraint
from pbal_controller.standing.rivals import Signs
from pbal_controller.standing.standing import ADOPT, LOOK_EVERY_S, POLLED_S, Reason, Standing

__all__ = [
    "ADOPT",
    "LOOK_EVERY_S",
    "POLLED_S",
    "Mode",
    "Reason",
    "Restraint",
    "Signs",
    "Standing",
    "mark",
    "store",
]
