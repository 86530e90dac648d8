"""What goes next over a thin link, whatever had waited: pure, over an outbox that is a list."""

from __future__ import annotations

import itertools
import random

import pytest

from pbal_controller.uplink.briefbox import Briefbox
from pbal_controller.uplink.outbox import EVENT, SUMMARY, Row
from pbal_uplink import Event, Summary, brief, metrics, names

SITE = 7
START_S = 1_700_000_100 // 300 * 300


class Outbox:
    """Rows by number, as the journal has them."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.last = 0

    def put(self, kind: str) -> int:
        self.last += 1
        n = self.last
        message: Summary | Event
        if kind == SUMMARY:
            message = Summary(site=SITE, start_s=START_S + 300 * n, length_s=300)
        else:
            message = Event(site=SITE, event_id=n, at_s=START_S, kind=names.KIND_OVERLOAD)
        self.rows[n] = Row(n, kind, START_S, message.encode())
        return n

    def fill(self, box: Briefbox) -> None:
        """As ThinEnd.refresh reads it."""
        for above, up_to, most in box.wanted():
            assert most > 0
            numbers = range(above + 1, (self.last if up_to is None else min(up_to, self.last)) + 1)
            found = (self.rows[n] for n in numbers if n in self.rows)
            box.offer(list(itertools.islice(found, most)), up_to)

    def stored(self, box: Briefbox, number: int) -> None:
        """HQ has it: what arrived is acknowledged, and matched with its row."""
        row = self.rows[number]
        arrived = metrics.token(brief.arrives(row.message(), 51))
        (own,) = box.own_tokens([arrived])
        assert own == metrics.token_of(row.body)
        del self.rows[number]
        box.done([number])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("waiting", [10, 500, 3000])
def test_an_alarm_goes_first_however_much_waits(waiting: int, before: bool) -> None:
    """`before`: it all waited when the link began; else it came while the gateway was silent."""
    outbox = Outbox()
    box = Briefbox(51, 7200.0)
    if before:
        for _ in range(waiting):
            outbox.put(SUMMARY)
        box = Briefbox(51, 7200.0, outbox.last)
    else:
        for _ in range(waiting):
            outbox.put(SUMMARY)
            outbox.fill(box)
    outbox.fill(box)
    alarm, news = outbox.put(EVENT), outbox.put(SUMMARY)
    outbox.fill(box)
    due = box.due(0.0)
    assert due[0].row.id == alarm
    assert not due[0].historical
    assert len(due) <= 500
    live = [made.row.id for made in due if made.row.kind == SUMMARY and not made.historical]
    assert news in live
    assert len(live) <= 6
    assert [m.historical for m in due[1:]] == sorted(m.historical for m in due[1:])


@pytest.mark.parametrize("seed", range(2))
def test_every_row_goes_and_is_forgotten_once(seed: int) -> None:
    """Rows come while others go, are acknowledged late, and some are sent again."""
    rng = random.Random(seed)
    outbox = Outbox()
    for _ in range(700):
        outbox.put(SUMMARY)
    box, now = Briefbox(51, 600.0, outbox.last), 0.0
    sent: dict[int, int] = {}
    waiting: list[int] = []
    while outbox.rows:
        now += 10.0
        if outbox.last < 2000:
            for _ in range(rng.choice((0, 0, 1, 5))):
                outbox.put(rng.choice((SUMMARY, SUMMARY, EVENT)))
        outbox.fill(box)
        if rng.random() < 0.02:
            continue  # silent
        for made in box.due(now)[:3]:
            box.taken([made.row.id], now)
            sent[made.row.id] = sent.get(made.row.id, 0) + 1
            waiting.append(made.row.id)
        while waiting and (rng.random() < 0.5 or len(waiting) > 12):
            number = waiting.pop(0)
            if number in outbox.rows and rng.random() < 0.98:  # some words of HQ are lost
                outbox.stored(box, number)
        assert now < 200_000, "something never went"
    assert sorted(sent) == list(range(1, outbox.last + 1))
    assert box.on_way == 0
    assert not box.due(now + 10_000)
    assert not box._own
    assert not box._rows
