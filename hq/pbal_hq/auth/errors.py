"""Errors of authentication and authorization:

    AuthError
      ├─ NotKnown       401   no, an expired or a wrong login, token or code
      ├─ TooMany        429   too many tries
      ├─ NotAllowed     403   known, and not allowed
      └─ WeakPassword   422   a new password that will not do

The text of each is for a person; that of NotKnown does not reveal which users exist.
"""


class AuthError(Exception):
    """The base of all errors of this room."""


class NotKnown(AuthError):
    """No valid login."""


class TooMany(AuthError):
    """Too many tries; `after_s`: when the next is taken."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"Too many tries. Try again in {max(1, round(after_s))} s.")
        self.after_s = after_s


class NotAllowed(AuthError):
    """Known, and not allowed."""


class WeakPassword(AuthError):
    """A new password that will not do."""
