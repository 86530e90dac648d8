"""One-time tokens with which a site fetches its first certificate.

A token is `pbal1.SECRET.FINGERPRINT`: 160 random bits, and the fingerprint by which the site
recognises HQ's authority. The database has the secret's SHA-256 only. A token is spent by the first
key that it is used for; the same key may come again with it, for an answer that was lost.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import secrets
from dataclasses import dataclass

from pbal_hq.database import Connection
from pbal_hq.registry.certificates import Place

_BYTES = 20
PREFIX = "pbal1"


@dataclass(frozen=True)
class Token:
    """A token, shown once."""

    text: str
    expires_at: datetime.datetime


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def new_token(db: Connection, site: int, authority: str, hours: float, by: str) -> Token:
    """A token for a site; those before it are no longer good. `authority`: its fingerprint."""
    secret = base64.b32encode(secrets.token_bytes(_BYTES)).decode().lower()
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    await db.execute("DELETE FROM enrol_token WHERE site_id = %s", (site,))
    await db.execute(
        "INSERT INTO enrol_token (hash, site_id, made_by, expires_at) VALUES (%s, %s, %s, %s)",
        (_hash(secret), site, by[:200], expires),
    )
    return Token(f"{PREFIX}.{secret}.{authority}", expires)


async def use_token(db: Connection, text: str, key: bytes, address: str) -> Place | None:
    """The site of a token that is good for this key; None where it is not. Spends the token.

    `key`: SHA-256 of the public key. Within the caller's transaction.
    """
    parts = text.split(".")
    if len(parts) != 3 or parts[0] != PREFIX:
        return None
    cursor = await db.execute(
        "UPDATE enrol_token k SET used_at = coalesce(k.used_at, now()), used_from = %s, "
        "used_key = %s FROM site s WHERE k.hash = %s AND s.id = k.site_id AND k.expires_at > now() "
        "AND s.removed_at IS NULL AND coalesce(k.used_key, %s) = %s "
        "RETURNING s.id, s.group_id, s.node",
        (address, key, _hash(parts[1]), key, key),
    )
    row = await cursor.fetchone()
    return None if row is None else Place(*row)
