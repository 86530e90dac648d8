"""The application: the API, and the pages where they are given."""

from __future__ import annotations

from fastapi import FastAPI

from pbal_hq import __version__
from pbal_hq.api import faults, grid, papers, people, trends
from pbal_hq.api.bounds import Bounded
from pbal_hq.api.declare import Routes, include, table
from pbal_hq.api.desk import Desk
from pbal_hq.api.headers import guard
from pbal_hq.auth import Permission
from pbal_hq.metrics import TimedAsgi

API: list[Routes] = [people.routes, grid.routes, papers.routes, trends.routes]


def make_app(
    desk: Desk, pages: list[Routes] | None = None, show: faults.Show | None = None
) -> FastAPI:
    """The ASGI application. `pages`: routes for people; `show`: an error as a page."""
    # The interactive documentation loads scripts of third parties: only the schema is served.
    app = FastAPI(
        title="pbal HQ", version=__version__, openapi_url="/api/v1/openapi.json",
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.desk = desk
    faults.install(app, show)
    routes = [*API, *(pages or [])]
    include(app, routes)
    lists = {route.path for route in table(routes) if route.may is Permission.IMPORT}
    app.add_middleware(Bounded, lists=lists)
    app.middleware("http")(guard)
    app.add_middleware(TimedAsgi, service="portal")
    return app
