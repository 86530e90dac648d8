"""Which sites have a tunnel: their addresses in it, and their public keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from pbal_hq.config import NetworkConfig
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo
from pbal_hq.registry import site_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Peer:
    """A site's end. `address`: without a prefix."""

    site: int
    address: str
    key: str


def first_free(config: NetworkConfig, taken: Iterable[str]) -> str:
    """The lowest address that no site has; the first of all is HQ's. Raises BadInput."""
    network = config.network
    used = {ipaddress.ip_address(each) for each in taken}
    hosts = iter(network.hosts())
    next(hosts)
    for address in hosts:
        if address not in used:
            return str(address)
    raise BadInput(f"network.prefix: {network} has no address left; choose a larger one")


async def _alone(db: Connection) -> None:
    """Until the transaction ends no other program gives out addresses and writes the files."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('pbal network'))")


async def peers(db: Connection) -> list[Peer]:
    """All, by site; also of sites that are revoked, none of those that were removed."""
    cursor = await db.execute(
        "SELECT t.site_id, host(t.address), t.public_key FROM site_tunnel t "
        "JOIN site s ON s.id = t.site_id WHERE s.removed_at IS NULL ORDER BY t.site_id"
    )
    return [Peer(*row) for row in await cursor.fetchall()]


async def add_peer(
    db: Connection, config: NetworkConfig, site: int, key: str
) -> tuple[Peer, Peer | None]:
    """A site's tunnel, or its new key, and what was before. Raises NothingToDo, BadInput.

    A site keeps its address. The caller ends the transaction.
    """
    await _alone(db)
    found = await site_of(db, site)
    if found.gateway is not None:
        raise BadInput(f"site {site} is behind the gateway of site {found.gateway}: no tunnel")
    cursor = await db.execute("SELECT site_id, host(address), public_key FROM site_tunnel")
    there = [Peer(*row) for row in await cursor.fetchall()]
    old = next((peer for peer in there if peer.site == site), None)
    other = next((peer for peer in there if peer.key == key and peer.site != site), None)
    if other is not None:
        raise BadInput(f"site {other.site} has this key; each Pi makes its own: wg genkey")
    fits = old is not None and ipaddress.ip_address(old.address) in config.network
    address = old.address if old and fits else first_free(config, [p.address for p in there])
    await db.execute(
        "INSERT INTO site_tunnel (site_id, address, public_key) VALUES (%s, %s, %s) "
        "ON CONFLICT (site_id) DO UPDATE SET address = excluded.address, "
        "public_key = excluded.public_key, added_at = now()",
        (site, address, key),
    )
    return Peer(site, address, key), old


async def remove_peer(db: Connection, site: int) -> Peer:
    """Take a site's tunnel away; what it was. Raises NothingToDo.

    The caller ends the transaction.
    """
    await _alone(db)
    cursor = await db.execute(
        "DELETE FROM site_tunnel WHERE site_id = %s RETURNING site_id, host(address), public_key",
        (site,),
    )
    row = await cursor.fetchone()
    if row is None:
        raise NothingToDo(f"site {site} has no tunnel; pbal-hq network show names all")
    return Peer(*row)
