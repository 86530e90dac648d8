"""This site's certificate and key as files: made here, replaced together, judged.

The key is drawn on this computer and never leaves it; HQ gets a signing request (PKCS #10). Two
files cannot be replaced at once, so a new key waits beside the old one (`site.key.new`) until its
certificate is in place: the next reader of the two brings them together (`settle`).
"""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from pbal_controller.errors import ConfigError
from pbal_controller.uplink.keyfile import KeyFile, place

#: A certificate is renewed when less than this share of its validity is left.
RENEW_SHARE = 1 / 3


def read(path: Path) -> x509.Certificate:
    """A certificate's file. Raises ConfigError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no certificate in PEM ({error}); enrol this site") from None


def is_due(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    """Whether it is time to renew it."""
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (until - now) < (until - since) * RENEW_SHARE


def _spki(key: object) -> bytes:
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return found


def _waiting(key: KeyFile) -> ec.EllipticCurvePrivateKey | None:
    with contextlib.suppress(ConfigError):
        found = key.waiting.read()
        if isinstance(found, ec.EllipticCurvePrivateKey):
            return found
    return None


def request(key: KeyFile, name: str) -> str:
    """A signing request in PEM, of a new key that waits beside `key` until it has a certificate.

    The same one while it waits: HQ's answer may have been lost. It is sealed as the present one is,
    which a version that knows no seal may still have to read. Raises ConfigError.
    """
    private = _waiting(key)
    if private is None:
        private = key.waiting.draw(sealed=not key.path.exists() or key.is_sealed)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def install(
    certificate: Path, key: KeyFile, pem: str, authority: str, now: datetime.datetime
) -> None:
    """Replace the present certificate by the one from HQ, with the key that waited for it.

    Raises ConfigError, and changes nothing, where it is not of that key, not of this authority, or
    not valid now.
    """
    waiting = _waiting(key)
    try:
        made = x509.load_pem_x509_certificate(pem.encode())
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except InvalidSignature:
        raise ConfigError("what HQ gave was not signed by its authority") from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"what HQ gave is no certificate of its authority ({error})") from None
    if waiting is None or _spki(waiting.public_key()) != _spki(made.public_key()):
        raise ConfigError("what HQ gave is not for this site's key")
    if not made.not_valid_before_utc <= now < made.not_valid_after_utc:
        raise ConfigError("what HQ gave is not valid now; is this computer's clock set?")
    place(certificate, pem.encode(), 0o644)
    settle(certificate, key)


def settle(certificate: Path, key: KeyFile) -> None:
    """A key whose certificate is in place takes its own place; else nothing."""
    private = _waiting(key)
    if private is None:
        return
    with contextlib.suppress(OSError, ValueError):
        made = x509.load_pem_x509_certificate(certificate.read_bytes())
        if _spki(made.public_key()) == _spki(private.public_key()):
            key.waiting.path.replace(key.path)
