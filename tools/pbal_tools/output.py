"""Results for scripts (JSON) and for people, the same way in every command."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Any, cast

import typer

from pbal_controller.documents import dump_json

from .errors import InputError
from .extras import require

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
"""How a command with a result for scripts declares its option: `json_output: JsonFlag = False`."""


class Watched:
    """Standard output that records whether anything was printed on it."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.used = False

    def write(self, text: str) -> int:
        """Writes `text`; an empty text does not count as output."""
        self.used = self.used or bool(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def watch_stdout() -> Watched:
    """Puts a `Watched` in the place of standard output and returns it."""
    watched = Watched(sys.stdout)
    sys.stdout = cast(IO[str], watched)
    return watched


def wants_json(arguments: list[str]) -> bool:
    """Whether a command line asks for JSON (the word behind `--` is no option)."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def failure(code: int, message: str, remedy: str) -> dict[str, Any]:
    """What a command that failed before it had a result prints for scripts."""
    return {"ok": False, "exit_code": code, "error": message, "remedy": remedy}


def emit(data: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Prints `data` as JSON on stdout, or hands it to `render` for a person."""
    if as_json:
        print(dump_json(data, indent=2, sort_keys=False, default=str))
    else:
        render(data)


def write_json(path: Path, data: Any) -> None:
    """Writes `data` whole or not at all: a reader never sees half a file.

    Raises InputError if the folder is missing or cannot be written.
    """
    text = dump_json(data, indent=2, default=str) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    check_writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp makes the file private; a result is an ordinary file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_picture(path: Path) -> None:
    """Checks before the work starts that a picture can be drawn and written after it.

    Raises InputError, MissingError.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"{path}: a picture is a PNG or an SVG.", "Name a file .png or .svg.")
    require("report", "matplotlib")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Checks before the work starts that a result file can be written after it.

    Raises InputError.
    """
    if str(path) == "-":
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Name a file.")
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent}.", "Create it, or name another file.")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"The folder {path.parent} cannot be written.", "Name another file.")
