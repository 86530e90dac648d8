"""A dataclass as a command's options."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from pbal_tools.optionobject import from_options


@dataclass(frozen=True)
class Walk:
    far: Annotated[float, typer.Option("--far", min=0, help="How far, m.")] = 5.0
    fast: Annotated[bool, typer.Option("--fast")] = False


def run(*words: str) -> tuple[int, list[Walk], str]:
    app, seen = typer.Typer(), []

    @app.command()
    @from_options(Walk)
    def walk(ctx: typer.Context, options: Walk) -> None:
        """Goes for a walk."""
        assert ctx.params == vars(options)
        seen.append(options)

    done = CliRunner().invoke(app, list(words))
    return done.exit_code, seen, done.output


def test_every_field_is_an_option_with_its_default() -> None:
    assert run()[1] == [Walk()]
    assert run("--far", "2", "--fast")[1] == [Walk(2.0, True)]


def test_limits_and_help_are_kept() -> None:
    assert run("--far", "-1")[0] == 2
    said = run("--help")[2]
    assert "Goes for a walk." in said
    assert "How far, m." in said


def test_a_field_without_a_default_is_refused() -> None:
    @dataclass
    class Bare:
        far: Annotated[float, typer.Option("--far")]

    with pytest.raises(TypeError, match="far has no default"):
        from_options(Bare)
