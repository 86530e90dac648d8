"""What one home says takes its share of the journal and no more; nobody else waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from pbal_controller.journal import Journal, prune
from pbal_controller.journal import pruning as pruning_module
from pbal_controller.moves import rations as rations_module
from pbal_controller.moves.rations import BURST, REFILL_S, Rations
from pbal_protocol import records as r

from .conftest import Site, rows, until
from .fake import FakeNode

MakeSite = Callable[..., Site]


def test_a_home_has_a_burst_and_then_its_share() -> None:
    rations = Rations()
    taken = sum(rations.event(1, 1, seq, (2, 0), 0.0) for seq in range(1, 1000))
    assert taken == BURST
    assert not rations.event(1, 1, BURST + 1, (2, 0), REFILL_S * 0.9)
    assert rations.event(1, 1, BURST + 1, (2, 0), REFILL_S * 1.1)
    assert rations.event(2, 1, 1, (2, 0), REFILL_S), "the neighbour has its own"
    hour = [t * 0.5 for t in range(200, 7400)]
    taken = sum(rations.event(1, 2, seq, (2, 0), t) for seq, t in enumerate(hour, 1))
    assert taken <= 3600 / REFILL_S + 10


def test_what_is_said_again_costs_nothing() -> None:
    rations = Rations()
    for _ in range(1000):
        assert all(rations.event(1, 1, seq, (2, 0), 0.0) for seq in range(1, 17))
    assert rations.put_off_total == 0
    assert all(rations.result(1, (7, 2, 0), 0.0) for _ in range(1000))


def test_none_is_taken_above_one_that_was_put_off() -> None:
    """An acknowledgment covers all numbers below it: the one put off would be lost."""
    rations = Rations()
    for seq in range(1, BURST + 1):
        assert rations.event(1, 1, seq, (2, 0), 0.0)
    assert not rations.event(1, 1, BURST + 1, (2, 0), 0.0)
    now = 3 * REFILL_S
    assert not rations.event(1, 1, BURST + 2, (2, 0), now)
    assert rations.event(1, 1, BURST + 1, (2, 0), now)
    assert rations.event(1, 1, BURST + 2, (2, 0), now)


def test_a_new_life_of_the_node_waits_for_no_number_of_the_old_one() -> None:
    rations = Rations()
    for seq in range(1, BURST + 2):
        rations.event(1, 1, seq, (2, 0), 0.0)
    assert rations.event(1, 2, 5000, (2, 0), 2 * REFILL_S)
    assert rations.event(1, 2, 5001, (2, 0), 4 * REFILL_S)


async def test_an_insider_does_not_fill_the_journal(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rations_module, "BURST", 20)
    site = make_site(FakeNode(1), FakeNode(2))
    liar, honest = site.nodes[1], site.nodes[2]
    async with site.running() as c:
        await until(lambda: liar.synced and honest.synced)
        for seq in range(1, 400):
            liar.events.append(
                r.Event(seq=seq, code=r.EVENT_INRUSH, severity=1, time_s=int(time.time()))
            )
            liar.pending.append(r.SwitchResult(command_id=10_000 + seq, outcome=r.REFUSED))
        await until(lambda: c.dispatcher.put_off_total > 50)
        honest.event()
        await until(lambda: not honest.events)  # acknowledged
        assert rows(site, "SELECT COUNT(*) FROM events WHERE address = 2") == [(1,)]
        (events,) = rows(site, "SELECT COUNT(*) FROM events WHERE address = 1")[0]
        (results,) = rows(site, "SELECT COUNT(*) FROM results")[0]
        assert 1 <= events + results <= 21
        assert len(liar.events) == 399 - events, "what was not stored was not acknowledged"
        await until(lambda: not c.dispatcher.busy(2))
        assert await c.dispatcher.order(c.fleet.get(2), 2, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
        await asyncio.sleep(0.2)


def test_of_one_home_s_events_the_latest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning_module, "EVENTS_KEPT", 50)
    journal = Journal(":memory:")
    now = time.time()
    for seq in range(1, 200):
        journal.db.execute(
            "INSERT INTO events VALUES (1, 1, ?, 2, 0, 0, 0, 0, ?)", (seq, now - 300 + seq)
        )
        journal.add_result(seq, 1, 3, 0, 1, 0, 230.0, 0)
    journal.add_events([(2, 1, 1, 2, 0, 0, 0, 0)])
    assert not prune(journal, 400)
    assert [e["seq"] for e in journal.recent_events(500) if e["address"] == 1] == list(
        range(199, 149, -1)
    )
    assert journal.db.execute("SELECT COUNT(*) FROM events WHERE address = 2").fetchone() == (1,)
    assert journal.db.execute("SELECT COUNT(*) FROM results").fetchone()[0] <= 60
    journal.close()
