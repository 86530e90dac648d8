"""What people do with alarms: each act a note at the alarm and an entry in the audit log.

Shelved (IEC 62682's word): set aside for a time, with a reason; afterwards it is open again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pbal_hq import audit
from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo

LONGEST_SHELF_S = 30 * 86_400


@dataclass(frozen=True)
class Alarm:
    """One alarm as people see it. `address`: the home, 0 the whole transformer."""

    id: int
    transformer_id: int
    transformer_code: str
    transformer_name: str
    kind: str
    address: int
    severity: int
    detail: str
    raised_at: datetime
    last_at: datetime
    times: int
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    shelved_until: datetime | None
    shelved_by: str | None
    shelved_why: str | None
    closed_at: datetime | None
    closed_why: str | None
    state: str


@dataclass(frozen=True)
class Note:
    """What somebody wrote at an alarm, or did with it."""

    at: datetime
    actor: str
    words: str


_STATE = (
    "CASE WHEN a.closed_at IS NOT NULL THEN 'closed' WHEN a.shelved_until > now() THEN 'shelved'"
    " WHEN a.acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END"
)
STATES = ("open", "acknowledged", "shelved", "closed")
_SELECT = (
    "SELECT a.id, a.transformer_id, t.code AS transformer_code, t.name AS transformer_name,"
    " a.kind, a.address, a.severity, a.detail, a.raised_at, a.last_at, a.times,"
    " a.acknowledged_at, a.acknowledged_by, a.shelved_until, a.shelved_by, a.shelved_why,"
    f" a.closed_at, a.closed_why, {_STATE} AS state"
    f" FROM alarm a JOIN transformer t ON t.id = a.transformer_id WHERE {IN_SCOPE}"
)


async def listed(
    conn: Connection, who: Who, *, state: str = "", transformer_id: int | None = None,
    before: int | None = None, limit: int = 50,
) -> list[Alarm]:  # fmt: skip
    """The newest alarms that the user may see, with an id below `before`; `state` "" is all that
    are not closed. Raises NotAllowed, BadInput."""
    if state not in ("", "all", *STATES):
        raise BadInput(f"The state of an alarm is one of {', '.join(STATES)}.")
    wanted = {"": "a.closed_at IS NULL", "all": "true"}.get(state, f"{_STATE} = %(state)s")
    sql = (
        f"{_SELECT} AND {wanted} AND (%(one)s::int IS NULL OR t.id = %(one)s)"
        " AND (%(before)s::bigint IS NULL OR a.id < %(before)s) ORDER BY a.id DESC LIMIT %(limit)s"
    )
    values = who.scope(Permission.ALARM_READ).parameters() | {
        "state": state, "one": transformer_id, "before": before, "limit": limit,
    }  # fmt: skip
    async with conn.cursor(row_factory=class_row(Alarm)) as cursor:
        await cursor.execute(sql, values)
        return await cursor.fetchall()


async def get(
    conn: Connection, who: Who, alarm_id: int, needed: Permission = Permission.ALARM_READ
) -> Alarm:
    """One alarm. Raises NotAllowed, NothingToDo."""
    async with conn.cursor(row_factory=class_row(Alarm)) as cursor:
        await cursor.execute(
            _SELECT + " AND a.id = %(id)s", who.scope(needed).parameters() | {"id": alarm_id}
        )
        found = await cursor.fetchone()
    if found is None:
        raise NothingToDo("There is no such alarm.")
    return found


async def notes(conn: Connection, who: Who, alarm_id: int) -> list[Note]:
    """What was written and done, oldest first. Raises NotAllowed, NothingToDo."""
    await get(conn, who, alarm_id)
    async with conn.cursor(row_factory=class_row(Note)) as cursor:
        await cursor.execute(
            "SELECT at, actor, words FROM alarm_note WHERE alarm_id = %s ORDER BY id", (alarm_id,)
        )
        return await cursor.fetchall()


async def traces(conn: Connection, who: Who, alarm_id: int) -> list[str]:
    """Ids of the latest events behind it, by which logs are searched.

    Raises NotAllowed, NothingToDo.
    """
    await get(conn, who, alarm_id)
    rows = await conn.execute(
        "SELECT e.trace FROM alarm_event x JOIN event e USING (site_id, event_id)"
        " WHERE x.alarm_id = %s AND e.trace <> '' ORDER BY e.at DESC LIMIT 5",
        (alarm_id,),
    )
    return [str(trace) for (trace,) in await rows.fetchall()]


async def acknowledge(conn: Connection, who: Who, alarm_id: int, words: str = "") -> Alarm:
    """A person has taken charge of it. Raises NotAllowed, NothingToDo, BadInput."""
    return await _act(
        conn, who, alarm_id, "acknowledge", words or "acknowledged",
        "acknowledged_at = now(), acknowledged_by = %(actor)s",
    )  # fmt: skip


async def comment(conn: Connection, who: Who, alarm_id: int, words: str) -> Alarm:
    """A note, also at a closed alarm. Raises NotAllowed, NothingToDo, BadInput."""
    return await _act(conn, who, alarm_id, "comment", words, "", also_closed=True)


async def shelve(conn: Connection, who: Who, alarm_id: int, for_s: int, words: str) -> Alarm:
    """Set aside for `for_s` seconds, with a reason; 0 takes it back. Raises NotAllowed,
    NothingToDo, BadInput."""
    if not 0 <= for_s <= LONGEST_SHELF_S:
        raise BadInput(f"An alarm is shelved for at most {LONGEST_SHELF_S // 86_400} days.")
    if not for_s:
        return await _act(
            conn, who, alarm_id, "unshelve", words or "taken from the shelf",
            "shelved_until = NULL, shelved_by = NULL, shelved_why = NULL",
        )  # fmt: skip
    return await _act(
        conn, who, alarm_id, "shelve", words,
        "shelved_until = now() + make_interval(secs => %(for_s)s), shelved_by = %(actor)s,"
        " shelved_why = %(words)s",
        for_s=for_s,
    )  # fmt: skip


async def close(conn: Connection, who: Who, alarm_id: int, words: str) -> Alarm:
    """End it by hand, with a reason; the next occurrence is another alarm. Raises NotAllowed,
    NothingToDo, BadInput."""
    return await _act(
        conn, who, alarm_id, "close", words, "closed_at = now(), closed_why = %(words)s"
    )


async def _act(
    conn: Connection, who: Who, alarm_id: int, action: str, words: str, change: str,
    *, also_closed: bool = False, for_s: int = 0,
) -> Alarm:  # fmt: skip
    words = " ".join(words.split())
    if not words:
        raise BadInput("Say why: others read it at the alarm.")
    if len(words) > 1000:
        raise BadInput("A note has at most 1000 characters.")
    async with conn.transaction():
        await conn.execute("SELECT 1 FROM alarm WHERE id = %s FOR UPDATE", (alarm_id,))
        alarm = await get(conn, who, alarm_id, Permission.ALARM_HANDLE)
        if alarm.state == "closed" and not also_closed:
            raise BadInput("This alarm is closed.")
        if change:
            await conn.execute(
                f"UPDATE alarm SET {change} WHERE id = %(id)s",
                {"id": alarm_id, "actor": who.name, "words": words, "for_s": for_s},
            )
        shown = words if action in ("comment", "acknowledge") else f"{action}: {words}"
        await conn.execute(
            "INSERT INTO alarm_note (alarm_id, actor, words) VALUES (%s, %s, %s)",
            (alarm_id, who.name, shown[:1000]),
        )
        told = {"words": words} | ({"for_s": for_s} if for_s else {})
        await audit.append(conn, who.name, f"alarm.{action}", f"alarm {alarm_id}", told)
        return await get(conn, who, alarm_id, Permission.ALARM_HANDLE)
