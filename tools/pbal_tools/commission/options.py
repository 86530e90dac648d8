"""What the commands of `pbal commission` share: their options, and what those mean."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..sitefile import Bus, Radio, Site

File = Annotated[Path, typer.Argument(help="The site file.")]
BusName = Annotated[
    str | None,
    typer.Option("--bus", "-b", help="The bus or radio; may be left out where there is one."),
]
Units = Annotated[
    str, typer.Option("--units", help="Units to ask besides those of the site file, e.g. 1-40.")
]
Answer = Annotated[
    float | None, typer.Option("--answer-ms", min=5, max=2000, help="Wait so long for an answer.")
]


def medium_of(site: Site, name: str | None) -> tuple[str, Bus | Radio]:
    """The bus or radio of that name, or the only one. Raises InputError."""
    media: dict[str, Bus | Radio] = {**site.bus, **site.radio}
    known = ", ".join(media) or "none"
    if name is None:
        if len(media) != 1:
            raise InputError(
                f"The site has {len(media)} buses and radios: {known}.",
                "Choose one with --bus NAME.",
            )
        name = next(iter(media))
    if name not in media:
        raise InputError(f"There is no bus or radio {name}.", f"The site file names: {known}.")
    return name, media[name]


def units_of(text: str) -> range:
    """The units of an option. Raises InputError."""
    first, _, last = text.partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1 or found[-1] > 246:
        raise InputError(f"--units {text}: not a range within 1-246.", "E.g. --units 1-40")
    return found


def say(lines: list[str]) -> None:
    """Lines for a person, in place of a note of progress."""
    if sys.stderr.isatty():
        print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
    print("\n".join(lines))
