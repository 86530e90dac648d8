"""Pages of administration: users, the audit log, dead letters."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import Request
from starlette.responses import Response

from pbal_hq import audit, fleet
from pbal_hq.api import Conn, Routes
from pbal_hq.auth import MEANINGS, ROLES, Grant, Permission, Role, people, services
from pbal_hq.errors import BadInput
from pbal_hq.portal.grid import LIMIT, number
from pbal_hq.portal.render import back, page
from pbal_hq.portal.tree import in_order
from pbal_hq.portal.visitor import Form, Visitor, visitor

routes = Routes("", "office", who=visitor, include_in_schema=False)
P = Permission


async def _users(
    request: Request, who: Visitor, conn: Conn, password: tuple[str, str] | None = None
) -> Response:
    return page(
        request, "users.html", list=await people.people(conn, who), password=password,
        roles=ROLES, meanings=MEANINGS, logins=people.LOGINS,
        token_prefix=services.PREFIX,
        tree=in_order(await fleet.areas(conn, who)),
    )  # fmt: skip


def _grants(given: Form) -> list[Grant]:
    role, place = given.get("role", ""), given.get("place", "")
    if not role:
        return []
    if role not in list(Role):
        raise BadInput("There is no such role.")
    if place == "whole":
        return [Grant(Role(role), whole=True)]
    if not place:
        raise BadInput("Say where the role holds.")
    return [Grant(Role(role), area_id=number(place, "The place"))]


@routes.get("/users", may=P.USER_MANAGE)
async def users(request: Request, who: Visitor, conn: Conn) -> Response:
    """All users."""
    return await _users(request, who, conn)


@routes.post("/users", may=P.USER_MANAGE)
async def make_user(request: Request, who: Visitor, conn: Conn, given: Form) -> Response:
    """A new user."""
    name = given.get("name", "")
    _, password = await people.create(
        conn, who, name, given.get("full_name", ""), _grants(given), given.get("login", "password")
    )
    return await _users(request, who, conn, (name, password))


@routes.post("/users/{user_id}/grants", may=P.USER_MANAGE)
async def set_grants(user_id: int, who: Visitor, conn: Conn, given: Form) -> Response:
    """What a user may do where."""
    await people.set_grants(conn, who, user_id, _grants(given))
    return back("/users")


@routes.post("/users/{user_id}/active", may=P.USER_MANAGE)
async def set_active(user_id: int, who: Visitor, conn: Conn, given: Form) -> Response:
    """Let somebody in, or out."""
    await people.set_active(conn, who, user_id, bool(given.get("active")))
    return back("/users")


@routes.post("/users/{user_id}/reset", may=P.USER_MANAGE)
async def reset(request: Request, user_id: int, who: Visitor, conn: Conn, _: Form) -> Response:
    """A new first password."""
    password = await people.reset(conn, who, user_id)
    name = next(each.name for each in await people.people(conn, who) if each.id == user_id)
    return await _users(request, who, conn, (name, password))


async def _audit(
    request: Request, conn: Conn, actor: str, action: str, before: int | None,
    verdict: audit.Verdict | None = None,
) -> Response:  # fmt: skip
    found = await audit.page(conn, before=before, limit=LIMIT, actor=actor, action=action)
    rows = [(e, datetime.fromtimestamp(e.at_us / 1e6, UTC)) for e in found]
    return page(request, "audit.html", list=rows, actor=actor, action=action, limit=LIMIT,
                verdict=verdict)  # fmt: skip


@routes.get("/audit", may=P.AUDIT_READ)
async def entries(
    request: Request, who: Visitor, conn: Conn, actor: str = "", action: str = "",
    before: int | None = None,
) -> Response:  # fmt: skip
    """The audit log."""
    who.scope(P.AUDIT_READ)
    return await _audit(request, conn, actor, action, before)


@routes.post("/audit/verify", may=P.AUDIT_READ)
async def verify(request: Request, who: Visitor, conn: Conn, _: Form) -> Response:
    """Check its chain."""
    who.scope(P.AUDIT_READ)
    return await _audit(request, conn, "", "", None, await audit.verify(conn))


@routes.get("/import", may=P.IMPORT)
async def import_page(request: Request, who: Visitor) -> Response:
    """The utility's list of transformers."""
    return page(request, "import.html", found=None, done=None, text="")


@routes.post("/import", may=P.IMPORT)
async def compare(request: Request, who: Visitor, conn: Conn, given: Form) -> Response:
    """What it would do."""
    text = given.get("file", "")
    found = await fleet.utility_list.compare(conn, who, text)
    return page(request, "import.html", found=found, done=None, text=text)


@routes.post("/import/take", may=P.IMPORT)
async def take(request: Request, who: Visitor, conn: Conn, given: Form) -> Response:
    """Take it over."""
    done = await fleet.utility_list.take(conn, who, given.get("text", ""))
    return page(request, "import.html", found=None, done=done, text="")


@routes.get("/dead-letters", may=P.DEAD_READ)
async def dead(request: Request, who: Visitor, conn: Conn, before: int | None = None) -> Response:
    """What could not be taken."""
    found = await fleet.dead_letters(conn, who, before=before, limit=LIMIT)
    return page(request, "dead.html", list=found, limit=LIMIT)
