"""Reading the configuration: `/etc/pbal-hq/hq.toml`, then variables.

`PBAL_HQ_DATABASE__URL=...` overrides the key `database.url`; two underscores separate the levels.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pbal_host.tables import dotted, remedy
from pbal_host.texts import plain_text
from pbal_hq.config.tables import Config
from pbal_hq.errors import ConfigError

DEFAULT_CONFIG = Path("/etc/pbal-hq/hq.toml")
ENV_PREFIX = "PBAL_HQ_"
# Variables of ours that are not configuration keys.
_RESERVED = {"PBAL_HQ_CONFIG"}
_MAX_BYTES = 1_000_000


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read and validate the configuration.

    Parameters
    ----------
    path : the file; by default `/etc/pbal-hq/hq.toml` where it exists, else defaults.
    environ : for tests; default `os.environ`.

    Relative paths in the file are relative to its folder. Raises ConfigError with every problem,
    one a line.
    """
    file = Path(path) if path is not None else DEFAULT_CONFIG
    tables = _read(file) if path is not None or file.exists() else {}
    variables = _from_environment(os.environ if environ is None else environ)
    merged = _merged(tables, variables)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            if item["type"] == "literal_error" and item.get("ctx", {}).get("expected") == "0":
                continue  # "a port, or 0" is one thing to people: its other half complains, too
            # What pydantic calls the half of such a value is no key.
            where = dotted(part for part in item["loc"] if part != "constrained-int")
            origin = "environment (PBAL_HQ_*)" if _has(variables, item["loc"]) else str(file)
            lines.append(f"{origin}: {where}: {remedy(item, Config)}")
        raise ConfigError("\n".join(lines)) from None
    return _absolute(config, file.parent)


def secret(path: Path, name: str) -> str:
    """The password in the file that the key `name` names. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {path}: {error}") from None
    if not text or not text.isprintable():
        raise ConfigError(f"{name}: {path} holds no password, which is one line")
    return text


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{file}: has more than {_MAX_BYTES} bytes")
        return tomllib.loads(plain_text(file.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file. `pbal-hq init` writes one; or name another with --config FILE."
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name in _RESERVED:
            continue
        path = name[len(ENV_PREFIX) :].lower().split("__")
        try:
            value = tomllib.loads(f"x = {text}")["x"]
        except (ValueError, RecursionError):
            value = text
        here = tables
        for part in path[:-1]:
            deeper = here.setdefault(part, {})
            if not isinstance(deeper, dict):
                raise ConfigError(f"environment: {name}: {part} is set as a value already")
            here = deeper
        here[path[-1]] = value
    return tables


def _merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in extra.items():
        old = out.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        out[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return out


def _has(tables: Mapping[str, Any], where: tuple[Any, ...]) -> bool:
    here: Any = tables
    for part in where:
        if not isinstance(here, Mapping) or part not in here:
            return False
        here = here[part]
    return True


def _absolute(config: Config, base: Path) -> Config:
    """Every path of the configuration, also in tables, relative to its file."""

    def fixed(table: Any) -> Any:
        changes: dict[str, Any] = {}
        for name in type(table).model_fields:
            value = getattr(table, name)
            if isinstance(value, Path):
                changes[name] = (base / value).absolute()
            elif hasattr(type(value), "model_fields"):
                changes[name] = fixed(value)
            elif isinstance(value, tuple) and value and hasattr(type(value[0]), "model_fields"):
                changes[name] = tuple(fixed(each) for each in value)
        return table.model_copy(update=changes)

    made: Config = fixed(config)
    return made
