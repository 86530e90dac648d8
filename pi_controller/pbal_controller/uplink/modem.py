"""A LoRaWAN modem is data: what to say to it and what its lines mean (boards/modems)."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from pbal_controller.config import Table
from pbal_controller.documents import DocumentError, read_toml
from pbal_controller.errors import ConfigError
from pbal_host.tables import complaint

_KEY = ("uplink", "lorawan", "modem")
_CHECKOUT = Path(__file__).resolve().parents[3]


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


Pattern = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_expression)]


class Named(Table):
    """Which modem it is, and who says so."""

    name: str
    title: str
    source: str


class Line(Table):
    """The serial line; 8N1."""

    baud: int = Field(ge=1200, le=1_000_000)
    end: str = Field(min_length=1, max_length=2)


class Step(Table):
    """One command, and where it is documented."""

    say: str = Field(min_length=1, max_length=200)
    source: str = Field(min_length=1)
    # How long its end may take, and the pause after it.
    wait_s: float = Field(default=5.0, gt=0, le=600)
    pause_s: float = Field(default=0.0, ge=0, le=60)


class Lines(Table):
    """What whole lines of the modem mean: regular expressions."""

    ok: Pattern
    error: Pattern
    joined: Pattern
    join_failed: Pattern
    acknowledged: Pattern
    not_acknowledged: Pattern
    # Groups `port`, and `hex` or, where the next line is the payload, `size`.
    received: Pattern
    # Group `ms`.
    restricted: Pattern = "(?!)"


class Errors(Table):
    """Which errors have a meaning of their own."""

    busy: Pattern
    not_joined: Pattern
    restricted: Pattern = "(?!)"
    too_long: Pattern = "(?!)"
    already_joined: Pattern = "(?!)"


class Modem(Table):
    """One modem's file."""

    modem: Named
    line: Line
    regions: dict[str, int]
    setup: tuple[Step, ...] = Field(min_length=1)
    join: Step
    send: Step
    lines: Lines
    errors: Errors

    def means(self, what: str, line: str) -> re.Match[str] | None:
        """Whether a line means this: a name of `lines`, or `errors.` and one of `errors`."""
        table, _, name = what.rpartition(".")
        pattern = getattr(self.errors if table else self.lines, name)
        return re.fullmatch(pattern, line)


def folder() -> Path:
    """Where the modems' files are. Raises ConfigError."""
    here = _CHECKOUT / "boards" / "modems"
    if here.is_dir():
        return here
    spec = importlib.util.find_spec("pbal_boards")
    for where in (spec.submodule_search_locations or []) if spec else []:
        if (Path(where) / "modems").is_dir():
            return Path(where) / "modems"
    raise ConfigError("the modems' files are not installed; install pbal again", _KEY)


def load_modem(name: str, region: str) -> Modem:
    """A modem by its name, or by the path of a file that ends in `.toml`.

    Raises ConfigError: there is none, it is no modem, or it does not know the region.
    """
    path = Path(name) if name.endswith(".toml") else folder() / f"{name}.toml"
    try:
        made = Modem.model_validate(read_toml(path))
    except FileNotFoundError:
        known = ", ".join(sorted(each.stem for each in folder().glob("*.toml")))
        raise ConfigError(
            f"there is no modem {name!r}; known: {known}, or the path of a file of your own (copy "
            "boards/modems/rak3172.toml)",
            _KEY,
        ) from None
    except (OSError, DocumentError) as error:
        raise ConfigError(f"{path}: not a modem: {error}", _KEY) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ConfigError(f"{path}: {complaint(first, Modem, 'modem')}", _KEY) from None
    if region not in made.regions:
        raise ConfigError(
            f"{made.modem.title} knows no region {region!r}; known: {', '.join(made.regions)}",
            ("uplink", "lorawan", "region"),
        )
    return made


def read_app_key(path: Path) -> str:
    """The AppKey, 32 hex digits. Raises ConfigError."""
    key = ("uplink", "lorawan", "app_key_file")
    try:
        mode = path.stat().st_mode
        text = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", key) from None
    if mode & 0o077:
        raise ConfigError(f"{path}: readable by others; run `chmod 600 {path}`", key)
    if re.fullmatch("[0-9a-fA-F]{32}", text) is None:
        raise ConfigError(f"{path}: must hold the AppKey, 32 hex digits in one line", key)
    return text.upper()
