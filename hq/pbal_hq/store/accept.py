"""What of the bus is kept: of a site that is known and trusted, its own, and in time.

The store and the lake ask here, so that both keep the same.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from pbal_hq.database import Connection
from pbal_hq.ingest.wording import Message

_AHEAD = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Node:
    """A site by its name on the bus. `trusted`: not removed, and not revoked."""

    site: int
    transformer: int
    trusted: bool

    def strange(self, message: Message) -> str | None:
        """Why a message is not this site's own; None where it is."""
        said = message.fields["site"]
        if said == self.site:
            return None
        return f"it says that it is of site {said}, and is site {self.site}'s node"


async def nodes(db: Connection, keys: Iterable[str]) -> dict[str, Node]:
    """The sites of these keys of records; a key that is not registered is left out."""
    keys = list(keys)
    cursor = await db.execute(
        "SELECT n.key, s.id, s.transformer_id, site_trusted(s) "
        "FROM site s JOIN unnest(%s::text[], %s::text[]) AS n (key, node) "
        "ON s.node = n.node AND site_key(s) = n.key",
        # The site's own name is the last part; what comes another way is not its.
        (keys, [key.rpartition("/")[2] for key in keys]),
    )
    return {key: Node(site, transformer, trusted)
            for key, site, transformer, trusted in await cursor.fetchall()}  # fmt: skip


def out_of_time(start: datetime.datetime, now: datetime.datetime, raw_days: int) -> str | None:
    """Why a summary's window is too old or too early to be kept; None where it is neither."""
    # A day less than what is kept: hours are summed up from whole days only.
    if start < now - datetime.timedelta(days=raw_days - 1):
        return f"older than what is kept ({raw_days} days): {start:%Y-%m-%d}"
    if start > now + _AHEAD:
        return f"from the future ({start:%Y-%m-%d %H:%M}); is the site's clock set?"
    return None
