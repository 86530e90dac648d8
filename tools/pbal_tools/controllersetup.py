"""Writes the keys and the pbal.toml with which the real controller runs a street here."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbal_controller import documents
from pbal_controller.keys import KeyStore


@dataclass(frozen=True)
class NodeIdentity:
    """What the controller must know of one home to communicate with it."""

    address: int
    name: str
    eui: str
    root: bytes
    paths: tuple[str, ...] = ()  # its own bearers; none: the setup's
    at: int | None = None  # where it is on them, where that does not follow from its address


@dataclass
class ControllerSetup:
    """What goes into the controller's own configuration file.

    `options` are tables of pbal.toml, e.g. {"planner": {"every_s": 5}}; nested one level deeper
    for `planner.core`. `home_options` are keys of every [[home]], e.g. {"fuse_a": 25.0}. `paths`:
    names of the bearers that lead to every home, by default its bus.
    """

    folder: Path
    site_id: int
    bus_port: str
    baud: int
    nodes: Sequence[NodeIdentity]
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    home_options: dict[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = ("street",)


def create_keys(
    folder: Path, site_id: int, group: bytes, nodes: Sequence[NodeIdentity]
) -> KeyStore:
    """The controller's key store, and its passphrase, as files readable only by us.

    The scrypt cost is low: the keys are needed only as long as the folder.
    """
    passphrase = os.urandom(24).hex().encode()
    handle = os.open(folder / "keys.pass", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(passphrase)
    store = KeyStore.create(folder / "keys.json", passphrase, site_id, log2_n=12, group_key=group)
    store.add_many([(node.address, node.eui, node.root) for node in nodes])
    return store


def toml_value(value: Any) -> str:
    """A TOML value for the plain types a configuration holds."""
    return documents.toml_value(
        value if isinstance(value, bool | int | float | list) else str(value)
    )


def toml_tables(tables: dict[str, dict[str, Any]], prefix: str = "") -> str:
    """Nested dictionaries as TOML tables."""
    text = ""
    for name, table in tables.items():
        plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
        nested = {k: v for k, v in table.items() if isinstance(v, dict)}
        if plain:
            text += f"\n[{prefix}{name}]\n"
            text += "".join(f"{key} = {toml_value(value)}\n" for key, value in plain.items())
        text += toml_tables(nested, f"{prefix}{name}.")
    return text


def write_config(setup: ControllerSetup) -> Path:
    """Writes pbal.toml into the folder; returns its path. The keys must be there already."""
    tables: dict[str, dict[str, Any]] = {
        "site": {"id": setup.site_id, "name": "street on this computer"},
        "keys": {"file": "keys.json", "passphrase_file": "keys.pass"},
        "journal": {"path": "journal.db"},
        "http": {"port": 0, "port_file": "http.port"},
    }
    if any("street" in (node.paths or setup.paths) for node in setup.nodes):
        tables["bus"] = {"street": {"port": setup.bus_port, "baud": setup.baud}}
    for name, table in setup.options.items():
        tables[name] = {**tables.get(name, {}), **table}
    text = "# Written by pbal sim run: the real controller's own configuration.\n"
    text += toml_tables(tables)
    for node in setup.nodes:
        paths = node.paths or setup.paths
        at = f", at = {node.at}" if node.at is not None else ""
        ways = ", ".join(f'{{ bearer = "{name}"{at} }}' for name in paths)
        way = 'bus = "street"' if paths == ("street",) else f"paths = [{ways}]"
        text += f"\n[[home]]\naddress = {node.address}\n{way}\n"
        text += f"name = {toml_value(node.name)}\n"
        text += "".join(f"{k} = {toml_value(v)}\n" for k, v in setup.home_options.items())
    path = setup.folder / "pbal.toml"
    path.write_text(text, encoding="utf-8")
    return path
