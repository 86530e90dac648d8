"""Keys made from the portal's master secret: of access tokens, of forms, of stored TOTP secrets.

The key of access tokens changes each day (HKDF, RFC 5869, with the day's number); a token names its
day, and only today's and yesterday's keys are accepted. `masters`: the first is used for new
tokens, all to check, so that a new master can be put before the old one until nothing of the old
one is in use.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SIZE = 32
DAY_S = 86_400
# Before what is sealed by AES-256-GCM, base64. Without it: Fernet's (AES-128), of older versions.
_SEALED = b"v2."
_NONCE = 12


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
        self._seals = [AESGCM(_derive(m, "sealed")) for m in self._masters]
        self._older = MultiFernet(
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
        """A TOTP secret as it is stored, in ASCII."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = self._seals[0].encrypt(nonce, secret.encode(), _SEALED)
        return _SEALED + base64.urlsafe_b64encode(nonce + sealed)

    def unseal(self, sealed: bytes) -> str:
        """The TOTP secret. Raises ValueError where no master fits."""
        sealed = bytes(sealed)
        if not sealed.startswith(_SEALED):
            with contextlib.suppress(InvalidToken):
                return self._older.decrypt(sealed).decode()
        elif data := _unwrapped(sealed.removeprefix(_SEALED)):
            for each in self._seals:
                with contextlib.suppress(InvalidTag):
                    return each.decrypt(data[:_NONCE], data[_NONCE:], _SEALED).decode()
        raise ValueError("sealed under a master secret that is not here")


def _unwrapped(text: bytes) -> bytes:
    """Nonce and what is sealed; nothing where it is not that."""
    with contextlib.suppress(ValueError):
        data = base64.b64decode(text, altchars=b"-_", validate=True)
        return data if len(data) > _NONCE else b""
    return b""
