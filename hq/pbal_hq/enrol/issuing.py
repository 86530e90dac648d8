"""Issues certificates to sites, each recorded before it is sent."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from pbal_hq.ca import Authority, Request, read_request
from pbal_hq.config import Config
from pbal_hq.database import Connection, Database
from pbal_hq.errors import CertificateError
from pbal_hq.registry import Place, known_certificate, note_certificate, use_token


class Refused(Exception):
    """A request that is not granted. `status`: of HTTP; the text is for the site's engineer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Given:
    """What a site gets: its certificate, and where HQ is to be reached."""

    place: Place
    certificate: str
    authority: str
    not_after: datetime.datetime
    host: str
    port: int
    host_id: str

    def as_dict(self) -> dict[str, Any]:
        """For the answer in JSON."""
        return {
            "site": self.place.site, "group": self.place.group, "node": self.place.node,
            "certificate": self.certificate, "ca": self.authority,
            "not_after": self.not_after.isoformat(timespec="seconds"),
            "broker": {"host": self.host, "port": self.port, "host_id": self.host_id},
        }  # fmt: skip


class Issuing:
    """Enrols and renews."""

    def __init__(self, database: Database, authority: Authority, config: Config) -> None:
        self._database = database
        self._authority = authority
        self._config = config

    async def enrol(self, token: str, csr: str, address: str) -> Given:
        """The first certificate of a site. Raises Refused and psycopg.Error."""
        request = _read(csr)
        async with self._database.connection() as db:
            place = await use_token(db, token, request.digest, address)
            if place is None:
                raise Refused(
                    403,
                    "this token is not known, has expired, or was used with another key; "
                    "a new one: pbal-hq site token SITE",
                )
            return await self._give(db, place, request)

    async def renew(self, present: x509.Certificate, csr: str) -> Given:
        """The next certificate of a site that has one. Raises Refused and psycopg.Error."""
        request = _read(csr)
        async with self._database.connection() as db:
            place = await known_certificate(db, present)
            if place is None:
                raise Refused(
                    403, "this certificate is revoked, or of no site; enrol the site anew"
                )
            return await self._give(db, place, request)

    async def _give(self, db: Connection, place: Place, request: Request) -> Given:
        now = datetime.datetime.now(datetime.UTC)
        days = self._config.enrol.certificate_days
        issued = self._authority.client(place.node, request.key, days, now)
        await note_certificate(db, issued.certificate, place.site)
        broker = self._config.broker
        return Given(
            place,
            issued.pem.decode(),
            self._authority.pem.decode(),
            issued.certificate.not_valid_after_utc,
            self._config.enrol.broker_host or broker.host,
            broker.port,
            broker.host_id,
        )


def _read(csr: str) -> Request:
    try:
        return read_request(csr)
    except CertificateError as error:
        raise Refused(400, str(error)) from None
