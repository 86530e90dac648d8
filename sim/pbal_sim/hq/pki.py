"""A certificate authority for one computer: PEM files of a broker, of sites, and revocations."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SLACK = datetime.timedelta(minutes=5)


def now() -> datetime.datetime:
    """The time, in UTC."""
    return datetime.datetime.now(datetime.UTC)


class Pki:
    """One authority and what it signed, in a folder."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        made = (
            self._builder(self._name, self._key.public_key(), now(), 30)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self._revoked: list[int] = []
        self._serials: dict[str, int] = {}

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime.datetime, days: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start - _SLACK)
            .not_valid_after(start + datetime.timedelta(days=days))
        )

    def issue(
        self,
        name: str,
        *,
        start: datetime.datetime | None = None,
        days: int = 20,
        hosts: tuple[str, ...] = (),
    ) -> tuple[Path, Path]:
        """(certificate, key) of a client, or of a server where it has hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        use = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self._builder(subject, key.public_key(), start or now(), days).add_extension(
            x509.ExtendedKeyUsage([use]), critical=False
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False
            )
        made = builder.sign(self._key, hashes.SHA256())
        self._serials[name] = made.serial_number
        certificate, private = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def crl(self, *revoked: str) -> Path:
        """The list of revoked certificates, with these in it from now on."""
        self._revoked += [self._serials[name] for name in revoked]
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now() - _SLACK)
            .next_update(now() + datetime.timedelta(days=10))
        )
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(entry.revocation_date(now() - _SLACK).build())
        path = self.folder / "revoked.crl"
        made = builder.sign(self._key, hashes.SHA256())
        path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        return path
