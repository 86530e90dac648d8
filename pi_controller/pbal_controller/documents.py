"""The only reader and writer of JSON and TOML: reads within limits, writes only what is valid.

A document may come from a person, another program, a node or the network. What Python's parsers do
with a hostile one (RecursionError at deep nesting, ValueError at 4301 digits, infinities, unpaired
surrogates that no file can hold) is a `DocumentError` here, whose text says what is wrong.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from pbal_host.texts import plain_text

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
# Whole numbers are those of TOML: 64 bits with a sign, and what fits without one.
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_MAX_DIGITS = 20


class DocumentError(ValueError):
    """A document that is not valid, or beyond the limits."""


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """The JSON document of a file. Raises OSError and DocumentError."""
    return load_json(_read(path, max_bytes))


def read_toml(path: Path, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The TOML document of a file. Raises OSError and DocumentError."""
    return load_toml(_read(path, max_bytes))


def _read(path: Path, max_bytes: int) -> str:
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise DocumentError(f"it has more than {max_bytes} bytes")
    return _text(data)


def _text(data: str | bytes) -> str:
    if isinstance(data, str):
        return data
    try:
        return plain_text(data)
    except ValueError as error:
        raise DocumentError(str(error)) from None


def load_json(data: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """A JSON document within the limits. Raises DocumentError."""
    text = _text(data)
    if len(text) > max_bytes:
        raise DocumentError(f"it has more than {max_bytes} characters")
    try:
        found = json.loads(text, parse_int=_integer, parse_constant=_no_number)
    except RecursionError:
        raise DocumentError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise DocumentError(str(error)) from None
    _check(found)
    return found


def load_toml(data: str | bytes, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """A TOML document within the limits. Raises DocumentError."""
    text = _text(data)
    if len(text) > max_bytes:
        raise DocumentError(f"it has more than {max_bytes} characters")
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise DocumentError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(str(error)) from None
    except (ValueError, OverflowError):  # more digits than Python converts; an impossible date
        raise DocumentError("a number in it is too large") from None
    _check(found)
    return found


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise DocumentError(f"a number in it has {len(text)} digits")
    return int(text)


def _no_number(word: str) -> NoReturn:
    raise DocumentError(f"{word} is no number of JSON")


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _check(document: Any) -> None:
    """Every value within the limits. Raises DocumentError."""
    level = [document]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise DocumentError(f"it is nested deeper than {MAX_DEPTH} levels")
        for value in level:
            if isinstance(value, float) and not math.isfinite(value):
                raise DocumentError("a number in it is infinite or none")
            if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
                raise DocumentError("a whole number in it has more than 64 bits")
            if isinstance(value, str) and not value.isascii():
                _whole(value)
        level = [item for value in level for item in _inside(value)]


def _whole(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise DocumentError("a text in it holds half of a surrogate pair") from None


def dump_json(data: Any, **how: Any) -> str:
    """Valid JSON. A NaN or an infinity, which a measurement may give, becomes null.

    `how` is passed on to `json.dumps`. Raises TypeError for what JSON has no form for,
    ValueError for what contains itself.
    """
    try:
        return json.dumps(data, allow_nan=False, **how)
    except ValueError as error:
        if "Circular" in str(error):
            raise
        return json.dumps(_finite(data), allow_nan=False, **how)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def toml_value(value: Any) -> str:
    """One plain value as TOML. JSON's strings are TOML's but for DEL, which TOML wants escaped.

    Raises ValueError for a number that is not finite: no document of ours uses one.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007F")
