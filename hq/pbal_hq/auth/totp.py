"""Time-based one-time passwords (RFC 6238): SHA-1, 6 digits, 30 s, as every app knows them.

A code counts once: the step of the last one that was taken is kept, and only later ones are taken
(RFC 6238, 5.2).
"""

from __future__ import annotations

import pyotp

STEP_S = 30
_WINDOW = 1  # steps before and after, for clocks that differ


def make_secret() -> str:
    """A new secret, base32."""
    return pyotp.random_base32()


def uri(secret: str, user: str) -> str:
    """What an authenticator app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=user, issuer_name="pbal HQ")


def step_of(secret: str, code: str, now_s: float, last_step: int) -> int | None:
    """The step whose code this is, later than `last_step`; None: it does not fit."""
    code = code.replace(" ", "")
    if len(code) != 6 or not code.isascii() or not code.isdecimal():
        return None
    now = int(now_s // STEP_S)
    made = pyotp.TOTP(secret)
    for step in range(max(now - _WINDOW, last_step + 1), now + _WINDOW + 1):
        if pyotp.utils.strings_equal(made.generate_otp(step), code):
            return step
    return None
