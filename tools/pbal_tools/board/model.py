"""A board file (`boards/NAME.toml`) as data, and where the board files are."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pbal_controller.documents import DocumentError, dump_json, read_toml
from pbal_sim.boards import data_folder
from pbal_sim.errors import BoardError

from ..errors import InputError


class _Table(BaseModel):
    # A board file also carries tables and keys for the node that this tool does not interpret.
    model_config = ConfigDict(extra="allow", frozen=True)


class Head(_Table):
    """What the board is."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    id: int = Field(ge=1, le=0xFFFF)
    chip: str
    description: str = ""
    flash_mb: int = Field(default=4, ge=2, le=32)


class FlashPin(BaseModel):
    """The MicroPython image this board is known to work with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_url: str = Field(default="", pattern=r"^($|https?://.+)")
    image_sha256: str = Field(default="", pattern=r"^($|[0-9a-f]{64}$)")
    image_offset: int | None = Field(default=None, ge=0)
    baud: int = Field(default=460800, ge=9600, le=4_000_000)
    stub: bool = True

    @model_validator(mode="after")
    def _pinned(self) -> "FlashPin":
        if self.image_sha256 and not self.image_url:
            raise ValueError("image_sha256 needs image_url")
        return self


class Board(_Table):
    """A whole board file. `tables` is what the file says, for everything else."""

    board: Head
    flash: FlashPin | None = None

    @property
    def tables(self) -> dict[str, Any]:
        """The file's tables as plain data."""
        return self.model_dump(exclude_none=True)


def folder() -> Path:
    """Where the board files are: $PBAL_BOARDS, or `boards/` of this checkout or installation.

    Raises InputError.
    """
    named = os.environ.get("PBAL_BOARDS")
    if named:
        return Path(named)
    try:
        return data_folder("boards", "pbal_boards")
    except BoardError:
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
        raise InputError("; ".join(_complaints(path, exc)), "Correct the board file.") from None


def _complaints(path: Path, exc: ValidationError) -> Iterator[str]:
    for item in exc.errors():
        where = ".".join(str(part) for part in item["loc"])
        yield f"{path}: {where}: {item['msg']}"
