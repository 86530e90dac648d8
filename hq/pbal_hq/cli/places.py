"""Where in the tree a command's user or machine gets its role."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pbal_hq.auth import Grant, Role
from pbal_hq.database import Connection
from pbal_hq.errors import ConfigError
from pbal_hq.registry import area_of, transformer_of

# Those that need no second factor; the others an administrator gives in the portal.
RoleOption = Annotated[
    Literal["official", "auditor"], typer.Option("--role", help="What it may see.")
]
WholeOption = Annotated[bool, typer.Option("--whole", help="Of the whole tree.")]
InOption = Annotated[str, typer.Option("--in", help="Of an area: codes from the state down.")]
TransformerOption = Annotated[
    str, typer.Option("--transformer", help="Of one transformer: its code.")
]


def check_one(whole: bool, place: str, transformer: str) -> None:
    """Raises ConfigError unless one of the three is given."""
    if whole + bool(place) + bool(transformer) != 1:
        raise ConfigError("say where it may read: one of --whole, --in and --transformer")


async def grant_at(db: Connection, role: str, whole: bool, place: str, transformer: str) -> Grant:
    """The role there. Raises NothingToDo where there is no such place."""
    return Grant(
        Role(role),
        whole=whole,
        area_id=await area_of(db, place) if place else None,
        transformer_id=await transformer_of(db, transformer) if transformer else None,
    )
