"""Passwords: argon2id (RFC 9106, the library's recommended costs), and what makes one too weak.

NIST SP 800-63B-4, 3.1.1: length counts, composition rules do not; what holds the user's own name
or little but one character repeated is refused.
"""

from __future__ import annotations

import functools

import argon2

from pbal_hq.auth.errors import WeakPassword

SHORTEST, LONGEST = 12, 256

_hasher = argon2.PasswordHasher()


@functools.cache
def nobody() -> str:
    """Verified in place of an unknown user's, so that the answer's time does not reveal who exists.

    The portal asks for it before it serves: making it takes as long as a login."""
    return _hasher.hash("nobody has this password")


def check_strength(password: str, user: str) -> None:
    """Raises WeakPassword, which says what to do."""
    if len(password) < SHORTEST:
        raise WeakPassword(f"A password has at least {SHORTEST} characters.")
    if len(password) > LONGEST:
        raise WeakPassword(f"A password has at most {LONGEST} characters.")
    if user and user.casefold() in password.casefold():
        raise WeakPassword("A password does not contain the user's name.")
    if len(set(password.casefold())) < 5:
        raise WeakPassword("A password has at least five different characters.")


def make_hash(password: str, user: str) -> str:
    """The hash of a new password. Raises WeakPassword."""
    check_strength(password, user)
    return _hasher.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether it is this password. `stored` None: there is no such user; it takes as long."""
    if len(password) > LONGEST:
        return False
    try:
        return _hasher.verify(stored or nobody(), password) and stored is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with lower costs than today's."""
    return _hasher.check_needs_rehash(stored)
