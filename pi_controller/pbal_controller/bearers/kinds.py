"""Which kinds of bearers there are, by name.

Four come with pbal. Another package adds its own with an entry point in the group
`pbal.bearers`, or by calling `register`; the configuration then names it as `kind`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel

from pbal_controller.bearers.base import Bearer, Traffic, Where

ENTRY_POINTS = "pbal.bearers"
_OURS = {
    name: f"pbal_controller.bearers.{name}" for name in ("lora", "lossy", "null", "rs485", "udp")
}  # each has a `KIND`
_made: dict[str, Kind] = {}


@dataclass(frozen=True)
class Kind:
    """How a bearer of one kind is configured, addressed and made.

    `settings`: the table of its keys in the configuration. `locate(settings, address, at)`: where
    the home with this site address is, `at` being what the configuration says of it or None;
    raises ValueError with what is right. `make(name, settings, traffic)` opens nothing: `run` does.
    """

    name: str
    settings: type[BaseModel]
    locate: Callable[[Any, int, object], Where]
    make: Callable[[str, Any, Traffic], Bearer]


def register(kind: Kind) -> None:
    """Make a kind known; a second one of the same name takes its place."""
    _made[kind.name] = kind


def known() -> list[str]:
    """The names of all kinds."""
    theirs = {point.name for point in entry_points(group=ENTRY_POINTS)}
    return sorted({*_OURS, *_made, *theirs})


def find(name: str) -> Kind:
    """The kind of that name. Raises ValueError that lists those there are."""
    if name not in _made:
        if name in _OURS:
            register(importlib.import_module(_OURS[name]).KIND)
        else:
            for point in entry_points(group=ENTRY_POINTS, name=name):
                register(point.load())
    if name not in _made:
        raise ValueError(f'there is no kind of bearer "{name}" (known: {", ".join(known())})')
    return _made[name]
