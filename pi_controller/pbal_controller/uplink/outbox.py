"""The outbox: messages for HQ in the journal, each until HQ itself says that it has stored it.

Summaries are bounded: when there are too many, every second one of the older half goes, so that the
oldest are kept at a coarser interval. Events are never thinned out; but a home's own events have
their share of the disk, as in the journal, and its own oldest are dropped. These are functions over
a Journal, for its thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from pbal_controller.documents import load_json
from pbal_controller.journal import EVENTS_KEPT, Journal
from pbal_controller.uplink.facts import event_of, thinned
from pbal_uplink import Event, Message, Summary, metrics, names

log = logging.getLogger(__name__)

SUMMARY, EVENT = "summary", "event"
_BDSEQ, _THINNED, _ON = "uplink_bdseq", "uplink_thinned", "uplink"


@dataclass(frozen=True)
class Row:
    """One message that waits."""

    id: int
    kind: str
    at_s: int
    body: bytes

    def message(self) -> Message:
        """The message itself. Raises BadMessage."""
        return (Summary if self.kind == SUMMARY else Event).decode(self.body)


def token_bytes(token: int) -> bytes:
    """A token as the outbox keeps it."""
    return token.to_bytes(8, "big")


def switch(journal: Journal, on: bool) -> None:
    """Whether the journal notes facts for HQ from now on."""
    if journal.meta(_ON) != ("on" if on else "off"):
        journal.set_meta(_ON, "on" if on else "off")


def put(journal: Journal, message: Summary | Event, max_summaries: int) -> int:
    """Queue a message; on return it is on the disk. Returns how many summaries gave way.

    The same message is queued once.
    """
    with journal.transaction():
        insert(journal, message)
        return _thin(journal, message.site, max_summaries) if isinstance(message, Summary) else 0


def insert(journal: Journal, message: Summary | Event) -> None:
    """Queue a message within a transaction of the caller."""
    kind = SUMMARY if isinstance(message, Summary) else EVENT
    at_s = message.start_s if isinstance(message, Summary) else message.at_s
    address = 0
    if isinstance(message, Event) and message.kind == names.KIND_NODE:
        address = message.address
    body = message.encode()
    token = token_bytes(metrics.token_of(body))
    made = journal.db.execute(
        "INSERT INTO outbox (kind, at_s, body, token, address) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        (kind, at_s, journal.sealed("outbox", token, body), token, address),
    )
    if isinstance(message, Event) and message.severity and made.rowcount == 1:
        # The same trace is in HQ's log, and at the alarm in the portal.
        what = names.KINDS.get(message.kind, str(message.kind))
        told = {"trace": token.hex(), "kind": what, "home": message.address}
        log.info("event for HQ", extra=told)


def _thin(journal: Journal, site: int, most: int) -> int:
    (held,) = journal.db.execute(
        "SELECT COUNT(*) FROM outbox WHERE kind = ?", (SUMMARY,)
    ).fetchone()
    if held <= most:
        return 0
    older = journal.db.execute(
        "SELECT id, at_s FROM outbox WHERE kind = ? ORDER BY at_s, id LIMIT ?",
        (SUMMARY, held // 2),
    ).fetchall()
    gone = older[1::2]
    journal.db.executemany("DELETE FROM outbox WHERE id = ?", [(row[0],) for row in gone])
    total = thinned_total(journal) + len(gone)
    journal.set_meta(_THINNED, str(total))
    if gone:
        insert(journal, thinned(site, gone[0][1], gone[-1][1], len(gone), total))
    return len(gone)


def thinned_total(journal: Journal) -> int:
    """Summaries that were thinned out, ever."""
    return int(journal.meta(_THINNED) or 0)


def take_facts(journal: Journal, site: int, limit: int = 500) -> int:
    """Make events of the facts that the journal noted. Returns how many facts there were.

    One that is damaged is logged and left out: it must not hold up those behind it.
    """
    found = journal.db.execute(
        "SELECT id, at_s, fact FROM facts ORDER BY id LIMIT ?", (limit,)
    ).fetchall()
    if found:
        with journal.transaction():
            homes = set()
            for number, at_s, fact in found:
                try:
                    event = event_of(site, at_s, load_json(str(fact)))
                    insert(journal, event)
                except (ValueError, KeyError, TypeError) as error:
                    log.error("not told to HQ", extra={"fact": number, "why": repr(error)})
                    continue
                if event.kind == names.KIND_NODE:
                    homes.add(event.address)
            for address in homes:
                _share(journal, address)
            journal.db.execute("DELETE FROM facts WHERE id <= ?", (found[-1][0],))
    return len(found)


def _share(journal: Journal, address: int) -> None:
    """Keeps a home's own events within its share: its oldest are dropped."""
    journal.db.execute(
        "DELETE FROM outbox WHERE address = ? AND id <= (SELECT id FROM outbox WHERE address = ? "
        "AND address > 0 ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (address, address, EVENTS_KEPT),
    )


def last_id(journal: Journal) -> int:
    """The id of the latest message that was queued, also of one that is gone."""
    row = journal.db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    return int(row[0]) if row else 0


def rows(journal: Journal, above: int, up_to: int | None, limit: int) -> list[Row]:
    """Messages with an id above `above`, at most `up_to`, in order."""
    found = journal.db.execute(
        "SELECT id, kind, at_s, token, body FROM outbox WHERE id > ? AND id <= ? "
        "ORDER BY id LIMIT ?",
        (above, (1 << 62) if up_to is None else up_to, limit),
    )
    return [
        Row(number, kind, at_s, journal.opened("outbox", token, body))
        for number, kind, at_s, token, body in found
    ]


def backlog(journal: Journal) -> int:
    """How many messages wait."""
    return int(journal.db.execute("SELECT COUNT(*) FROM outbox").fetchone()[0])


def stored(journal: Journal, tokens: Iterable[int]) -> list[int]:
    """HQ has stored these: forget exactly these. Returns their ids."""
    gone = []
    with journal.transaction():
        for token in tokens:
            row = journal.db.execute(
                "DELETE FROM outbox WHERE token = ? RETURNING id", (token_bytes(token),)
            ).fetchone()
            if row is not None:
                gone.append(int(row[0]))
    return gone


def next_bdseq(journal: Journal) -> int:
    """The birth/death number of the next connection, 0..255; on the disk before it is used."""
    value = (int(journal.meta(_BDSEQ) or -1) + 1) % 256
    journal.set_meta(_BDSEQ, str(value))
    return value
