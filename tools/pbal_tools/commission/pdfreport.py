"""The report on paper: A4 pages by reportlab, the same tables and pictures as the HTML page."""

import io
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import (
    Image,
    KeepTogether,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

from . import content
from .figures import survey_picture, transfer_picture, watch_picture

_WIDTH = A4[0] - 36 * mm
_SHEET = getSampleStyleSheet()
_BODY = ParagraphStyle("body", parent=_SHEET["BodyText"], fontSize=9, leading=12)
_CELL = ParagraphStyle("cell", parent=_BODY, fontSize=7.5, leading=9)
_HEAD = ParagraphStyle("head", parent=_CELL, fontName="Helvetica-Bold")
_TITLE = ParagraphStyle("title", parent=_SHEET["Heading1"], fontSize=15, spaceAfter=2)
_PART = ParagraphStyle("part", parent=_SHEET["Heading2"], fontSize=11.5)


def _text(words: str, style: ParagraphStyle = _BODY) -> Paragraph:
    # The standard fonts of PDF know Latin letters only.
    known = words.encode("cp1252", "replace").decode("cp1252")
    return Paragraph(escape(known), style)


def _table(rows: list[list[str]], shares: list[float] | None = None) -> Table:
    cells = [[_text(cell, _HEAD if k == 0 else _CELL) for cell in row]
             for k, row in enumerate(rows)]  # fmt: skip
    widths = [_WIDTH * share / sum(shares) for share in shares] if shares else None
    return Table(
        cells, colWidths=widths, repeatRows=1, hAlign="LEFT",
        style=TableStyle([
            ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#bbbbbb")),
            ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#f0f0ee")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            # Narrow enough that a heading of one word stays in one line.
            ("LEFTPADDING", (0, 0), (-1, -1), 3), ("RIGHTPADDING", (0, 0), (-1, -1), 3),
            ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]),
    )  # fmt: skip


def _picture(data: bytes | None) -> list[Any]:
    if data is None:
        return []
    image = Image(io.BytesIO(data))
    scale = _WIDTH / image.imageWidth
    image.drawWidth, image.drawHeight = _WIDTH, image.imageHeight * scale
    return [Spacer(1, 2 * mm), image, Spacer(1, 2 * mm)]


def _home(home: dict[str, Any], data: dict[str, Any]) -> list[Any]:
    flow: list[Any] = []
    verdict = "Passed." if home["ok"] else "Open: " + "; ".join(home["open"]) + "."
    head = [
        _text(f"Home {home['address']} {home['name']}", _PART),
        _text(
            f"Node {home['eui']}, board {home['board'] or '?'}, firmware {home['version'] or '?'}"
            f"{', marked fixed' if home['fixed'] else ''}. {verdict}"
        ),
    ]
    head += [_text("- " + content.witness_words(w), _CELL) for w in home["witnesses"]]
    head += _picture(watch_picture(data, home["address"]))
    flow.append(KeepTogether(head))
    if home["calibration"]:
        flow += [_table(content.calibration_rows(home), [1, 1, 1, 1]), Spacer(1, 2 * mm)]
    if home["moves"]:
        flow.append(
            KeepTogether([
                _table(content.move_rows(home), [5, 4, 11, 9, 8, 9, 7, 13]),
                _text(
                    f"Dwell {home['dwell_s']} s before the test, {home['dwell_after_s']} s read "
                    "back after it.", _CELL,
                ),
                *([_text(content.load_words(home["load"]), _CELL)] if home["load"] else []),
                *_picture(transfer_picture(data, home["address"])),
            ])
        )  # fmt: skip
    elif home["refused"]:
        flow.append(_text(f"No transfer test: {home['refused']}"))
    return flow


def paper(path: Path, report: dict[str, Any], data: dict[str, Any], public: str) -> None:
    """Writes the PDF."""
    site = report["site"]
    title = f"Commissioning report: site {site['id']} {site['name']}, bus {report['bus']}"
    flow: list[Any] = [
        _text(title, _TITLE),
        _text(content.stamp(report["reported_s"])
              + (f"  -  {report['crew']}" if report["crew"] else "")),
        _text("Passed" if report["ok"] else f"{len(report['open'])} open points", _PART),
    ]  # fmt: skip
    if report["remarks"]:
        flow.append(_text(report["remarks"]))
    flow += [_text(("- home " if words[0].isdigit() else "- ") + words) for words in report["open"]]
    flow += [
        _text("Homes", _PART),
        _table(content.summary_rows(report), [6.5, 12, 15.5, 7, 9.5, 11, 9.5, 17, 8]),
        _text(
            "Phases are named by the transformer's meter." if report["metered"] else
            "No meter at the transformer: phases are named by one of the homes, so homes on the "
            "same phase have the same letter, which may be another one there.", _CELL,
        ),
    ]  # fmt: skip
    if report["radio"]:
        flow += [_text("The radio", _PART), _text(report["radio"]), *_picture(survey_picture(data))]
    for home in report["homes"]:
        flow += _home(home, data)
    flow += [
        Spacer(1, 4 * mm),
        _text(
            f"Signed with Ed25519, public key {public}. Check it: pbal commission verify FOLDER "
            f"--public {public}", _CELL,
        ),
    ]  # fmt: skip

    def foot(canvas: Any, document: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 7)
        canvas.drawString(18 * mm, 10 * mm, f"site {site['id']}, bus {report['bus']}, "
                          f"{content.stamp(report['reported_s'])}, key {public[:16]}")  # fmt: skip
        canvas.drawRightString(A4[0] - 18 * mm, 10 * mm, f"page {document.page}")
        canvas.restoreState()

    SimpleDocTemplate(
        str(path), pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=16 * mm,
        bottomMargin=18 * mm, title=title, author=report["crew"] or "pbal",
    ).build(flow, onFirstPage=foot, onLaterPages=foot)  # fmt: skip
