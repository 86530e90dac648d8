"""Access tokens (JWT, RFC 7519, HS256) of minutes, refresh tokens, and the tokens of forms.

An access token names a session; whether that session and its user are still valid is checked in the
database with every request, so a user's access ends at once. A refresh token is 32 random bytes, of
which the database holds the SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

import jwt

from pbal_hq.auth.errors import NotKnown
from pbal_hq.auth.keyring import Keyring

ACCESS_S = 600
# A key is taken on the day after its own, so no token may live longer than a day.
assert ACCESS_S < 86_400
_AUDIENCE, _ISSUER = "pbal-hq portal", "pbal-hq"


@dataclass(frozen=True)
class Access:
    """The content of an access token."""

    user_id: int
    session_id: int


def make_access(keys: Keyring, who: Access, now_s: float) -> str:
    """A token for the next ACCESS_S seconds."""
    name, key = keys.token_key(now_s)
    claims = {
        "iss": _ISSUER, "aud": _AUDIENCE, "sub": str(who.user_id), "sid": str(who.session_id),
        "iat": int(now_s), "exp": int(now_s) + ACCESS_S,
    }  # fmt: skip
    return jwt.encode(claims, key, algorithm="HS256", headers={"kid": name})


def read_access(keys: Keyring, token: str, now_s: float) -> Access:
    """Raises NotKnown."""
    try:
        header = jwt.get_unverified_header(token)
        key = keys.known_token_key(str(header.get("kid", "")), now_s)
        if key is None:
            raise NotKnown("The login has expired.")
        # Times are compared below, by the clock that is given here.
        claims = jwt.decode(
            token, key, algorithms=["HS256"], audience=_AUDIENCE, issuer=_ISSUER,
            options={"require": ["exp", "iat", "sub", "sid", "aud", "iss"],
                     "verify_exp": False, "verify_iat": False},
        )  # fmt: skip
        if not int(claims["iat"]) - 60 <= now_s < int(claims["exp"]):
            raise NotKnown("The login has expired.")
        return Access(int(claims["sub"]), int(claims["sid"]))
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise NotKnown("This is no valid login.") from None


def make_refresh() -> tuple[str, bytes]:
    """(the token, what is stored of it)."""
    token = secrets.token_urlsafe(32)
    return token, refresh_hash(token)


def refresh_hash(token: str) -> bytes:
    """What is stored of a refresh token."""
    return hashlib.sha256(token.encode()).digest()


def form_token(keys: Keyring, session_id: int) -> str:
    """What every form of this session carries against forged requests (CSRF)."""
    return _form(keys.form_keys()[0], session_id)


def form_token_fits(keys: Keyring, session_id: int, token: str) -> bool:
    """Whether a form came from a page of this session."""
    given = token.encode()
    return any(hmac.compare_digest(_form(key, session_id).encode(), given)
               for key in keys.form_keys())  # fmt: skip


def _form(key: bytes, session_id: int) -> str:
    return hmac.new(key, f"form {session_id}".encode(), "sha256").hexdigest()
