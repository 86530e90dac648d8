"""Transformers, alarms, commands and dead letters over the API."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Query

from pbal_hq import alarms, commands, fleet
from pbal_hq.alarms import Alarm, Note
from pbal_hq.api.declare import Caller, Conn, Routes, TheDesk
from pbal_hq.api.words import CommandIn, ImportIn, ShelveIn, WordsIn
from pbal_hq.auth import Permission
from pbal_hq.errors import BadInput
from pbal_hq.fleet import Area, Counts, Day, DeadLetter, Event, Health, Home, HourSum, Prospect, Row

routes = Routes("/api/v1", "grid")
P = Permission
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


@routes.get("/overview", may=P.TREE_READ)
async def overview(who: Caller, conn: Conn) -> Counts:
    """How many transformers, in trouble, saved today and this year."""
    return await fleet.counts(conn, who)


@routes.get("/areas", may=P.TREE_READ)
async def areas(who: Caller, conn: Conn) -> list[Area]:
    """The tree, with what is in each area."""
    return await fleet.areas(conn, who)


@routes.get("/transformers", may=P.TREE_READ)
async def transformers(
    who: Caller, conn: Conn, sort: str = "alarms", area_id: int | None = None,
    find: Annotated[str, Query(max_length=100)] = "", offset: Offset = 0, limit: Limit = 50,
) -> list[Row]:  # fmt: skip
    """Transformers, the worst first."""
    return await fleet.transformers(
        conn, who, sort=sort, area_id=area_id, find=find, offset=offset, limit=limit
    )


@routes.get("/transformers/{transformer_id}", may=P.TREE_READ)
async def transformer(transformer_id: int, who: Caller, conn: Conn) -> dict[str, Any]:
    """One transformer: its latest window, and what its controller last said of itself."""
    return asdict(await fleet.transformer(conn, who, transformer_id))


@routes.get("/transformers/{transformer_id}/day", may=P.TREE_READ)
async def day(
    transformer_id: int, who: Caller, conn: Conn, since: datetime, until: datetime
) -> list[Day]:
    """Its windows between two times, at most a week."""
    if since.tzinfo is None or until.tzinfo is None:
        raise BadInput("since and until need a time zone, as 2026-01-31T00:00:00Z.")
    if not timedelta() < until - since <= timedelta(days=7):
        raise BadInput("until is later than since, by at most seven days.")
    return await fleet.day(conn, who, transformer_id, since, until)


@routes.get("/transformers/{transformer_id}/events", may=P.TREE_READ)
async def events(
    transformer_id: int, who: Caller, conn: Conn, kind: int | None = None,
    until: datetime | None = None, limit: Limit = 50,
) -> list[Event]:  # fmt: skip
    """What its site told at once, newest first."""
    return await fleet.events(conn, who, transformer_id, kind=kind, until=until, limit=limit)


@routes.get("/transformers/{transformer_id}/hours", may=P.TREE_READ)
async def hours(transformer_id: int, who: Caller, conn: Conn) -> list[HourSum]:
    """Its hours of the last four weeks."""
    return await fleet.hours(conn, who, transformer_id)


@routes.get("/transformers/{transformer_id}/homes", may=P.TREE_READ)
async def homes(transformer_id: int, who: Caller, conn: Conn) -> list[Home]:
    """What was told of its homes, which are numbers, in 30 days."""
    return await fleet.homes(conn, who, transformer_id)


@routes.get("/fleet-health", may=P.TREE_READ)
async def health(who: Caller, conn: Conn) -> Health:
    """Versions, links, certificates, rollouts."""
    return await fleet.health(conn, who)


@routes.get("/where-next", may=P.TREE_READ)
async def where_next(
    who: Caller, conn: Conn, all_of_them: bool = False, offset: Offset = 0, limit: Limit = 50
) -> list[Prospect]:
    """Transformers without a site by the study's rank."""
    return await fleet.prospects(conn, who, all_of_them=all_of_them, offset=offset, limit=limit)


@routes.post("/where-next", may=P.IMPORT)
async def take_study(given: ImportIn, who: Caller, conn: Conn) -> dict[str, int]:
    """Take over fleet.csv of `pbal study fleet`."""
    return {"stations": await fleet.take_study(conn, who, given.csv)}


@routes.get("/alarms", may=P.ALARM_READ)
async def alarm_list(
    who: Caller, conn: Conn, state: str = "", transformer_id: int | None = None,
    before: int | None = None, limit: Limit = 50,
) -> list[Alarm]:  # fmt: skip
    """Alarms, newest first; with no state those that are not closed."""
    return await alarms.listed(
        conn, who, state=state, transformer_id=transformer_id, before=before, limit=limit
    )


@routes.get("/alarms/{alarm_id}", may=P.ALARM_READ)
async def alarm(alarm_id: int, who: Caller, conn: Conn) -> Alarm:
    """One alarm."""
    return await alarms.get(conn, who, alarm_id)


@routes.get("/alarms/{alarm_id}/notes", may=P.ALARM_READ)
async def alarm_notes(alarm_id: int, who: Caller, conn: Conn) -> list[Note]:
    """What was written and done at it."""
    return await alarms.notes(conn, who, alarm_id)


@routes.post("/alarms/{alarm_id}/acknowledge", may=P.ALARM_HANDLE)
async def acknowledge(alarm_id: int, given: WordsIn, who: Caller, conn: Conn) -> Alarm:
    """Say that one cares for it."""
    return await alarms.acknowledge(conn, who, alarm_id, given.words)


@routes.post("/alarms/{alarm_id}/comment", may=P.ALARM_HANDLE)
async def comment(alarm_id: int, given: WordsIn, who: Caller, conn: Conn) -> Alarm:
    """Write at it."""
    return await alarms.comment(conn, who, alarm_id, given.words)


@routes.post("/alarms/{alarm_id}/shelve", may=P.ALARM_HANDLE)
async def shelve(alarm_id: int, given: ShelveIn, who: Caller, conn: Conn) -> Alarm:
    """Set it aside for a time."""
    return await alarms.shelve(conn, who, alarm_id, given.for_s, given.words)


@routes.post("/alarms/{alarm_id}/close", may=P.ALARM_HANDLE)
async def close(alarm_id: int, given: WordsIn, who: Caller, conn: Conn) -> Alarm:
    """End it by hand."""
    return await alarms.close(conn, who, alarm_id, given.words)


def _told(command: commands.Command) -> dict[str, Any]:
    return asdict(command) | {"words": command.words}


@routes.get("/commands", may=P.COMMAND_READ)
async def command_list(
    who: Caller, conn: Conn, transformer_id: int | None = None, status: str = "",
    before: int | None = None, limit: Limit = 50,
) -> list[dict[str, Any]]:  # fmt: skip
    """Orders, newest first."""
    found = await commands.listed(
        conn, who, transformer_id=transformer_id, status=status, before=before, limit=limit
    )
    return [_told(each) for each in found]


# The permission of each kind is for commands.ask; a user who may order anything may ask a reading.
@routes.post("/transformers/{transformer_id}/commands", may=P.COMMAND_ASK, status_code=201)
async def order(
    transformer_id: int, given: CommandIn, who: Caller, conn: Conn, desk: TheDesk
) -> dict[str, Any]:
    """Order something of the site at a transformer."""
    wish = commands.Wish(
        given.kind, given.mode, given.phase_limit_a, given.max_moving_percent, given.release
    )
    made = await commands.ask(
        conn, who, transformer_id, wish, given.why, given.good_for_s, desk.signer, desk.wall()
    )
    return _told(made)


@routes.post("/commands/{command_id}/approve", may=P.COMMAND_APPROVE)
async def approve(command_id: int, who: Caller, conn: Conn, desk: TheDesk) -> dict[str, Any]:
    """Release as second person what another ordered."""
    return _told(await commands.approve(conn, who, command_id, desk.signer, desk.wall()))


@routes.post("/commands/{command_id}/withdraw", may=P.COMMAND_APPROVE)
async def withdraw(command_id: int, who: Caller, conn: Conn) -> dict[str, Any]:
    """Take back what was not sent yet."""
    return _told(await commands.withdraw(conn, who, command_id))


@routes.post("/import", may=P.IMPORT)
async def take_list(given: ImportIn, who: Caller, conn: Conn) -> fleet.utility_list.Comparison:
    """Compare the utility's list of transformers with the database, or take it over."""
    do = fleet.utility_list.take if given.take else fleet.utility_list.compare
    return await do(conn, who, given.csv)


@routes.get("/dead-letters", may=P.DEAD_READ)
async def dead(
    who: Caller, conn: Conn, before: int | None = None, limit: Limit = 50
) -> list[DeadLetter]:
    """Messages that could not be taken, newest first; not their payloads."""
    return await fleet.dead_letters(conn, who, before=before, limit=limit)
