"""The page of reports."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from pbal_hq import fleet, reports
from pbal_hq.api import Conn, Routes, TheDesk, papers
from pbal_hq.auth import Permission
from pbal_hq.portal.render import page
from pbal_hq.portal.tree import in_order
from pbal_hq.portal.visitor import Visitor, visitor

routes = Routes("", "reports", who=visitor, include_in_schema=False)


@routes.get("/reports", may=Permission.REPORT_READ)
async def choose(request: Request, who: Visitor, conn: Conn) -> Response:
    """Which area, which period."""
    return page(request, "reports.html", tree=in_order(await fleet.areas(conn, who)),
                columns=reports.COLUMNS)  # fmt: skip


@routes.get("/reports/file", may=Permission.REPORT_READ)
async def file(
    who: Visitor, conn: Conn, desk: TheDesk, area_id: int, period: str, form: papers.Form = "pdf"
) -> Response:
    """The report."""
    return await papers.answer(conn, who, area_id, period.strip(), form, desk)
