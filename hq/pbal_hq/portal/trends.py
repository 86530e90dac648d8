"""The page of figures over hours and days, by area."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import Response

from pbal_hq import fleet, reports
from pbal_hq.api import Conn, Routes, TheDesk, trends
from pbal_hq.auth import Permission
from pbal_hq.errors import BadInput
from pbal_hq.portal import charts
from pbal_hq.portal.grid import number
from pbal_hq.portal.render import page
from pbal_hq.portal.tree import in_order
from pbal_hq.portal.visitor import Visitor, visitor
from pbal_hq.reports import Column, Course, Quantile

routes = Routes("", "trends", who=visitor, include_in_schema=False)
P = Permission
DRAWN = 8  # lines that can be told apart
_LISTED = 50
_DAYS = 7


@dataclass(frozen=True)
class Line:
    """An area's course of one figure."""

    area: str
    transformers: int
    course: list[tuple[datetime, float | None]]

    @property
    def known(self) -> list[float]:
        """The values that are known."""
        return [value for _, value in self.course if value is not None]


def lines(found: Course, figure: Column | Quantile) -> list[Line]:
    """Each area's, the worst first: the largest values, or the lowest of what is a minimum."""
    n = reports.FIGURES.index(figure)
    made = [
        Line(area, max(p.transformers for p in points), [(p.at, p.values[n]) for p in points])
        for area, points in found.by_area().items()
    ]
    low = isinstance(figure, Column) and (figure.total == "min" or figure.name == "complete")

    def rank(line: Line) -> tuple[bool, float, str]:
        known = line.known
        mean = sum(known) / len(known) if known else 0.0
        return not known, mean if low else -mean, line.area

    return sorted(made, key=rank)


def figure_of(name: str) -> Column | Quantile:
    """Raises BadInput."""
    for each in reports.FIGURES:
        if each.name == name:
            return each
    raise BadInput(f"Show one of {', '.join(each.name for each in reports.FIGURES)}.")


def _period(since: str, last: str, today: date) -> tuple[str, str]:
    """As given, else the week up to yesterday."""
    last = last or str(today - timedelta(days=1))
    if not since:
        try:
            since = str(date.fromisoformat(last) - timedelta(days=_DAYS - 1))
        except (ValueError, OverflowError):
            since = last  # what is wrong with it is said where it is read
    return since, last


@routes.get("/trends", may=P.TREE_READ)
async def show(
    request: Request, who: Visitor, conn: Conn, desk: TheDesk, area_id: str = "",
    by: str = "district", step: str = "days", since: str = "", last: str = "",
    figure: str = "neutral",
) -> Response:  # fmt: skip
    """A figure's course, by area."""
    today = datetime.fromtimestamp(desk.wall(), UTC).date()
    since, last = _period(since, last, today)
    area, shown, too_much, found = number(area_id, "area_id"), figure_of(figure), "", None
    try:
        found = await trends.ask(conn, who, desk, area, by, step, since, last)
    except BadInput as error:
        if request.query_params:
            raise
        too_much = str(error)  # nobody asked for it: the form comes with the reason
    every = lines(found, shown) if found else []
    if found and not request.query_params and not any(line.known for line in every):
        # Of a fleet that began today no day is over, but hours are.
        with contextlib.suppress(BadInput):
            hours = await trends.ask(conn, who, desk, area, by, "hours", str(today), str(today))
            of_today = lines(hours, shown)
            if any(line.known for line in of_today):
                found, every = hours, of_today
                step, since, last = "hours", str(today), str(today)
    known = [line for line in every if line.known]
    drawn = known[:DRAWN]
    picture = None
    if found and drawn:
        q = found.question
        picture = charts.lines([line.course for line in drawn], q.since, min(q.until, q.now))
    chosen = {"area_id": area_id, "by": by, "step": step, "since": since, "last": last}
    return page(
        request, "trends.html", found=found, figure=shown, figures=reports.FIGURES,
        lines=every[:_LISTED], many=len(known), drawn=drawn, picture=picture, chosen=chosen,
        area=area, query=urlencode(chosen), levels=reports.LEVELS, steps=list(reports.STEPS),
        too_much=too_much, tree=in_order(await fleet.areas(conn, who)),
        quantile=isinstance(shown, Quantile),
    )  # fmt: skip


@routes.get("/trends/file", may=P.TREE_READ)
async def file(
    who: Visitor, conn: Conn, desk: TheDesk, area_id: str = "", by: str = "district",
    step: str = "days", since: str = "", last: str = "",
) -> Response:  # fmt: skip
    """All figures of it as CSV."""
    since, last = _period(since, last, datetime.fromtimestamp(desk.wall(), UTC).date())
    area = number(area_id, "area_id")
    return trends.file(await trends.ask(conn, who, desk, area, by, step, since, last))
