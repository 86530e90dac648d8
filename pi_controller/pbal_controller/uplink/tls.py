"""TLS towards the broker: 1.3 or nothing, our certificate, theirs checked; and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from pbal_controller.config import UplinkConfig
from pbal_controller.errors import ConfigError
from pbal_controller.uplink.certificate import settle
from pbal_controller.uplink.keyfile import KeyFile

_RENEW_DAYS = 14

# What a broker's refusal of our certificate looks like, by OpenSSL's name of the alert.
_REFUSED = {
    "CERTIFICATE_REQUIRED": "it did not get one (uplink.certificate)",
    "CERTIFICATE_REVOKED": "it is revoked; enrol the site anew",
    "CERTIFICATE_EXPIRED": "it has expired; renew it",
    "UNKNOWN_CA": "it was signed by an authority that the broker does not know",
    "BAD_CERTIFICATE": "the broker cannot use it",
    "ACCESS_DENIED": "the broker does not let it in",
    "DECRYPT_ERROR": "key and certificate do not fit",
}


def context(config: UplinkConfig, secret: bytes = b"") -> ssl.SSLContext:
    """The TLS context. Raises ConfigError for files that cannot be used.

    `secret`: what the key is sealed with (`KeyStore.tls_secret`).
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if config.certificate is not None and config.key is not None:
        with contextlib.suppress(OSError):
            settle(config.certificate, KeyFile(config.key, secret))
    for key, path in (("ca", config.ca), ("crl", config.crl)):
        if path is None:
            continue
        try:
            made.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(key, path, error) from None
        if key == "crl":
            made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if config.certificate is not None and config.key is not None:
        kept = KeyFile(config.key, secret)
        try:
            if kept.is_sealed:
                _private(kept)  # says what is wrong better than ssl
            made.load_cert_chain(config.certificate, config.key, password=kept.password)
        except (OSError, ssl.SSLError) as error:
            raise _unusable("certificate", config.certificate, error) from None
    return made


def _unusable(key: str, path: Path, error: Exception) -> ConfigError:
    why = getattr(error, "strerror", None) or str(error)
    return ConfigError(f"uplink.{key}: {path} cannot be used: {why}", ("uplink", key))


def check(
    config: UplinkConfig, now: datetime.datetime | None = None, secret: bytes = b""
) -> list[str]:
    """Remarks on the files for a person, one a line. Raises ConfigError: they cannot be used.

    A sealed key is not looked into without its `secret`.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    assert config.certificate is not None, "the tables see to it"
    assert config.key is not None
    kept = KeyFile(config.key, secret)
    with contextlib.suppress(OSError):
        settle(config.certificate, kept)
    hidden = _is_sealed(kept) and not secret
    try:
        certificate = x509.load_pem_x509_certificate(_read("certificate", config.certificate))
    except ValueError:
        raise ConfigError(
            f"uplink.certificate: {config.certificate} holds no PEM certificate",
            ("uplink", "certificate"),
        ) from None
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not hidden and (
        _private(kept).public_key().public_bytes(*spki)
        != certificate.public_key().public_bytes(*spki)
    ):
        raise ConfigError(
            f"uplink.key: {config.key} is not the key of {config.certificate}", ("uplink", "key")
        )
    left = certificate.not_valid_after_utc - now
    if left < datetime.timedelta():
        raise ConfigError(
            f"uplink.certificate: {config.certificate} expired on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d}; renew it",
            ("uplink", "certificate"),
        )
    if certificate.not_valid_before_utc > now:
        raise ConfigError(
            f"uplink.certificate: {config.certificate} is valid from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d} on; is this computer's clock set?",
            ("uplink", "certificate"),
        )
    if not hidden:
        context(config, secret)
    out = [f"uplink certificate: {certificate.subject.rfc4514_string()}, {left.days} days left"]
    if left < datetime.timedelta(days=_RENEW_DAYS):
        out.append("  note: renew the certificate soon")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            out.append("  note: the certificate is not marked for clients (clientAuth)")
    except x509.ExtensionNotFound:
        pass
    if hidden:
        out.append("  the key is sealed, and not looked into without the key store's passphrase")
    if config.key.stat().st_mode & 0o077:
        out.append(f"  note: others may read {config.key}; chmod 600 it")
    return out


def _read(key: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(key, path, error) from None


def _is_sealed(key: KeyFile) -> bool:
    try:
        return key.is_sealed
    except OSError as error:
        raise _unusable("key", key.path, error) from None


def _private(key: KeyFile):  # type: ignore[no-untyped-def]  # cryptography's union of key types
    try:
        return key.read()
    except ConfigError as error:
        raise ConfigError(f"uplink.key: {error}", ("uplink", "key")) from None


def explain(error: ssl.SSLError, config: UplinkConfig) -> str:
    """What a failed handshake means, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = {
            9: "the broker's certificate is not valid yet; is this computer's clock set?",
            10: "the broker's certificate has expired",
            23: "the broker's certificate is revoked",
            3: "uplink.crl has no list of the broker's authority",
            12: "uplink.crl has expired; fetch a new one",
            62: f"the broker's certificate is not for {config.host} (uplink.host)",
            64: f"the broker's certificate is not for {config.host} (uplink.host)",
        }.get(error.verify_code)
        return why or (
            "the broker's certificate was not signed by uplink.ca "
            f"({error.verify_message or error.reason})"
        )
    reason = error.reason or ""
    if "PROTOCOL_VERSION" in reason or "UNSUPPORTED_PROTOCOL" in reason:
        return "the broker offers no TLS 1.3, and nothing less is used"
    for name, why in _REFUSED.items():
        if reason.endswith(name):
            return f"the broker refused this site's certificate: {why}"
    return f"TLS failed: {reason or error}"


def is_refusal(why: str) -> bool:
    """Whether trying again soon is of no use: a person has to do something."""
    return "certificate" in why or "TLS 1.3" in why


async def probe(config: UplinkConfig, secret: bytes = b"", timeout_s: float = 10.0) -> str:
    """Why a connection fails, by trying the handshake alone; empty when it does not.

    In TLS 1.3 a broker judges our certificate after our side of the handshake is over, so its
    verdict comes with the first read.
    """
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(
                config.host, config.port, ssl=context(config, secret), server_hostname=config.host
            )
            try:
                async with asyncio.timeout(2.0):
                    await reader.read(1)
            except TimeoutError:
                pass
    except ssl.SSLError as error:
        return explain(error, config)
    except TimeoutError:
        return f"{config.host}:{config.port} does not answer"
    except ConnectionRefusedError:
        return f"{config.host}:{config.port}: nothing listens there; does the broker run?"
    except socket.gaierror:
        return f"{config.host} has no address (uplink.host); is there a network?"
    except OSError as error:
        return f"{config.host}:{config.port}: {error.strerror or error}"
    finally:
        if writer is not None:
            writer.close()
    return ""
