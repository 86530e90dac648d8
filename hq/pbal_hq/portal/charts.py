"""Pictures as SVG, drawn on the server: no script is needed, and the style sheet colours them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from pbal_hq.fleet import Day, HourSum, Row

WIDTH, HEIGHT = 900, 220


def course(days: Sequence[Day], since: datetime, until: datetime) -> tuple[Markup, float]:
    """(the phases' and the neutral's mean currents over time, the value at the top in A).

    A gap of more than two windows is left open.
    """
    top = max([1.0, *(max(d.ia_a, d.ib_a, d.ic_a, d.in_a) for d in days)]) * 1.05
    span = (until - since).total_seconds()

    def x(at: datetime) -> float:
        return WIDTH * (at - since).total_seconds() / span

    parts: list[Markup] = []
    for name in ("ia_a", "ib_a", "ic_a", "in_a"):
        line: list[str] = []
        last: datetime | None = None
        for d in days:
            if last is not None and (d.start_at - last).total_seconds() > 900:
                parts.append(_line(name, line))
                line = []
            y = HEIGHT * (1 - getattr(d, name) / top)
            line.append(f"{x(d.start_at):.1f},{y:.1f}")
            last = d.start_at
        parts.append(_line(name, line))
    parts += [
        Markup('<line class="move" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/>').format(
            x(d.start_at), HEIGHT
        )
        for d in days
        if d.confirmed
    ]
    return Markup("").join(parts), top


def lines(
    courses: Sequence[Sequence[tuple[datetime, float | None]]], since: datetime, until: datetime
) -> tuple[Markup, float, float]:
    """(a line for each course, of the classes l0, l1, ...; the value at the bottom; at the top).

    What is not known is left open. The bottom is 0 where values come near it.
    """
    known = [value for each in courses for _, value in each if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    low = low if low < 0 or low > high / 2 else 0.0
    room = 0.05 * (high - low) or max(1.0, 0.05 * abs(high))
    bottom, top = low - (room if low else 0), high + room
    span = (until - since).total_seconds()
    parts: list[Markup] = []
    for n, each in enumerate(courses):
        line: list[str] = []
        for at, value in (*each, (until, None)):
            if value is None:
                # A single point has no length: its round ends show.
                parts += [_line(f"l{n}", line * 2 if len(line) == 1 else line)] if line else []
                line = []
                continue
            x = WIDTH * (at - since).total_seconds() / span
            line.append(f"{x:.1f},{HEIGHT * (top - value) / (top - bottom):.1f}")
    return Markup("").join(parts), bottom, top


def _line(name: str, points: Sequence[str]) -> Markup:
    return Markup('<polyline class="{}" points="{}"/>').format(name[:2], " ".join(points))


def bars(
    values: Sequence[tuple[str, float, float]], limit: float | None
) -> list[tuple[str, str, float, float, float | None]]:
    """(name, mean A, largest A) -> (name, class, both and the limit in percent of the longest)."""
    longest = max([1.0, limit or 0.0, *(most for _, _, most in values)]) * 1.05
    return [
        (name, f"i{name.lower()}", 100 * mean / longest, 100 * most / longest,
         None if limit is None or name == "N" else 100 * limit / longest)
        for name, mean, most in values
    ]  # fmt: skip


def fleet_map(rows: Sequence[Row]) -> list[tuple[float, float, Row]]:
    """(x, y, transformer) in percent of a square map, north up; those without a place are left out.

    Equirectangular about the middle latitude, both axes to the same scale: good for a district. The
    worst come last, so that they lie above the others where many stand close.
    """
    placed = [(r.longitude, r.latitude, r) for r in rows
              if r.longitude is not None and r.latitude is not None]  # fmt: skip
    if not placed:
        return []
    middle = math.radians((min(p[1] for p in placed) + max(p[1] for p in placed)) / 2)
    flat = [(lon * math.cos(middle), lat, row) for lon, lat, row in placed]
    west, east = min(p[0] for p in flat), max(p[0] for p in flat)
    south, north = min(p[1] for p in flat), max(p[1] for p in flat)
    size = max(east - west, north - south, 1e-4)
    return [
        (4 + 92 * (x - (west + east) / 2 + size / 2) / size,
         96 - 92 * (y - (south + north) / 2 + size / 2) / size, row)
        for x, y, row in sorted(flat, key=lambda each: _above(each[2]))
    ]  # fmt: skip


def _above(row: Row) -> tuple[int, bool]:
    return (row.worst or 0 if row.alarms else 0, bool(row.online))


def phasors(a: float, b: float, c: float) -> tuple[Markup, float, float]:
    """(the three currents as arrows and the neutral that they sum up to; its size, A; the outer
    circle, A). Each current is drawn in phase with its voltage: summaries hold no angles."""
    turn = math.radians(120)
    parts = [("ia", complex(a, 0)), ("ib", b * complex(math.cos(turn), math.sin(turn))),
             ("ic", c * complex(math.cos(turn), -math.sin(turn)))]  # fmt: skip
    total = sum((z for _, z in parts), 0j)
    most = max(1.0, a, b, c, abs(total))
    out = [Markup('<circle class="ring" cx="0" cy="0" r="90"/><circle class="ring" r="45"/>')]
    for name, z in [*parts, ("in", total)]:
        # A up, B a third of a turn later, clockwise.
        x, y = 90 * z.imag / most, -90 * z.real / most
        out.append(
            Markup('<line class="{0}" x1="0" y1="0" x2="{1:.1f}" y2="{2:.1f}"/>').format(name, x, y)
        )
        if abs(z) > 0.06 * most:
            size = math.hypot(x, y)
            out.append(
                Markup('<circle class="{0}" cx="{1:.1f}" cy="{2:.1f}" r="4"/>').format(name, x, y)
            )
            out.append(
                Markup('<text class="{0}" x="{1:.1f}" y="{2:.1f}">{3}</text>').format(
                    name, x * (size + 13) / size, y * (size + 13) / size + 5, name[1].upper()
                )
            )
    return Markup("").join(out), abs(total), most


def heat(hours: Sequence[HourSum], until: datetime, days: int = 28) -> tuple[Markup, float]:
    """(days across, hours of the day down, UTC: the neutral's mean current as shade; the darkest,
    A). Hours without data stay empty."""
    known = [h for h in hours if h.neutral_a is not None]
    top = max([1.0, *(h.neutral_a or 0.0 for h in known)])
    last = until.date()
    cells = []
    for h in known:
        day = days - 1 - (last - h.start_at.date()).days
        if 0 <= day < days and h.neutral_a is not None:
            cells.append(
                Markup(
                    '<rect x="{}" y="{}" width="1" height="1" fill-opacity="{:.2f}">'
                    "<title>{} {:02d}:00 UTC: {:.1f} A</title></rect>"
                ).format(
                    day,
                    h.start_at.hour,
                    0.06 + 0.94 * h.neutral_a / top,
                    h.start_at.date(),
                    h.start_at.hour,
                    h.neutral_a,
                )
            )
    return Markup("").join(cells), top
