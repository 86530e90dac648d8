"""Sending sealed orders: which are due, and what the sites answered.

Sparkplug's commands go with QoS 0, so an order is offered while its site is online, again every
RESEND_S until the site answers or it expires; a site carries an id out once and answers a repeated
one as before. Nothing is offered whose asker or second person may no longer log in; where one of
them has lost the right since, the order is withdrawn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from pbal_hq.auth import Permission
from pbal_hq.commands.rights import Rights, rights_of
from pbal_hq.commands.rules import permission, wish_of
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput
from pbal_uplink import names

RESEND_S = 120.0
CHANNEL = "pbal_command"  # NOTIFY, when an order was sealed
_BATCH = 200


@dataclass(frozen=True)
class Due:
    """One sealed order. `key`: the site's name on the bus (site_key)."""

    id: int
    key: str
    sealed: bytes
    transformer_id: int
    kind: int
    fields: dict[str, Any]
    asked_by: str
    approved_by: str | None


Send = Callable[[Sequence[Due]], Awaitable[None]]

_DUE = """
SELECT c.id, site_key(s) AS key, c.sealed, s.transformer_id, c.kind, c.fields, c.asked_by,
    c.approved_by
FROM command c JOIN site s ON s.id = c.site_id JOIN site_live l ON l.site_id = s.id
WHERE c.id > %(after)s AND c.sealed IS NOT NULL
AND l.online AND s.removed_at IS NULL AND s.revoked_at IS NULL
AND c.expires_at > to_timestamp(%(now)s)
AND (c.status = 'approved'
     OR c.status = 'sent' AND (c.sent_at <= to_timestamp(%(now)s - %(again)s)
         -- What was sent while its session ended may not have come.
         OR EXISTS (SELECT 1 FROM site_session x WHERE x.site_id = s.id AND x.online
                    AND x.at > c.sent_at)))
AND NOT EXISTS (SELECT 1 FROM person p WHERE p.name IN (c.asked_by, c.approved_by)
                AND NOT p.active)
ORDER BY c.id LIMIT %(most)s FOR UPDATE OF c SKIP LOCKED
"""


async def dispatch(conn: Connection, send: Send, now_s: float) -> int:
    """Give what is due to `send` and note it as sent; how many.

    A crash in between sends once more, which changes nothing. `send` may raise: then nothing is
    noted. An order that is taken back meanwhile waits for this, and is then refused as sent.
    """
    async with conn.transaction():
        due, lost = await _next(conn, now_s)
        if lost:
            await conn.execute(
                "UPDATE command SET status = 'withdrawn', answer = 'who ordered it may no longer'"
                " WHERE id = ANY(%s) AND status = 'approved'",
                (lost,),
            )
        if not due:
            return 0
        await send(due)
        await conn.execute(
            "UPDATE command SET status = 'sent', sent_at = to_timestamp(%s) WHERE id = ANY(%s)",
            (now_s, [each.id for each in due]),
        )
    return len(due)


# The state of an order after an answer; after any other outcome it is "failed".
_ENDS = {
    names.OUTCOME_NONE: "started",
    names.OUTCOME_DONE: "done",
    names.OUTCOME_CONFIRMED: "done",
    names.OUTCOME_REFUSED: "refused",
    names.OUTCOME_EXPIRED: "expired",
}
_STATUS = " ".join(f"WHEN {outcome} THEN '{status}'" for outcome, status in _ENDS.items())


async def _next(conn: Connection, now_s: float) -> tuple[list[Due], list[int]]:
    """The next orders that may go, _BATCH at most, and the ids of those before them that may not.

    What may not go leaves its place to the next: it could otherwise fill each batch.
    """
    due: list[Due] = []
    lost: list[int] = []
    after = 0
    async with conn.cursor(row_factory=class_row(Due)) as cursor:
        while len(due) < _BATCH:
            most = _BATCH - len(due)
            await cursor.execute(
                _DUE, {"now": now_s, "again": RESEND_S, "most": most, "after": after}
            )
            found = await cursor.fetchall()
            people = {name for each in found for name in (each.asked_by, each.approved_by) if name}
            rights = await rights_of(conn, people, {each.transformer_id for each in found})
            for each in found:
                if _allowed(rights, each):
                    due.append(each)
                else:
                    lost.append(each.id)
            if len(found) < most:
                break
            after = found[-1].id
    return due, lost


def _allowed(rights: Rights, due: Due) -> bool:
    try:
        needed = permission(wish_of(due.kind, due.fields))
    except (BadInput, KeyError):  # nothing that HQ writes
        return False
    return rights.may(due.asked_by, due.transformer_id, needed) and (
        due.approved_by is None
        or rights.may(due.approved_by, due.transformer_id, Permission.COMMAND_APPROVE)
    )


async def take_answers(conn: Connection) -> int:
    """Note what sites answered to orders (events of kind answer); how many orders it changed.

    The store calls it with what it writes, and the role `orders` for an answer that was written
    before its order was noted as sent. An answer counts for an order of that site alone, also when
    it is late and HQ counted the order as expired. One without an outcome says that the order is
    under way: another one ends it.
    """
    done = await conn.execute(
        f"UPDATE command c SET status = CASE e.outcome {_STATUS} ELSE 'failed' END,"
        " answer = e.detail, answered_at = e.at FROM ("
        " SELECT DISTINCT ON (o.id) o.id, v.outcome, v.detail, v.at FROM command o"
        " JOIN event v ON v.command_id = o.id AND v.site_id = o.site_id AND v.kind = %(answer)s"
        " WHERE o.status = 'started' AND v.outcome <> %(none)s OR o.answered_at IS NULL"
        " AND (o.status = 'sent' OR o.status = 'expired' AND o.sent_at IS NOT NULL)"
        " ORDER BY o.id, v.outcome = %(none)s, v.at DESC) e WHERE e.id = c.id",
        {"answer": names.KIND_ANSWER, "none": names.OUTCOME_NONE},
    )
    return done.rowcount
