"""`pbal-hq token`: machines that read the API with a token."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pbal_hq.auth import people, services
from pbal_hq.cli.base import (
    ConfigOption,
    JsonOption,
    actor,
    group,
    print_json,
    print_table,
    with_database,
)
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

app = group("Machines that read the API. Example: pbal-hq token add grafana --whole")

Name = Annotated[str, typer.Argument(help="The machine: small letters and digits.")]


@app.command()
def add(
    name: Name,
    role: RoleOption = "official",
    whole: WholeOption = False,
    place: InOption = "",
    transformer: TransformerOption = "",
    description: Annotated[str, typer.Option(help="For people: what it is.")] = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Add a machine and print its token, which is shown only now.

    Example: pbal-hq token add grafana --whole

    Example: pbal-hq token add scada --in KL/ERN --description "Ernakulam's control room"
    """
    check_one(whole, place, transformer)
    settings = load(config)

    async def work(db: Connection) -> str:
        grant = await grant_at(db, role, whole, place, transformer)
        return await people.add_machine(db, actor(), name, description, [grant])

    _tell(name, with_database(settings, work), json_)


@app.command()
def renew(name: Name, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Print a machine's next token; the one before ends at once.

    Example: pbal-hq token renew grafana
    """

    async def work(db: Connection) -> str:
        return await people.renew_machine(db, actor(), name)

    _tell(name, with_database(load(config), work), json_)


@app.command()
def revoke(name: Name, config: ConfigOption = None, json_: JsonOption = False) -> None:
    """End a machine's token at once; `renew` lets it in again.

    Example: pbal-hq token revoke grafana
    """

    async def work(db: Connection) -> None:
        await people.revoke_machine(db, actor(), name)

    with_database(load(config), work)
    if json_:
        print_json({"name": name, "revoked": True})
    else:
        print(f"{name}: its token has ended")


@app.command("list")
def list_(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """The machines, and until when their tokens are good. Example: pbal-hq token list"""
    found = with_database(load(config), services.machines)
    if json_:
        print_json([asdict(one) for one in found])
        return
    print_table(
        ("machine", "what it is", "good until", "last used", "made by"),
        [
            (
                one.name, one.full_name,
                f"{one.expires_at:%Y-%m-%d}" if one.active and one.expires_at else "revoked",
                f"{one.used_at:%Y-%m-%d %H:%M}" if one.used_at else "", one.made_by or "",
            )
            for one in found
        ],
    )  # fmt: skip


def _tell(name: str, token: str, json_: bool) -> None:
    if json_:
        print_json({"name": name, "token": token})
    else:
        print(token)
        print(f"For {name}, good for {services.GOOD_DAYS} days. It is shown only now.")
