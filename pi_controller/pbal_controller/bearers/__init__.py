"""What carries sealed frames to and from the homes: frames, reach, room, cost, no meanings."""

from pbal_controller.bearers.base import (
    EVERYBODY,
    Answer,
    Bearer,
    Registers,
    Request,
    Traffic,
    Where,
)
from pbal_controller.bearers.kinds import Kind, find, known, register
from pbal_controller.bearers.sleeper import Sleeper

__all__ = [
    "EVERYBODY",
    "Answer",
    "Bearer",
    "Kind",
    "Registers",
    "Request",
    "Sleeper",
    "Traffic",
    "Where",
    "find",
    "known",
    "register",
]
