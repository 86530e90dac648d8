"""HQ's enrolment endpoint, asked by a site: a first certificate for a token, later ones for the
present one (docs/hq.md, Enrolment).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pbal_controller.documents import dump_json, load_json
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.uplink.keyfile import KeyFile

_TIMEOUT_S = 60.0
_MOST = 65_536  # bytes of an answer
_TOKEN = re.compile(r"pbal1\.[A-Za-z0-9=_-]{16,128}\.([a-z2-7]{26})")


@dataclass(frozen=True)
class Given:
    """What HQ gave."""

    site: int
    group: str
    node: str
    certificate: str
    authority: str
    host: str
    port: int
    host_id: str


def fingerprint(certificate: x509.Certificate) -> str:
    """An authority as a token names it: 16 bytes of its SHA-256, base32 without padding."""
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    return base64.b32encode(digest[:16]).decode().lower().rstrip("=")


def _checked_url(url: str) -> str:
    if not re.fullmatch(r"https://[^/?#@\s]+/?", url):
        raise ConfigError(f"{url!r}: HQ's enrolment is an address such as https://hq.example:8884")
    return url.rstrip("/")


def _trusting(authority: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=authority)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    return made


def _holding(trusted: Path, certificate: Path, key: KeyFile) -> ssl.SSLContext:
    try:
        made = _trusting(trusted.read_text("ascii"))
        made.load_cert_chain(certificate, key.path, password=key.password)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"{certificate}, {key.path}: cannot be used ({error}); enrol again"
        ) from None
    return made


async def _exchange(
    url: str, body: dict[str, str] | None, context: ssl.SSLContext
) -> tuple[int, str]:
    """POST of a JSON body, or GET without one. Raises BearerError: no answer."""
    import aiohttp  # a site asks once in months

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    method, data = ("GET", None) if body is None else ("POST", dump_json(body))
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(method, url, data=data, headers=headers, ssl=context,
                            allow_redirects=False) as answer,
        ):  # fmt: skip
            text = (await answer.content.read(_MOST)).decode(errors="replace")
            return answer.status, text
    except aiohttp.ClientConnectorCertificateError as error:
        raise BearerError(f"{url}: not HQ, or not under this name ({error})") from None
    except aiohttp.ClientConnectorError as error:
        why = error.os_error.strerror or error.os_error
        raise BearerError(f"{url}: no answer ({why}); is there a network?") from None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise BearerError(f"{url}: no answer ({error or type(error).__name__})") from None


def _given(status: int, text: str, url: str) -> Given:
    try:
        data: Any = load_json(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise BearerError(f"{url}: what answers there is not HQ's enrolment (HTTP {status})")
    if status != 200:
        raise BearerError(f"{url}: HQ refused (HTTP {status}): {str(data.get('error'))[:300]}")
    try:
        broker = data["broker"]
        return Given(
            int(data["site"]), str(data["group"]), str(data["node"]), str(data["certificate"]),
            str(data["ca"]), str(broker["host"]), int(broker["port"]), str(broker["host_id"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError):
        raise BearerError(f"{url}: HQ's answer is not understood; update pbal") from None


async def authority(url: str, token: str) -> str:
    """HQ's authority in PEM, as its token names it. Raises ConfigError and BearerError.

    Nothing is trusted but the fingerprint in the token: an answer of anybody but HQ is found here.
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise ConfigError("this is no token, such as pbal-hq site token prints: pbal1.SECRET.MARK")
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.minimum_version = ssl.TLSVersion.TLSv1_3
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    where = f"{_checked_url(url)}/ca"
    status, text = await _exchange(where, None, nobody)
    try:
        if status != 200:
            raise ValueError
        named = fingerprint(x509.load_pem_x509_certificate(text.encode()))
    except ValueError:
        raise BearerError(f"{where}: what answers there is not HQ's enrolment") from None
    if not hmac.compare_digest(named, found[1]):
        raise BearerError(
            f"{where}: the authority there is not the one that the token names. Somebody may "
            "answer in HQ's place, or the token is of another HQ"
        )
    return text


async def enrol(url: str, token: str, csr: str, trusted: str) -> Given:
    """A site's first certificate. Raises ConfigError and BearerError."""
    where = f"{_checked_url(url)}/enrol"
    body = {"token": token, "csr": csr}
    return _given(*await _exchange(where, body, _trusting(trusted)), where)


async def renew(url: str, csr: str, trusted: Path, certificate: Path, key: KeyFile) -> Given:
    """The next certificate, with the present one in the handshake.

    Raises ConfigError and BearerError.
    """
    where = f"{_checked_url(url)}/renew"
    context = await asyncio.to_thread(_holding, trusted, certificate, key)
    return _given(*await _exchange(where, {"csr": csr}, context), where)
