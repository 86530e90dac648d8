"""Messages that come from tables of the program, and not from a template."""

from __future__ import annotations

from collections.abc import Iterator

from pbal_hq import alarms, reports
from pbal_hq.auth import MEANINGS, Role
from pbal_hq.fleet import SORTS
from pbal_hq.portal.render import MENU, WORDS
from pbal_uplink import names


def table_messages() -> Iterator[str]:
    """Each of them."""
    yield from (words for _, words, _ in MENU)
    yield from MEANINGS.values()
    yield from map(str, Role)
    for table in (names.MODES, names.OUTCOMES, names.SEVERITIES, names.KINDS,
                  names.NODE_EVENTS):  # fmt: skip
        yield from table.values()
    yield from alarms.KINDS
    yield from SORTS
    for column in reports.FIGURES:
        yield from (column.name, column.meaning)
    yield from WORDS
