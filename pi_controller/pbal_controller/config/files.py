"""Reading the configuration: `/etc/pbal/pbal.toml`, `conf.d/*.toml`, and `PBAL_*` variables.

Later files override earlier ones table by table; `[[home]]` lists are joined. A variable
`PBAL_HTTP__PORT=8080` overrides the key `http.port`; two underscores separate the levels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pbal_controller.config.complaints import Source, complaints, defined_in
from pbal_controller.config.whole import Config
from pbal_controller.documents import DocumentError, load_toml, read_toml
from pbal_controller.errors import ConfigError

DEFAULT_CONFIG = Path("/etc/pbal/pbal.toml")
ENV_PREFIX = "PBAL_"
# Variables of ours that are not configuration keys.
_ENV_RESERVED = {"PBAL_CRASH_AT", "PBAL_CONFIG", "PBAL_ANNOTATE"}


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        present = base.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(present, value)
        elif isinstance(present, list) and isinstance(value, list):
            base[key] = present + value
        else:
            base[key] = value


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file. Write one (see docs/operations.md) or name another "
            "with --config FILE."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except DocumentError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Variables such as PBAL_HTTP__PORT=8080 as nested tables; values are TOML or plain text."""
    tables: dict[str, Any] = {}
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name in _ENV_RESERVED or "__" not in name:
            continue
        path = name[len(ENV_PREFIX) :].lower().split("__")
        try:
            value = load_toml(f"x = {text}")["x"]
        except DocumentError:
            value = text
        here = tables
        for part in path[:-1]:
            here = here.setdefault(part, {})
        here[path[-1]] = value
    return tables


def _sources(main: Path, environ: Mapping[str, str]) -> list[Source]:
    """Every source of configuration; later ones take precedence: (name, tables)."""
    sources: list[Source] = [(str(main), _read(main))]
    conf_d = main.parent / "conf.d"
    if conf_d.is_dir():
        sources += [(str(extra), _read(extra)) for extra in sorted(conf_d.glob("*.toml"))]
    env = _from_environment(environ)
    if env:
        sources.append(("environment (PBAL_*)", env))
    return sources


def source_of(where: tuple[Any, ...], path: Path | str | None = None) -> str:
    """The file, or the environment, that sets a key; for complaints that come after `load`."""
    return defined_in(_sources(Path(path) if path else DEFAULT_CONFIG, os.environ), where)


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Read and validate the configuration.

    Parameters
    ----------
    path : the main file (default `/etc/pbal/pbal.toml`); `conf.d/*.toml` beside it is merged
        in name order.
    environ : for tests; default `os.environ`.

    Relative paths in the file are relative to the main file's directory.
    Raises ConfigError listing every problem, one a line.
    """
    main = Path(path) if path is not None else DEFAULT_CONFIG
    environ = os.environ if environ is None else environ
    sources = _sources(main, environ)
    merged: dict[str, Any] = {}
    for _, tables in sources:
        _merge(merged, tables)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(complaints(error, sources, merged, Config)) from None
    return _absolute(config, main.parent)


def _absolute(config: Config, base: Path) -> Config:
    """Paths in the file are relative to the file, wherever the command was started."""

    def fix(path: Path | None) -> Path | None:
        return None if path is None else (base / path).absolute()

    def named(file: str) -> str:
        # One that comes with pbal is given by its name alone.
        return str(fix(Path(file))) if file.endswith(".toml") else file

    meter = config.transformer.meter
    if meter is not None:
        meter = meter.model_copy(update={"path": fix(meter.path), "profile": named(meter.profile)})
    lorawan = config.uplink.lorawan
    if lorawan is not None:
        lorawan = lorawan.model_copy(
            update={"app_key_file": fix(lorawan.app_key_file), "modem": named(lorawan.modem)}
        )
    return config.model_copy(
        update={
            "keys": config.keys.model_copy(
                update={
                    "file": fix(config.keys.file),
                    "passphrase_file": fix(config.keys.passphrase_file),
                }
            ),
            "journal": config.journal.model_copy(update={"path": fix(config.journal.path)}),
            "http": config.http.model_copy(
                update={
                    "port_file": fix(config.http.port_file),
                    "token_file": fix(config.http.token_file),
                }
            ),
            "update": config.update.model_copy(update={"directory": fix(config.update.directory)}),
            "uplink": config.uplink.model_copy(
                update={
                    name: fix(getattr(config.uplink, name))
                    for name in ("ca", "crl", "certificate", "key")
                }
                | {"lorawan": lorawan}
            ),
            "transformer": config.transformer.model_copy(update={"meter": meter}),
        }
    )
