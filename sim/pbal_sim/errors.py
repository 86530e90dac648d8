"""The twin's errors, drawn:

TwinError
+-- LoadsError        a loads file or a generator setting that cannot be used
+-- BoardError        a board file that is missing, or that the twin cannot build
"""

from __future__ import annotations


class TwinError(Exception):
    """The twin cannot do what was asked; the message says what to do about it."""


class LoadsError(TwinError):
    """A loads file or a generator setting that cannot be used."""


class BoardError(TwinError):
    """A board file that is missing, or that the twin cannot build."""
