"""Reports over the API."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Literal

from starlette.responses import Response

from pbal_hq import reports
from pbal_hq.api.declare import Caller, Conn, Routes, TheDesk
from pbal_hq.api.desk import Desk
from pbal_hq.auth import Permission, Who
from pbal_hq.database import Connection

routes = Routes("/api/v1", "reports")
Form = Literal["csv", "pdf"]


async def answer(
    conn: Connection, who: Who, area_id: int, period: str, form: Form, desk: Desk
) -> Response:
    """A report as a file. Raises NotAllowed, NothingToDo, BadInput."""
    now = datetime.fromtimestamp(desk.wall(), UTC)
    report = await reports.make(conn, who, area_id, period, now, desk.reported_by)
    name = f'attachment; filename="pbal-{area_id}-{report.period}.{form}"'
    if form == "csv":
        body, kind = reports.sheet(report).encode("utf-8-sig"), "text/csv; charset=utf-8"
    else:
        body, kind = await asyncio.to_thread(reports.paper, report), "application/pdf"
    return Response(body, media_type=kind, headers={"content-disposition": name})


@routes.get("/reports/{area_id}/{period}", may=Permission.REPORT_READ, response_class=Response)
async def report(
    area_id: int, period: str, who: Caller, conn: Conn, desk: TheDesk, form: Form = "csv"
) -> Response:
    """An area's report of a month (2026-11) or a day (2026-11-28)."""
    return await answer(conn, who, area_id, period, form, desk)
