"""A certificate signing request, as a site sends it: read and judged.

Of the request only its key is taken: the name comes from the token or the present certificate.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from pbal_hq.errors import CertificateError

MAX_BYTES = 16_384
_CURVES = ("secp256r1", "secp384r1")
_MIN_RSA = 2048


@dataclass(frozen=True)
class Request:
    """The key of a request that its owner signed."""

    key: CertificatePublicKeyTypes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the key (SubjectPublicKeyInfo, DER)."""
        return hashlib.sha256(
            self.key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        ).digest()


def read_request(pem: str) -> Request:
    """The request of a PEM text. Raises CertificateError, whose text says what is wrong."""
    if len(pem) > MAX_BYTES:
        raise CertificateError(f"the request has more than {MAX_BYTES} bytes")
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        valid, key = csr.is_signature_valid, csr.public_key()
    except Exception as error:  # the library raises various kinds for what is not well-formed
        raise CertificateError(f"no certificate signing request in PEM: {error}") from None
    if not valid:
        raise CertificateError("the request is not signed with its own key")
    if isinstance(key, ec.EllipticCurvePublicKey):
        good = key.curve.name in _CURVES
    elif isinstance(key, rsa.RSAPublicKey):
        good = key.key_size >= _MIN_RSA
    else:
        good = isinstance(key, ed25519.Ed25519PublicKey)
    if not good:
        raise CertificateError("the request's key is too weak; P-256 is what pbal makes")
    return Request(key)
