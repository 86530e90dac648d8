"""The states of an order, each step an entry in the audit log of the same transaction.

    asked ──approve (another person)──> approved ──> sent ──> done | refused | failed | expired
      └──── withdraw ──> withdrawn        sealed under HQ's key; the bridge sends, the site answers
    no second person needed: it starts as approved
    a rollout: sent ──> started ──> done | failed, by the site's second answer

What is asked or approved and not sent by its time is expired. The person who asked must still be a
user with the permission when it is approved, and both persons when it is sent.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pbal_hq import audit
from pbal_hq.auth import IN_SCOPE, NotAllowed, Permission, Who
from pbal_hq.commands.dispatch import CHANNEL
from pbal_hq.commands.rights import still_may
from pbal_hq.commands.rules import Wish, needs_second, permission, wish_of
from pbal_hq.commands.signer import Signer
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo
from pbal_uplink import names

SHORTEST_S, LONGEST_S = 60, 86_400


@dataclass(frozen=True)
class Command:
    """An order as people see it. `fields`: of pbal_uplink.Command."""

    id: int
    site_id: int
    transformer_id: int
    transformer_code: str
    kind: int
    fields: dict[str, Any]
    status: str
    needs_second: bool
    asked_by: str
    asked_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    expires_at: datetime
    sent_at: datetime | None
    answered_at: datetime | None
    answer: str

    @property
    def words(self) -> str:
        """What is ordered, for a person."""
        f = self.fields
        kind = names.COMMANDS.get(self.kind, str(self.kind))
        if kind == "mode":
            return f"mode {names.MODES.get(f['mode'], f['mode'])}"
        if kind == "rollout":
            return f"roll out release {f['release']}"
        if kind == "limits":
            phase, share = f["phase_limit_a"], f["max_moving_percent"]
            a = "as configured" if phase is None else f"{phase:g} A"
            b = "as configured" if share is None else f"{share} %"
            return f"limits: phase {a}, moving homes {b}"
        return kind

    @property
    def why(self) -> str:
        """The reason that was given."""
        return str(self.fields.get("detail", ""))


_COLUMNS = (
    "SELECT c.id, c.site_id, t.id AS transformer_id, t.code AS transformer_code, c.kind, c.fields,"
    " c.status, c.needs_second, c.asked_by, c.asked_at, c.approved_by, c.approved_at,"
    " c.expires_at, c.sent_at, c.answered_at, c.answer"
    " FROM command c JOIN site s ON s.id = c.site_id JOIN transformer t ON t.id = s.transformer_id"
)


async def listed(
    conn: Connection, who: Who, *, transformer_id: int | None = None, status: str = "",
    before: int | None = None, limit: int = 50,
) -> list[Command]:  # fmt: skip
    """The newest orders that the user may see, with an id below `before`. Raises NotAllowed."""
    sql = (
        f"{_COLUMNS} WHERE {IN_SCOPE} AND (%(one)s::int IS NULL OR t.id = %(one)s)"
        " AND (%(status)s = '' OR c.status = %(status)s)"
        " AND (%(before)s::bigint IS NULL OR c.id < %(before)s) ORDER BY c.id DESC LIMIT %(limit)s"
    )
    values = who.scope(Permission.COMMAND_READ).parameters() | {
        "one": transformer_id, "status": status, "before": before, "limit": limit,
    }  # fmt: skip
    async with conn.cursor(row_factory=class_row(Command)) as cursor:
        await cursor.execute(sql, values)
        return await cursor.fetchall()


async def ask(
    conn: Connection, who: Who, transformer_id: int, wish: Wish, why: str, good_for_s: int,
    signer: Signer, now_s: float,
) -> Command:  # fmt: skip
    """Order something of the site at a transformer.

    `good_for_s`: how long it may wait for a second person and for the site. Raises NotAllowed,
    NothingToDo, BadInput.
    """
    if not SHORTEST_S <= good_for_s <= LONGEST_S:
        raise BadInput(f"An order is good for {SHORTEST_S} s to {LONGEST_S // 3600} h.")
    why = " ".join(why.split())
    if not why:
        raise BadInput("Say why: the site writes it into its journal.")
    may = who.scope(permission(wish))
    async with conn.transaction():
        row = await (
            await conn.execute(
                "SELECT s.id, l.state->>'capabilities' FROM transformer t"
                " JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL"
                f" LEFT JOIN site_live l ON l.site_id = s.id WHERE t.id = %(one)s AND {IN_SCOPE}",
                may.parameters() | {"one": transformer_id},
            )
        ).fetchone()
        if row is None:
            raise NothingToDo("There is no such transformer with a site.")
        site, capabilities = row
        if capabilities is not None and not int(capabilities) & names.CAPABILITY_COMMANDS:
            raise BadInput("This site holds no key of HQ: it takes no commands (uplink.hq_keys).")
        # Milliseconds and random bits: in the order of asking, and exact in JavaScript (2**53).
        # The primary key refuses the same id a second time.
        command_id = int(now_s * 1000) << 12 | secrets.randbits(12)
        second = needs_second(wish)
        words = wish.words(site, command_id, int(now_s), int(now_s) + good_for_s,
                           f"{who.name}: {why}")  # fmt: skip
        sealed = None if second else signer.seal(words)
        await conn.execute(
            "INSERT INTO command (id, site_id, kind, fields, status, asked_by, asked_at,"
            " expires_at, sealed, needs_second) VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s),"
            " to_timestamp(%s), %s, %s)",
            (command_id, site, words.kind, Jsonb(words.as_dict()),
             "asked" if second else "approved", who.name, now_s, words.expires_s, sealed, second),
        )  # fmt: skip
        told = {"command": command_id, "needs_second": second} | words.as_dict()
        await audit.append(conn, who.name, "command.ask", f"site {site}", told)
        if not second:
            await _tell(conn)
    return await _get(conn, command_id)


async def approve(
    conn: Connection, who: Who, command_id: int, signer: Signer, now_s: float
) -> Command:
    """Approve what another asked for: it is signed and sent. Raises NotAllowed, NothingToDo,
    BadInput."""
    async with conn.transaction():
        command = await _locked(conn, who, Permission.COMMAND_APPROVE, command_id)
        if command.status != "asked":
            raise BadInput(f"This order is {command.status}: there is nothing to release.")
        if command.asked_by == who.name:
            raise NotAllowed("A second person releases this order: somebody else than who asked.")
        if command.expires_at.timestamp() <= now_s:
            raise BadInput("This order has expired. Ask again.")
        wish = wish_of(command.kind, command.fields)
        may = permission(wish)
        if not await still_may(conn, command.asked_by, command.transformer_id, may):
            raise NotAllowed(f"{command.asked_by}, who asked, may no longer order this.")
        words = wish.words(command.site_id, command.id, int(now_s),
                           int(command.expires_at.timestamp()), command.why)  # fmt: skip
        await conn.execute(
            "UPDATE command SET status = 'approved', approved_by = %s,"
            " approved_at = to_timestamp(%s), fields = %s, sealed = %s WHERE id = %s",
            (who.name, now_s, Jsonb(words.as_dict()), signer.seal(words), command.id),
        )
        await audit.append(conn, who.name, "command.approve", f"site {command.site_id}",
                           {"command": command.id, "asked_by": command.asked_by})  # fmt: skip
        await _tell(conn)
    return await _get(conn, command_id)


async def withdraw(conn: Connection, who: Who, command_id: int) -> Command:
    """Take back what was not sent yet, one's own or another's. Raises NotAllowed, NothingToDo,
    BadInput."""
    async with conn.transaction():
        command = await _locked(conn, who, Permission.COMMAND_APPROVE, command_id)
        if command.status not in ("asked", "approved"):
            raise BadInput(f"This order is {command.status}: it cannot be taken back.")
        await conn.execute("UPDATE command SET status = 'withdrawn' WHERE id = %s", (command.id,))
        await audit.append(conn, who.name, "command.withdraw", f"site {command.site_id}",
                           {"command": command.id, "asked_by": command.asked_by})  # fmt: skip
    return await _get(conn, command_id)


async def lapse(conn: Connection, now_s: float) -> int:
    """Expire what was not sent in time; how many. Called periodically."""
    done = await conn.execute(
        "UPDATE command SET status = 'expired', answer = 'not sent in time'"
        " WHERE status IN ('asked', 'approved') AND expires_at <= to_timestamp(%s)",
        (now_s,),
    )
    return done.rowcount


async def _locked(conn: Connection, who: Who, needed: Permission, command_id: int) -> Command:
    row = await (
        await conn.execute(
            "SELECT 1 FROM command c JOIN site s ON s.id = c.site_id"
            f" JOIN transformer t ON t.id = s.transformer_id WHERE c.id = %(id)s AND {IN_SCOPE}"
            " FOR UPDATE OF c",
            who.scope(needed).parameters() | {"id": command_id},
        )
    ).fetchone()
    if row is None:
        raise NothingToDo("There is no such order.")
    return await _get(conn, command_id)


async def _get(conn: Connection, command_id: int) -> Command:
    async with conn.cursor(row_factory=class_row(Command)) as cursor:
        await cursor.execute(_COLUMNS + " WHERE c.id = %s", (command_id,))
        found = await cursor.fetchone()
    assert found is not None
    return found


async def _tell(conn: Connection) -> None:
    """Wake the bridge."""
    await conn.execute(f"NOTIFY {CHANNEL}")
