"""Bringing releases of the firmware to the homes."""

from pbal_controller.updates import store
from pbal_controller.updates.firmware import Firmware
from pbal_controller.updates.release import SUFFIX, Release, load, make
from pbal_controller.updates.rollout import Rollouts

__all__ = ["SUFFIX", "Firmware", "Release", "Rollouts", "load", "make", "store"]
