"""Figures of areas over hours or days, over the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from starlette.responses import Response

from pbal_hq import reports
from pbal_hq.api.declare import Caller, Conn, Routes, TheDesk
from pbal_hq.api.desk import Desk
from pbal_hq.auth import Permission, Who
from pbal_hq.database import Connection
from pbal_hq.reports import Course
from pbal_hq.reports.course import day

routes = Routes("/api/v1", "trends")


async def ask(
    conn: Connection,
    who: Who,
    desk: Desk,
    area_id: int | None,
    level: str,
    step: str,
    since: str,
    last: str,
) -> Course:
    """The days as in 2026-11-28. Raises NotAllowed, NothingToDo, BadInput."""
    return await reports.make_course(
        conn, who, area_id, level, step, day(since, "The first day"), day(last, "The last day"),
        datetime.fromtimestamp(desk.wall(), UTC), desk.reported_by,
    )  # fmt: skip


def file(found: Course) -> Response:
    """All figures as CSV."""
    since, last = found.days
    name = f"pbal-{found.level}-{since}-{last}-{found.question.step}.csv"
    return Response(
        reports.table(found).encode("utf-8-sig"), media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )  # fmt: skip


@routes.get("/trends", may=Permission.TREE_READ, response_class=Response)
async def trends(
    who: Caller, conn: Conn, desk: TheDesk, since: str, last: str, area_id: int | None = None,
    by: Literal["state", "district", "division", "feeder", "transformer"] = "district",
    step: Literal["hours", "days"] = "days",
) -> Response:  # fmt: skip
    """Figures by area for each hour or day, the days `since` to `last` (UTC), as CSV."""
    return file(await ask(conn, who, desk, area_id, by, step, since, last))
