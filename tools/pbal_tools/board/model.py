"""A board file (`boards/NAME.toml`) and where the board files are."""

import os
from pathlib import Path

from pydantic import ValidationError

from pbal_build import Board, BuildError, data_folder
from pbal_controller.documents import DocumentError, dump_json, read_toml
from pbal_host.tables import complaint

from ..errors import InputError


def folder() -> Path:
    """Where the board files are: $PBAL_BOARDS, or `boards/` of this checkout or installation.

    Raises InputError.
    """
    named = os.environ.get("PBAL_BOARDS")
    if named:
        return Path(named)
    try:
        return data_folder("boards", "pbal_boards")
    except BuildError:
        raise InputError(
            "The board files are not here.",
            "Name their folder in PBAL_BOARDS, or run in the checkout.",
        ) from None


def names() -> list[str]:
    """The boards there are files for."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def path_of(name: str) -> Path:
    """The file of a board given by its name or by a path.

    Raises InputError, with what there is.
    """
    given = Path(name)
    if given.suffix == ".toml":
        return given
    path = folder() / f"{name}.toml"
    if not path.is_file():
        raise InputError(f"There is no board {name!r}.", f"Boards: {', '.join(names()) or 'none'}.")
    return path


def node_file(name: str) -> bytes:
    """The board file as the node reads it: /board.json, the same tables."""
    tables = read_toml(path_of(name))
    return dump_json(tables, separators=(",", ":")).encode()


def load(name: str) -> Board:
    """Reads one board file.

    Raises InputError that names the key.
    """
    path = path_of(name)
    try:
        data = read_toml(path)
    except FileNotFoundError:
        raise InputError(f"There is no board file {path}.", "Check the path.") from None
    except DocumentError as exc:
        raise InputError(f"{path} is broken: {exc}", "Correct that line.") from None
    try:
        return Board.model_validate(data)
    except ValidationError as exc:
        wrong = "; ".join(f"{path}: {complaint(item, Board)}" for item in exc.errors())
        raise InputError(wrong, "Correct the board file.") from None
