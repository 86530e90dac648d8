"""Compares the wire's declarations with those that are released, and releases new ones.

    python -m pbal_tools.wirereleased           # says what differs, exits 1 when something does
    python -m pbal_tools.wirereleased --write   # releases additions and better words

protocol/pbal_protocol/released.json has every record, number and setting as nodes in the field
have them, and since which firmware version. What is in it never changes: --write refuses that.
The recipe is in CONTRIBUTING.md, "Changing the wire".
"""

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

from pbal_controller.documents import dump_json, read_json
from pbal_protocol import config, frames, records, registers

from . import wiredoc, wiretexts

ROOT = wiredoc.ROOT
FILE = Path("protocol") / "pbal_protocol" / "released.json"
RECIPE = 'see CONTRIBUTING.md, "Changing the wire"'
BREAKS = (
    "what is released never changes, because nodes in the field have it: take the change back and "
    "declare a new record, number or setting instead; " + RECIPE
)
ADDS = "if it is meant, run python -m pbal_tools.wirereleased --write; " + RECIPE


def declared() -> dict[str, Any]:
    """The wire as the code declares it now."""
    numbers = {
        name: {label: number for number, label in table.items()}
        for name, table in wiredoc.ENUMS.items()
        if name not in ("key", "phase", "from_phase", "to_phase")
    }
    numbers["flags"] = {label: bit for bit, label in wiredoc.FLAGS.items()}
    return {
        "frame_version": frames.VERSION,
        "records": {
            cls.NAME: {
                "id": cls.ID,
                "direction": list(cls.DIRECTION),
                "size": cls.SIZE,
                "fields": [list(field) for field in cls.FIELDS],
                "meaning": wiretexts.RECORDS.get(cls.NAME, ""),
                "meanings": [wiretexts.FIELDS.get(field[0], "") for field in cls.FIELDS],
            }
            for cls in records.RECORDS.values()
        },
        "numbers": numbers,
        "settings": {row[1]: [row[0], *row[2:5]] for row in config.KEYS},
        "registers": [list(row[:5]) for row in registers.REGISTERS],
    }


def digest(wire: dict[str, Any]) -> str:
    """SHA-256 of declarations, so that a snapshot that was edited by hand is noticed."""
    return hashlib.sha256(dump_json(wire, sort_keys=True).encode()).hexdigest()


def _fields(name: str, old: list[list[Any]], new: list[list[Any]]) -> list[tuple[bool, str]]:
    """The differences of a record's fields, as (breaks, what)."""
    if [f[0] for f in old] != [f[0] for f in new]:
        return [(True, f"{name}: its fields were {[f[0] for f in old]}")]
    out = []
    for was, now in zip(old, new, strict=True):
        if was[1:4] != now[1:4]:
            out.append((True, f"{name}.{was[0]}: code, steps, unit were {was[1:4]}"))
        elif now[4] > was[4] or now[5] < was[5]:
            out.append((True, f"{name}.{was[0]}: {was[4]}..{was[5]} was legal"))
        elif now[4:] != was[4:]:
            out.append((False, f"{name}.{was[0]}: {now[4]}..{now[5]} is legal now"))
    return out


def _record(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[tuple[bool, str]]:
    out = [
        (True, f"{name}: its {key} was {old[key]}")
        for key in ("id", "size")
        if old[key] != new[key]
    ]
    if not set(old["direction"]) <= set(new["direction"]):
        out.append((True, f"{name}: its direction was {old['direction']}"))
    elif old["direction"] != new["direction"]:
        out.append((False, f"{name}: its direction is {new['direction']} now"))
    out += _fields(name, old["fields"], new["fields"])
    if (old["meaning"], old["meanings"]) != (new["meaning"], new["meanings"]):
        out.append((False, f"{name}: its words are new (a new meaning needs a new field)"))
    return out


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[bool, str]]:
    """What differs between two declarations, as (breaks what is released, what)."""
    out = [
        (True, f"{key} was {old[key]}")
        for key in ("frame_version", "registers")
        if old[key] != new[key]
    ]
    names = list(old["records"])
    ids = {record["id"]: name for name, record in old["records"].items()}
    for name in names:
        if name not in new["records"]:
            out.append((True, f"the record {name} is gone"))
        else:
            out += _record(name, old["records"][name], new["records"][name])
    for name, record in new["records"].items():
        if name not in old["records"] and record["id"] not in ids:
            out.append((False, f"the record {name} is new"))
        elif name not in old["records"]:
            out.append((True, f"{name}: the id {record['id']} was that of {ids[record['id']]}"))
    for what in ("numbers", "settings"):
        flat_old, flat_new = _flat(old[what]), _flat(new[what])
        for name, value in flat_old.items():
            if flat_new.get(name) != value:
                out.append((True, f"{what}: {name} was {value}"))
        out += [(False, f"{what}: {n} is new") for n in flat_new if n not in flat_old]
    return out


def _flat(tables: dict[str, Any]) -> dict[str, Any]:
    """A table of tables as one: `state OPEN` -> 1."""
    out: dict[str, Any] = {}
    for name, table in tables.items():
        if isinstance(table, dict):
            out |= {f"{name} {key}": value for key, value in table.items()}
        else:
            out[name] = table
    return out


def load(root: Path) -> dict[str, Any]:
    """The released declarations: edition, sha256, since, wire."""
    found: dict[str, Any] = read_json(root / FILE)
    return found


def problems(root: Path) -> list[str]:
    """What is wrong, each with its remedy; empty when all is as released."""
    try:
        released = load(root)
    except (OSError, ValueError):
        return [f"{FILE} is missing or damaged: restore it from version control"]
    if digest(released["wire"]) != released["sha256"]:
        return [f"{FILE} was edited by hand: restore it from version control; {RECIPE}"]
    return [
        f"{what}: {BREAKS if breaks else ADDS}"
        for breaks, what in differences(released["wire"], declared())
    ]


def firmware_version(root: Path) -> str:
    """The version that the next release of the firmware has."""
    text = (root / "firmware" / "pbal_node" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^VERSION = "(\d+\.\d+\.\d+)"', text, re.MULTILINE)
    if found is None:
        raise ValueError("firmware/pbal_node/version.py has no VERSION of three numbers")
    return found[1]


def release(root: Path, first: bool = False) -> str:
    """Write the snapshot. Raises ValueError when it would change what is released."""
    new = declared()
    old: dict[str, Any] = {"edition": 0, "since": {}, "wire": {}} if first else load(root)
    if not first:
        bad = [what for breaks, what in differences(old["wire"], new) if breaks]
        if bad:
            raise ValueError("; ".join(bad) + ": " + BREAKS)
    version = firmware_version(root)
    since = {name: old["since"].get(name, version) for name in new["records"]}
    snapshot = {
        "edition": old["edition"] + 1,
        "sha256": digest(new),
        "since": since,
        "wire": new,
    }
    (root / FILE).write_text(dump_json(snapshot, indent=1) + "\n", encoding="utf-8")
    return f"{FILE}: edition {snapshot['edition']}"


def main(arguments: list[str] | None = None) -> int:
    """Compare, or release. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pbal_tools.wirereleased", description=__doc__)
    parser.add_argument("--write", action="store_true", help="release additions and better words")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's directory")
    args = parser.parse_args(arguments)
    if args.write:
        try:
            print(release(args.root, first=not (args.root / FILE).exists()))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    found = problems(args.root)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
