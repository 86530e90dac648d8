"""Board files: a board is data. Finds, reads and checks boards/<name>.toml."""

from __future__ import annotations

import importlib.resources
import tomllib
from pathlib import Path
from typing import Any

from pbal_sim.errors import BoardError

_CHECKOUT = Path(__file__).resolve().parents[2]


def _folder() -> Any:
    """The boards folder of the checkout, else the one installed with the package."""
    here = _CHECKOUT / "boards"
    if here.is_dir():
        return here
    try:
        return importlib.resources.files("pbal_boards")
    except ModuleNotFoundError as e:
        raise BoardError("the board files are not installed; install pbal from its wheel") from e


def board_names() -> list[str]:
    """Names of all known boards, sorted."""
    return sorted(p.name[:-5] for p in _folder().iterdir() if p.name.endswith(".toml"))


def load_board(name: str) -> dict[str, Any]:
    """Reads one board file. Raises BoardError when it is unknown or not TOML."""
    path = _folder() / f"{name}.toml"
    if not path.is_file():
        raise BoardError(f"unknown board {name!r}; known boards: {', '.join(board_names())}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as e:
        raise BoardError(f"boards/{name}.toml is not valid TOML: {e}") from e
