"""Bearers: they carry sealed frames to and from the homes, and do not interpret them."""

from pbal_controller.bearers.base import (
    EVERYBODY,
    Answer,
    Bearer,
    Keeps,
    Lease,
    Leased,
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
    "Keeps",
    "Kind",
    "Lease",
    "Leased",
    "Registers",
    "Request",
    "Sleeper",
    "Traffic",
    "Where",
    "find",
    "known",
    "register",
]
