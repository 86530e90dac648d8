"""A wiring picture (SVG) drawn from a board file: which GPIO goes to which part, and how.

One row for each pin, parts as boxes on the right, in file order; nothing is drawn that the file
does not say.
"""

from dataclasses import dataclass
from html import escape

from pbal_build import CHIPS, Board, Use, check, uses

ROW = 26
GAP = 22
LEFT, CHIP_WIDTH, WIRE, PART_WIDTH = 24, 190, 190, 430
COLOURS = {
    "relay": "#b3261e",
    "analog": "#1b7837",
    "out": "#1f4e9c",
    "in": "#7a5195",
    "button": "#555555",
}
ROLE_WORDS = {
    "relay": "drives a relay",
    "analog": "analogue in",
    "out": "output",
    "in": "input",
    "button": "input, pull-up",
}


@dataclass(frozen=True)
class Part:
    """A box on the right: its title, a line on how it is connected, and its pins with labels."""

    title: str
    words: str
    pins: list[tuple[Use, str]]


# What the other end of a wire is called on the part.
_LABELS = {
    "uart.rs485.tx": "DI (driver in)",
    "uart.rs485.rx": "RO (receiver out)",
    "uart.rs485.de": "DE and /RE, tied together",
    "uart.rs485.re": "/RE",
    "uart.meter.tx": "RX of the meter, isolated",
    "uart.meter.rx": "TX of the meter, isolated",
    "sense.va": "supply phase A",
    "sense.vb": "supply phase B",
    "sense.vc": "supply phase C",
    "sense.vout": "output, after the selector",
    "sense.ct": "current transformer and burden",
    "led.pin": "LED with its resistor to GND",
    "button.pin": "button to GND, held at reset: program not started",
}


def parts(board: Board) -> list[Part]:
    """The parts around the chip, from the file's tables."""
    tables = board.tables
    groups: dict[str, list[Use]] = {}
    for use in uses(board):
        words = use.where.split(".")
        groups.setdefault(".".join(words[:2]) if words[0] == "uart" else words[0], []).append(use)
    out = []
    for name, members in groups.items():
        title, how = _describe(name, tables)
        out.append(Part(title, how, [(use, _label(use)) for use in members]))
    return out


def _describe(name: str, tables: dict[str, object]) -> tuple[str, str]:
    def table(key: str) -> dict[str, object]:
        found: object = tables
        for word in key.split("."):
            found = found.get(word, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}

    inner = table(name)
    if name == "uart.rs485":
        baud = inner.get("baud", 115200)
        return (
            "RS-485 transceiver, 3.3 V",
            f"UART {inner.get('id')}, {baud} baud 8E1; A, B to the bus",
        )
    if name == "uart.meter":
        kind = str(table("meter").get("kind", "pzem"))
        what = "PZEM-004T v3 meter" if kind == "pzem" else f"meter ({kind})"
        return what, f"UART {inner.get('id')}, {inner.get('baud', 9600)} baud 8N1; at the output"
    if name == "sense":
        scale, bias = inner.get("volts_per_volt"), inner.get("bias_v")
        return (
            "Voltage transformers and front end",
            f"{scale} V of mains for 1 V at the pin, biased to {bias} V",
        )
    if name == "selector":
        sort, level = inner.get("kind"), inner.get("on_level", 1)
        lock = inner.get("interlock", "none")
        return (
            f"Phase selector, {sort}",
            f"on = {'high' if level else 'low'}; dead time {inner.get('dead_time_ms')} ms; "
            f"hardware interlock: {lock}",
        )
    if name in ("radio", "lora"):
        return f"Radio {inner.get('kind', '') or inner.get('chip', '')}".strip(), "SPI"
    return {"led": "Lamp", "button": "Button"}.get(name, name), ""


def _label(use: Use) -> str:
    if use.where in _LABELS:
        return _LABELS[use.where]
    last = use.where.rsplit(".", 1)[-1]
    if use.role == "relay":
        phase = next((p for p in last.split("_") if p in "abc" and len(p) == 1), "")
        action = last.replace(phase, "", 1).strip("_")
        return f"contact {phase.upper()}" + (f", {action}" if action else "")
    return last.upper()


def svg(board: Board) -> str:
    """The picture as a self-contained SVG document."""
    chip = CHIPS[board.board.chip]
    boxes = parts(board)
    top = 92
    height = top + sum(_head(b) + len(b.pins) * ROW + GAP for b in boxes) + 56
    right = LEFT + CHIP_WIDTH + WIRE
    width = right + PART_WIDTH + LEFT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif">',
        f"<title>Wiring of {escape(board.board.name)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 34, board.board.name, 22, weight="bold"),
        _text(LEFT, 58, board.board.description, 13, "#444444"),
        f'<rect x="{LEFT}" y="{top - 18}" width="{CHIP_WIDTH}" height="{height - top - 46}" '
        'rx="8" fill="#f2f4f7" stroke="#333333" stroke-width="1.5"/>',
        _text(LEFT + 14, top + 8, chip.title, 16, weight="bold"),
    ]
    marks = {
        finding.where: finding.level for finding in check(board) if finding.where.count(".") >= 1
    }
    y = top
    for box in boxes:
        head = _head(box)
        tall = head + len(box.pins) * ROW
        out.append(
            f'<rect x="{right}" y="{y}" width="{PART_WIDTH}" height="{tall}" rx="6" '
            'fill="#fbfaf5" stroke="#333333"/>'
        )
        out.append(_text(right + 12, y + 20, box.title, 13, weight="bold"))
        out.append(_text(right + 12, y + 36, box.words, 11, "#555555"))
        for number, (use, label) in enumerate(box.pins):
            row = y + head + number * ROW + 8
            out += _wire(use, label, row, right, marks.get(use.where))
        y += tall + GAP
    out.append(
        _text(
            LEFT,
            height - 22,
            "Mains voltages are on the selector, the meter and the transformers: "
            f"disconnect before work.   Pin data: {chip.source}.",
            11,
            "#555555",
        )
    )
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _head(part: Part) -> int:
    return 50 if part.words else 34


def _wire(use: Use, label: str, row: int, right: int, mark: str | None) -> list[str]:
    colour = COLOURS[use.role]
    start = LEFT + CHIP_WIDTH
    out = [
        f'<circle cx="{start}" cy="{row}" r="4" fill="{colour}"/>',
        f'<line x1="{start}" y1="{row}" x2="{right}" y2="{row}" stroke="{colour}" '
        'stroke-width="2"/>',
        f'<circle cx="{right}" cy="{row}" r="4" fill="{colour}"/>',
        _text(start - 12, row + 5, f"GPIO{use.pin}", 14, anchor="end", weight="bold"),
        _text(start + 14, row - 5, ROLE_WORDS[use.role], 10, colour),
        _text(right + 14, row + 5, label, 13),
    ]
    if mark:
        sign, shade = ("!", "#b3261e") if mark == "error" else ("i", "#b26a00")
        out.append(f'<circle cx="{start + 168}" cy="{row - 9}" r="7" fill="{shade}"/>')
        out.append(_text(start + 168, row - 5, sign, 11, "white", anchor="middle", weight="bold"))
    return out


def _text(
    x: int, y: int, words: str, size: int, fill: str = "#111111", anchor: str = "start",
    weight: str = "normal",
) -> str:  # fmt: skip
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )
