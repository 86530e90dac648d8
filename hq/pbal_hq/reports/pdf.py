"""A report as PDF, A4 across, by reportlab."""

from __future__ import annotations

import io
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from pbal_hq.reports.figures import COLUMNS, Report

_SHEET = getSampleStyleSheet()
_BODY = ParagraphStyle("body", parent=_SHEET["BodyText"], fontSize=9, leading=12)
_CELL = ParagraphStyle("cell", parent=_BODY, fontSize=7.5, leading=9)
_RIGHT = ParagraphStyle("right", parent=_CELL, alignment=2)
_HEAD = ParagraphStyle("head", parent=_RIGHT, fontName="Helvetica-Bold")
_TITLE = ParagraphStyle("title", parent=_SHEET["Heading1"], fontSize=15, spaceAfter=2)
_PART = ParagraphStyle("part", parent=_SHEET["Heading2"], fontSize=11)


def _text(words: str, style: ParagraphStyle = _BODY) -> Any:
    # The standard fonts of PDF know Latin letters only.
    return Paragraph(escape(words.encode("cp1252", "replace").decode("cp1252")), style)


def _numbers(values: list[float | None]) -> list[Any]:
    return [
        _text("-" if v is None else f"{v:,.{c.digits}f}", _RIGHT)
        for c, v in zip(COLUMNS, values, strict=True)
    ]


def paper(report: Report) -> bytes:
    """The PDF's bytes."""
    head = [_text("transformer", _HEAD), _text("name", _HEAD)]
    head += [_text(f"{c.name} {c.unit}".strip(), _HEAD) for c in COLUMNS]
    rows = [head]
    rows += [[_text(code, _CELL), _text(name, _CELL), *_numbers(values)]
             for code, name, values in report.rows]  # fmt: skip
    rows.append([_text("all", _CELL), "", *_numbers(report.totals)])
    width = landscape(A4)[0] - 30 * mm
    shares = [2.2, 3.0, *(1.0 for _ in COLUMNS)]
    table = Table(
        rows, colWidths=[width * share / sum(shares) for share in shares], repeatRows=1,
        style=TableStyle([
            ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#bbbbbb")),
            ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor("#f0f0ee")),
            ("BACKGROUND", (0, -1), (-1, -1), colors.HexColor("#f0f0ee")),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), 2), ("RIGHTPADDING", (0, 0), (-1, -1), 2),
        ]),
    )  # fmt: skip
    made = report.made_at.strftime("%Y-%m-%d %H:%M UTC")
    flow = [
        _text(f"Transformers of {report.area}", _TITLE),
        _text(
            f"{report.period}, days in UTC. {len(report.rows)} transformers,"
            f" {report.alarms} alarms raised. Made {made} by {report.made_by}, answered by"
            f" {report.answered_by}."
        ),
        Spacer(1, 4 * mm),
        table,
        _text("What the columns say", _PART),
        *(_text(f"- {line}", _CELL) for line in report.definitions),
    ]
    out = io.BytesIO()
    SimpleDocTemplate(
        out, pagesize=landscape(A4), leftMargin=15 * mm, rightMargin=15 * mm, topMargin=14 * mm,
        bottomMargin=14 * mm, title=f"{report.area} {report.period}", author="pbal HQ",
    ).build(flow)  # fmt: skip
    return out.getvalue()
