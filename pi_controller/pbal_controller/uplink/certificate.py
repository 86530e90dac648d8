"""This site's certificate and key as files: made here, replaced together, judged.

The key is drawn on this computer and never leaves it; HQ gets a signing request (PKCS #10). Two
files cannot be replaced at once, so a new key waits beside the old one (`site.key.new`) until its
certificate is in place: the next reader of the two brings them together (`settle`).
"""

from __future__ import annotations

import contextlib
import datetime
import os
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from pbal_controller.errors import ConfigError, KeyStoreError
from pbal_controller.keys import atomic_write

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


def _waiting(key: Path) -> Path:
    return key.with_name(f"{key.name}.new")


def _load(path: Path) -> ec.EllipticCurvePrivateKey | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = load_pem_private_key(path.read_bytes(), None)
        if isinstance(found, ec.EllipticCurvePrivateKey):
            return found
    return None


def request(key: Path, name: str) -> str:
    """A signing request in PEM, of a new key that waits beside `key` until it has a certificate.

    The same one while it waits: HQ's answer may have been lost. Raises ConfigError.
    """
    waiting = _waiting(key)
    private = _load(waiting)
    if private is None:
        private = ec.generate_private_key(ec.SECP256R1())
        body = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(waiting, body, 0o600)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(private, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        atomic_write(path, data, mode)
        if os.geteuid() == 0:  # a person's command; the service must be able to replace it
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
    except (OSError, KeyStoreError) as error:
        raise ConfigError(
            f"{path}: cannot be written ({error}); certificate and key must be where the "
            "controller may write, as pbal-controller enrol puts them"
        ) from None


def install(certificate: Path, key: Path, pem: str, authority: str, now: datetime.datetime) -> None:
    """Replace the present certificate by the one from HQ, with the key that waited for it.

    Raises ConfigError, and changes nothing, where it is not of that key, not of this authority, or
    not valid now.
    """
    waiting = _load(_waiting(key))
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
    _write(certificate, pem.encode(), 0o644)
    settle(certificate, key)


def settle(certificate: Path, key: Path) -> None:
    """A key whose certificate is in place takes its own place; else nothing."""
    private = _load(_waiting(key))
    if private is None:
        return
    with contextlib.suppress(OSError, ValueError):
        made = x509.load_pem_x509_certificate(certificate.read_bytes())
        if _spki(made.public_key()) == _spki(private.public_key()):
            _waiting(key).replace(key)
