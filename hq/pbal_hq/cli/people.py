"""`pbal-hq user`: the first user, users who only look, and who has lost their way in."""

from __future__ import annotations

from typing import Annotated

import typer

from pbal_hq import audit
from pbal_hq.auth import people
from pbal_hq.cli.base import ConfigOption, JsonOption, actor, group, print_json, with_database
from pbal_hq.cli.places import (
    InOption,
    RoleOption,
    TransformerOption,
    WholeOption,
    check_one,
    grant_at,
)
from pbal_hq.config import load
from pbal_hq.database import Connection

app = group("Users; the portal manages who may order. Example: pbal-hq user first admin")
Name = Annotated[str, typer.Argument(help="To log in with: small letters and digits.")]


@app.command()
def first(name: Name, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Make the first user, an administrator of everything; prints the first password.

    Example: pbal-hq user first admin
    """

    async def work(db: Connection) -> str:
        return await people.first_administrator(db, name)

    _tell(name, with_database(load(config), work), json_)


@app.command()
def add(
    name: Name,
    role: RoleOption = "official",
    whole: WholeOption = False,
    place: InOption = "",
    transformer: TransformerOption = "",
    full_name: Annotated[str, typer.Option("--full-name", help="For people: who it is.")] = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Add a user who may only read; prints the first password. The portal gives other roles.

    Example: pbal-hq user add anjali --whole

    Example: pbal-hq user add ravi --in KL/ERN --role auditor --full-name "Ravi Menon"
    """
    check_one(whole, place, transformer)

    async def work(db: Connection) -> str:
        grant = await grant_at(db, role, whole, place, transformer)
        return await people.add_onlooker(db, actor(), name, full_name, [grant])

    _tell(name, with_database(load(config), work), json_)


@app.command()
def reset(name: Name, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Give a user a new first password and another second factor, from this computer.

    Example: pbal-hq user reset admin
    """

    async def work(db: Connection) -> str:
        return await people.reset_by_name(db, name)

    _tell(name, with_database(load(config), work), json_)


def _tell(name: str, password: str, json_: bool) -> None:
    if json_:
        print_json({"name": name, "password": password})
    else:
        print(f"{name}: first password {password}\nIt is changed at the first login.")


log = group("The audit log. Example: pbal-hq audit verify")


@log.command()
def verify(
    known: Annotated[
        str, typer.Option(help="ID:HASH, noted before: whether that entry is still there.")
    ] = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Check the whole chain; exit code 9 where it does not hold. Example: pbal-hq audit verify

    Note the last entry's number and hash elsewhere: only they show that entries at the end are
    missing.
    """
    number, _, text = known.partition(":")
    try:
        noted = (int(number), bytes.fromhex(text)) if known else None
    except ValueError:
        raise typer.BadParameter("as ID:HASH, for example 120:9f86d0...") from None

    async def work(db: Connection) -> audit.Verdict:
        return await audit.verify(db, noted)

    v = with_database(load(config), work)
    if json_:
        print_json({"ok": v.ok, "entries": v.entries, "last": f"{v.last_id}:{v.last_hash.hex()}",
                    "wrong": v.wrong})  # fmt: skip
    elif v.ok:
        print(f"{v.entries} entries fit; the last is {v.last_id}:{v.last_hash.hex()}")
    if not v.ok:
        raise audit.BrokenChain(f"the audit log: {v.wrong}")


@log.command()
def export(config: ConfigOption = None) -> None:
    """Print every entry as a line of JSON. Example: pbal-hq audit export > audit.jsonl"""

    async def work(db: Connection) -> None:
        async for line in audit.export(db):
            print(line)

    with_database(load(config), work)
