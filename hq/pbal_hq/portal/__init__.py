"""Pages for people, rendered on the server, over the same functions as the API.

entry   login and account, provider: at an OpenID Connect provider;
         grid: transformers, alarms, orders;  office: users, audit, dead letters
         papers: reports;  trends: areas over hours and days
serve   the role;  visitor: user, cookies, forms;  render, charts: templates and pictures
"""

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from pbal_hq.api import Desk, make_app
from pbal_hq.portal import entry, grid, office, papers, provider, trends
from pbal_hq.portal.render import HERE, show
from pbal_hq.portal.serve import chores, desk, run, set_up

PAGES = [entry.routes, provider.routes, grid.routes, papers.routes, trends.routes,
         office.routes]  # fmt: skip


def make(desk: Desk) -> FastAPI:
    """The application with its pages."""
    app = make_app(desk, PAGES, show)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app


__all__ = ["PAGES", "chores", "desk", "make", "run", "set_up"]
