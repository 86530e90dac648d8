"""Plausibility of what homes report: checks of readings, and a bound on the harm of false ones."""

from pbal_controller.plausibility.book import DoubtBook, lift_doubt
from pbal_controller.plausibility.bound import WordBound
from pbal_controller.plausibility.watch import Change, Watch

__all__ = ["Change", "DoubtBook", "Watch", "WordBound", "lift_doubt"]
