"""The one object that carries the options given before the command's name."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import typer


@dataclass
class AppContext:
    """Options of the whole command line: how much to say.

    `verbosity` is -1 (only errors), 0 (default), 1 (details) or 2 (debug).
    """

    verbosity: int = 0

    @property
    def quiet(self) -> bool:
        """True if only errors and results should be printed."""
        return self.verbosity < 0


def app_context(ctx: typer.Context) -> AppContext:
    """The context object of this invocation; a default one where a test calls a sub-app alone."""
    found = ctx.find_object(AppContext)
    return found if found is not None else AppContext()


def note_for(ctx: typer.Context, as_json: bool) -> Callable[[str], None]:
    """How a command tells what it does: on standard error; not at all for --quiet and --json."""
    if as_json or app_context(ctx).quiet:
        return lambda words: None
    return lambda words: print(f"pbal: {words}", file=sys.stderr)
