"""Provisioning, rotation and bulk work: the order in which key store and node are written.

Stage on the node, prove, write the key store, commit on the node, prove again. Cut at any point,
running the same command again ends well: before the key store is written nothing has changed;
after it, the node is given a fresh key once more.
"""

import csv
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pbal_controller.keystore import KEY_BYTES, KeyStore

from ..errors import InputError, RefusedError
from ..label import Label
from .node import PROMPT_S, Identity, Node
from .store import holder_of, store_errors

Note = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What a node is to become. None: as the node has it, if it has this address already."""

    address: int
    name: str | None = None
    fixed: bool | None = None
    phase: int | None = None
    eui: str = ""


@dataclass(frozen=True)
class Done:
    """What was done to a node; nothing secret."""

    port: str
    eui: str
    site: int
    address: int
    name: str
    fixed: bool
    fingerprint: str
    action: str
    updates: bool = False  # it knows the key that updates are signed with

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)

    def label(self, site_name: str = "") -> Label:
        """Its label."""
        return Label(self.eui, self.site, self.address, self.name, site_name)


def check_address(address: int) -> None:
    """Raises InputError for an address no node can have: segment * 256 + unit 1..247."""
    if not 1 <= address <= 0xFFFF or not 1 <= address & 0xFF <= 247:
        raise InputError(
            f"{address} is no node address.",
            "An address is segment * 256 + unit, unit 1..247; on a single bus take 1..247.",
        )


def provision(
    port: str, store: KeyStore, wanted: Wanted, note: Note, prompt_s: float = PROMPT_S
) -> Done:
    """Gives the node on a port its address and a fresh key.

    The same node at the same address again: a new key (so it is also how a rotation that was cut
    short is finished). Raises RefusedError where address or node are otherwise taken.
    """
    check_address(wanted.address)
    node = Node(port, note)
    note("stopping the node's program")
    with node.held(prompt_s):
        done = give(node, store, wanted, note)
    return done


def give(node: Node, store: KeyStore, wanted: Wanted, note: Note) -> Done:
    """The same with a node that is held at its prompt; it must start again afterwards."""
    eui = node.info.eui
    action = _may(store, wanted, eui)
    identity = _identity(node.present(), store, wanted, eui)
    note("writing the identity")
    node.stage(identity)
    with store_errors():
        if action == "added":
            if wanted.address in store.addresses():
                store.remove(wanted.address)  # of a node that is revoked
            entry = store.add(wanted.address, eui, identity.root)
        elif store.node(wanted.address).revoked:
            store.remove(wanted.address)
            entry = store.add(wanted.address, eui, identity.root)
        else:
            entry = store.rotate(wanted.address, identity.root)
    node.commit()
    note("asking the node to prove it")
    node.prove(identity)
    return Done(
        node.port, eui, store.site_id, wanted.address, identity.name, identity.fixed,
        entry.fingerprint, action, bool(identity.release),
    )  # fmt: skip


def _identity(old: dict[str, Any], store: KeyStore, wanted: Wanted, eui: str) -> Identity:
    """The new identity, with a fresh key. What was not asked for stays as it is at this address:
    a home that must not be moved must not become one that may, only because its key changed.
    """
    same = old.get("site") == store.site_id and old.get("address") == wanted.address
    was = old if same else {}
    with store_errors():
        newest, release = store.newest, store.release_key
    if not release and was.get("release"):
        release = bytes.fromhex(str(was["release"]))
    return Identity(
        eui, store.site_id, wanted.address, secrets.token_bytes(KEY_BYTES), newest.root,
        str(was.get("name", "")) if wanted.name is None else wanted.name,
        bool(was.get("fixed")) if wanted.fixed is None else wanted.fixed,
        int(was.get("phase", 0)) if wanted.phase is None else wanted.phase,
        release, newest.number,
    )  # fmt: skip


def _may(store: KeyStore, wanted: Wanted, eui: str) -> str:
    """What giving this address to this node means: "added" or "rotated". Raises RefusedError."""
    if wanted.eui and wanted.eui.lower() != eui:
        raise RefusedError(
            f"This node is {eui}, not {wanted.eui.lower()}.", "Plug in the node with that label."
        )
    elsewhere = holder_of(store, eui)
    if elsewhere is not None and elsewhere != wanted.address:
        raise RefusedError(
            f"This node has address {elsewhere} at this site already.",
            f"Revoke it first:  pbal provision revoke {elsewhere}",
        )
    if wanted.address not in store.addresses():
        return "added"
    entry = store.node(wanted.address)
    if entry.eui == eui:
        return "rotated"
    if entry.revoked:
        return "added"
    raise RefusedError(
        f"Address {wanted.address} belongs to node {entry.eui}.",
        f"Choose another address, or revoke it first:  pbal provision revoke {wanted.address}",
    )


def read_csv(path: Path) -> list[Wanted]:
    """The nodes a CSV file asks for. Columns: address (required), name, fixed, phase, eui.

    Raises InputError naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", "Check the path after --csv.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} cannot be read: {exc}.", "Save it as UTF-8 text.") from None
    dialect = ";" if text.partition("\n")[0].count(";") else ","
    reader = csv.DictReader(text.splitlines(), delimiter=dialect)
    columns = {(name or "").strip().lower() for name in reader.fieldnames or []}
    known = {"address", "name", "fixed", "phase", "eui", "bus", "feeder"}
    if "address" not in columns:
        raise InputError(f"{path}: there is no column 'address'.", f"Columns: {sorted(known)}.")
    if columns - known:
        raise InputError(
            f"{path}: unknown columns {sorted(columns - known)}.", f"Known: {sorted(known)}."
        )
    out: list[Wanted] = []
    seen: dict[int, int] = {}
    for row in reader:
        cells = {(k or "").strip().lower(): (v or "").strip() for k, v in row.items() if k}
        if not any(cells.values()):
            continue
        wanted = _row(path, reader.line_num, cells)
        if wanted.address in seen:
            raise InputError(
                f"{path}, line {reader.line_num}: address {wanted.address} is also in line "
                f"{seen[wanted.address]}.",
                "Addresses are unique at a site.",
            )
        seen[wanted.address] = reader.line_num
        out.append(wanted)
    if not out:
        raise InputError(f"{path} names no node.", "Add a line for each.")
    return out


def _row(path: Path, line: int, cells: dict[str, str]) -> Wanted:
    def bad(words: str) -> InputError:
        return InputError(f"{path}, line {line}: {words}", "Correct that line.")

    try:
        address = int(cells["address"], 0)
        check_address(address)
    except (ValueError, InputError):
        raise bad(f"{cells['address']!r} is no node address.") from None
    fixed = cells.get("fixed", "").lower()
    if fixed not in ("", "0", "1", "yes", "no", "true", "false"):
        raise bad(f"fixed is {fixed!r}, not yes or no.")
    phase = cells.get("phase", "").upper()
    if phase not in ("", "A", "B", "C", "1", "2", "3"):
        raise bad(f"phase is {phase!r}, not A, B or C.")
    eui = cells.get("eui", "").lower().replace("-", "").replace(":", "")
    if eui and (len(eui) != 16 or not set(eui) <= set("0123456789abcdef")):
        raise bad(f"eui {eui!r} must be 16 hex digits.")
    name = cells.get("name", "")
    if len(name) > 64:
        raise bad("the name is longer than 64 characters.")
    number = {"A": 1, "B": 2, "C": 3}.get(phase) or (int(phase) if phase else None)
    return Wanted(
        address, name or None, fixed in ("1", "yes", "true") if fixed else None, number, eui
    )
