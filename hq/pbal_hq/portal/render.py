"""Templates: escaped by default, with what every page needs."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from fastapi import Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pbal_hq.api import desk_of
from pbal_hq.auth import Permission, Who, tokens
from pbal_uplink import names

HERE = Path(str(resources.files("pbal_hq.portal")))

# What stands at the top of every page: (path, words, permission).
MENU = (
    ("/", "Overview", Permission.TREE_READ),
    ("/transformers", "Transformers", Permission.TREE_READ),
    ("/map", "Map", Permission.TREE_READ),
    ("/alarms", "Alarms", Permission.ALARM_READ),
    ("/commands", "Commands", Permission.COMMAND_READ),
    ("/reports", "Reports", Permission.REPORT_READ),
    ("/dead-letters", "Dead letters", Permission.DEAD_READ),
    ("/import", "Import", Permission.IMPORT),
    ("/users", "Users", Permission.USER_MANAGE),
    ("/audit", "Audit", Permission.AUDIT_READ),
)


def when(at: datetime | None) -> Markup:
    """A time, UTC; the page's script shows it in the reader's own time."""
    if at is None:
        return Markup("never")
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M")
    )


def ago(at: datetime | None) -> str:
    """How long ago, roughly."""
    if at is None:
        return "never"
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for size, word in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {word} ago"
    return "now"


def figure(value: float | None, unit: str = "", digits: int = 0) -> str:
    """A number with its unit; an unknown one is a dash."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001
    return f"{value:,.{digits}f}\N{NO-BREAK SPACE}{unit}".rstrip("\N{NO-BREAK SPACE}")


def named(table: dict[int, str], number: int | None) -> str:
    """The word of a number on the wire."""
    return "–" if number is None else table.get(number, str(number))  # noqa: RUF001


_env = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True,
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
_env.filters |= {"when": when, "ago": ago, "figure": figure}
_env.globals |= {
    "mode": lambda n: named(names.MODES, n),
    "kind": lambda n: named(names.KINDS, n),
    "outcome": lambda n: named(names.OUTCOMES, n),
    "severity": lambda n: named(names.SEVERITIES, n),
    "phase": lambda n: named(names.PHASES, n),
}


def page(request: Request, template: str, code: int = 200, **values: Any) -> Response:
    """A page. `may(permission)` says in it whether its reader may do something somewhere."""
    who: Who | None = getattr(request.state, "who", None)
    allowed = who.permissions if who else frozenset()
    given = {
        "who": who,
        "path": request.url.path,
        "menu": [(to, words) for to, words, needed in MENU if needed in allowed],
        "may": lambda word: Permission(word) in allowed,
        "token": tokens.form_token(desk_of(request).keys, who.session_id) if who else "",
    }
    return HTMLResponse(_env.get_template(template).render(given | values), code)


def back(to: str) -> Response:
    """After a form: go to a page with GET."""
    return RedirectResponse(to, 303)


async def show(request: Request, status: int, words: str) -> Response:
    """An error as a page; without a login the login page."""
    if status == 401 and request.method == "GET":
        query = f"?{request.url.query}" if request.url.query else ""
        return back(f"/login?next={quote(request.url.path + query)}")
    who = getattr(request.state, "who", None)
    if status == 403 and who is not None and who.pending:
        return back("/account")
    return page(request, "error.html", status, words=words, status=status)
