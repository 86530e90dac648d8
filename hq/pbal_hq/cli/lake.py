"""`pbal-hq lake`: the data lake."""

from __future__ import annotations

import csv
import datetime
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pbal_host import counted
from pbal_hq import resources, roles
from pbal_hq.ca import write_whole
from pbal_hq.cli.base import ConfigOption, JsonOption, group, print_json, print_table, wait_for
from pbal_hq.cli.days import DAY, FromOption, ToOption, read_day
from pbal_hq.config import Config, load
from pbal_hq.database import connected
from pbal_hq.errors import BadInput, ConfigError, LakeDiffers, NothingToDo

if TYPE_CHECKING:
    from pbal_hq.lake import Lake, Part

app = group("The data lake (docs/hq-lake.md). Example: pbal-hq lake verify")


def _month(text: str, name: str) -> tuple[datetime.date, datetime.date]:
    """Its first day, and the first of the next."""
    from pbal_hq.reports import period

    try:
        since, until = (at.date() for at in period(text))
        if until - since > DAY:
            return since, until
    except BadInput:
        pass
    raise ConfigError(f"{name} {text!r}: needs a month, as 2026-11")


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _opened(config: Config) -> Lake:
    """The lake, checked. Loads its room, which takes a second."""
    roles.need_lake(config)
    from pbal_hq.lake import lake_of

    lake = lake_of(config.lake)
    lake.check()
    return lake


@app.command()
def init(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Make a lake of the folder that is configured, which is empty. Example: pbal-hq lake init

    With lake.key_file (or systemd's credential pbal-lake-keys) it is encrypted from the start.
    """
    settings = load(config)
    roles.need_lake(settings)
    from pbal_hq.lake import lake_of

    made = lake_of(settings.lake)
    encrypted = made.sealing.ring is not None
    if made.place.known():
        made.place.check()
        raise NothingToDo(f"{settings.lake.url} is a lake already")
    made.place.init(encrypted=encrypted)
    if json_:
        print_json({"url": settings.lake.url, "encrypted": encrypted})
    else:
        print(f"{settings.lake.url} is a lake now, {'' if encrypted else 'not '}encrypted")


@app.command()
def key(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Add a key to lake.key_file; new files are written with it. Example: pbal-hq lake key

    Roles that run take it when they are started again. Keep the older keys as long as files of
    theirs are there: `pbal-hq lake reseal` writes those anew.
    """
    settings = load(config)
    roles.need_lake(settings)
    from pbal_hq.lake import find_keys, with_new_key

    path = settings.lake.key_file
    if path is None:
        raise ConfigError("lake.key_file is not set; name the file that the keys are to be in")
    text = ""
    if path.exists():
        find_keys(path, {})
        text = path.read_text()
    text, name = with_new_key(text, _today())
    try:
        write_whole(path, text.encode(), 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    if json_:
        print_json({"key": name, "file": str(path)})
    else:
        print(
            f"{name} in {path}. Keep a copy of that file offline: what it opens, nothing else does."
        )


@app.command()
def verify(
    since: FromOption = "",
    until: ToOption = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Compare counts and sums of each day and region with the store; exit code 14: they differ.

    Example: pbal-hq lake verify --from 2026-11-01 --to 2026-11-27

    By default from the lake's first day that the store still has, up to yesterday.
    """
    settings = load(config)
    lake = _opened(settings)
    from pbal_hq.lake import SUMMARY, differences

    kept = _today() - datetime.timedelta(days=settings.store.raw_days - 1)
    first = read_day(since, "--from") if since else max([kept, *lake.days(SUMMARY)[:1]])
    last = read_day(until, "--to") if until else _today() - DAY
    if first < kept:
        raise ConfigError(f"--from {first}: the store has summaries from {kept} on only")

    async def work() -> tuple[int, list[object]]:
        async with connected(settings.database) as db:
            rows, found = await differences(db, lake, first, last + DAY)
            return rows, list(found)

    rows, found = wait_for(work())
    if json_:
        print_json({"from": first, "to": last, "rows": rows,
                    "differences": [asdict(each) for each in found]})  # type: ignore[call-overload]  # fmt: skip
    else:
        for each in found:
            print(each)
        print(f"{first} to {last}: {rows} rows of the store compared, {len(found)} differences")
    if found:
        raise LakeDiffers(
            f"{len(found)} days of regions differ between lake and store; what the store lacks: "
            "pbal-hq lake replay"
        )


@app.command()
def replay(
    since: FromOption,
    until: ToOption,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Put the lake's rows of these days back onto the bus; the store takes what it lacks.

    Example: pbal-hq lake replay --from 2026-11-01 --to 2026-11-07
    """
    settings = load(config)
    first, last = read_day(since, "--from"), read_day(until, "--to")
    kept = _today() - datetime.timedelta(days=settings.store.raw_days - 1)
    if first < kept:
        raise ConfigError(
            f"--from {first}: the store keeps summaries for {settings.store.raw_days} days "
            f"(store.raw_days), from {kept} on"
        )
    lake = _opened(settings)

    async def work() -> int:
        from pbal_hq.lake import replay

        async with resources.opened(settings) as hq:
            return await replay(lake, hq.bus, first, last + DAY, _progress(json_))

    total = wait_for(work())
    if json_:
        print_json({"rows": total})
    else:
        print(f"{total} rows are on the bus")


def _progress(json_: bool) -> Callable[[Part, int], None]:
    def told(part: Part, total: int) -> None:
        if not json_:
            print(f"{part.day} {part.region}: {total} rows so far", file=sys.stderr)

    return told


@app.command()
def compact(
    until: Annotated[str, typer.Option(metavar="DAY", help="Days before this one.")] = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Make one file of each day's hours now; the role does it by itself.

    Example: pbal-hq lake compact
    """
    settings = load(config)
    lake = _opened(settings)
    from pbal_hq.lake import compact, locked

    before = read_day(until, "--until") if until else _today()

    async def work() -> int:
        async with connected(settings.database) as db, locked(db) as still:
            lake.place.sweep()
            return await compact(lake, before, still, lambda: None)

    made = wait_for(work())
    if json_:
        print_json({"days": made})
    else:
        print(f"{made} days of regions are one file each now")


@app.command()
def reseal(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Write every file anew with the newest key. Example: pbal-hq lake reseal"""
    settings = load(config)
    lake = _opened(settings)
    if lake.sealing.ring is None:
        raise ConfigError("there is no key: set lake.key_file, then pbal-hq lake key")
    from pbal_hq.lake import KINDS, in_thread, locked

    async def work() -> int:
        made = 0
        async with connected(settings.database) as db, locked(db) as still:
            lake.place.sweep()
            for kind in KINDS.values():
                for part in lake.parts(kind, datetime.date.min, datetime.date.max):
                    await still()
                    made += await in_thread(lake.reseal, kind, part)
        return made

    made = wait_for(work())
    if json_:
        print_json({"files": made, "key": lake.sealing.ring.newest})
    else:
        print(f"{made} files are encrypted with {lake.sealing.ring.newest}")


@app.command()
def trends(
    since: Annotated[str, typer.Option("--from", metavar="MONTH", help="As 2026-01.")],
    until: Annotated[str, typer.Option("--to", metavar="MONTH", help="The last month.")],
    by: Annotated[str, typer.Option(help="state, district, division or feeder.")] = "district",
    csv_: Annotated[Path | None, typer.Option("--csv", help="Write a file.")] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Energy, losses avoided, unbalance and more, by area and month, from Druid or the lake.

    Example: pbal-hq lake trends --from 2025-01 --to 2026-11 --by division
    """
    settings = load(config)
    first, after = _month(since, "--from")[0], _month(until, "--to")[1]
    if settings.druid.broker:
        roles.need_packages()
    else:
        roles.need_lake(settings)
    from pbal_hq.trends import COLUMNS, LEVELS, Month, ask

    if by not in LEVELS:
        raise ConfigError(f"--by {by}: needs one of {', '.join(LEVELS)}")

    async def work() -> tuple[list[Month], str]:
        now = datetime.datetime.now(datetime.UTC)
        async with connected(settings.database) as db:
            return await ask(db, settings.druid, lambda: _opened(settings), by, first, after, now)

    rows, source = wait_for(work())
    if settings.druid.broker:
        print(f"answered by {source}", file=sys.stderr)
    heads = ["area", "month", "transformers", *(f"{c.name} {c.unit}".strip() for c in COLUMNS)]
    cells = [
        [row.area, f"{row.month:%Y-%m}", row.transformers,
         *(None if v is None else f"{v:.{c.digits}f}" for c, v in zip(COLUMNS, row.values,
                                                                     strict=True))]
        for row in rows
    ]  # fmt: skip
    if json_:
        print_json([
            {"area": row.area, "month": f"{row.month:%Y-%m}", "transformers": row.transformers,
             **{c.name: v for c, v in zip(COLUMNS, row.values, strict=True)}}
            for row in rows
        ])  # fmt: skip
    elif csv_ is not None:
        with csv_.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([heads, *cells])
        print(f"{counted(len(cells), 'row')} in {csv_}")
    else:
        print_table(heads, cells)
