"""Error messages for a wrong configuration: the file, the key, and what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pbal_host.tables import dotted, remedy

Source = tuple[str, dict[str, Any]]  # a place that configures something: its name, its tables


def defined_in(sources: Sequence[Source], where: tuple[Any, ...]) -> str:
    """The last source that mentions the longest part of the key."""
    best, depth = sources[0][0], -1
    for name, tables in sources:
        here: Any = tables
        level = 0
        for part in where:
            if isinstance(here, Mapping) and part in here:
                here = here[part]
                level += 1
            else:
                break
        if level >= depth:
            best, depth = name, level
    return best


def _which(merged: Mapping[str, Any], where: tuple[Any, ...]) -> str:
    """The address of a home that is named by its place in the list only."""
    if len(where) >= 2 and where[0] == "home" and isinstance(where[1], int):
        home = merged["home"][where[1]]
        if isinstance(home, Mapping) and "address" in home:
            return f" (address {home['address']})"
    return ""


def complaints(
    error: ValidationError,
    sources: Sequence[Source],
    merged: Mapping[str, Any],
    model: type[BaseModel],
) -> str:
    """Every problem of the merged tables, one a line."""
    lines = []
    for item in error.errors():
        where = tuple(item["loc"])
        name = defined_in(sources, where)
        key = dotted(where)
        text = remedy(item, model)
        if key:
            text = f"{key}{_which(merged, where)}: {text}"
        lines.append(f"{name}: {text}")
    return "\n".join(lines)
