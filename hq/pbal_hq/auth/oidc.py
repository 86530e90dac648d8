"""Logging in at an OpenID Connect provider: authorization code with PKCE (RFC 7636).

begin    where the browser goes, and what our cookie keeps meanwhile (state, nonce, verifier)
finish   the code that it comes back with -> who it is, as the provider's signed token says

The provider's addresses and keys are those of its discovery document (OpenID Connect Discovery
1.0), kept for an hour. The token is checked as OpenID Connect Core 1.0, 3.1.3.7 asks: signature by
a key of the provider, issuer, audience, expiry, nonce. Who it is is the pair (issuer, subject).
The libraries take a moment to load, which is spent only where a provider is configured.
"""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from pbal_hq.auth.errors import NotKnown
from pbal_hq.auth.provider import BACK, KEPT_S, NOT_BEGUN, TOOK_LONG, Begun, Identity
from pbal_hq.config import OidcConfig
from pbal_hq.errors import ConfigError

# It wants a later httpx, and says so on every operator's screen, who cannot change it.
with warnings.catch_warnings(record=True):
    from authlib.common.errors import AuthlibBaseError
    from authlib.integrations.httpx_client import AsyncOAuth2Client

_FRESH_S = 3600.0
_TIMEOUT_S = 15.0
_ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]
_AWAY = "The login provider does not answer as it should. Try again, or log in with a password."


class Provider:
    """One provider. Raises ConfigError where its secret cannot be read."""

    def __init__(self, config: OidcConfig, wall: Callable[[], float] = time.time) -> None:
        self.config = config
        self._wall = wall
        self._secret = _read(config.client_secret_file)
        self._known: tuple[float, dict[str, Any], KeySet] | None = None

    def _client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            self.config.client_id, self._secret or None, scope=" ".join(self.config.scopes),
            redirect_uri=self.config.portal_url + BACK, code_challenge_method="S256",
            timeout=_TIMEOUT_S, follow_redirects=False,
        )  # fmt: skip

    async def _discover(self, *, anew: bool = False) -> tuple[dict[str, Any], KeySet]:
        now_s = self._wall()
        if self._known is None or anew or now_s - self._known[0] > _FRESH_S:
            where = self.config.issuer.rstrip("/") + "/.well-known/openid-configuration"
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                told = (await client.get(where)).raise_for_status().json()
                if told.get("issuer") != self.config.issuer:
                    raise NotKnown("The login provider says that it is another one.")
                keys = (await client.get(told["jwks_uri"])).raise_for_status().json()
            self._known = now_s, told, KeySet.import_key_set(keys)
        return self._known[1], self._known[2]

    async def begin(self, onward: str) -> tuple[str, Begun]:
        """(the address at the provider, what to keep). Raises NotKnown."""
        begun = Begun(
            secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48),
            onward, self._wall() + KEPT_S,
        )  # fmt: skip
        try:
            told, _ = await self._discover()
            async with self._client() as client:
                to, _ = client.create_authorization_url(
                    told["authorization_endpoint"], state=begun.state, nonce=begun.nonce,
                    code_verifier=begun.verifier,
                )  # fmt: skip
        except (httpx.HTTPError, JoseError, KeyError, ValueError) as error:
            raise NotKnown(_AWAY) from error
        return str(to), begun

    async def finish(self, begun: Begun, state: str, code: str) -> Identity:
        """Raises NotKnown."""
        if not secrets.compare_digest(begun.state.encode(), state.encode()) or not code:
            raise NotKnown(NOT_BEGUN)
        if self._wall() > begun.until_s:
            raise NotKnown(TOOK_LONG)
        try:
            told, _ = await self._discover()
            async with self._client() as client:
                token = await client.fetch_token(
                    told["token_endpoint"], code=code, code_verifier=begun.verifier
                )
            return await self._check(str(token["id_token"]), begun.nonce)
        except (httpx.HTTPError, AuthlibBaseError, JoseError, KeyError, ValueError) as error:
            raise NotKnown(_AWAY) from error

    async def _check(self, text: str, nonce: str) -> Identity:
        _, keys = await self._discover()
        try:
            token = jwt.decode(text, keys, algorithms=_ALGORITHMS)
        except (JoseError, ValueError):
            # The provider may have changed its keys since they were read.
            _, keys = await self._discover(anew=True)
            token = jwt.decode(text, keys, algorithms=_ALGORITHMS)
        jwt.JWTClaimsRegistry(
            now=lambda: int(self._wall()), leeway=60,
            iss={"essential": True, "value": self.config.issuer},
            aud={"essential": True, "value": self.config.client_id},
            exp={"essential": True}, iat={"essential": True}, sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(token.claims)  # fmt: skip
        told = token.claims
        if told.get("azp", self.config.client_id) != self.config.client_id:
            raise NotKnown("This login was made for another program.")
        name = str(told.get(self.config.name_claim, "")).strip().lower()
        return Identity(self.config.issuer, str(told["sub"]), name)


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"oidc.client_secret_file: {path}: {error.strerror}") from None
