"""The twin's errors as a tree:

TwinError
+-- LoadsError        a loads file or a generator setting that cannot be used
+-- FlashError        a flash image that cannot be made
+-- BrokerError       a broker that is not installed or does not start
+-- DatabaseError     a database that is not installed or does not start
"""

from __future__ import annotations


class TwinError(Exception):
    """The twin cannot do what was asked; the message says what to do about it."""


class LoadsError(TwinError):
    """A loads file or a generator setting that cannot be used."""


class FlashError(TwinError):
    """A flash image that cannot be made."""


class BrokerError(TwinError):
    """A broker that is not installed or does not start; the text says why."""


class DatabaseError(TwinError):
    """A database that is not installed or does not start; the text says why."""
