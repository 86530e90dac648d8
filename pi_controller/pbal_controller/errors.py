"""The controller's own errors, one tree.

ControllerError            exit code of the command
  ConfigError              2   the configuration cannot be used as written
  KeyStoreError            3   the key store is missing, unreadable or refuses the passphrase
  JournalError             4   the journal is damaged or newer than this program
    JournalUnavailable     9   it cannot be opened now: a disk that is full, or not there yet
  BearerError              5   a port is gone or will not open
   RadioError             10   a radio is not on its hat, or a pin does not lead to it
  ReleaseError             7   a release file is damaged, unsigned or not for this site
"""

from __future__ import annotations


class ControllerError(Exception):
    """Base of all errors a person can act on; its text says what to do."""

    exit_code = 1


class ConfigError(ControllerError):
    """The configuration cannot be used as written. `key` is set where only the key is known."""

    exit_code = 2

    def __init__(self, text: str, key: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.key = key


class KeyStoreError(ControllerError):
    """The key store is missing, damaged, or refuses the passphrase."""

    exit_code = 3


class JournalError(ControllerError):
    """The journal cannot be opened, or was written by a newer version."""

    exit_code = 4


class JournalUnavailable(JournalError):
    """The journal cannot be opened now, and may be in a while: its disk is full or not there."""

    exit_code = 9


class NumbersSpentError(JournalError):
    """The numbers of a sequence are used up; the journal itself is well."""


class BearerError(ControllerError):
    """A bearer's port cannot be opened or has gone away."""

    exit_code = 5


class RadioError(BearerError):
    """There is no radio where the hat's file has one, or one of its pins does not answer."""

    exit_code = 10


class ReleaseError(ControllerError):
    """A release file is damaged, not signed, or not usable here."""

    exit_code = 7
