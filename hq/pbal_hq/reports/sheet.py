"""A report as CSV (RFC 4180): what it is, the table, and what its columns say."""

from __future__ import annotations

import csv
import io

from pbal_hq.reports.figures import COLUMNS, Report


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, whatever it is."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def sheet(report: Report) -> str:
    """The text; numbers with a point, empty where not known."""
    out = io.StringIO()
    write = csv.writer(out).writerow
    write(["area", cell(report.area)])
    write(["period", report.period, "days in UTC"])
    write(["made", report.made_at.isoformat(timespec="seconds"), "by", report.made_by])
    write(["answered by", report.answered_by])
    write(["alarms raised", report.alarms])
    write([])
    write(["transformer", "name",
           *(f"{c.name} ({c.unit})" if c.unit else c.name for c in COLUMNS)])  # fmt: skip
    for code, name, values in report.rows:
        write([cell(code), cell(name), *_numbers(values)])
    write(["all", "", *_numbers(report.totals)])
    write([])
    for line in report.definitions:
        write([line])
    return out.getvalue()


def _numbers(values: list[float | None]) -> list[str]:
    return [
        "" if value is None else f"{value:.{max(column.digits, 1)}f}"
        for column, value in zip(COLUMNS, values, strict=True)
    ]
