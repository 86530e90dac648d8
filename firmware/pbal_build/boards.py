"""Board files: a board is data. Finds, reads and checks boards/<name>.toml."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

from .errors import BuildError

_CHECKOUT = Path(__file__).resolve().parents[2]


def data_folder(checkout: str, package: str) -> Path:
    """A folder of data: of the checkout, else the one that a wheel carries as a package.

    Raises BuildError when there is neither.
    """
    here = _CHECKOUT / checkout
    if (_CHECKOUT / "pyproject.toml").is_file() and here.is_dir():
        return here
    # Without an __init__.py it is a namespace package, which importlib.resources gives no path of.
    spec = importlib.util.find_spec(package)
    for where in (spec.submodule_search_locations or []) if spec else []:
        if Path(where).is_dir():
            return Path(where)
    raise BuildError(f"the files of {checkout}/ are not installed; install pbal from its wheel")


def _folder() -> Path:
    """The board files."""
    return data_folder("boards", "pbal_boards")


def board_names() -> list[str]:
    """Names of all known boards, sorted."""
    return sorted(p.name[:-5] for p in _folder().iterdir() if p.name.endswith(".toml"))


def load_board(name: str) -> dict[str, Any]:
    """Reads one board file. Raises BuildError when it is unknown or not TOML."""
    path = _folder() / f"{name}.toml"
    if not path.is_file():
        raise BuildError(f"unknown board {name!r}; known boards: {', '.join(board_names())}")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as e:  # no TOML, or no UTF-8 text
        raise BuildError(f"boards/{name}.toml is not valid TOML: {e}") from e
