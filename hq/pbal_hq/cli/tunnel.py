"""What `pbal-hq network` and `pbal-hq site remove` share: HQ's files, and a tunnel's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pbal_hq import logstore, network
from pbal_hq.ca import write_whole
from pbal_hq.cli.base import noted
from pbal_hq.config import Config
from pbal_hq.database import Connection
from pbal_hq.errors import ConfigError, NothingToDo
from pbal_hq.network import Files, Peer, TunnelError


def folder_of(settings: Config) -> Path:
    """Where HQ's key and files are."""
    return settings.data / "network"


def write_files(folder: Path, name: str, files: Files, rules: str) -> None:
    """One end's two files. Raises ConfigError."""
    try:
        write_whole(folder / f"{name}.conf", files.conf.encode(), 0o600)
        write_whole(folder / rules, files.rules.encode(), 0o644)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from None


def write_hub(settings: Config, peers: Sequence[Peer]) -> None:
    """HQ's files. Raises ConfigError."""
    folder = folder_of(settings)
    files = network.hub_files(settings, folder, peers)
    write_files(folder, settings.network.interface, files, "hq.nft")
    if settings.logs.url:
        write_sites(settings, peers)


def write_sites(settings: Config, peers: Sequence[Peer]) -> None:
    """The list by which HQ's rsyslog knows whose lines come. Raises ConfigError."""
    file = logstore.sites_file(settings)
    try:
        write_whole(file, logstore.sites_table(peers).encode())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None


async def end_tunnel(db: Connection, settings: Config, site: int) -> tuple[Peer, bool]:
    """Take a site's tunnel away, for good and at once; and whether the interface is up.

    Raises NothingToDo, ConfigError, TunnelError.
    """
    peer = await network.remove_peer(db, site)
    await noted(db, "network.remove", f"site {site}", address=peer.address)
    write_hub(settings, await network.peers(db))
    # What follows may fail: the site is not to come back with the next start all the same.
    await db.commit()
    up = network.is_up(settings.network)
    if up:
        try:
            network.drop_peer(settings.network, peer.key)
        except TunnelError as error:
            raise TunnelError(f"site {site} has its tunnel until that is mended: {error}") from None
    return peer, up


async def close_tunnel(db: Connection, settings: Config, site: int) -> None:
    """The same, where it has one."""
    if settings.network.endpoint:
        try:
            await end_tunnel(db, settings, site)
        except NothingToDo:
            return
