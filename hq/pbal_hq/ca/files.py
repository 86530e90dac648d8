"""The files of the authority and of HQ's own certificates, below `data/pki`."""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pbal_hq.ca.authority import Authority, Issued
from pbal_hq.errors import CertificateError

# Names of certificates that are not sites'. No site may begin with "pbal-".
HQ = "pbal-hq"
BROKER = "pbal-broker"
_OWN_DAYS = 825


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file so that a reader sees all of the old or all of the new, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_private(path: Path, data: bytes) -> None:
    """The same for our user alone."""
    write_whole(path, data, 0o600)


def client_context(ca: Path, certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """For TLS 1.3 as a client with this certificate; without `key` it is in the same file.

    Raises OSError, of which ssl.SSLError is one.
    """
    made = ssl.create_default_context(cafile=str(ca))
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(certificate, key)
    return made


class Pki:
    """The folder. Raises CertificateError where what is needed is not there or does not fit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.crt"
        self.ca_key = folder / "ca.key"
        self.crl = folder / "ca.crl"
        self._number = folder / "ca.crl.number"

    def certificate(self, name: str) -> Path:
        """Where HQ's own certificate of this name is."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Where its key is."""
        return self.folder / f"{name}.key"

    def exists(self) -> bool:
        """Whether there is an authority."""
        return self.ca.exists()

    def make(self, name: str, now: datetime.datetime) -> Authority:
        """A new authority; never over an old one. Raises CertificateError."""
        if self.ca.exists() or self.ca_key.exists():
            raise CertificateError(f"{self.folder} has an authority already")
        made = Authority.create(name, now)
        # The key first: after an interruption there is then no certificate without a key.
        write_private(self.ca_key, made.key_pem)
        write_whole(self.ca, made.pem)
        return made

    def authority(self) -> Authority:
        """The authority. Raises CertificateError."""
        try:
            certificate = x509.load_pem_x509_certificate(self.ca.read_bytes())
            key = load_pem_private_key(self.ca_key.read_bytes(), None)
        except FileNotFoundError as error:
            raise CertificateError(
                f"{error.filename}: not there; `pbal-hq init` makes the authority"
            ) from None
        except OSError as error:
            raise CertificateError(f"{error.filename}: {error.strerror}") from None
        except (ValueError, TypeError) as error:
            raise CertificateError(f"{self.folder}: the authority is damaged: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateError(f"{self.ca_key}: is no key of the kind that HQ makes")
        return Authority(certificate, key)

    def write(self, name: str, issued: Issued) -> None:
        """Keep one of HQ's own certificates, with its key."""
        write_private(self.key(name), issued.key)
        write_whole(self.certificate(name), issued.pem)

    def make_own(self, authority: Authority, hosts: Sequence[str], now: datetime.datetime) -> None:
        """The certificates of the broker and of HQ towards it."""
        self.write(BROKER, authority.server(BROKER, hosts, _OWN_DAYS, now))
        self.write(HQ, authority.client_with_key(HQ, _OWN_DAYS, now))

    def days_left(self, name: str, now: datetime.datetime) -> float:
        """For how long one of HQ's own certificates is good. Raises CertificateError."""
        path = self.certificate(name)
        try:
            found = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CertificateError(f"{path}: cannot be used: {error}") from None
        return (found.not_valid_after_utc - now).total_seconds() / 86400

    def write_crl(
        self,
        authority: Authority,
        revoked: Iterable[tuple[str, datetime.datetime]],
        now: datetime.datetime,
    ) -> None:
        """The revocation list anew."""
        number = 1
        with contextlib.suppress(OSError, ValueError):
            number = int(self._number.read_text()) + 1
        write_whole(self._number, str(number).encode())
        write_whole(self.crl, authority.revocations(revoked, number, now))
