"""Generates what follows from the wire's declarations.

    python -m pbal_tools.wiredoc [--check] [--root DIR]

Writes docs/wire.md, protocol/dissector/pbal.lua and the stubs records.pyi of pbal_protocol and its
radio (the types of the fields, for editors and mypy); with --check it writes nothing and exits 1
when one of them is out of date.
"""

import argparse
import sys
from pathlib import Path

from pbal_protocol import (
    config,
    datagram,
    events,
    flags,
    frames,
    modbus,
    records,
    registers,
    states,
)
from pbal_protocol.codec import BLOB, Record
from pbal_protocol.radio import carried
from pbal_protocol.radio import records as radio_records

from . import wiretexts
from .wirelua import dissector

SIZES = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4, "8s": 8}
TYPES = {"B": "u8", "b": "i8", "H": "u16", "h": "i16", "I": "u32", "i": "i32", "8s": "8 bytes"}
ROOT = Path(__file__).resolve().parents[2]


def named(prefix: str) -> dict[int, str]:
    """The constants of pbal_protocol.records that start with `prefix`: value -> name."""
    return {
        value: name.removeprefix(prefix)
        for name, value in vars(records).items()
        if name.startswith(prefix) and isinstance(value, int)
    }


OUTCOMES = {
    getattr(records, name): name for name in ("ACCEPTED", "DONE", "REFUSED", "FAILED", "EXPIRED")
}
# The meanings of numbers, by field name.
ENUMS: dict[str, dict[int, str]] = {
    "state": named("STATE_"),
    "outcome": OUTCOMES,
    "reason": named("REASON_"),
    "code": named("EVENT_"),
    "severity": {0: "INFO", 1: "WARNING", 2: "ALARM"},
    "result": named("RESULT_"),
    "what": named("WHAT_"),
    "op": named("OP_"),
    "stage": named("STAGE_"),
    "why": named("WHY_"),
    "phase": {0: "open", 1: "A", 2: "B", 3: "C"},
    "from_phase": {0: "open", 1: "A", 2: "B", 3: "C"},
    "to_phase": {0: "open", 1: "A", 2: "B", 3: "C"},
    "key": {row[0]: row[1] for row in config.KEYS} | {records.ALL_KEYS: "all"},
}
FLAGS = named("FLAG_")


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A Markdown table with a blank line after it."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n\n"


def record_section(cls: type[Record]) -> str:
    """One record's heading, purpose and layout."""
    size = f"{cls.SIZE} bytes" + (" and a blob" if cls.FIELDS[-1][1] == BLOB else "")
    out = f"### {cls.ID} {cls.NAME}\n\n"
    out += f"{' or '.join(cls.DIRECTION)}, {size} with its id. {wiretexts.RECORDS[cls.NAME]}\n\n"
    rows: list[tuple[object, ...]] = []
    at = 1
    for name, code, divisor, unit, low, high in cls.FIELDS:
        kind = "length (u8), bytes" if code == BLOB else TYPES[code]
        scale = f"{1 / divisor:g} {unit}".strip() if divisor > 1 else unit
        bounds = f"{low}..{high}" if code not in ("8s",) else ""
        rows.append((at, name, kind, scale, bounds, wiretexts.FIELDS[name]))
        at += SIZES.get(code, 0)
    return out + table(("at", "field", "type", "step", "legal", "meaning"), rows)


def wire_md() -> str:
    """The text of docs/wire.md."""
    kinds = ", ".join(f"{number} {name}" for number, name in frames.KINDS.items())
    out = wiretexts.INTRO.format(
        version=frames.VERSION, kinds=kinds, max_frame=frames.MAX_FRAME, window=frames.WINDOW - 1,
        explicit=frames.UP_EXPLICIT, nonce=frames.NONCE_LEN,
    )  # fmt: skip
    out += "## Records\n\nA record is its id (1 byte) and a fixed little-endian body. A value on "
    out += "the wire is the\nvalue in units divided by the step. Both ends refuse what is not "
    out += "legal. Ids 20..29 are for\nfirmware updates, 30..39 are kept for addressing, 40..49 "
    out += "are for radios.\n\n"
    out += "".join(record_section(cls) for cls in records.RECORDS.values())
    out += "## Numbers\n\n### Flags\n\n"
    rows: list[tuple[object, ...]] = [
        (f"0x{f.bit:04x}", FLAGS[f.bit], f.word, f.severity, f.moving, f"the node {f.says}")
        for f in sorted(flags.FLAGS, key=lambda f: f.bit)
    ]
    out += table(("bit", "name", "word", "severity", "moving", "meaning"), rows)
    rows = [
        (s.number, ENUMS["state"][s.number], s.word, f"the node {s.says}") for s in states.STATES
    ]
    out += "### States\n\n" + table(("number", "name", "word", "meaning"), rows)
    for title, field in (
        ("Outcomes", "outcome"),
        ("Reasons", "reason"),
        ("Results", "result"),
        ("Update orders", "op"),
        ("Update stages", "stage"),
        ("Update failures", "why"),
    ):
        out += f"### {title}\n\n" + table(("number", "name"), list(ENUMS[field].items()))
    out += "### Events\n\n"
    rows = [
        (e.code, ENUMS["code"][e.code], e.word, e.says, e.arg0 or "-", e.arg1 or "-")
        for e in events.KINDS
    ]
    out += table(("code", "name", "word", "meaning", "arg0", "arg1"), rows)
    out += "### Settings\n\n"
    rows = [
        (key, name, unit, f"{low}..{high}", default)
        for key, name, unit, low, high, default in config.KEYS
    ]
    out += table(("key", "name", "unit", "legal", "default"), rows)
    out += wiretexts.UDP.format(
        port=datagram.PORT, poll=datagram.POLL, group=datagram.GROUP, frames=datagram.FRAMES,
        most=datagram.MAX_DATAGRAM,
    )  # fmt: skip
    out += wiretexts.CARRIED.format(ask=carried.ASK, batch=carried.BATCH)
    out += wiretexts.MODBUS.format(
        baud="115200 baud, 8 data bits, even parity, 1 stop bit", silence=modbus.silence_us(115200)
    )
    out += "### Input registers\n\nBig endian; high word first.\n\n"
    rows = [
        (
            address,
            words,
            f"{1 / steps:g} {unit}".strip() if steps > 1 else unit,
            name,
            "needs `plain_registers`" if registers.shows_use(address, words) else "always",
        )
        for address, name, words, steps, unit, _attribute in registers.REGISTERS
    ]
    out += table(("address", "words", "step", "contents", "from a node with keys"), rows)
    return out.rstrip("\n") + "\n"


def python_type(code: str, divisor: int) -> str:
    """The Python type of a field's value."""
    return "bytes" if code in (BLOB, "8s") else "float" if divisor > 1 else "int"


def class_stub(cls: type[Record]) -> str:
    """The types of one record's fields."""
    fields = [(f[0], python_type(f[1], f[2])) for f in cls.FIELDS]
    out = f"\nclass {cls.NAME}(Record):\n"
    out += "".join(f"    {name}: {kind}\n" for name, kind in fields)
    out += "    def __init__(\n        self,\n        *,\n"
    out += "".join(f"        {name}: {kind} = ...,\n" for name, kind in fields)
    out += "    ) -> None: ...\n    @classmethod\n"
    return out + "    def decode(cls, buf: bytes | bytearray | memoryview) -> Self: ...\n"


def radio_records_pyi() -> str:
    """The text of the type stub of pbal_protocol.radio.records."""
    out = "# Generated by python -m pbal_tools.wiredoc from records.py; do not edit.\n\n"
    out += "from typing import Self\n\nfrom pbal_protocol.codec import Record\n"
    out += "".join(class_stub(cls) for cls in radio_records.ALL)
    return out + (
        "\nALL: tuple[type[Record], ...]\n\ndef add(known: dict[int, type[Record]]) -> None: ...\n"
    )


def records_pyi() -> str:
    """The text of the type stub of pbal_protocol.records."""
    out = "# Generated by python -m pbal_tools.wiredoc from records.py; do not edit.\n\n"
    out += "from typing import Self\n\nfrom pbal_protocol.codec import Record\n\n"
    for name, value in vars(records).items():
        if isinstance(value, int) and not name.startswith("_"):
            out += f"{name}: int\n"
    out += "\nRECORDS: dict[int, type[Record]]\n"
    out += "".join(class_stub(c) for c in records.RECORDS.values() if c not in radio_records.ALL)
    out += (
        "\ndef decode_all(\n    payload: bytes | bytearray | memoryview, "
        "direction: str | None = ...\n) -> list[Record]: ...\n"
        "def first_foreign(\n    payload: bytes | bytearray | memoryview, "
        "start: int, end: int, direction: str\n) -> int: ...\n"
    )
    return out


def outputs() -> dict[str, str]:
    """Every generated file: path below the project's root -> text."""
    return {
        "docs/wire.md": wire_md(),
        "protocol/dissector/pbal.lua": dissector(ENUMS, FLAGS),
        "protocol/pbal_protocol/records.pyi": records_pyi(),
        "protocol/pbal_protocol/radio/records.pyi": radio_records_pyi(),
    }


def stale(root: Path) -> list[str]:
    """The generated files that are missing or out of date."""
    return [
        name
        for name, text in outputs().items()
        if not (root / name).exists() or (root / name).read_text() != text
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or check them. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pbal_tools.wiredoc", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's directory")
    args = parser.parse_args(arguments)
    old = stale(args.root)
    if args.check:
        for name in old:
            print(f"{name} is out of date: run python -m pbal_tools.wiredoc", file=sys.stderr)
        return 1 if old else 0
    for name in old:
        (args.root / name).write_text(outputs()[name])
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
