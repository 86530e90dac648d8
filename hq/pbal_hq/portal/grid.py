"""Pages about transformers, alarms and orders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request
from starlette.responses import Response

from pbal_hq import alarms, commands, fleet
from pbal_hq.api import Conn, Routes, TheDesk
from pbal_hq.auth import MEANINGS, Permission
from pbal_hq.commands import rules
from pbal_hq.errors import BadInput
from pbal_hq.portal import charts
from pbal_hq.portal.render import back, page
from pbal_hq.portal.tree import branch, in_order
from pbal_hq.portal.visitor import Form, Visitor, visitor
from pbal_uplink import names

routes = Routes("", "grid", who=visitor, include_in_schema=False)
P = Permission
LIMIT = 50
_AREAS = 20


def number(text: str, what: str) -> int | None:
    """A whole number of a form; None where it is empty. Raises BadInput."""
    try:
        return int(text) if text else None
    except ValueError:
        raise BadInput(f"{what} is a whole number.") from None


@routes.get("/", may=P.TREE_READ)
async def overview(
    request: Request, who: Visitor, conn: Conn, area_id: str = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:  # fmt: skip
    """How many, in trouble, saved; and the areas right below one."""
    below = branch(await fleet.areas(conn, who), number(area_id, "area_id"))
    return page(
        request, "overview.html", c=await fleet.counts(conn, who),
        worst=await fleet.transformers(conn, who, limit=10), branch=below,
        areas=below.areas[offset : offset + _AREAS], offset=offset, limit=_AREAS,
        query=urlencode({"area_id": area_id}),
    )  # fmt: skip


@routes.get("/transformers", may=P.TREE_READ)
async def transformers(
    request: Request, who: Visitor, conn: Conn, sort: str = "alarms", area_id: str = "",
    find: Annotated[str, Query(max_length=100)] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:  # fmt: skip
    """The ranking."""
    area = number(area_id, "area_id")
    found = await fleet.transformers(
        conn, who, sort=sort, area_id=area, find=find, offset=offset, limit=LIMIT
    )
    return page(
        request, "transformers.html", list=found, sort=sort, find=find, area_id=area,
        sorts=list(fleet.SORTS), offset=offset, limit=LIMIT,
        query=urlencode({"sort": sort, "find": find, "area_id": area_id}),
        tree=in_order(await fleet.areas(conn, who)),
    )  # fmt: skip


@routes.get("/map", may=P.TREE_READ)
async def the_map(request: Request, who: Visitor, conn: Conn) -> Response:
    """Where they stand."""
    most = 2000
    rows = await fleet.transformers(conn, who, limit=most)
    return page(request, "map.html", dots=charts.fleet_map(rows),
                more=most if len(rows) == most else 0)  # fmt: skip


@routes.get("/transformers/{transformer_id}", may=P.TREE_READ)
async def transformer(
    request: Request, transformer_id: int, who: Visitor, conn: Conn, days: Literal["1", "7"] = "1"
) -> Response:
    """One transformer."""
    found = await fleet.transformer(conn, who, transformer_id)
    until = datetime.now(UTC)
    since = until - timedelta(days=int(days))
    windows = await fleet.day(conn, who, transformer_id, since, until)
    course, top = charts.course(windows, since, until)
    hours = await fleet.hours(conn, who, transformer_id)
    window, state = found.window, found.state or {}
    limit = state.get("phase_limit_a")
    amps = {} if window is None else {
        p.upper(): (window[f"i{p}_mean_a"], window[f"i{p}_max_a"]) for p in "abcn"
    }  # fmt: skip
    allowed = who.permissions
    arrows = charts.phasors(*(amps[p][0] for p in "ABC")) if amps else None
    return page(
        request, "transformer.html", t=found, windows=windows, course=course, top=top, amps=amps,
        band=(await alarms.bands(conn, [found.row.id], until)).get(found.row.id),
        days=int(days), since=since, until=until, arrows=arrows,
        heat=charts.heat(hours, until) if hours else None,
        homes=await fleet.homes(conn, who, transformer_id), limit=limit,
        bars=charts.bars([(p, *both) for p, both in amps.items()], limit),
        version=fleet.version_words(state.get("version")),
        alarms=await alarms.listed(conn, who, transformer_id=transformer_id, limit=20)
        if P.ALARM_READ in allowed else [],
        moves=await fleet.events(
            conn, who, transformer_id, kind=names.KIND_SWITCHING, limit=20
        ),
        commands=await commands.listed(conn, who, transformer_id=transformer_id, limit=10)
        if P.COMMAND_READ in allowed else [],
    )  # fmt: skip


@routes.get("/fleet", may=P.TREE_READ)
async def health(request: Request, who: Visitor, conn: Conn) -> Response:
    """How sites and controllers are."""
    return page(request, "fleet.html", h=await fleet.health(conn, who))


@routes.get("/where-next", may=P.TREE_READ)
async def where_next(
    request: Request, who: Visitor, conn: Conn,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:  # fmt: skip
    """Which transformers should have a site next."""
    found = await fleet.prospects(conn, who, limit=LIMIT, offset=offset)
    return page(request, "next.html", list=found, offset=offset, limit=LIMIT, done=0)


@routes.post("/where-next", may=P.IMPORT)
async def take_study(request: Request, who: Visitor, conn: Conn, given: Form) -> Response:
    """Another study."""
    done = await fleet.take_study(conn, who, given.get("file", ""))
    found = await fleet.prospects(conn, who, limit=LIMIT)
    return page(request, "next.html", list=found, offset=0, limit=LIMIT, done=done)


@routes.post("/transformers/{transformer_id}/commands", may=P.COMMAND_ASK)
async def order(
    transformer_id: int, who: Visitor, conn: Conn, desk: TheDesk, given: Form
) -> Response:
    """Order something of its site."""
    kind, _, mode = given.get("kind", "").partition(" ")
    try:
        phase = float(given["phase_limit_a"]) if given.get("phase_limit_a") else None
    except ValueError:
        raise BadInput("The phase limit is a number of amperes.") from None
    share = number(given.get("max_moving_percent", ""), "The share of moving homes")
    wish = commands.Wish(kind, mode or None, phase, share, given.get("release") or None)
    good_for_s = number(given.get("good_for_s", ""), "How long it is good for") or 3600
    await commands.ask(
        conn, who, transformer_id, wish, given.get("why", ""), good_for_s, desk.signer, desk.wall()
    )
    return back(f"/transformers/{transformer_id}")


@routes.get("/commands", may=P.COMMAND_READ)
async def command_list(
    request: Request, who: Visitor, conn: Conn, before: int | None = None
) -> Response:
    """Orders, those that wait for a second person first."""
    return page(
        request, "commands.html", limit=LIMIT, rules=rules.table(), meanings=MEANINGS,
        waiting=[] if before else await commands.listed(conn, who, status="asked", limit=LIMIT),
        list=await commands.listed(conn, who, before=before, limit=LIMIT),
    )  # fmt: skip


@routes.post("/commands/{command_id}/approve", may=P.COMMAND_APPROVE)
async def approve(command_id: int, who: Visitor, conn: Conn, desk: TheDesk, _: Form) -> Response:
    """Release an order as second person."""
    await commands.approve(conn, who, command_id, desk.signer, desk.wall())
    return back("/commands")


@routes.post("/commands/{command_id}/withdraw", may=P.COMMAND_APPROVE)
async def withdraw(command_id: int, who: Visitor, conn: Conn, _: Form) -> Response:
    """Take an order back."""
    await commands.withdraw(conn, who, command_id)
    return back("/commands")


@routes.get("/alarms", may=P.ALARM_READ)
async def alarm_list(
    request: Request, who: Visitor, conn: Conn, state: str = "", before: int | None = None
) -> Response:
    """Alarms."""
    found = await alarms.listed(conn, who, state=state, before=before, limit=LIMIT)
    return page(request, "alarms.html", list=found, state=state, limit=LIMIT)


@routes.get("/alarms/{alarm_id}", may=P.ALARM_READ)
async def alarm(request: Request, alarm_id: int, who: Visitor, conn: Conn) -> Response:
    """One alarm, and what one can do with it."""
    return page(request, "alarm.html", a=await alarms.get(conn, who, alarm_id),
                notes=await alarms.notes(conn, who, alarm_id),
                traces=await alarms.traces(conn, who, alarm_id))  # fmt: skip


@routes.post("/alarms/{alarm_id}/acknowledge", may=P.ALARM_HANDLE)
async def acknowledge(alarm_id: int, who: Visitor, conn: Conn, given: Form) -> Response:
    """Say that one cares for it."""
    await alarms.acknowledge(conn, who, alarm_id, given.get("words", ""))
    return back(f"/alarms/{alarm_id}")


@routes.post("/alarms/{alarm_id}/comment", may=P.ALARM_HANDLE)
async def comment(alarm_id: int, who: Visitor, conn: Conn, given: Form) -> Response:
    """Write at it."""
    await alarms.comment(conn, who, alarm_id, given.get("words", ""))
    return back(f"/alarms/{alarm_id}")


@routes.post("/alarms/{alarm_id}/shelve", may=P.ALARM_HANDLE)
async def shelve(alarm_id: int, who: Visitor, conn: Conn, given: Form) -> Response:
    """Set it aside."""
    for_s = number(given.get("for_s", ""), "The time") or 0
    await alarms.shelve(conn, who, alarm_id, for_s, given.get("words", ""))
    return back(f"/alarms/{alarm_id}")


@routes.post("/alarms/{alarm_id}/close", may=P.ALARM_HANDLE)
async def close(alarm_id: int, who: Visitor, conn: Conn, given: Form) -> Response:
    """End it by hand."""
    await alarms.close(conn, who, alarm_id, given.get("words", ""))
    return back(f"/alarms/{alarm_id}")
