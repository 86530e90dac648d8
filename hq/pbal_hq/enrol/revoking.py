"""Revoking a site: in the database, on the list, at the broker, and its session ends.

Each step is useful without the next: ingest and enrolment follow the database at once; a broker
that cannot be reached reads the list when it starts.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from pbal_hq import broker
from pbal_hq.broker import BrokerFiles
from pbal_hq.ca import Pki, serial_text
from pbal_hq.config import Config
from pbal_hq.database import Connection
from pbal_hq.errors import BrokerError
from pbal_hq.registry import bar, remove_site, revoke_site, revoked, site_of

# A certificate that exists to be refused: it proves that the broker has read the list.
_CANARY = "pbal-canary"


@dataclass(frozen=True)
class Outcome:
    """The result. `trouble`: why the site may still be connected; empty where it is not."""

    site: int
    node: str
    certificates: int
    trouble: str
    behind: bool = False  # a gateway brings it; it has no certificate


async def _alone(db: Connection) -> None:
    """Until the transaction ends no other program reads the revocations and writes their list.

    Else an older list could take the place of a newer one.
    """
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('pbal revocation list'))")


async def write_list(db: Connection, pki: Pki) -> None:
    """The revocation list from the database. The caller ends the transaction."""
    await _alone(db)
    now = datetime.datetime.now(datetime.UTC)
    pki.write_crl(pki.authority(), await revoked(db), now)


async def revoke(
    db: Connection, config: Config, site: int, why: str, *, remove: bool = False
) -> Outcome:
    """Revoke a site's certificates and tokens; `remove`: the site itself is gone, too.

    Raises NothingToDo, CertificateError, psycopg.Error.
    """
    pki = Pki(config.data / "pki")
    authority = pki.authority()
    found = await site_of(db, site)
    count = await revoke_site(db, site, why)
    if remove:
        await remove_site(db, site)
    if found.gateway is not None:
        # It has no certificate: HQ takes nothing more of it, whatever its gateway brings.
        await bar(db, site, barred=True)
        await db.commit()
        return Outcome(site, found.node, count, "", behind=True)
    await db.commit()
    # Held to the end: another program would write the list without the canary before the broker has
    # read it.
    await _alone(db)
    now = datetime.datetime.now(datetime.UTC)
    canary = authority.client_with_key(_CANARY, 10 / 1440, now)
    serial = serial_text(canary.certificate.serial_number)
    pki.write_crl(authority, [*await revoked(db), (serial, now)], now)
    trouble = ""
    try:
        await broker.reload(config.broker, pid_file(config))
        await broker.refuses(config.broker, pki, canary)
        await broker.kick(config.broker, pki, authority, found.node)
    except BrokerError as error:
        trouble = str(error)
    await db.commit()
    return Outcome(site, found.node, count, trouble)


def pid_file(config: Config) -> Path:
    """Where the broker's process id is."""
    return config.broker.pid_file or BrokerFiles(config.data / "broker").pid
