"""The enrolment endpoint: HTTP over TLS 1.3, a listener of its own (docs/hq.md, Enrolment).

    GET  /ca      the authority's certificate (PEM)
    GET  /crl     its revocation list (PEM)
    POST /enrol   {"token", "csr"}  -> certificate
    POST /renew   {"csr"}, with the present certificate in the handshake -> certificate

An answer that is no success is {"error": "..."}; its text says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import psycopg
from aiohttp import web
from cryptography import x509

from pbal_hq.ca import BROKER, Pki
from pbal_hq.config import EnrolConfig
from pbal_hq.enrol.issuing import Given, Issuing, Refused
from pbal_hq.errors import ConfigError
from pbal_hq.metrics import timed

log = logging.getLogger(__name__)

_MAX_BODY = 32_768
_MAX_ADDRESSES = 10_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Ration:
    """So many attempts a minute from one address."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._now = now
        self._left: dict[str, tuple[float, float]] = {}  # address -> (attempts left, as of)

    def take(self, address: str) -> bool:
        """Whether one more is let through."""
        now = self._now()
        left, at = self._left.pop(address, (float(self._per_minute), now))
        left = min(self._per_minute, left + (now - at) * self._per_minute / 60)
        allowed = left >= 1
        # The last one is the latest; the address that was not seen for longest is forgotten first.
        self._left[address] = (left - allowed, now)
        if len(self._left) > _MAX_ADDRESSES:
            del self._left[next(iter(self._left))]
        return allowed


def _context(pki: Pki) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pki.certificate(BROKER), pki.key(BROKER))
    context.load_verify_locations(cafile=pki.ca)
    # A site that enrols has no certificate yet; the database knows whether one is revoked.
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _presented(request: web.Request) -> x509.Certificate:
    transport = request.transport
    found = None if transport is None else transport.get_extra_info("ssl_object")
    der = None if found is None else found.getpeercert(binary_form=True)
    if not der:
        raise Refused(401, "renewing needs the present certificate in the TLS handshake")
    return x509.load_der_x509_certificate(der)


async def _words(request: web.Request, *names: str) -> list[str]:
    try:
        body = await request.json()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, f"the request has more than {_MAX_BODY} bytes") from None
    except (ValueError, RecursionError):
        raise Refused(400, "the request is no JSON") from None
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in names):
        raise Refused(400, f"the request needs {' and '.join(names)}, each a text")
    return [body[name] for name in names]


def _application(issuing: Issuing, pki: Pki, config: EnrolConfig) -> web.Application:
    ration = Ration(config.attempts_per_minute)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.method == "POST" and not ration.take(request.remote or ""):
                raise Refused(429, "too many attempts; wait a minute")
            return await handler(request)
        except Refused as error:
            log.warning(
                "enrolment refused",
                extra={"path": request.path, "address": request.remote, "why": str(error)},
            )
            return web.json_response({"error": str(error)}, status=error.status)
        except psycopg.Error as error:
            log.error("enrolment has no database", extra={"why": str(error)})
            return web.json_response({"error": "HQ's database is away; try later"}, status=503)

    async def enrol(request: web.Request) -> web.Response:
        token, csr = await _words(request, "token", "csr")
        return _answer(await issuing.enrol(token, csr, request.remote or ""), "site enrolled")

    async def renew(request: web.Request) -> web.Response:
        present = _presented(request)
        (csr,) = await _words(request, "csr")
        return _answer(await issuing.renew(present, csr), "certificate renewed")

    async def ca(request: web.Request) -> web.Response:
        return web.Response(body=pki.ca.read_bytes(), content_type="application/x-pem-file")

    async def crl(request: web.Request) -> web.Response:
        return web.Response(body=pki.crl.read_bytes(), content_type="application/x-pem-file")

    app = web.Application(middlewares=[timed("enrol"), guarded], client_max_size=_MAX_BODY)
    app.add_routes(
        [web.get("/ca", ca), web.get("/crl", crl), web.post("/enrol", enrol),
         web.post("/renew", renew)]
    )  # fmt: skip
    return app


def _answer(given: Given, what: str) -> web.Response:
    log.info(what, extra={"site": given.place.site, "until": given.not_after.isoformat()})
    return web.json_response(given.as_dict())


@contextlib.asynccontextmanager
async def serve(issuing: Issuing, pki: Pki, config: EnrolConfig) -> AsyncIterator[int]:
    """Serve within the context; gives the port. Raises ConfigError."""
    runner = web.AppRunner(_application(issuing, pki, config), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, config.listen, config.port, ssl_context=_context(pki))
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"enrol.listen: {config.listen}:{config.port}: {error.strerror or error}"
            ) from None
        server = site._server
        assert isinstance(server, asyncio.Server)
        yield int(server.sockets[0].getsockname()[1])
    finally:
        await runner.cleanup()
