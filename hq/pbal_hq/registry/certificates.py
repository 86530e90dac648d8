"""Which certificates were given out, to whom, and which of them are revoked."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from cryptography import x509

from pbal_hq.ca import name_of, serial_text
from pbal_hq.database import Connection


@dataclass(frozen=True)
class Place:
    """A site's number, and its group and node at the broker."""

    site: int
    group: str
    node: str


async def note_certificate(db: Connection, certificate: x509.Certificate, site: int | None) -> None:
    """Remember a certificate before it is given out."""
    await db.execute(
        "INSERT INTO certificate (serial, name, site_id, not_before, not_after) "
        "VALUES (%s, %s, %s, %s, %s)",
        (
            serial_text(certificate.serial_number),
            name_of(certificate),
            site,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        ),
    )


async def known_certificate(db: Connection, certificate: x509.Certificate) -> Place | None:
    """The site that this certificate is good for now; None where it is for none."""
    cursor = await db.execute(
        "SELECT s.id, s.group_id, s.node FROM certificate c JOIN site s ON s.id = c.site_id "
        "WHERE c.serial = %s AND c.name = %s AND s.node = c.name AND c.revoked_at IS NULL "
        "AND s.removed_at IS NULL",
        (serial_text(certificate.serial_number), name_of(certificate)),
    )
    row = await cursor.fetchone()
    return None if row is None else Place(*row)


async def revoke_site(db: Connection, site: int, why: str) -> int:
    """Revoke all of a site's certificates and tokens; returns how many certificates."""
    cursor = await db.execute(
        "UPDATE certificate SET revoked_at = now(), why = %s "
        "WHERE site_id = %s AND revoked_at IS NULL",
        (why[:200], site),
    )
    await db.execute("DELETE FROM enrol_token WHERE site_id = %s", (site,))
    return cursor.rowcount


async def revoked(db: Connection) -> list[tuple[str, datetime.datetime]]:
    """What the revocation list must name: serial and when; not what has expired long ago."""
    cursor = await db.execute(
        "SELECT serial, revoked_at FROM certificate WHERE revoked_at IS NOT NULL "
        "AND not_after > now() - interval '7 days' ORDER BY revoked_at, serial"
    )
    return [(str(serial), at) for serial, at in await cursor.fetchall()]
