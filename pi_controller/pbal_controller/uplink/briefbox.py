"""The outbox as it goes over a thin link: which rows are due, on their way, or done.

Over LoRa and LoRaWAN a message goes in brief (pbal_uplink.brief). HQ knows the message that
arrives, and acknowledges its token; here that is matched with the row it came from. Pure, but for
the rows, which the caller reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pbal_controller.uplink.outbox import EVENT, Row
from pbal_uplink import BadMessage, brief, metrics

_OLD = 400  # rows that had waited: so many are remembered; the others are read later
_LIVE = 6  # summaries that are sent before those; older ones had waited, too
_SENT = 4000  # rows that HQ does not acknowledge: nothing new is taken up beyond that


@dataclass(frozen=True)
class Brief:
    """One row as it goes out."""

    row: Row
    body: bytes
    historical: bool


class Briefbox:
    """What to send next. `room`: bytes of one brief message; rows up to `live_above` had waited
    before the link was there. What is new is taken up however much had waited.
    """

    def __init__(self, room: int, resend_s: float, live_above: int = 0) -> None:
        self._room = room
        self._resend_s = resend_s
        self._due: dict[int, Brief] = {}  # by row
        self._sent: dict[int, tuple[float, Brief]] = {}  # when, by row
        self._own: dict[int, int] = {}  # token of what arrives -> token of the row
        self._rows: dict[int, int] = {}  # token of the row -> row
        self._live_above = live_above
        self._new_above = live_above  # new rows were read up to here
        self._old_above = 0  # those that had waited, up to here
        self.unsendable = 0

    @property
    def on_way(self) -> int:
        """Rows that the next hop has, and HQ does not acknowledge yet."""
        return len(self._sent)

    def wanted(self) -> list[tuple[int, int | None, int]]:
        """Which rows of the outbox to offer: (above, up to, at most)."""
        room = _SENT - len(self._sent)
        if room <= 0:
            return []
        out: list[tuple[int, int | None, int]] = [(self._new_above, None, min(room, _OLD))]
        old = _OLD - sum(made.historical for made in self._due.values())
        if self._old_above < self._live_above and old > 0:
            out.append((self._old_above, self._live_above, min(room, old)))
        return out

    def offer(self, rows: list[Row], up_to: int | None) -> None:
        """The rows of one of `wanted`, in order."""
        if up_to is None:
            self._new_above = rows[-1].id if rows else self._new_above
        else:
            self._old_above = rows[-1].id if rows else up_to
        for row in rows:
            if row.id not in self._due and row.id not in self._sent:
                self._take_up(row)
        self._age()

    def _take_up(self, row: Row) -> None:
        try:
            message = row.message()
            made = Brief(row, brief.encode(message, self._room), row.id <= self._live_above)
            arrives = metrics.token(brief.arrives(message, self._room))
        except BadMessage:
            self.unsendable += 1  # of a later version, or damaged: it is kept
            return
        own = metrics.token_of(row.body)
        self._due[row.id] = made
        self._own[arrives] = own
        self._rows[own] = row.id

    def _age(self) -> None:
        """New summaries that came to wait for long are as those that had waited before."""
        new = [n for n, made in self._due.items() if not made.historical and made.row.kind != EVENT]
        if len(new) <= _LIVE:
            return
        new.sort()
        self._live_above = new[-_LIVE // 2 - 1]
        for number in new[: -_LIVE // 2]:
            self._due[number] = replace(self._due[number], historical=True)
        old = sorted(number for number, made in self._due.items() if made.historical)
        if len(old) > _OLD:
            self._old_above = min(self._old_above, old[_OLD] - 1)
            self.done(old[_OLD:])

    def due(self, now: float) -> list[Brief]:
        """What may go now: events, then new summaries, then what had waited; oldest first."""
        for number, (at, made) in list(self._sent.items()):
            if now - at >= self._resend_s:
                del self._sent[number]
                self._due[number] = made
        return sorted(
            self._due.values(), key=lambda b: (b.row.kind != EVENT, b.historical, b.row.id)
        )

    def taken(self, row_ids: Iterable[int], now: float) -> None:
        """The next hop has these."""
        for number in row_ids:
            made = self._due.pop(number, None)
            if made is not None:
                self._sent[number] = now, made

    def own_tokens(self, arrived: Iterable[int]) -> list[int]:
        """The tokens in the outbox for those that HQ acknowledges."""
        return [self._own.get(token, token) for token in arrived]

    def done(self, row_ids: Iterable[int]) -> None:
        """These are no longer in the outbox, or are read again later."""
        gone = set(row_ids)
        for number in gone:
            self._due.pop(number, None)
            self._sent.pop(number, None)
        gone_tokens = {token for token, number in self._rows.items() if number in gone}
        self._rows = {t: n for t, n in self._rows.items() if n not in gone}
        self._own = {a: o for a, o in self._own.items() if o not in gone_tokens}
