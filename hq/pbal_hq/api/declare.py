"""Routes that declare who may call them. One without a declaration stops the start: default deny.

    routes = Routes("/api/v1", "alarms")

    @routes.get("/alarms", may=Permission.ALARM_READ)
    async def alarms(who: Caller, conn: Conn) -> list[Alarm]: ...

The route first refuses a caller without the permission anywhere; the query limits it to the places
where it is held (auth.IN_SCOPE).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pbal_hq.api.desk import Desk
from pbal_hq.auth import NotKnown, Permission, Who, services, sessions
from pbal_hq.database import Connection


class Open(enum.Enum):
    """Who may call a route without a permission of its own."""

    ANYBODY = "anybody"
    LOGGED_IN = "whoever is logged in"


May = Permission | Open


@dataclass(frozen=True)
class Declared:
    """One route of the table."""

    method: str
    path: str
    may: May


def desk_of(request: Request) -> Desk:
    """The desk of this application."""
    desk: Desk = request.app.state.desk
    return desk


async def connection(request: Request) -> AsyncIterator[Connection]:
    """A connection for one request."""
    async with desk_of(request).connection() as conn:
        yield conn


TheDesk = Annotated[Desk, Depends(desk_of)]
Conn = Annotated[Connection, Depends(connection)]
_bearer = HTTPBearer(auto_error=False, description="The access token of /api/v1/login")


async def caller(
    conn: Conn,
    desk: TheDesk,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Who:
    """Who calls the API. Raises NotKnown, TooMany."""
    if given is None:
        raise NotKnown("Log in: this needs an access token (Authorization: Bearer).")
    if given.credentials.startswith(services.PREFIX):
        found = await services.find(conn, given.credentials)
    else:
        found = await sessions.find(conn, desk.keys, given.credentials, desk.wall())
    desk.calls.take(found.name, desk.wall())
    return found


Caller = Annotated[Who, Depends(caller)]


def allowing(who: Any, permission: Permission) -> Any:
    """A dependency that refuses a caller, as found by `who`, without the permission anywhere."""

    async def check(found: Who = Depends(who)) -> None:  # noqa: B008
        found.scope(permission)

    return Depends(check)


class Routes:
    """A part of the table of routes. `who`: the dependency that finds out who it is."""

    def __init__(self, prefix: str, tag: str, *, who: Any = caller, **how: Any) -> None:
        self.router = APIRouter(prefix=prefix, tags=[tag])
        self._who = who
        self._how = how

    def _declare(self, method: str, path: str, may: May, **how: Any) -> Callable[..., Any]:
        def keep(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            needs = []
            if isinstance(may, Permission):
                needs = [allowing(self._who, may)]
            elif may is Open.LOGGED_IN:
                needs = [Depends(self._who)]
            endpoint.__dict__["pbal_may"] = may
            self.router.add_api_route(
                path, endpoint, methods=[method], dependencies=needs, **(self._how | how)
            )
            return endpoint

        return keep

    def get(self, path: str, *, may: May, **how: Any) -> Callable[..., Any]:
        """A route that changes nothing."""
        return self._declare("GET", path, may, **how)

    def post(self, path: str, *, may: May, **how: Any) -> Callable[..., Any]:
        """A route that changes something."""
        return self._declare("POST", path, may, **how)

    def put(self, path: str, *, may: May, **how: Any) -> Callable[..., Any]:
        """A route that puts something in the place of what was there."""
        return self._declare("PUT", path, may, **how)


def table(routers: list[Routes]) -> list[Declared]:
    """Every route of the table."""
    return [
        Declared(method, route.path, route.endpoint.__dict__["pbal_may"])
        for routes in routers
        for route in routes.router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def include(app: FastAPI, routers: list[Routes]) -> None:
    """Put the routes into an application. Raises LookupError for one without a declaration."""
    for routes in routers:
        for route in routes.router.routes:
            endpoint = getattr(route, "endpoint", None)
            if getattr(endpoint, "pbal_may", None) is None:
                raise LookupError(f"{route}: does not say who may call it")
        # They were built as they were declared; include_router would build each once more.
        app.router.routes.extend(routes.router.routes)
