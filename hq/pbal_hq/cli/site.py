"""`pbal-hq site`: sites, their tokens, and revoking them."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pbal_host import counted
from pbal_hq.ca import Pki, fingerprint, write_whole
from pbal_hq.cli.base import (
    ConfigOption,
    JsonOption,
    group,
    noted,
    print_json,
    print_table,
    wait_for,
)
from pbal_hq.cli.tunnel import close_tunnel
from pbal_hq.config import Config, load
from pbal_hq.database import Connection, connected
from pbal_hq.enrol import Outcome
from pbal_hq.enrol import revoke as revoke_site
from pbal_hq.errors import BadInput, ConfigError, HqError
from pbal_hq.registry import (
    NewSite,
    Site,
    Token,
    add_site,
    bar,
    list_sites,
    new_token,
    read_sites,
    site_of,
    transformer_of,
)

app = group("The sites: controllers at transformers. Example: pbal-hq site list")

Number = Annotated[int, typer.Argument(metavar="SITE", help="Its number, as it is configured.")]


async def _token(db: Connection, settings: Config, site: int) -> Token:
    authority = Pki(settings.data / "pki").authority().certificate
    hours = settings.enrol.token_hours
    return await new_token(db, site, fingerprint(authority), hours, getpass.getuser())


def _show_token(site: int, token: Token, json_: bool) -> None:
    if json_:
        print_json({"site": site, "token": token.text, "expires_at": token.expires_at})
        return
    print(token.text)
    print(
        f"Good once, until {token.expires_at.astimezone():%Y-%m-%d %H:%M}, for site {site}. "
        "It is shown only now."
    )


@app.command()
def add(
    site: Number,
    transformer: Annotated[str, typer.Option(help="The code of its transformer.")],
    group: Annotated[str, typer.Option(help="Sparkplug's group id, a region say.")] = "pbal",
    node: Annotated[str, typer.Option(help="Its name at the broker. Default: its number.")] = "",
    name: Annotated[str, typer.Option(help="For people.")] = "",
    via: Annotated[
        int | None, typer.Option(help="The site whose gateway brings it over LoRa.")
    ] = None,
    dev_eui: Annotated[
        str, typer.Option(help="Of its LoRaWAN modem: ChirpStack brings it (docs/gateway.md).")
    ] = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Add a site and print its one-time token; one behind a gateway or over LoRaWAN needs none.

    Example: pbal-hq site add 1007 --transformer TR-0012 --group kerala

    Example: pbal-hq site add 1008 --transformer TR-0013 --group kerala --via 1007

    Example: pbal-hq site add 1009 --transformer TR-0014 --dev-eui 70b3d57ed0051f2a
    """
    settings = load(config)
    if dev_eui:
        if via is not None or node:
            raise BadInput("--dev-eui stands alone: neither --via nor --node goes with it")
        group, node = settings.chirpstack.group, dev_eui.lower()

    async def work() -> Token | None:
        async with connected(settings.database) as db:
            found = await transformer_of(db, transformer)
            await add_site(db, NewSite(site, found, group, node, name, via, bool(dev_eui)))
            more = {} if via is None else {"via": str(via)}
            if dev_eui:
                more["dev_eui"] = node
            await noted(
                db, "site.add", f"site {site}", transformer=transformer, group=group, **more
            )
            return None if via is not None or dev_eui else await _token(db, settings, site)

    _show_way(site, wait_for(work()), via, dev_eui.lower(), json_)


def _show_way(site: int, token: Token | None, via: int | None, dev_eui: str, json_: bool) -> None:
    if token is not None:
        _show_token(site, token, json_)
    elif dev_eui:
        if json_:
            print_json({"site": site, "dev_eui": dev_eui})
        else:
            print(f"site {site} comes over LoRaWAN as {dev_eui}; no token is needed")
    elif json_:
        print_json({"site": site, "via": via})
    else:
        print(f"site {site} comes through the gateway of site {via}; no token is needed")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV: site, transformer, and group, node, name.")],
    tokens: Annotated[Path, typer.Option(help="Where the one-time tokens go (CSV; a new file).")],
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Add many sites, all or none, and write their one-time tokens into a file.

    Example: pbal-hq site import sites.csv --tokens tokens.csv
    """
    settings = load(config)
    listed = read_sites(file)
    if tokens.exists():
        raise BadInput(f"{tokens} is there already; name a new file")

    async def work() -> list[tuple[int, str]]:
        made = []
        async with connected(settings.database) as db:
            for row in listed:
                try:
                    found = await transformer_of(db, row.transformer)
                    await add_site(db, NewSite(row.site, found, row.group, row.node, row.name))
                except HqError as error:
                    raise type(error)(f"{file}: line {row.line}: {error}") from None
                made.append((row.site, (await _token(db, settings, row.site)).text))
            await noted(db, "site.import", file.name, sites=len(listed))
            # Before the transaction ends: sites without their tokens would be of no use.
            _write_tokens(tokens, made)
        return made

    made = wait_for(work())
    if json_:
        print_json({"sites": len(made), "tokens": str(tokens)})
    else:
        hours = settings.enrol.token_hours
        added = counted(len(made), "site")
        print(f"{added} added; their tokens, good once and for {hours:g} h: {tokens}")


def _write_tokens(path: Path, made: list[tuple[int, str]]) -> None:
    text = "".join(f"{site},{token}\n" for site, token in [("site", "token"), *made])
    try:
        write_whole(path, text.encode(), 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


@app.command()
def token(site: Number, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """A new one-time token for a site; the one before is no longer good.

    A site behind a gateway needs none; one that was revoked is let in again.

    Example: pbal-hq site token 1007
    """
    settings = load(config)

    async def work() -> tuple[Token | None, int | None]:
        async with connected(settings.database) as db:
            found = await site_of(db, site)
            await noted(db, "site.token", f"site {site}")
            if found.gateway is not None:
                await bar(db, site, barred=False)
                return None, found.gateway
            return await _token(db, settings, site), None

    given, via = wait_for(work())
    _show_way(site, given, via, "", json_)


@app.command("list")
def list_(
    removed: Annotated[bool, typer.Option("--removed", help="Also those that were.")] = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """All sites. Example: pbal-hq site list --json"""
    settings = load(config)

    async def work() -> list[Site]:
        async with connected(settings.database) as db:
            return await list_sites(db, removed=removed)

    rows = wait_for(work())
    if json_:
        print_json([asdict(row) for row in rows])
        return
    print_table(
        ("site", "transformer", "group", "node", "name", "online", "heard", "certificate until",
         "via"),
        (
            (r.site, r.transformer, r.group, r.node, r.name,
             "removed" if r.removed else "yes" if r.online else "no",
             r.seen_at and f"{r.seen_at:%Y-%m-%d %H:%M}", r.not_after and r.not_after.date(),
             f"{r.gateway}, revoked" if r.revoked else r.gateway)
            for r in rows
        ),
    )  # fmt: skip


@app.command()
def revoke(
    site: Number,
    why: Annotated[str, typer.Option("--why", help="For the records.")],
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Revoke a site's certificates at once; a new token lets it in again.

    Example: pbal-hq site revoke 1007 --why "the Pi was stolen"
    """
    _revoke(load(config), site, why, json_, remove=False)


@app.command()
def remove(
    site: Number,
    why: Annotated[str, typer.Option("--why", help="For the records.")],
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Take a site off its transformer, for another; what it told stays.

    Example: pbal-hq site remove 1007 --why "controller replaced by 1008"
    """
    _revoke(load(config), site, why, json_, remove=True)


def _revoke(settings: Config, site: int, why: str, json_: bool, *, remove: bool) -> None:
    async def work() -> Outcome:
        async with connected(settings.database) as db:
            await site_of(db, site)
            await noted(db, "site.remove" if remove else "site.revoke", f"site {site}", why=why)
            outcome = await revoke_site(db, settings, site, why, remove=remove)
            if remove:
                await close_tunnel(db, settings, site)
            return outcome

    outcome = wait_for(work())
    if json_:
        print_json(asdict(outcome))
    elif outcome.behind:
        print(f"site {site} ({outcome.node}): HQ takes nothing of it any more")
    else:
        print(f"site {site} ({outcome.node}): {outcome.certificates} certificates revoked")
        if not outcome.trouble:
            print("The broker has ended its session and lets it in no more.")
    if outcome.trouble:
        typer.echo(
            f"pbal-hq: {outcome.trouble}\nHQ takes nothing of the site any more; "
            "the broker will refuse it once it has read its list (restart it).",
            err=True,
        )
        raise typer.Exit(5)
