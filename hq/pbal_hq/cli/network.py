"""`pbal-hq network`: tunnels from the sites to HQ (docs/hq-network.md)."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq import network
from pbal_hq.cli.base import (
    ConfigOption,
    JsonOption,
    group,
    noted,
    print_json,
    print_table,
    wait_for,
)
from pbal_hq.cli.tunnel import end_tunnel, folder_of, write_files, write_hub
from pbal_hq.config import Config, load
from pbal_hq.database import connected
from pbal_hq.errors import BadInput, ConfigError
from pbal_hq.network import Live, Peer, is_up

app = group("The tunnels of sites to HQ. Example: pbal-hq network show")

Number = Annotated[int, typer.Argument(metavar="SITE", help="Its number, as it is configured.")]


def _configured(settings: Config) -> Config:
    if not settings.network.endpoint:
        raise ConfigError(
            "network.endpoint is not set: the name or address under which sites reach this computer"
        )
    return settings


def _hub_key(settings: Config) -> str:
    """HQ's public key, which `init` has made."""
    file = folder_of(settings) / "private.key"
    if not file.exists():
        raise ConfigError(f"{file}: not there; pbal-hq network init makes it")
    return network.own_key(file)


@app.command()
def init(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Make HQ's key, and its files for wg-quick and nft; again after a change of [network].

    Example: pbal-hq network init
    """
    settings = _configured(load(config))
    folder = folder_of(settings)
    key = network.own_key(folder / "private.key")

    async def work() -> list[Peer]:
        async with connected(settings.database) as db:
            return await network.peers(db)

    peers = wait_for(work())
    write_hub(settings, peers)
    n = settings.network
    conf = folder / f"{n.interface}.conf"
    if json_:
        print_json({"public_key": key, "address": n.hub, "conf": str(conf), "sites": len(peers)})
        return
    print(f"HQ's public key: {key}\nHQ's address in the tunnel: {n.hub}\nfiles: {folder}")
    print(f"As root: wg-quick up {conf}")


@app.command("add-site")
def add_site(
    site: Number,
    key: Annotated[str, typer.Option(help="The Pi's public key, as wg pubkey prints it.")],
    out: Annotated[Path, typer.Option(help="The folder for the Pi's two files.")],
    interface: Annotated[str, typer.Option(help="The tunnel's name on the Pi.")] = "pbal",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Give a site a tunnel, or another key, at once; write the Pi's files, without any secret.

    Example: pbal-hq network add-site 1007 --key "$(cat 1007.pub)" --out 1007/
    """
    settings = _configured(load(config))
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", interface):
        raise BadInput(f"{interface!r} is no name of an interface: a to z, digits, at most 15")
    public, own = network.check_key(key), _hub_key(settings)
    if public == own:
        raise BadInput("this is HQ's own key; on the Pi: wg pubkey < /etc/wireguard/pbal.key")

    async def work() -> tuple[Peer, Peer | None]:
        async with connected(settings.database) as db:
            made = await network.add_peer(db, settings.network, site, public)
            await noted(db, "network.add", f"site {site}", address=made[0].address, key=public)
            write_hub(settings, await network.peers(db))
            return made

    peer, old = wait_for(work())
    write_files(
        out, interface, network.site_files(settings, peer, own, interface), f"{interface}.nft"
    )
    up = is_up(settings.network)
    if up:
        if old is not None and old.key != peer.key:
            network.drop_peer(settings.network, old.key)
        network.set_peer(settings.network, peer)
    if json_:
        print_json({**asdict(peer), "in_effect": up})
        return
    print(f"site {site} has {peer.address}; for its /etc/wireguard: {out}/{interface}.conf, .nft")
    print("It is let in now." if up else f"The interface is down: {_up_with(settings)}")


def _up_with(settings: Config) -> str:
    return f"wg-quick up {folder_of(settings) / settings.network.interface}.conf"


@app.command("remove-site")
def remove_site(site: Number, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Take a site's tunnel away at once. Example: pbal-hq network remove-site 1007"""
    settings = _configured(load(config))

    async def work() -> tuple[Peer, bool]:
        async with connected(settings.database) as db:
            return await end_tunnel(db, settings, site)

    peer, up = wait_for(work())
    if json_:
        print_json({**asdict(peer), "in_effect": up})
    else:
        print(f"site {site} has no tunnel any more" + ("" if up else "; the interface is down"))


@app.command()
def show(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """All tunnels, and when each was last heard of. Example: pbal-hq network show"""
    settings = _configured(load(config))

    async def work() -> list[Peer]:
        async with connected(settings.database) as db:
            return await network.peers(db)

    peers = wait_for(work())
    up = is_up(settings.network)
    now: dict[str, Live] = network.live(settings.network) if up else {}
    strange = sorted(set(now) - {peer.key for peer in peers})
    rows = [(peer, now.get(peer.key)) for peer in peers]
    if json_:
        print_json(
            {
                "up": up,
                "sites": [{**asdict(p), "live": None if w is None else asdict(w)} for p, w in rows],
                "unknown_keys": strange,
            }
        )
        return
    print_table(
        ("site", "address", "key", "let in", "handshake", "from it", "to it"),
        (
            (p.site, p.address, p.key, "no" if w is None else "yes",
             w and w.handshake_s and f"{datetime.fromtimestamp(w.handshake_s, UTC):%Y-%m-%d %H:%M}",
             w and f"{w.received_bytes / 1000:.0f} kB", w and f"{w.sent_bytes / 1000:.0f} kB")
            for p, w in rows
        ),
    )  # fmt: skip
    if not up:
        print(f"The interface {settings.network.interface} is down: {_up_with(settings)}")
    for key in strange:
        print(f"{settings.network.interface} lets in a key that no site has: {key}")
