"""Generates what follows from the declarations of the words to HQ.

    python -m pbal_tools.uplinkdoc [--check] [--root DIR]

Writes docs/uplink.md, protocol/pbal_uplink/schema.json (the JSON Schema of every message) and those
of what HQ's roles make of them for each other (docs/schemas, one for each topic of the bus); with
--check it writes nothing and exits 1 when one of them is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pbal_controller.documents import dump_json
from pbal_hq.schemas import schemas as bus_schemas
from pbal_uplink import MESSAGES, VERSION, Field, Message, compact, metrics, names, schema

from . import uplinkcodec, uplinkwords
from .wiredoc import table

ROOT = Path(__file__).resolve().parents[2]
_SIZES = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4, "Q": 8, "8s": 8}
_TYPES = {"B": "u8", "b": "i8", "H": "u16", "h": "i16", "I": "u32", "i": "i32", "Q": "u64",
          "8s": "8 bytes"}  # fmt: skip
_DATATYPES = {3: "Int32", 5: "UInt8", 6: "UInt16", 8: "UInt64", 9: "Float", 12: "String",
              17: "Bytes"}  # fmt: skip


def _legal(field: Field) -> str:
    if field.is_bytes:
        return ""
    bounds = f"{field.low}..{field.high}" + (" bytes" if field.is_text else "")
    return bounds + (", or unknown" if field.optional else "")


def _meaning(field: Field) -> str:
    if not field.names:
        return field.doc
    numbers = {n: w for n, w in field.names.items() if field.low <= n <= field.high}
    return f"{field.doc} {', '.join(f'{n} {w}' for n, w in numbers.items())}"


def message_section(cls: type[Message]) -> str:
    """One message's heading, purpose and fields."""
    size = f"{cls.WIRE.SIZE} bytes packed" + (" and a text" if cls.DECLARED[-1].is_text else "")
    out = f"### {cls.ID} {cls.NAME}\n\n{' '.join((cls.__doc__ or '').split())} {size}.\n\n"
    rows: list[tuple[object, ...]] = []
    at = 1
    if cls.OPTIONAL:
        words = f"Bit n: the n-th field that may be unknown is known ({len(cls.OPTIONAL)} bits)."
        rows.append((at, "present", "u32", "", "", "", "", words))
        at += 4
    for place, field in enumerate(cls.DECLARED, 1):
        kind = "length (u8), UTF-8" if field.is_text else _TYPES[field.code]
        step = f"{1 / field.divisor:g} {field.unit}" if field.is_float else field.unit
        alias = cls.ID * 100 + place if cls in metrics.SENT else ""
        sparkplug = _DATATYPES[metrics.datatype(field)] if cls in metrics.SENT else ""
        rows.append((at, field.name, kind, step, _legal(field), alias, sparkplug, _meaning(field)))
        at += _SIZES.get(field.code, 0)
    header: tuple[str, ...] = (
        "at",
        "field",
        "type",
        "step",
        "legal",
        "alias",
        "Sparkplug",
        "meaning",
    )
    if cls not in metrics.SENT:
        header = header[:5] + header[7:]
        rows = [row[:5] + row[7:] for row in rows]
    return out + table(header, rows)


def compact_section() -> str:
    """The layout of the summary in few bytes."""
    out = uplinkwords.COMPACT.format(size=compact.SIZE, bits=compact.BITS, limit=compact.LIMIT)
    rows: list[tuple[object, ...]] = [(0, "form", 8, "", "", f"{VERSION << 4 | 1:#04x}")]
    at = 8
    for field, place in compact.fields():
        high = place.low + compact.top(field, place) * place.step
        unknown = (1 << place.bits) - 1 if field.optional else ""
        step = f"{place.step:g} {field.unit}".strip()
        rows.append((at, field.name, place.bits, step, f"{place.low:g}..{high:g}", unknown))
        at += place.bits
    return out + table(("bit", "field", "bits", "step", "range", "unknown"), rows)


def uplink_md() -> str:
    """The text of docs/uplink.md."""
    out = uplinkwords.INTRO.format(version=VERSION)
    out += uplinkwords.MESSAGES
    out += "".join(message_section(cls) for cls in MESSAGES.values())
    out += "### Capabilities\n\n" + table(
        ("bit", "name"), [(f"0x{bit:04x}", name) for bit, name in names.CAPABILITIES.items()]
    )
    out += compact_section()
    out += uplinkwords.BRIEF
    out += uplinkwords.SPARKPLUG
    return out.rstrip("\n") + "\n"


def outputs() -> dict[str, str]:
    """Every generated file: path below the project's root -> text."""
    return {
        "docs/uplink.md": uplink_md(),
        "protocol/pbal_uplink/schema.json": dump_json(schema.schemas(), indent=1) + "\n",
        "protocol/pbal_uplink/chirpstack.js": uplinkcodec.chirpstack_js(),
        **{
            f"docs/schemas/{topic}.json": dump_json(made, indent=1) + "\n"
            for topic, made in bus_schemas().items()
        },
    }


def stale(root: Path) -> list[str]:
    """The generated files that are missing or out of date."""
    return [
        name
        for name, text in outputs().items()
        if not (root / name).exists() or (root / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or check them. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pbal_tools.uplinkdoc", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's directory")
    args = parser.parse_args(arguments)
    old = stale(args.root)
    for name in old:
        if args.check:
            print(f"{name} is out of date: run python -m pbal_tools.uplinkdoc", file=sys.stderr)
        else:
            (args.root / name).parent.mkdir(parents=True, exist_ok=True)
            (args.root / name).write_text(outputs()[name], encoding="utf-8")
            print(f"wrote {name}")
    return 1 if args.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
