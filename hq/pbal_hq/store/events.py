"""Events, each once by its id."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pbal_hq import alarms
from pbal_hq.database import Connection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Happened:
    """One event on its way into the table. `fields`: pbal_uplink's as_dict."""

    site: int
    transformer: int
    received: datetime.datetime
    trace: str
    fields: dict[str, Any]


def signed(number: int) -> int:
    """64 bits without a sign as the database's bigint."""
    return number - (number >> 63 << 64)


async def insert_events(db: Connection, events: Sequence[Happened]) -> None:
    """Each once. Within the caller's transaction."""
    if not events:
        return
    async with db.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO event (site_id, event_id, transformer_id, at, received_at, kind, "
            "severity, address, code, outcome, from_phase, to_phase, command_id, arg0, arg1, "
            "detail, trace) VALUES (%s, %s, %s, to_timestamp(%s), %s, %s, %s, %s, %s, %s, %s, %s, "
            "%s, %s, %s, %s, %s) ON CONFLICT (site_id, event_id) DO NOTHING",
            [
                (e.site, signed(f["event_id"]), e.transformer, f["at_s"], e.received, f["kind"],
                 f["severity"], f["address"], f["code"], f["outcome"], f["from_phase"],
                 f["to_phase"], signed(f["command_id"]), f["arg0"], f["arg1"], f["detail"],
                 e.trace)
                for e in events
                for f in (e.fields,)
            ],
        )  # fmt: skip
    for each in events:
        if each.fields["severity"]:
            # The same trace is in the site's log, and at the alarm in the portal.
            log.info("event stored", extra={"trace": each.trace, "site": each.site})
    await db.execute(f"NOTIFY {alarms.CHANNEL}")
