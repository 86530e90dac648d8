"""What a gateway holds for the sites behind it, in its journal: functions for the journal's thread.

A message is kept until HQ says that it has stored it, and then its token for a while, so that a
site that missed the word for it is answered at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pbal_controller.journal import Journal
from pbal_controller.uplink.outbox import EVENT, SUMMARY, token_bytes
from pbal_uplink import Command, Event, Message, State, Summary, metrics

_REMEMBER_S = 14 * 86_400.0


@dataclass(frozen=True)
class Held:
    """One message that HQ has not acknowledged."""

    id: int
    site: int
    kind: str
    at_s: int
    body: bytes
    historical: bool

    def message(self) -> Message:
        """The message itself. Raises BadMessage."""
        return (Summary if self.kind == SUMMARY else Event).decode(self.body)


def hold(
    journal: Journal, message: Summary | Event, historical: bool, most: int
) -> tuple[bool, bool]:
    """(whether it is held or was stored, whether HQ has it already). On the disk on return.

    Not held: `most` messages of this site wait already; it stays at the site.
    """
    body = message.encode()
    token = token_bytes(metrics.token_of(body))
    found = journal.db.execute("SELECT stored_s FROM relay WHERE token = ?", (token,)).fetchone()
    if found is not None:
        return True, found[0] is not None
    (waiting,) = journal.db.execute(
        "SELECT COUNT(*) FROM relay WHERE site = ? AND stored_s IS NULL", (message.site,)
    ).fetchone()
    if waiting >= most:
        return False, False
    is_summary = isinstance(message, Summary)
    at_s = message.start_s if isinstance(message, Summary) else message.at_s
    journal.db.execute(
        "INSERT INTO relay (site, kind, at_s, body, token, historical) VALUES (?, ?, ?, ?, ?, ?)",
        (
            message.site,
            SUMMARY if is_summary else EVENT,
            at_s,
            journal.sealed("relay", token, body),
            token,
            int(historical),
        ),
    )
    return True, False


def token(message: Message) -> int:
    """By which HQ acknowledges it."""
    return metrics.token(message)


def last_id(journal: Journal) -> int:
    """The id of the latest message that was held."""
    row = journal.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'relay'").fetchone()
    return int(row[0]) if row else 0


def waiting(journal: Journal, above: int, limit: int) -> list[Held]:
    """Messages that HQ has not acknowledged, with an id above `above`, in order."""
    rows = journal.db.execute(
        "SELECT id, site, kind, at_s, token, body, historical FROM relay "
        "WHERE id > ? AND stored_s IS NULL ORDER BY id LIMIT ?",
        (above, limit),
    )
    return [
        Held(number, site, kind, at_s, journal.opened("relay", token, body), bool(old))
        for number, site, kind, at_s, token, body, old in rows
    ]


def backlog(journal: Journal) -> int:
    """How many messages HQ has not acknowledged."""
    return int(
        journal.db.execute("SELECT COUNT(*) FROM relay WHERE stored_s IS NULL").fetchone()[0]
    )


def stored(journal: Journal, site: int, tokens: list[int]) -> list[int]:
    """HQ has stored these of a site. Returns their ids."""
    gone = []
    with journal.transaction():
        for token in tokens:
            row = journal.db.execute(
                "UPDATE relay SET stored_s = ? WHERE token = ? AND site = ? RETURNING id",
                (time.time(), token_bytes(token), site),
            ).fetchone()
            if row is not None:
                gone.append(int(row[0]))
        journal.db.execute("DELETE FROM relay WHERE stored_s < ?", (time.time() - _REMEMBER_S,))
    return gone


def keep_state(journal: Journal, state: State) -> None:
    """The latest State of a site."""
    journal.db.execute(
        "INSERT INTO relay_state VALUES (?, ?) "
        "ON CONFLICT (site) DO UPDATE SET body = excluded.body",
        (state.site, journal.sealed("relay_state", state.site, state.encode())),
    )


def states(journal: Journal) -> dict[int, bytes]:
    """The latest States, packed, by site."""
    rows = journal.db.execute("SELECT site, body FROM relay_state")
    return {site: journal.opened("relay_state", site, body) for site, body in rows}


def keep_command(journal: Journal, command: Command, sealed: bytes) -> None:
    """A command on its way to a site."""
    journal.db.execute(
        "INSERT INTO relay_command VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            command.site,
            str(command.command_id),
            float(command.expires_s),
            journal.sealed("relay_command", f"{command.site}/{command.command_id}", sealed),
        ),
    )


def commands(journal: Journal, now_s: float) -> list[tuple[int, int, float, bytes]]:
    """Commands that have not expired: (site, id, expires_s, sealed); the others are forgotten."""
    journal.db.execute("DELETE FROM relay_command WHERE expires_s <= ?", (now_s,))
    rows = journal.db.execute("SELECT site, id, expires_s, sealed FROM relay_command")
    return [
        (site, int(number), expires, journal.opened("relay_command", f"{site}/{number}", sealed))
        for site, number, expires, sealed in rows
    ]


def end_command(journal: Journal, site: int, command_id: int) -> None:
    """It was answered."""
    journal.db.execute(
        "DELETE FROM relay_command WHERE site = ? AND id = ?", (site, str(command_id))
    )
