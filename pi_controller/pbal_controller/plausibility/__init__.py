"""Plausibility of what homes report: checks of readings, and a bound on the harm of false ones."""

from pbal_controller.plausibility.book import DoubtBook, lift_doubt
from pbal_controller.plausibility.bound import LARGE_A, WordBound
from pbal_controller.plausibility.watch import Change, Watch

__all__ = ["LARGE_A", "Change", "DoubtBook", "Watch", "WordBound", "lift_doubt"]
