"""Tables that people write: their base class, and what is wrong with one in a person's words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

# What a value must be, by pydantic's name of the complaint; the context fills in the bound.
_MUST = {
    "string_type": "must be text in quotes",
    "string_too_short": "must have at least {min_length} characters",
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
    "model_attributes_type": "must be a table",
    "dict_type": "must hold tables, each with a name",
    "list_type": "must be a list in brackets",
    "tuple_type": "must be a list in brackets",
    "too_short": "must have at least {min_length} items",
    "too_long": "must have at most {max_length} items",
}


class Table(BaseModel):
    """Base of tables: unknown keys are errors, values never change, true is not the number 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name is not None and _has_truth(value):
            leaves = set(_leaves(cls.model_fields[info.field_name].annotation))
            if leaves & {int, float} and not leaves & {bool, Any}:
                raise ValueError("must be a number, not true or false")
        return value


def _has_truth(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_truth(item) for item in value)
    return isinstance(value, bool)


def _leaves(kind: Any) -> Iterator[Any]:
    """The plain types in an annotation."""
    inner = get_args(kind)
    if not inner:
        yield kind
    for part in inner[:1] if get_origin(kind) is Annotated else inner:
        yield from _leaves(part)


def _tables(kind: Any) -> Iterator[type[BaseModel]]:
    """The tables that a value of this annotation may be, or hold."""
    for leaf in _leaves(kind):
        if isinstance(leaf, type) and issubclass(leaf, BaseModel):
            yield leaf


def _at(model: type[BaseModel], where: tuple[Any, ...]) -> set[type[BaseModel]]:
    """The tables that may stand at a key, or in the list or the named tables there."""
    here = {model}
    for part in where:
        fields = [each.model_fields[part] for each in here if part in each.model_fields]
        # A place in a list, or the name of one of many tables, is no field.
        if fields:
            here = {table for field in fields for table in _tables(field.annotation)}
    return here


def meant(word: str, known: Iterable[str]) -> str:
    """`; did you mean "address"?` for a word close to a known one; else the empty text."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def remedy(item: Mapping[str, Any], model: type[BaseModel] | None = None) -> str:
    """What is wrong with one value and what would be right, from one of a ValidationError's errors.

    With the model that was validated, a key that is not known is compared with those that are.
    """
    kind, where = item["type"], tuple(item["loc"])
    if kind == "missing":
        return "is missing; add it"
    if kind == "extra_forbidden":
        known = (table.model_fields for table in _at(model, where[:-1])) if model else ()
        close = meant(str(where[-1]), {name for fields in known for name in fields})
        return f"is not a known key{close or '; correct its spelling or remove it'}"
    text = str(item["msg"]).removeprefix("Value error, ")
    if kind in _MUST:
        text = _MUST[kind].format_map(item.get("ctx") or {})
    if kind in ("list_type", "tuple_type") and model and _at(model, where):
        text = f"must be a list of tables, each of which begins with [[{dotted(where)}]]"
    shown = item.get("input")
    if isinstance(shown, bool):
        shown_text = str(shown).lower()
    else:
        shown_text = repr(shown) if isinstance(shown, int | float | str) else ""
    return f"{text} (it is {shown_text})" if shown_text and where else text


def complaint(
    item: Mapping[str, Any], model: type[BaseModel] | None = None, whole: str = ""
) -> str:
    """`key: what is wrong`, from one of a ValidationError's errors. `whole` names the table itself,
    where the error is of no key; without, the key is left out there.
    """
    key = dotted(item["loc"]) or whole
    text = remedy(item, model)
    return f"{key}: {text}" if key else text


def dotted(where: Iterable[Any]) -> str:
    """The key as a person names it: home[0].fuse_a."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
