"""Where the meter profiles are: `boards/meters/` of a checkout or an installation, or any file."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from pydantic import ValidationError

from pbal_controller.documents import DocumentError, read_toml
from pbal_controller.errors import ConfigError
from pbal_controller.meters.profile import Profile
from pbal_host.tables import complaint

_KEY = ("transformer", "meter", "profile")
_CHECKOUT = Path(__file__).resolve().parents[3]


def folder() -> Path:
    """The folder of the profiles: $PBAL_METERS, else what came with this program.

    Raises ConfigError.
    """
    named = os.environ.get("PBAL_METERS")
    if named:
        return Path(named)
    here = _CHECKOUT / "boards" / "meters"
    if here.is_dir():
        return here
    # Without an __init__.py it is a namespace package, which importlib.resources gives no path of.
    spec = importlib.util.find_spec("pbal_boards")
    for where in (spec.submodule_search_locations or []) if spec else []:
        if (Path(where) / "meters").is_dir():
            return Path(where) / "meters"
    raise ConfigError("the meter profiles are not installed; install pbal again", _KEY)


def names() -> list[str]:
    """The profiles that came with this program."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load_profile(name: str) -> Profile:
    """A profile by its name, or by the path of a file that ends in `.toml`.

    Raises ConfigError that says what is wrong and what there is.
    """
    path = Path(name) if name.endswith(".toml") else folder() / f"{name}.toml"
    try:
        tables = read_toml(path)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no meter profile {name!r}; known: {', '.join(names()) or 'none'}, or the "
            "path of a file of your own (copy boards/meters/generic.toml)",
            _KEY,
        ) from None
    except (OSError, DocumentError) as error:
        raise ConfigError(f"{path}: not a meter profile: {error}", _KEY) from None
    try:
        profile = Profile.model_validate(tables)
    except ValidationError as error:
        lines = [f"{path}: {complaint(item, Profile, 'profile')}" for item in error.errors()]
        raise ConfigError("\n".join(lines), _KEY) from None
    if not name.endswith(".toml") and profile.meter.name != name:
        raise ConfigError(f"{path}: meter.name is {profile.meter.name!r}, not {name!r}", _KEY)
    return profile
