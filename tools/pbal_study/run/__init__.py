"""The controllers on one street, and what each of them comes to."""

from ..input.quantity import Quantity
from .controllers import Loop
from .money import MoneyOptions
from .study import Options, Study, run_study

__all__ = ["Loop", "MoneyOptions", "Options", "Quantity", "Study", "run_study"]
