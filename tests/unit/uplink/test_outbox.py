"""What waits for HQ: nothing is lost before HQ has it, nothing is queued twice, alarms stay."""

import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pbal_controller.journal import Journal
from pbal_controller.uplink import outbox
from pbal_uplink import Event, Summary, metrics, names


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal(tmp_path / "j.db")
    outbox.switch(made, True)
    yield made
    made.close()


def summary(number: int) -> Summary:
    return Summary(site=7, start_s=1_700_000_100 + 300 * number, length_s=300, homes=4)


def waiting(journal: Journal) -> list[int]:
    return [row.at_s for row in outbox.rows(journal, 0, None, 10_000)]


def events(journal: Journal) -> list[Event]:
    outbox.take_facts(journal, 7)
    return [
        Event.decode(row.body)
        for row in outbox.rows(journal, 0, None, 1000)
        if row.kind == outbox.EVENT
    ]


def order(journal: Journal, address: int = 257) -> int:
    return journal.new_command(address, 1, 2, 1000, 1060, "why", 1.0).id


def test_only_what_hq_has_stored_is_forgotten(journal):
    made = [summary(n) for n in range(5)]
    for each in made:
        outbox.put(journal, each, 1000)
    first = outbox.rows(journal, 0, None, 2)
    assert [row.message() for row in first] == made[:2]
    gone = outbox.stored(journal, [metrics.token(made[3]), metrics.token(made[0]), 12345])
    assert gone == [4, 1]
    assert waiting(journal) == [made[n].start_s for n in (1, 2, 4)]
    assert outbox.stored(journal, [metrics.token(made[3])]) == []
    assert outbox.last_id(journal) == 5
    assert outbox.backlog(journal) == 3


def test_the_same_message_is_queued_once(journal):
    outbox.put(journal, summary(1), 1000)
    outbox.put(journal, summary(1), 1000)
    assert outbox.backlog(journal) == 1


def test_an_id_never_comes_twice(journal):
    outbox.put(journal, summary(1), 1000)
    outbox.stored(journal, [metrics.token(summary(1))])
    outbox.put(journal, summary(2), 1000)
    assert [row.id for row in outbox.rows(journal, 0, None, 9)] == [2]


def test_a_full_outbox_thins_the_oldest_summaries_and_never_an_alarm(journal):
    journal.quarantine(257, "welded")
    for number in range(41):
        outbox.put(journal, summary(number), 40)
    left = [
        (row.at_s - 1_700_000_100) // 300
        for row in outbox.rows(journal, 0, None, 1000)
        if row.kind == outbox.SUMMARY
    ]
    assert left[-20:] == list(range(21, 41)), "the newer half is whole"
    told = events(journal)
    kinds = [event.kind for event in told]
    assert kinds == [names.KIND_THINNED, names.KIND_QUARANTINE]
    assert outbox.thinned_total(journal) == 10
    assert "10 summaries" in told[0].detail
    for number in range(41, 400):
        outbox.put(journal, summary(number), 40)
    rows = outbox.rows(journal, 0, None, 1000)
    assert sum(row.kind == outbox.SUMMARY for row in rows) <= 40
    assert sum(row.kind == outbox.EVENT for row in rows) == len(events(journal)) > 20
    starts = [row.at_s for row in rows if row.kind == outbox.SUMMARY]
    assert starts == sorted(starts)
    assert starts[0] == summary(0).start_s, "the oldest is kept, more coarsely"
    dropped = outbox.thinned_total(journal)
    assert dropped + len(starts) == 400


def test_every_alarm_and_every_switching_becomes_one_event(journal):
    now = int(time.time())
    journal.add_events([
        (257, 1, 7, 2, 2, now - 60, 5, 6),  # welded: an alarm
        (257, 1, 8, 1, 0, now, 0, 0),  # a boot: nothing for HQ
        (258, 1, 9, 3, 0, 0, 1, 2),  # moved by itself, its clock not set
    ])  # fmt: skip
    first = order(journal)
    journal.update_command(first, "sent", 1)
    journal.update_command(first, "done", 1, transfer_ms=90)
    journal.update_command(first, "confirmed", 1, "measured", 90)
    journal.update_command(first, "confirmed", 2, "measured", 90)
    second = order(journal, 258)
    journal.update_command(second, "disagreed", 1, "the node said done; é" + "x" * 300)
    journal.quarantine(258, "lied")
    journal.quarantine(258, "lied again")
    journal.lift_quarantine(258)
    told = events(journal)
    assert [(e.kind, e.severity, e.address) for e in told] == [
        (names.KIND_NODE, names.ALARM, 257),
        (names.KIND_NODE, names.INFO, 258),
        (names.KIND_SWITCHING, names.INFO, 257),
        (names.KIND_SWITCHING, names.ALARM, 258),
        (names.KIND_QUARANTINE, names.ALARM, 258),
        (names.KIND_RELEASED, names.INFO, 258),
    ]
    assert (told[0].code, told[0].arg0, told[0].arg1, told[0].at_s) == (2, 5, 6, now - 60)
    assert told[1].at_s >= now, "a clock that was not set is not believed"
    assert (told[2].command_id, told[2].outcome, told[2].from_phase, told[2].to_phase) == (
        first, names.OUTCOME_CONFIRMED, 1, 2,
    )  # fmt: skip
    assert len(told[3].detail.encode()) <= 200
    assert len({e.event_id for e in told}) == 6
    assert events(journal) == told, "facts are taken once"


def test_a_damaged_fact_holds_up_no_other(journal, caplog):
    journal.quarantine(257, "welded")
    for fact in ("{", "[]", "{}", '{"what": "stand-down"}', '{"what": "thunder", "since": 1}'):
        journal.db.execute("INSERT INTO facts (at_s, fact) VALUES (?, ?)", (1000, fact))
    journal.quarantine(258, "welded")
    assert [each.address for each in events(journal)] == [257, 258]
    assert caplog.text.count("not told to HQ") == 5


def test_one_home_that_floods_crowds_out_only_itself(journal, monkeypatch):
    monkeypatch.setattr(outbox, "EVENTS_KEPT", 20)
    now = int(time.time())
    journal.quarantine(257, "welded")
    journal.add_events([(258, 1, 1, 2, 2, now, 0, 0)])
    for start in range(0, 100, 10):
        journal.add_events([(257, 1, start + n, 2, 2, now, start + n, 0) for n in range(10)])
        outbox.take_facts(journal, 7)
    told = events(journal)
    assert [e.arg0 for e in told if e.address == 257 and e.kind == names.KIND_NODE] == list(
        range(80, 100)
    )
    assert next(e.kind for e in told if e.address == 257) == names.KIND_QUARANTINE
    assert len([e for e in told if e.address == 258]) == 1


def test_without_an_uplink_nothing_is_noted(journal):
    outbox.switch(journal, False)
    journal.quarantine(257, "welded")
    assert events(journal) == []
    outbox.switch(journal, True)
    journal.lift_quarantine(257)
    assert [e.kind for e in events(journal)] == [names.KIND_RELEASED]


def test_a_failed_transaction_notes_nothing(journal):
    def fails() -> None:
        with journal.transaction():
            journal.db.execute("INSERT INTO quarantine VALUES (5, 1.0, 'x')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert events(journal) == []


def test_the_number_of_a_connection_goes_round_and_survives(journal, tmp_path):
    assert [outbox.next_bdseq(journal) for _ in range(3)] == [0, 1, 2]
    journal.close()
    again = Journal(tmp_path / "j.db")
    seen = [outbox.next_bdseq(again) for _ in range(256)]
    assert seen[0] == 3
    assert sorted(seen) == list(range(256))
    again.close()


OLD = sorted((Path(__file__).parents[1] / "controller" / "journals").glob("schema-*.sql"))


@pytest.mark.parametrize("dump", OLD, ids=[path.stem for path in OLD])
def test_an_older_journal_gets_an_empty_outbox_that_works(tmp_path, dump):
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.executescript(dump.read_text())
    assert db.execute("SELECT COUNT(*) FROM outbox").fetchone()[0] > 0
    db.close()
    journal = Journal(path)
    assert outbox.backlog(journal) == 0
    outbox.switch(journal, True)
    outbox.put(journal, summary(1), 1000)
    sent = [row for row in journal.recent_commands() if row.state == "sent"]
    journal.update_command(sent[0].id, "expired", 1, "late")
    assert [e.outcome for e in events(journal)] == [names.OUTCOME_EXPIRED]
    assert outbox.backlog(journal) == 2
    journal.close()


WRITER = """
import sys
from pbal_controller.journal import Journal
from pbal_controller.uplink import outbox
from pbal_uplink import Summary
journal = Journal(sys.argv[1])
outbox.switch(journal, True)
for n in range(int(sys.argv[2]), 10_000):
    outbox.put(journal, Summary(site=7, start_s=300 * n, length_s=300), 1_000_000)
    made = journal.new_command(257, 1, 2, 1, 2, "why", 1.0)
    journal.update_command(made.id, "confirmed", 1)
    outbox.take_facts(journal, 7)
    print(n, made.id, flush=True)
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_said(tmp_path):
    path, done, ordered, start = tmp_path / "j.db", [], [], 0
    for turn in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(start)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert writer.stdout is not None
        for _ in range(5 + 7 * turn):
            number, command = map(int, writer.stdout.readline().split())
            done.append(number)
            ordered.append(command)
        writer.kill()
        for line in writer.stdout.read().splitlines():
            if len(line.split()) == 2:
                done.append(int(line.split()[0]))
                ordered.append(int(line.split()[1]))
        writer.wait()
        start = done[-1] + 1
    journal = Journal(path)
    outbox.take_facts(journal, 7)
    rows = outbox.rows(journal, 0, None, 10_000)
    starts = [row.at_s // 300 for row in rows if row.kind == outbox.SUMMARY]
    assert set(done) <= set(starts)
    assert len(starts) == len(set(starts)) <= len(done) + 6
    told = [Event.decode(row.body).command_id for row in rows if row.kind == outbox.EVENT]
    assert set(ordered) <= set(told)
    assert len(told) == len(set(told)) == journal.command_counts()["confirmed"]
    journal.close()
