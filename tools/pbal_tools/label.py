"""Labels for nodes: a QR code, and text that people can read. No secret is on them.

The QR code says `PBAL1 EUI SITE ADDRESS` separated by colons, in letters and digits only, so that
it fits the compact alphanumeric mode and any telephone reads it.
"""

import io
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from pbal_controller.naming import shown

from .errors import InputError
from .extras import require
from .output import check_writable

# A4 with 3 x 8 labels of 70 x 37 mm, the commonest office sheet without margins between labels.
PAGE_MM = (210.0, 297.0)
LABEL_MM = (70.0, 37.0)
PER_ROW, PER_PAGE = 3, 24
PNG_DOTS_PER_MM = 12  # 300 dpi
TEXT_MM = 35.0
NAME_WIDTH = 20  # letters of a name in one line; two lines hold 40


@dataclass(frozen=True)
class Label:
    """The content of one label."""

    eui: str
    site: int
    address: int
    name: str = ""
    site_name: str = ""

    @property
    def code(self) -> str:
        """The content of the QR code."""
        return f"PBAL1:{self.eui.upper()}:{self.site}:{self.address}"

    def lines(self) -> list[str]:
        """The words beside it: the name in one line or two, then address, site and EUI."""
        where = f"segment {self.address >> 8}, unit {self.address & 255}"
        words = textwrap.wrap(
            shown(self.name) or f"node {self.address}", NAME_WIDTH, max_lines=2, placeholder="..."
        ) or [f"node {self.address}"]
        words.append(f"address {self.address} ({where})")
        words.append(f"site {self.site}" + (f" {shown(self.site_name)}" if self.site_name else ""))
        eui = self.eui.upper()
        words.append("EUI " + "-".join(eui[i : i + 4] for i in range(0, len(eui), 4)))
        return words

    @property
    def heading(self) -> int:
        """How many of the lines are the name."""
        return len(self.lines()) - 3


def parse(code: str) -> Label:
    """Reads back the content of a label's QR code. Raises InputError."""
    parts = code.strip().split(":")
    if len(parts) == 4 and parts[0] == "PBAL1" and len(parts[1]) == 16:
        try:
            bytes.fromhex(parts[1])
            return Label(parts[1].lower(), int(parts[2]), int(parts[3]))
        except ValueError:
            pass
    raise InputError(f"{code!r} is no label of a pbal node.", "Scan the label on the node.")


def _qr(label: Label) -> Any:
    import segno

    # Quartile correction: a label in a meter box gets dirty.
    return segno.make(label.code, error="q", micro=False)


def _ems(line: str) -> float:
    """How wide a line may be, in its font's size: overprint makes the next code unreadable."""
    return sum(
        1.0 if ch in "WM@" or ord(ch) > 0x2E80 else 0.75 if ch.isupper() else 0.56 for ch in line
    )


def _fragment(label: Label, x: float, y: float) -> str:
    """One label as SVG in millimetres, its upper left corner at (x, y)."""
    code = _qr(label)
    side = 29.0
    modules = code.symbol_size(border=4)[0]
    rows = []
    for row, cells in enumerate(code.matrix_iter(border=4)):
        start = None
        for column, dark in enumerate([*cells, 0]):
            if dark and start is None:
                start = column
            elif not dark and start is not None:
                rows.append(f"M{start} {row}h{column - start}v1h-{column - start}z")
                start = None
    scale = side / modules
    out = [
        f'<g transform="translate({x:g} {y:g})">',
        f'<g transform="translate(2 4) scale({scale:.5f})"><path d="{"".join(rows)}"/></g>',
    ]
    for number, line in enumerate(label.lines()):
        size, weight = (3.6, "bold") if number < label.heading else (2.7, "normal")
        # Fonts differ from printer to printer: text that may come out too wide has its width set.
        wide = _ems(line) * size > TEXT_MM
        fit = f'textLength="{TEXT_MM:g}" lengthAdjust="spacingAndGlyphs" ' if wide else ""
        out.append(
            f'<text x="33" y="{10 + number * 5.2:g}" font-size="{size}" font-weight="{weight}" '
            f"{fit}>{escape(line)}</text>"
        )
    out.append("</g>")
    return "".join(out)


def _document(width: float, height: float, body: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}mm" height="{height:g}mm" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="Helvetica, Arial, sans-serif">'
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>{body}</svg>\n'
    )


def svg(label: Label) -> str:
    """One label, 70 x 37 mm."""
    return _document(*LABEL_MM, _fragment(label, 0, 0))


def sheets(labels: list[Label]) -> list[str]:
    """A4 pages of 24 labels each, ready for the printer."""
    pages = []
    for first in range(0, len(labels), PER_PAGE):
        body = [
            _fragment(label, n % PER_ROW * LABEL_MM[0], n // PER_ROW * LABEL_MM[1])
            for n, label in enumerate(labels[first : first + PER_PAGE])
        ]
        pages.append(_document(*PAGE_MM, "".join(body)))
    return pages


def png(label: Label) -> bytes:
    """One label as a picture at 300 dpi, for label printers that take no SVG."""
    from PIL import Image, ImageDraw, ImageFont

    dots = PNG_DOTS_PER_MM
    picture = Image.new("L", (int(LABEL_MM[0] * dots), int(LABEL_MM[1] * dots)), 255)
    code = _qr(label)
    modules = code.symbol_size(border=4)[0]
    scale = int(29 * dots / modules)
    stream = io.BytesIO()
    code.save(stream, kind="png", scale=scale, border=4)
    stream.seek(0)
    picture.paste(Image.open(stream).convert("L"), (2 * dots, 4 * dots))
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(label.lines()):
        size = (3.6 if number < label.heading else 2.7) * dots
        font = ImageFont.load_default(size)
        while pen.textlength(line, font) > 36 * dots and size > 12:
            size -= 1
            font = ImageFont.load_default(size)
        pen.text((33 * dots, int((7 + number * 5.2) * dots)), line, fill=0, font=font)
    out = io.BytesIO()
    picture.save(out, "PNG", dpi=(300, 300))
    return out.getvalue()


def check(path: Path) -> None:
    """Whether labels can be written there, asked before a node is touched.

    Raises InputError, MissingError.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"{path}: labels are .svg or .png.", "Name such a file.")
    require("flash", "segno", *(("PIL",) if path.suffix.lower() == ".png" else ()))
    check_writable(path)


def write(labels: list[Label], path: Path) -> list[Path]:
    """Writes labels to a file: .png one label, .svg one label or a sheet; further pages get a
    number. Returns the files.

    Raises as `check`, and InputError when there are none.
    """
    if not labels:
        raise InputError("There are no nodes to make labels for.", "Provision some first.")
    check(path)
    kind = path.suffix.lower()
    if kind == ".png":
        files = (
            [path]
            if len(labels) == 1
            else [path.with_stem(f"{path.stem}-{label.address}") for label in labels]
        )
        for file, label in zip(files, labels, strict=True):
            file.write_bytes(png(label))
        return files
    pages = [svg(labels[0])] if len(labels) == 1 else sheets(labels)
    files = [path if n == 0 else path.with_stem(f"{path.stem}-{n + 1}") for n in range(len(pages))]
    for file, page in zip(files, pages, strict=True):
        file.write_text(page, encoding="utf-8")
    return files
