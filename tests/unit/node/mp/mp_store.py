"""What is in flash survives a power cut at every block operation, as the old value or the new."""

import os

import scenarios_counters
import support
from flash_cuts import cut_everywhere

from pbal_node import events, journal, store


def slot_keeps_old_or_new():
    stats = store.FlashStats()
    old, new = b"old value" * 9, b"the new value" * 9

    def prepare():
        store.Slot("/slot", stats).save(b"older")
        s = store.Slot("/slot", stats)
        s.load()
        s.save(old)

    def act():
        s = store.Slot("/slot", stats)
        assert s.load() == old
        if not s.save(new):
            raise OSError

    def check(finished):
        got = store.Slot("/slot", stats).load()
        assert got == new or (got == old and not finished), got

    assert cut_everywhere(prepare, act, check) >= 2


def config_keeps_old_or_new():
    legal = lambda key, value: 0 <= value <= 100  # noqa: E731
    defaults = {1: 10, 2: 20}

    def open_config():
        return store.Config("/config", store.FlashStats(), defaults, {}, legal)

    def prepare():
        assert open_config().set(1, 55)

    def act():
        if not open_config().set(2, 77):
            raise OSError

    def check(finished):
        c = open_config()
        assert c.get(1) == 55
        assert c.get(2) == 77 or (c.get(2) == 20 and not finished)
        c._slot.save(b'{"1": 101, "2": 30}')
        c = open_config()
        assert c.get(1) == 10 and c.get(2) == 30, "what is not legal is not taken from flash either"

    cut_everywhere(prepare, act, check)


def selector_state_keeps_old_or_new():
    def prepare():
        s = journal.SelectorState("/sel", store.FlashStats())
        s.proven = 1
        assert s.save()

    def act():
        s = journal.SelectorState("/sel", store.FlashStats())
        s.stage, s.stage_from, s.stage_to, s.stage_command = 1, 1, 3, 99
        for i in range(10):
            s.remember(journal.Result(i + 1, 2, 0, 1, 2, 2, 170, 2301, 5, 6))
        if not s.save():
            raise OSError

    def check(finished):
        s = journal.SelectorState("/sel", store.FlashStats())
        assert s.proven == 1
        if finished:
            assert s.stage and s.stage_command == 99
            assert len(s.results) == journal.RESULTS_KEPT and s.find(10).vout_dv == 2301
        else:
            assert s.stage in (0, 1)

    cut_everywhere(prepare, act, check)


def damaged_slots_are_refused():
    stats = store.FlashStats()
    s = store.Slot("/bad", stats)
    s.save(b"one")
    s.save(b"two")
    for i in (0, 1):
        path = "/bad.%d" % i
        with open(path, "rb") as f:
            good = f.read()
        for k in range(len(good)):
            with open(path, "wb") as f:
                f.write(good[:k] + bytes((good[k] ^ 0x10,)) + good[k + 1 :])
            got = store.Slot("/bad", stats).load()
            assert got == (b"two" if i == 0 else b"one"), (i, k, got)
            with open(path, "wb") as f:
                f.write(good[:k])
            assert store.Slot("/bad", stats).load() == (b"two" if i == 0 else b"one")
        with open(path, "wb") as f:
            f.write(good)


def event_log_survives():
    now = [0]

    def open_log():
        stats = store.FlashStats()
        return events.EventLog("/ev", store.Slot("/ack", stats), lambda: now[0], lambda: 7, stats)

    def prepare():
        log = open_log()
        for i in range(5):
            log.emit(i + 1, 1, i, -i)

    def act():
        log = open_log()
        assert [e[0] for e in log.pending] == [1, 2, 3, 4, 5]
        log.emit(9, 2, 1, 2)
        if log._stats.errors:
            raise OSError

    def check(finished):
        log = open_log()
        seqs = [e[0] for e in log.pending]
        assert seqs in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]), seqs
        assert finished <= (len(seqs) == 6)
        log.emit(10, 1)  # and it goes on, without a hole in what can be read
        assert [e[0] for e in open_log().pending] == seqs + [seqs[-1] + 1]

    cut_everywhere(prepare, act, check)


def event_log_turns_over_and_acknowledges():
    now = [0]
    stats = store.FlashStats(lambda: now[0])
    log = events.EventLog("/turn", store.Slot("/turnack", stats), lambda: now[0], lambda: 7, stats)
    for i in range(3 * events.SEGMENT):
        now[0] += 300000
        log.emit(1 + i % 16, 0, i)
    assert len(log.pending) == events.PENDING
    stored = sorted([e[0] for i in (0, 1) for e in log.read(i)])
    assert stored[-1] == 3 * events.SEGMENT
    assert stored == list(range(stored[0], stored[-1] + 1)) and len(stored) > events.SEGMENT
    log.ack(3 * events.SEGMENT - 2)
    assert len(log.pending) == 2
    again = events.EventLog(
        "/turn", store.Slot("/turnack", stats), lambda: now[0], lambda: 7, stats
    )
    assert [e[4] for e in again.pending] == [382, 383]
    # A flickering fault does not wear the flash.
    writes = stats.writes
    for _ in range(1000):
        now[0] += 100
        again.emit(6, 1)
    assert stats.writes - writes <= 6 and again.dropped >= 994


def a_backlog_is_told_from_its_beginning():
    """More than memory holds: nothing is skipped, whatever resets come in between."""
    now = [0]

    def open_log():
        stats = store.FlashStats()
        return events.EventLog("/bk", store.Slot("/bkack", stats), lambda: now[0], lambda: 7, stats)

    many = 2 * events.SEGMENT - 20
    log = open_log()
    for i in range(many):
        now[0] += 300000
        log.emit(1 + i % 16, 0, i)
        if i % 37 == 36:
            log = open_log()
    told = []
    while log.pending:
        assert len(log.pending) <= events.PENDING
        told += [e[0] for e in log.pending]
        log.forget(told[-1])  # at once; the flash follows
        log.ack(told[-1])
        if len(told) % 3 == 0:
            log = open_log()
        if len(told) < 60:
            now[0] += 300000
            log.emit(3, 0, 0)  # what happens meanwhile waits behind it
    assert told == list(range(1, log.newest + 1)), told
    # What flash did not take cannot be told later: it counts as lost, and no more.
    for i in range(events.PENDING + 5):
        now[0] += 300000
        if i == events.PENDING:
            log._path = "/no/such/folder"
        log.emit(1 + i % 16, 0, i)
    assert log.dropped == 5 and len(log.pending) == events.PENDING
    log.ack(log.newest)
    assert log.pending == []
    log.emit(9, 0)
    assert len(log.pending) == 1


def torn_tail_is_cut_off():
    stats = store.FlashStats()

    def open_log():
        return events.EventLog("/torn", store.Slot("/tornack", stats), lambda: 0, lambda: 7, stats)

    open_log().emit(1, 0, 11)
    with open("/torn.0", "ab") as f:
        f.write(b"\x01\x02\x03")
    log = open_log()
    log.emit(2, 0, 22)
    log.emit(3, 0, 33)
    assert [e[4] for e in open_log().pending] == [11, 22, 33]
    assert 3 * 19 == os.stat("/torn.0")[6]


support.run(
    (
        slot_keeps_old_or_new,
        config_keeps_old_or_new,
        selector_state_keeps_old_or_new,
        damaged_slots_are_refused,
        event_log_survives,
        event_log_turns_over_and_acknowledges,
        a_backlog_is_told_from_its_beginning,
        torn_tail_is_cut_off,
    )
    + scenarios_counters.SCENARIOS
)
