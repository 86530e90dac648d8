"""Keys made from the portal's master secret: of access tokens, of forms, of stored TOTP secrets.

The key of access tokens changes each day (HKDF, RFC 5869, with the day's number); a token names its
day, and only today's and yesterday's keys are accepted. `masters`: the first is used for new
tokens, all to check, so that a new master can be put before the old one until nothing of the old
one is in use.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SIZE = 32
DAY_S = 86_400


def make_master() -> str:
    """A new master secret, as hex digits."""
    return secrets.token_hex(SIZE)


def read_masters(path: Path) -> list[bytes]:
    """The master secrets of a file, one a line as hex digits. Raises OSError, ValueError."""
    out = [bytes.fromhex(line) for line in path.read_text("ascii").split()]
    if not out or any(len(each) < SIZE for each in out):
        raise ValueError(f"{path}: needs lines of {2 * SIZE} hex digits")
    return out


def _derive(master: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), SIZE, None, b"pbal hq " + purpose.encode()).derive(master)


class Keyring:
    """The keys of one or more masters."""

    def __init__(self, masters: Sequence[bytes]) -> None:
        if not masters:
            raise ValueError("no master secret")
        self._masters = list(masters)
        self._sealer = MultiFernet(
            [Fernet(base64.urlsafe_b64encode(_derive(m, "totp"))) for m in self._masters]
        )

    def token_key(self, now_s: float) -> tuple[str, bytes]:
        """(name, key) for new access tokens."""
        day = int(now_s // DAY_S)
        return f"{day}.0", _derive(self._masters[0], f"token {day}")

    def known_token_key(self, name: str, now_s: float) -> bytes | None:
        """The key of this name, if tokens of it are still taken."""
        day, _, which = name.partition(".")
        today = int(now_s // DAY_S)
        if day not in (str(today), str(today - 1)):
            return None
        if not which.isdecimal() or int(which) >= len(self._masters):
            return None
        return _derive(self._masters[int(which)], f"token {day}")

    def form_keys(self) -> list[bytes]:
        """The keys of form tokens; the first is used for new ones, all to check."""
        return [_derive(master, "form") for master in self._masters]

    def seal(self, secret: str) -> bytes:
        """A TOTP secret as it is stored."""
        return self._sealer.encrypt(secret.encode())

    def unseal(self, sealed: bytes) -> str:
        """The TOTP secret. Raises ValueError where no master fits."""
        try:
            return self._sealer.decrypt(bytes(sealed)).decode()
        except InvalidToken:
            raise ValueError("sealed under a master secret that is not here") from None
