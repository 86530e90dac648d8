"""The tree of areas as pages show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbal_hq.errors import NothingToDo
from pbal_hq.fleet import Area
from pbal_hq.registry import LEVELS


def in_order(areas: Sequence[Area]) -> list[tuple[int, Area]]:
    """(depth, area), each below the one that holds it."""
    below: dict[int | None, list[Area]] = {}
    for area in areas:
        below.setdefault(area.parent_id, []).append(area)
    out: list[tuple[int, Area]] = []

    def walk(parent: int | None) -> None:
        for area in below.get(parent, ()):
            out.append((LEVELS.index(area.level), area))
            walk(area.id)

    walk(None)
    return out


@dataclass(frozen=True)
class Branch:
    """One area opened: `path` leads to it, `areas` are those right below, `open` of them have
    areas themselves."""

    path: list[Area]
    areas: list[Area]
    open: frozenset[int]


def branch(areas: Sequence[Area], area_id: int | None) -> Branch:
    """What is right below an area; with None below the top.

    An area that holds a single one is passed by. Raises NothingToDo.
    """
    by_id = {area.id: area for area in areas}
    if area_id is not None and area_id not in by_id:
        raise NothingToDo("There is no such area with transformers that you may see.")
    holders = frozenset(area.parent_id for area in areas if area.parent_id in by_id)
    at = area_id
    while True:
        below = [a for a in areas if (a.parent_id if a.parent_id in by_id else None) == at]
        if len(below) != 1 or below[0].id not in holders:
            break
        at = below[0].id
    path: list[Area] = []
    while at is not None:
        path.insert(0, by_id[at])
        at = path[0].parent_id if path[0].parent_id in by_id else None
    return Branch(path, below, frozenset(n for n in holders if n is not None))
