"""`pbal-hq logs`: what HQ and the sites logged, from OpenSearch."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pbal_host import counted
from pbal_hq import logstore, network
from pbal_hq.ca import write_private, write_whole
from pbal_hq.cli.base import ConfigOption, JsonOption, print_json, print_table, wait_for
from pbal_hq.cli.tunnel import write_sites
from pbal_hq.config import load
from pbal_hq.database import connected
from pbal_hq.errors import ConfigError, NothingToDo
from pbal_hq.logstore.search import names
from pbal_hq.network import Peer

_FOLLOW_S = 1.0
# A line is found a second after it came; those that overtook it are looked for again.
_OVERLAP = timedelta(seconds=15)


class _SiteOrCommand(TyperGroup):
    """`logs 7` is short for `logs show 7`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="What HQ and the sites logged (docs/hq-logs.md). Example: pbal-hq logs 1007 --since 2h",
    cls=_SiteOrCommand, pretty_exceptions_enable=False,
)  # fmt: skip


@app.command()
def show(
    site: Annotated[str, typer.Argument(help="Its number; none: all sites, and HQ.")] = "",
    since: Annotated[str, typer.Option(help="30m, 2h, 7d ago; or a time in UTC.")] = "1d",
    level: Annotated[str, typer.Option(help=f"And worse: {', '.join(logstore.LEVELS)}.")] = "info",
    trace: Annotated[str, typer.Option(help="An event's id, as on an alarm's page.")] = "",
    role: Annotated[str, typer.Option(help="Of HQ, for example store; or controller.")] = "",
    saved: Annotated[str, typer.Option(help=f"A search that is saved: {', '.join(names())}.")] = "",
    lines: Annotated[int, typer.Option(min=1, max=10_000, help="The latest so many.")] = 200,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones.")] = False,
    config: ConfigOption = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Lines of a site's controller and of HQ about it, oldest first; exit code 6: there is none.

    Example: pbal-hq logs 1007 --since 2h --level warning
    """
    settings = load(config)
    now = datetime.now(UTC)
    if site and not site.isdigit():
        raise ConfigError(f"{site!r} is no site's number, and no command: pbal-hq logs --help")
    wanted = logstore.Wanted(
        logstore.period(since, now), str(int(site)) if site else "", level, role, trace.lower(),
        saved,
    )  # fmt: skip
    wanted.query()  # what cannot be asked is told before anybody is
    with logstore.opened(settings) as place:
        found = place.lines(wanted, lines)
        for line in found:
            _print(line, json_)
        if follow:
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                _follow(place, wanted, {line.get("id") for line in found}, json_)
            return
    if not found:
        raise NothingToDo(f"no line since {wanted.since:%Y-%m-%d %H:%M} UTC is like that")


def _follow(place: logstore.Place, wanted: logstore.Wanted, seen: set[Any], json_: bool) -> None:
    """Until the person ends it. Raises LogsError."""
    while True:
        time.sleep(_FOLLOW_S)
        since = datetime.now(UTC) - _OVERLAP
        recent = place.came(_since(wanted, since))
        for line in recent:
            if line.get("id") not in seen:
                _print(line, json_)
        sys.stdout.flush()
        seen = {line.get("id") for line in recent} | (seen if len(seen) < 10_000 else set())


def _since(wanted: logstore.Wanted, at: datetime) -> logstore.Wanted:
    return logstore.Wanted(
        max(at, wanted.since), wanted.site, wanted.level, wanted.role, wanted.trace, wanted.saved
    )


def _plain(text: object) -> str:
    """On one line, and nothing that a terminal would obey: it may come from a site."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def _print(line: dict[str, Any], json_: bool) -> None:
    if json_:
        print(json.dumps(line))
        return
    who = line.get("role") or line.get("host") or ""
    site = f"site {line['site']} " if line.get("site") else ""
    rest = {name: line[name] for name in ("trace", "event", "home") if line.get(name)}
    fields = line.get("fields")
    rest |= fields if isinstance(fields, dict) else {}
    traceback = str(rest.pop("traceback", ""))
    words = " ".join(f"{name}={value!r}" for name, value in rest.items())
    text = f"{line.get('time', '')[:23]} {line.get('level', ''):8} {site}{who}: "
    print(_plain(f"{text}{line.get('message', '')} {words}".rstrip()))
    for each in traceback.splitlines():
        print("    " + _plain(each))


@app.command("set-up")
def set_up(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Tell OpenSearch how lines are indexed; again after a change of [logs].

    Example: pbal-hq logs set-up
    """
    settings = load(config)
    with logstore.opened(settings) as place:
        place.set_up()
    if json_:
        print_json({"index": f"{settings.logs.index}-*", "keep_days": settings.logs.keep_days})
    else:
        print(f"{settings.logs.index}-* is ready; the role house keeps {settings.logs.keep_days} "
              "days")  # fmt: skip


@app.command()
def expire(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Drop the days that are older than logs.keep_days now; the role house does it by itself.

    Example: pbal-hq logs expire
    """
    with logstore.opened(load(config)) as place:
        gone = place.expire(datetime.now(UTC))
    if json_:
        print_json({"days": gone})
    else:
        print(f"{counted(len(gone), 'day')} dropped" + "".join(f"\n{day}" for day in gone))


@app.command()
def searches(json_: JsonOption = False) -> None:
    """The searches that are saved. Example: pbal-hq logs searches"""
    if json_:
        print_json([{"name": name, **logstore.saved(name)} for name in names()])
    else:
        print_table(("name", "what"), ((n, logstore.saved(n)["title"]) for n in names()))


@app.command()
def rsyslog(
    out: Annotated[Path, typer.Option(help="The folder for hq.conf and site.conf.")],
    pki: Annotated[
        Path, typer.Option(help="A Pi's folder with hq-ca.crt, logs.crt and logs.key.")
    ] = logstore.SITE_PKI,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Write rsyslog's configuration for HQ and for the Pis, and the list of sites' addresses.

    Example: pbal-hq logs rsyslog --out rsyslog/
    """
    settings = load(config)
    texts = {
        "hq.conf": logstore.hq_conf(settings),
        "site.conf": logstore.site_conf(settings, pki=pki),
    }

    async def work() -> list[Peer]:
        async with connected(settings.database) as db:
            return await network.peers(db)

    write_sites(settings, wait_for(work()))
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_private(out / "hq.conf", texts["hq.conf"].encode())  # it holds the password
        write_whole(out / "site.conf", texts["site.conf"].encode())
    except OSError as error:
        raise ConfigError(f"{error.filename or out}: {error.strerror}") from None
    if json_:
        print_json({name: str(out / name) for name in texts})
        return
    print(f"HQ: {out}/hq.conf, for /etc/rsyslog.d/60-pbal-hq.conf (mode 600)")
    print(f"a Pi: {out}/site.conf, for /etc/rsyslog.d/60-pbal.conf")
