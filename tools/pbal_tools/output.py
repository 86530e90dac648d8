"""Results for scripts (JSON) and for people, the same way in every command."""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import InputError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
"""How a command with a result for scripts declares its option: `json_output: JsonFlag = False`."""


def emit(data: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Prints `data` as JSON on stdout, or hands it to `render` for a person."""
    if as_json:
        print(json.dumps(data, indent=2, sort_keys=False, default=str))
    else:
        render(data)


def write_json(path: Path, data: Any) -> None:
    """Writes `data` whole or not at all: a reader never sees half a file.

    Raises InputError if the folder is missing or cannot be written.
    """
    text = json.dumps(data, indent=2, default=str) + "\n"
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


def check_writable(path: Path) -> None:
    """Says before the work starts that a result file could not be written after it.

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
