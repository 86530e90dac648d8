"""The controllers on one street, and the results of each."""

from ..input.quantity import Quantity
from .controllers import Loop
from .money import MoneyOptions
from .options import Options
from .study import Study, read_feeder, run_study, study_of

__all__ = [
    "Loop",
    "MoneyOptions",
    "Options",
    "Quantity",
    "Study",
    "read_feeder",
    "run_study",
    "study_of",
]
