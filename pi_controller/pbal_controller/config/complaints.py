"""Error messages for a wrong configuration: the file, the key, and what would be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

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


def _dotted(where: tuple[Any, ...]) -> str:
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _which(merged: Mapping[str, Any], where: tuple[Any, ...]) -> str:
    """The address of a home that is named by its place in the list only."""
    if len(where) >= 2 and where[0] == "home" and isinstance(where[1], int):
        home = merged["home"][where[1]]
        if isinstance(home, Mapping) and "address" in home:
            return f" (address {home['address']})"
    return ""


# What a value must be, by pydantic's name of the complaint; the context fills in the bound.
_MUST = {
    "string_type": "must be text in quotes",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "path_type": "must be a path in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "model_type": "must be a table",
    "dict_type": "must hold tables, each with a name",
    "tuple_type": "must be a list; of homes: tables that begin with [[home]]",
}


def _remedy(error: Mapping[str, Any], where: tuple[Any, ...]) -> str:
    kind = error["type"]
    if kind == "missing":
        return "is missing; add it"
    if kind == "extra_forbidden":
        return "is not a known key; correct its spelling or remove it"
    message = str(error["msg"]).removeprefix("Value error, ")
    if kind in _MUST:
        message = _MUST[kind].format_map(error.get("ctx") or {})
    shown = error.get("input")
    if isinstance(shown, (int, float, str)) and where:
        return f"{message} (it is {shown!r})"
    return message


def complaints(error: ValidationError, sources: Sequence[Source], merged: Mapping[str, Any]) -> str:
    """Every problem of the merged tables, one a line."""
    lines = []
    for item in error.errors():
        where = tuple(item["loc"])
        name = defined_in(sources, where)
        key = _dotted(where)
        text = _remedy(item, where)
        if key:
            text = f"{key}{_which(merged, where)}: {text}"
        lines.append(f"{name}: {text}")
    return "\n".join(lines)
