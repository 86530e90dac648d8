"""A command's options as one object.

Typer reads a command's options from its signature. `from_options` makes that signature from a
dataclass, so that a command with many options takes one argument:

    @dataclass(frozen=True)
    class Options:
        days: Annotated[float, typer.Option("--days", help="How long.")] = 1.0

    @app.command()
    @from_options(Options)
    def study(ctx: typer.Context, options: Options) -> None: ...
"""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import typer

Options = TypeVar("Options")


def from_options(
    kind: type[Options],
) -> Callable[[Callable[[typer.Context, Options], None]], Callable[..., None]]:
    """Makes a command of `command(ctx, options)`, with an option for every field of `kind`.

    `kind` is a dataclass; each field is annotated as typer wants it and has a default.
    Raises TypeError for a field without one: an option that is left out must mean something.
    """
    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    ]
    for field in fields(kind):  # type: ignore[arg-type]
        if field.default is MISSING:
            raise TypeError(f"{kind.__name__}.{field.name} has no default.")
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
        )

    def decorate(command: Callable[[typer.Context, Options], None]) -> Callable[..., None]:
        def call(ctx: typer.Context, **given: Any) -> None:
            command(ctx, kind(**given))

        # Not `functools.wraps`: typer would follow `__wrapped__` to the two arguments.
        call.__name__, call.__doc__ = command.__name__, command.__doc__
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return decorate
