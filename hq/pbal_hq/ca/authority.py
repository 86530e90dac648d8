"""The authority itself: a key and a name, and the certificates and revocation lists it signs.

Pure but for random numbers and the clock that is given: no files, no database.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pbal_hq.errors import CertificateError

# Clocks of sites run a little behind; a certificate is good at once.
_SLACK = datetime.timedelta(minutes=5)
AUTHORITY_DAYS = 3650
# With an expired list the broker refuses every client: it is written anew every day, and valid for
# so long.
CRL_DAYS = 30


@dataclass(frozen=True)
class Issued:
    """A certificate that was signed, and, where HQ drew it, its key (PEM)."""

    certificate: x509.Certificate
    key: bytes = b""

    @property
    def pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def serial_text(number: int) -> str:
    """A serial number as it is kept: hex, without zeros before it."""
    return f"{number:x}"


def name_of(certificate: x509.Certificate) -> str:
    """The common name, which is the client's name at the broker; empty where there is none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def fingerprint(certificate: x509.Certificate) -> str:
    """By what a one-time token names the authority: 128 bits of SHA-256 of its DER, base32."""
    digest = certificate.fingerprint(hashes.SHA256())[:16]
    return base64.b32encode(digest).decode().rstrip("=").lower()


class Authority:
    """A certificate authority of one level, on P-256."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        if certificate.public_key().public_bytes(*spki) != key.public_key().public_bytes(*spki):
            raise CertificateError("the authority's key does not belong to its certificate")
        self.certificate = certificate
        self._key = key

    @classmethod
    def create(cls, name: str, now: datetime.datetime) -> Authority:
        """A new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = _usage(sign=False, authority=True)
        made = (
            _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(made, key)

    @property
    def pem(self) -> bytes:
        """Its certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Its key as PEM, not encrypted: the file is for HQ's user alone."""
        return _key_pem(self._key)

    def client(
        self, name: str, key: CertificatePublicKeyTypes, days: float, now: datetime.datetime
    ) -> Issued:
        """A certificate of a client of this name, for a key that its owner holds."""
        return Issued(self._sign(name, key, days, now, [ExtendedKeyUsageOID.CLIENT_AUTH], ()))

    def client_with_key(self, name: str, days: float, now: datetime.datetime) -> Issued:
        """The same with a new key: HQ's own."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Issued(self.client(name, key.public_key(), days, now).certificate, _key_pem(key))

    def server(
        self, name: str, hosts: Sequence[str], days: float, now: datetime.datetime
    ) -> Issued:
        """A certificate of a server that is reached under these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.SERVER_AUTH]
        made = self._sign(name, key.public_key(), days, now, uses, hosts)
        return Issued(made, _key_pem(key))

    def peer(self, name: str, hosts: Sequence[str], days: float, now: datetime.datetime) -> Issued:
        """The same of a server that is a client of its like, too: a broker of a cluster."""
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        made = self._sign(name, key.public_key(), days, now, uses, hosts)
        return Issued(made, _key_pem(key))

    def _sign(
        self,
        name: str,
        key: CertificatePublicKeyTypes,
        days: float,
        now: datetime.datetime,
        uses: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            _builder(subject, self.certificate.subject, key, now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=True, authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def revocations(
        self, revoked: Iterable[tuple[str, datetime.datetime]], number: int, now: datetime.datetime
    ) -> bytes:
        """The revocation list as PEM. `revoked`: serials (hex) and when; `number` grows."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + datetime.timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        for serial, at in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
            builder = builder.add_revoked_certificate(entry.revocation_date(at).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    now: datetime.datetime,
    days: float,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, sign: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=authority, crl_sign=authority,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise CertificateError(f"{host!r} is no host name and no address") from None


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
