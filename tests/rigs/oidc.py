"""A small OpenID Connect provider on loopback: code flow with PKCE, RS256, keys that can change.

async with oidc.provider() as idp:
    idp.user = {"sub": "77", "preferred_username": "ana"}
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "pbal-hq", "client secret"


@dataclass
class Idp:
    """`user`: claims of whoever logs in; `spoil`: claims put over those that are right."""

    issuer: str = ""
    user: dict[str, Any] = field(default_factory=dict)
    spoil: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    key: Any = field(default_factory=lambda: RSAKey.generate_key(2048, auto_kid=True))
    shown: Any = None  # the key that is published, where it is another
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked_tokens: int = 0

    async def discovery(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
             "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys"}
        )  # fmt: skip

    async def keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [(self.shown or self.key).as_dict(private=False)]})

    async def authorize(self, request: web.Request) -> web.Response:
        """Logs `user` in without a question."""
        asked = dict(request.query)
        assert asked["client_id"] == CLIENT
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        raise web.HTTPFound(f"{asked['redirect_uri']}?{back}")

    async def token(self, request: web.Request) -> web.Response:
        self.asked_tokens += 1
        given = await request.post()
        asked = self.codes.pop(str(given.get("code")), None)
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(str(given.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["code_challenge"] != challenge
            or request.headers.get("Authorization", "").replace("%20", " ") != f"Basic {basic}"
            or given["redirect_uri"] != asked["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300,
                  "nonce": asked["nonce"], **self.user, **self.spoil}  # fmt: skip
        head = {"alg": self.algorithm, "kid": self.key.kid}
        signed = jwt.encode(head, claims, self.key, algorithms=[self.algorithm])
        return web.json_response(
            {"access_token": "a", "token_type": "Bearer", "id_token": signed, "expires_in": 300}
        )


@contextlib.asynccontextmanager
async def provider(host: str = "localhost") -> AsyncIterator[Idp]:
    """One that answers at http://HOST:PORT until the block ends."""
    made = Idp()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", made.discovery)
    app.router.add_get("/keys", made.keys)
    app.router.add_get("/authorize", made.authorize)
    app.router.add_post("/token", made.token)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.issuer = f"http://{host}:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
