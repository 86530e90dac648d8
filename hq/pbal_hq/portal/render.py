"""Templates: escaped by default, with what every page needs."""

from __future__ import annotations

import functools
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
from pbal_hq.portal.translate import LANGUAGES, Catalogue, Loader, Look, chosen
from pbal_uplink import names

HERE = Path(str(resources.files("pbal_hq.portal")))

# What stands at the top of every page: (path, words, permission).
MENU = (
    ("/", "Overview", Permission.TREE_READ),
    ("/transformers", "Transformers", Permission.TREE_READ),
    ("/map", "Map", Permission.TREE_READ),
    ("/alarms", "Alarms", Permission.ALARM_READ),
    ("/fleet", "Fleet", Permission.TREE_READ),
    ("/where-next", "Where next", Permission.TREE_READ),
    ("/trends", "Trends", Permission.TREE_READ),
    ("/commands", "Commands", Permission.COMMAND_READ),
    ("/reports", "Reports", Permission.REPORT_READ),
    ("/dead-letters", "Dead letters", Permission.DEAD_READ),
    ("/import", "Import", Permission.IMPORT),
    ("/users", "Users", Permission.USER_MANAGE),
    ("/audit", "Audit", Permission.AUDIT_READ),
)


# Words that pages show and that stand in no template.
WORDS = (
    "never", "now", "{0} d ago", "{0} h ago", "{0} min ago", "not known", "state", "district",
    "division", "feeder", "transformer", "hours", "days", "the store", "the lake", "Druid",
    "open", "acknowledged", "shelved", "closed", "not closed", "all", "asked", "approved",
    "sent", "started", "done", "refused", "failed", "expired", "withdrawn",
)  # fmt: skip


def when(at: datetime | None, look: Look) -> Markup:
    """A time, UTC; the page's script shows it in the reader's own time."""
    if at is None:
        return Markup("{}").format(look("never"))
    at = at.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        at.isoformat(timespec="seconds"), at.strftime("%Y-%m-%d %H:%M")
    )


def ago(at: datetime | None, look: Look) -> str:
    """How long ago, roughly."""
    if at is None:
        return look("never")
    seconds = max(0.0, (datetime.now(UTC) - at).total_seconds())
    for size, words in ((86_400, "{0} d ago"), (3600, "{0} h ago"), (60, "{0} min ago")):
        if seconds >= size:
            return look(words).replace("{0}", f"{seconds / size:.0f}")
    return look("now")


def figure(value: float | None, unit: str = "", digits: int = 0) -> str:
    """A number with its unit; an unknown one is a dash."""
    if value is None or not math.isfinite(value):
        return "–"  # noqa: RUF001
    return f"{value:,.{digits}f}\N{NO-BREAK SPACE}{unit}".rstrip("\N{NO-BREAK SPACE}")


def named(table: dict[int, str], number: int | None) -> str:
    """The word of a number on the wire."""
    return "–" if number is None else table.get(number, str(number))  # noqa: RUF001


@functools.cache
def _environment(language: str) -> jinja2.Environment:
    """Templates and words in one language."""
    if language == "en":
        look = Catalogue({})
    else:
        look = Catalogue.read(HERE / "languages" / f"{language}.po")
    made = jinja2.Environment(
        loader=Loader(HERE / "templates", look), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "when": lambda at: when(at, look), "ago": lambda at: ago(at, look), "figure": figure,
    }  # fmt: skip
    made.globals |= {
        "_": look,
        "mode": lambda n: look(named(names.MODES, n)),
        "kind": lambda n: look(named(names.KINDS, n)),
        "outcome": lambda n: look(named(names.OUTCOMES, n)),
        "severity": lambda n: look(named(names.SEVERITIES, n)),
        "phase": lambda n: look(named(names.PHASES, n)),
        "language": language,
        "languages": LANGUAGES,
    }
    return made


COOKIE = "pbal-language"


def language_of(request: Request) -> str:
    """The reader's."""
    return chosen(request.cookies.get(COOKIE, ""), request.headers.get("accept-language", ""))


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
    return HTMLResponse(
        _environment(language_of(request)).get_template(template).render(given | values), code
    )


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
