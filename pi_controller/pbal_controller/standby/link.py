"""What two controllers of one site say to each other over the network: HTTPS, TLS 1.3 both ways.

Both have the same key store. The key of both ends is derived from it, and so is the certificate,
byte for byte: who can prove the key has the key store, and the other end accepts nobody else. The
key is in memory only.

The link decides nothing alone. It carries the copy that the one that follows needs, and who holds
the lease; where it is cut, the buses' silence alone is not enough for longer than the copy is good.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pbal_controller.config import StandbyConfig
from pbal_controller.errors import BearerError
from pbal_controller.standby.copy import Copy, Number
from pbal_controller.standby.lease import Role, boot_time

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
COPY_EVERY_S = 2.0
_ANSWER_S = 3.0
_MOST = 16 << 20
_CONNECTIONS = 8


class State(BaseModel):
    """What one says of itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    site: int
    member: Annotated[str, Field(max_length=8)]
    version: Annotated[str, Field(max_length=64)]
    role: Role
    serving: bool
    term: Number
    wall_s: float


def certificate(key: Ed25519PrivateKey) -> bytes:
    """The certificate of both ends, PEM: the same for the same key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pbal standby")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2125, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, None)
    )
    return made.public_bytes(serialization.Encoding.PEM)


def tls(key: Ed25519PrivateKey, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3 with this key at both ends."""
    pem = certificate(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the certificate itself is the name
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=pem.decode())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # OpenSSL reads keys from files only: this one is in memory.
    fd = os.memfd_create("pbal-standby", os.MFD_CLOEXEC)
    try:
        os.write(fd, private + pem)
        os.lseek(fd, 0, os.SEEK_SET)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return context


class Link:
    """Serves our state and copy, and asks for the other's."""

    def __init__(
        self,
        config: StandbyConfig,
        key: Ed25519PrivateKey,
        state: Callable[[], State],
        copy: Callable[[], Awaitable[Copy]],
        *,
        wants_copy: Callable[[], bool],
    ) -> None:
        """`wants_copy`: whether the other's copy is of use now."""
        self._config = config
        self._state = state
        self._copy = copy
        self._wants_copy = wants_copy
        self._server_tls = tls(key, server=True)
        self._client_tls = tls(key, server=False)
        self.peer: State | None = None
        self.peer_at = -1e9  # boot time of its last answer
        self.clock_off_s = 0.0  # the other's clock before ours
        self.copy: Copy | None = None
        self.copy_at = -1e9
        self.trouble = ""

    def peer_age_s(self) -> float:
        """Since its last answer."""
        return boot_time() - self.peer_at

    # -- serving -------------------------------------------------------------------------

    async def serve(self, beat: Callable[[], None]) -> None:
        """Answer the other until cancelled."""
        app = web.Application()
        app.add_routes([web.get("/state", self._say), web.get("/copy", self._give)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        c = self._config
        try:
            site = web.TCPSite(
                runner, c.host, c.port, ssl_context=self._server_tls, backlog=_CONNECTIONS,
                reuse_address=True,
            )  # fmt: skip
            try:
                await site.start()
            except OSError as error:
                raise OSError(
                    f"standby: {c.host}:{c.port} cannot be used ({error.strerror}); set "
                    "standby.port to a free port, and standby.peer at the other controller"
                ) from None
            while True:
                beat()
                await asyncio.sleep(1.0)
        finally:
            await runner.cleanup()

    async def _say(self, request: web.Request) -> web.Response:
        return web.Response(text=self._state().model_dump_json(), content_type="application/json")

    async def _give(self, request: web.Request) -> web.Response:
        copy = await self._copy()
        return web.Response(text=copy.model_dump_json(), content_type="application/json")

    # -- asking --------------------------------------------------------------------------

    async def ask(self, beat: Callable[[], None]) -> None:
        """Ask the other again and again, until cancelled."""
        connector = aiohttp.TCPConnector(ssl=self._client_tls, limit=2, force_close=False)
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            while True:
                await self.once(http)
                beat()
                await asyncio.sleep(ASK_EVERY_S)

    async def once(self, http: aiohttp.ClientSession) -> None:
        """One question; a failure is logged once."""
        was = self.trouble
        try:
            asked = boot_time()
            state = State.model_validate_json(await self._get(http, "/state"))
            self._take_state(state, asked)
            due = boot_time() - self.copy_at >= COPY_EVERY_S
            if state.serving and self._wants_copy() and due:
                self.copy = Copy.model_validate_json(await self._get(http, "/copy"))
                self.copy_at = asked  # it may be as old as the question
            self.trouble = ""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.trouble = f"{self._config.peer} does not answer ({_why(error)})"
        except (ValidationError, ValueError) as error:
            first = str(error).splitlines()[0]
            self.trouble = f"{self._config.peer} answers what is not understood ({first})"
        except BearerError as error:
            self.trouble = str(error)
        if self.trouble and not was:
            log.warning("no word of the other controller", extra={"why": self.trouble})
        elif was and not self.trouble:
            log.info("the other controller answers again")

    def _take_state(self, state: State, asked: float) -> None:
        mine = self._state()
        if state.site != mine.site:
            raise BearerError(
                f"{self._config.peer} is of site {state.site}, this is {mine.site}; correct "
                "standby.peer"
            )
        if state.member == mine.member:
            raise BearerError(
                f'both controllers say standby.member = "{mine.member}" (or standby.peer is this '
                'computer); one must be "a" and the other "b"'
            )
        took = boot_time() - asked
        self.clock_off_s = state.wall_s + took / 2 - mine.wall_s
        self.peer, self.peer_at = state, boot_time()

    async def _get(self, http: aiohttp.ClientSession, path: str) -> str:
        async with http.get(f"https://{self._config.peer}{path}") as answer:
            if answer.status != 200:
                raise BearerError(f"{self._config.peer} answers with status {answer.status}")
            data = bytearray()
            async for part in answer.content.iter_chunked(1 << 16):
                data += part
                if len(data) > _MOST:
                    raise BearerError(f"{self._config.peer} answers without an end")
            return data.decode()

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        peer = self.peer
        return {
            "trouble": self.trouble,
            "peer_age_s": None if peer is None else round(self.peer_age_s(), 1),
            "peer": None if peer is None else peer.model_dump(mode="json"),
            "clock_off_s": round(self.clock_off_s, 2),
        }


def _why(error: BaseException) -> str:
    # aiohttp's own errors of certificates and handshakes are SSLErrors, too.
    if any(isinstance(e, ssl.SSLError) for e in (error, getattr(error, "os_error", None))):
        return "its key is not this site's: copy keys.json from one controller to the other"
    return str(error) or type(error).__name__
