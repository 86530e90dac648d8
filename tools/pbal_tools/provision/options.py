"""The options that the commands of `pbal provision` share."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..flash import ports

Keys = Annotated[Path, typer.Option("--keys", "-k", help="The site's key store.")]
PortOption = Annotated[
    str | None, typer.Option("--port", "-p", help="Serial port. Default: the board plugged in.")
]
Name = Annotated[
    str | None,
    typer.Option("--name", help="What people call the home. Default: as it is, or none."),
]
Fixed = Annotated[
    bool | None,
    typer.Option(
        "--fixed/--movable", help="Never moved: the node refuses. Default: as it is, or movable."
    ),
]
OpenConsole = Annotated[
    bool | None,
    typer.Option(
        "--open-console/--lock-console",
        help="Whether its console asks for no secret. Default: as it was, or locked.",
    ),
]
WifiOption = Annotated[
    bool | None,
    typer.Option(
        "--wifi/--wired",
        help="Whether it speaks over the site's Wi-Fi (provision wifi) and not on the wires. "
        "Default: as it is, or wired.",
    ),
]
RadioOption = Annotated[
    bool | None,
    typer.Option(
        "--radio/--no-radio",
        help="Whether it speaks over the site's radio channel (provision radio) and not on the "
        "wires. Default: as it is, or not.",
    ),
]
WiresOption = Annotated[
    bool | None,
    typer.Option(
        "--with-wires/--radio-only", help="Whether one with a radio serves the wires as well."
    ),
]
BridgeOption = Annotated[
    str | None,
    typer.Option(
        "--bridge-for",
        metavar="ADDRESSES",
        help="It carries the frames of these wired homes, as 258,259,262-270; an empty text: none.",
    ),
]


def neighbours_of(text: str | None) -> tuple[int, ...] | None:
    """258,262-270 as addresses. Raises InputError."""
    if text is None:
        return None
    found: list[int] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(
                f"{part!r} is no address.", "Write addresses as 258,259 or a range as 262-270."
            )
        found.extend(range(int(first), int(last or first) + 1)[:256])
    return tuple(found)


def one_port(given: str | None) -> str:
    """The port of the one board: as given, or where one is plugged in. Raises the port errors."""
    (port,) = ports.expand([given] if given else [], every=False)
    ports.check(port)
    return port
