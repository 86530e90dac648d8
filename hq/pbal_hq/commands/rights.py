"""Whether those behind an order still may: asked when it is released, and when it goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pbal_hq.auth import Grant, Permission, Role
from pbal_hq.auth.roles import scope
from pbal_hq.database import Connection


@dataclass(frozen=True)
class Rights:
    """What some users may at some transformers, as it was when it was asked for.

    `grants`: of users who are let in, by name; `areas`: those that a transformer lies within, by
    its id.
    """

    grants: Mapping[str, tuple[Grant, ...]]
    areas: Mapping[int, frozenset[int]]

    def may(self, name: str, transformer_id: int, needed: Permission) -> bool:
        """Whether the user of that name holds the permission at the transformer."""
        there = scope(self.grants.get(name, ()), needed)
        within = self.areas.get(transformer_id)
        if within is None:
            return False
        return (
            there.whole
            or transformer_id in there.transformers
            or not within.isdisjoint(there.areas)
        )


async def rights_of(
    conn: Connection, names: Collection[str], transformers: Collection[int]
) -> Rights:
    """The rights of these users at these transformers: two questions, however many they are."""
    grants: dict[str, list[Grant]] = {}
    asked = await conn.execute(
        "SELECT p.name, g.role, g.whole, g.area_id, g.transformer_id FROM person p"
        " JOIN person_grant g ON g.person_id = p.id WHERE p.active AND p.name = ANY(%s)",
        (list(names),),
    )
    for name, role, whole, area, one in await asked.fetchall():
        grants.setdefault(name, []).append(Grant(Role(role), whole, area, one))
    areas: dict[int, set[int]] = {}
    asked = await conn.execute(
        "SELECT t.id, w.ancestor_id FROM transformer t"
        " JOIN area_within w ON w.area_id = t.feeder_id WHERE t.id = ANY(%s)",
        (list(transformers),),
    )
    for transformer, area in await asked.fetchall():
        areas.setdefault(transformer, set()).add(area)
    return Rights(
        {name: tuple(held) for name, held in grants.items()},
        {transformer: frozenset(within) for transformer, within in areas.items()},
    )


async def still_may(conn: Connection, name: str, transformer_id: int, needed: Permission) -> bool:
    """Whether the user of that name is let in, and holds the permission at the transformer."""
    return (await rights_of(conn, [name], [transformer_id])).may(name, transformer_id, needed)
