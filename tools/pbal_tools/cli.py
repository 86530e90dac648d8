"""The `pbal` command: one module per noun, loaded only when it is used.

`pbal --help` must answer at once, also where an optional extra is missing, so the table below
holds each noun's name and one line of help, and its module is imported when it is called.
"""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from pbal_controller.documents import dump_json

from .context import AppContext
from .describe import describe, report
from .errors import ExitCode, MissingError
from .output import Watched, failure, wants_json, watch_stdout


class Noun(NamedTuple):
    """One word after `pbal`: the module that owns it and what it is for."""

    module: str
    help: str
    attribute: str = "app"


NOUNS: dict[str, Noun] = {
    "sim": Noun("pbal_tools.sim", "Run a street on this computer: real firmware, real controller."),
    "monitor": Noun("pbal_tools.monitor", "Watch a running controller live."),
    "frame": Noun("pbal_tools.frame", "Look inside a frame captured from the wire."),
    "study": Noun("pbal_tools.study.cli", "What pbal would do for a feeder, as a report."),
    "board": Noun("pbal_tools.board", "List and check the board files."),
    "flash": Noun("pbal_tools.flash", "Put the firmware on a board over USB."),
    "provision": Noun("pbal_tools.provision", "Give nodes their address and keys."),
    "release": Noun("pbal_tools.release", "Build, sign and publish application updates."),
    "site": Noun("pbal_tools.site", "The site file: check, show, import."),
    "radio": Noun("pbal_tools.radio", "Plan the radio links of a LoRa site."),
    "meter": Noun("pbal_tools.meter", "Find out how the transformer's meter is read."),
    "doctor": Noun("pbal_tools.doctor", "Look over a controller's computer; says what to mend."),
    "backup": Noun("pbal_tools.backup", "A site in one encrypted file: make, check, restore."),
    "audit": Noun("pbal_tools.audit", "The log of what was ordered and decided."),
    "commission": Noun("pbal_tools.commission", "Commission a street, step by step."),
    "node": Noun("pbal_tools.node", "Talk to one node: state, self-test, logs."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are known by name and imported when they are called."""

    complaint = ""  # the error of the command line, for --json

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Keeps an error message of the command line's library before it is raised on."""
        try:
            return super().make_context(*args, **more)
        except Exception as exc:
            _remember(exc)
            raise

    def invoke(self, ctx: Any) -> Any:
        """The same for the options behind the command's name."""
        try:
            return super().invoke(ctx)
        except Exception as exc:
            _remember(exc)
            raise

    def list_commands(self, ctx: Any) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in with the help line: enough to list it, nothing imported."""
        noun = NOUNS.get(cmd_name)
        return TyperCommand(name=cmd_name, help=noun.help) if noun else None

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        # The parent's table drives its "did you mean" line.
        self.commands = {name: self.get_command(ctx, name) for name in NOUNS}
        name, stand_in, rest = super().resolve_command(ctx, args)
        if name is None or stand_in is None:
            return name, stand_in, rest
        return name, load(name), rest


def _remember(exc: Exception) -> None:
    # By its attributes, not by its class: some versions of typer contain a click of their own.
    words = getattr(exc, "format_message", None)
    if words is not None:
        LazyGroup.complaint = str(words())


def load(name: str) -> Any:
    """Imports the command behind a noun.

    Raises MissingError if this installation does not hold it; a missing third-party module
    surfaces as ModuleNotFoundError, which `describe.describe` turns into the extra to install.
    """
    noun = NOUNS[name]
    try:
        module = importlib.import_module(noun.module)
    except ModuleNotFoundError as exc:
        if exc.name is not None and noun.module.startswith(exc.name):
            raise MissingError(
                f"This version of pbal has no 'pbal {name}' yet.", "Update pbal."
            ) from exc
        raise
    found = getattr(module, noun.attribute)
    if isinstance(found, typer.Typer):
        # Only `pbal` itself has completion.
        found._add_completion = False
    command = typer.main.get_command(found) if isinstance(found, typer.Typer) else found
    command.name = name
    return command


app = typer.Typer(
    name="pbal",
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Balances the three phases of a low-voltage transformer.\n\n"
    "Start with:  [bold]pbal sim run[/bold]",
)


def print_version(wanted: bool) -> None:
    """Prints the version and ends, for `pbal --version`."""
    if wanted:
        try:
            print(f"pbal {version('pbal')}")
        except PackageNotFoundError:
            print("pbal (not installed)")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; twice for debugging.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of every command."""
    ctx.obj = AppContext(verbosity=-1 if quiet else min(verbose, 2))


def main() -> NoReturn:
    """The console entry point: runs the command and turns any error into an exit code.

    With --json, standard output holds JSON in every case: a command that failed before it had a
    result prints what went wrong there as well.
    """
    watched = watch_stdout() if wants_json(sys.argv[1:]) else None
    try:
        app()
    except SystemExit as exc:
        if exc.code == ExitCode.INTERRUPTED:
            print("pbal: Interrupted.", file=sys.stderr)
        if exc.code:
            _tell(watched, int(exc.code), *_words(int(exc.code)))
        raise
    except Exception as exc:
        told = describe(exc)
        _tell(watched, int(told.code), told.message, told.remedy)
        raise SystemExit(report(exc)) from None
    raise SystemExit(0)


def _words(code: int) -> tuple[str, str]:
    """The message for an exit that the command line's library has caused."""
    if code == ExitCode.INTERRUPTED:
        return "Interrupted.", ""
    return LazyGroup.complaint or "The command line is wrong.", "See --help."


def _tell(watched: Watched | None, code: int, message: str, remedy: str) -> None:
    if watched is not None and not watched.used:
        print(dump_json(failure(code, message, remedy), indent=2), flush=True)
