"""Radios of the twin: emulated SX1276 chips on a shared medium, and a Pi's access to them.

Exported here is what other packages use; the rest of the folder is private.
"""

from pbal_sim.radio.air import Air, Jammer, Transmission, Tuning
from pbal_sim.radio.clock import VirtualClock
from pbal_sim.radio.ear import Ear
from pbal_sim.radio.pi import Pi
from pbal_sim.radio.piport import PiPort
from pbal_sim.radio.propagation import FREE, OPEN_COUNTRY, PathLoss, needed_dbm
from pbal_sim.radio.sx1276 import Sx1276
from pbal_sim.radio.wire import RadioWire

__all__ = [
    "FREE",
    "OPEN_COUNTRY",
    "Air",
    "Ear",
    "Jammer",
    "PathLoss",
    "Pi",
    "PiPort",
    "RadioWire",
    "Sx1276",
    "Transmission",
    "Tuning",
    "VirtualClock",
    "needed_dbm",
]
