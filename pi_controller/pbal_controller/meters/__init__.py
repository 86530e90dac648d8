"""The transformer's own meter, by a profile or a file, and its comparison with the homes."""

from pbal_controller.meters.file import FileMeter
from pbal_controller.meters.loop import HomeNow, MeterLoop
from pbal_controller.meters.make import line_of, make_meter, profile_of
from pbal_controller.meters.modbus import ModbusMeter, checked
from pbal_controller.meters.profile import Profile
from pbal_controller.meters.profiles import load_profile, names
from pbal_controller.meters.reading import TransformerReading, contradictions
from pbal_controller.meters.residual import RESIDUAL_KINDS, Residual, Sample, sample_of

__all__ = [
    "RESIDUAL_KINDS",
    "FileMeter",
    "HomeNow",
    "MeterLoop",
    "ModbusMeter",
    "Profile",
    "Residual",
    "Sample",
    "TransformerReading",
    "checked",
    "contradictions",
    "line_of",
    "load_profile",
    "make_meter",
    "names",
    "profile_of",
    "sample_of",
]
