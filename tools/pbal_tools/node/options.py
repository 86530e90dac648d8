"""The options that the commands of `pbal node` share."""

from typing import Annotated

import typer

from ..consolelock import Unlock
from ..context import note_for
from ..errors import InputError
from ..flash import ports
from .console import Console, allow_dark

Address = Annotated[int | None, typer.Argument(help="With --controller: the node's address.")]
PortOption = Annotated[
    str | None, typer.Option("--port", "-p", help="The node's console. Default: plugged in.")
]
Dark = Annotated[
    bool, typer.Option("--dark", help="The home may go dark while the console is used.")
]
Controller = Annotated[
    str | None, typer.Option("--controller", "-c", help="Ask this controller, without the console.")
]


def on_console(
    ctx: typer.Context, port: str | None, unlock: Unlock, dark: bool, as_json: bool
) -> Console:
    """The node on its console; not held yet. Raises RefusedError without consent to the dark."""
    allow_dark(dark)
    (one,) = ports.expand([port] if port else [], every=False)
    return Console(one, note_for(ctx, as_json), unlock)


def wants_controller(controller: str | None, address: int | None) -> str | None:
    """The controller that is to be asked, if any. Raises InputError for half of it."""
    if controller is None and address is not None:
        raise InputError("An address needs --controller.", "On site use --port instead.")
    if controller is not None and address is None:
        raise InputError(
            "--controller needs the node's address.", "E.g. pbal node status 12 -c URL"
        )
    return controller
