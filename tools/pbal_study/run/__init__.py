"""The controllers on one street, and what each of them comes to."""

from .controllers import Loop
from .money import MoneyOptions
from .study import Options, Study, run_study

__all__ = ["Loop", "MoneyOptions", "Options", "Study", "run_study"]
