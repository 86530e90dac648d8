"""The outbox as it goes over a thin link: which rows are due, on their way, or done.

Over LoRa and LoRaWAN a message goes in brief (pbal_uplink.brief). HQ knows the message that
arrives, and acknowledges its token; here that is matched with the row it came from. Pure, but for
the rows, which the caller reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pbal_controller.uplink.outbox import EVENT, Row
from pbal_uplink import BadMessage, brief, metrics

_ON_WAY = 400  # rows that are remembered; the others wait


@dataclass(frozen=True)
class Brief:
    """One row as it goes out."""

    row: Row
    body: bytes
    historical: bool


class Briefbox:
    """What to send next. `room`: bytes of one brief message."""

    def __init__(self, room: int, resend_s: float) -> None:
        self._room = room
        self._resend_s = resend_s
        self._due: dict[int, Brief] = {}  # by row
        self._sent: dict[int, tuple[float, Brief]] = {}  # when, by row
        self._own: dict[int, int] = {}  # token of what arrives -> token of the row
        self._rows: dict[int, int] = {}  # token of the row -> row
        self.above = 0  # rows above this one are not known yet
        self.unsendable = 0

    @property
    def space(self) -> int:
        """How many more rows may be offered."""
        return max(0, _ON_WAY - len(self._due) - len(self._sent))

    @property
    def on_way(self) -> int:
        """Rows that the next hop has, and HQ does not acknowledge yet."""
        return len(self._sent)

    def offer(self, rows: Iterable[Row], live_above: int) -> None:
        """Rows that wait; those up to `live_above` were there before the link was."""
        for row in rows:
            self.above = max(self.above, row.id)
            try:
                message = row.message()
                made = Brief(row, brief.encode(message, self._room), row.id <= live_above)
                arrives = metrics.token(brief.arrives(message, self._room))
            except BadMessage:
                self.unsendable += 1  # of a later version, or damaged: it is kept
                continue
            own = metrics.token_of(row.body)
            self._due[row.id] = made
            self._own[arrives] = own
            self._rows[own] = row.id

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
        """These are no longer in the outbox."""
        gone = set(row_ids)
        for number in gone:
            self._due.pop(number, None)
            self._sent.pop(number, None)
        gone_tokens = {token for token, number in self._rows.items() if number in gone}
        self._rows = {t: n for t, n in self._rows.items() if n not in gone}
        self._own = {a: o for a, o in self._own.items() if o not in gone_tokens}
