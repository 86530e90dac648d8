"""The utility's own list of transformers, as people take it over in the portal.

The registry reads and compares lists, for the command line as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from pbal_hq import audit, registry
from pbal_hq.auth import Permission, Who
from pbal_hq.database import Connection

_WHERE = "the list"
_SHOWN = 200


@dataclass(frozen=True)
class Change:
    """One transformer of the list that differs. `what`: words; empty for a new one."""

    code: str
    what: str


@dataclass(frozen=True)
class Comparison:
    """What taking the list over would do; the first of the changes."""

    new: int
    changed: int
    same: int
    absent: int
    changes: list[Change]


def read(text: str) -> list[registry.Listed]:
    """The lines. Raises BadInput, which names lines and columns."""
    return registry.read_text(text, _WHERE, exact=True)


def _words(difference: registry.Difference, listed: list[registry.Listed]) -> Comparison:
    what: dict[str, list[str]] = {row.code: [] for row in difference.new}
    for each in difference.changed:
        old = "none" if each.old in (None, "") else each.old
        what.setdefault(each.code, []).append(f"{each.what} {old} becomes {each.new}")
    changes = [Change(row.code, "; ".join(what[row.code])) for row in listed if row.code in what]
    return Comparison(
        len(difference.new), difference.changes, difference.same, len(difference.absent),
        changes[:_SHOWN],
    )  # fmt: skip


async def compare(conn: Connection, who: Who, text: str) -> Comparison:
    """What taking it over would do. Raises NotAllowed, BadInput."""
    who.scope(Permission.IMPORT)
    listed = read(text)
    return _words(await registry.differ(conn, listed), listed)


async def take(conn: Connection, who: Who, text: str) -> Comparison:
    """Take it over: all of it or nothing. Raises NotAllowed, BadInput."""
    who.scope(Permission.IMPORT)
    listed = read(text)
    async with conn.transaction():
        difference = await registry.differ(conn, listed)
        done = _words(difference, listed)
        await registry.take(conn, listed, difference, retire=False)
        await audit.append(conn, who.name, "transformer.import", "transformers",
                           {"new": done.new, "changed": done.changed, "same": done.same,
                            "changes": [c.code for c in done.changes]})  # fmt: skip
    return done
