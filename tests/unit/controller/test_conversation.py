"""The sealed conversation with one home, without port, bearer or controller."""

from __future__ import annotations

import time

import pytest

from pbal_controller.config import HomeConfig
from pbal_controller.homes import Conversation, Fact, Home, Host, Inbox, Session, SiteHost
from pbal_controller.homes.conversation import OVERHEAD
from pbal_controller.standing import Standing
from pbal_protocol import records as r
from pbal_protocol.codec import Record

from .fake import SITE, FakeNode, root_key

ROOM = 240


class Told(Host):
    """A host that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.orders: list[r.Update] = []
        self.forbidden = False
        self.time = time.time()

    def wall(self) -> float:
        return self.time

    def may_switch(self, home: Home, now: float) -> bool:
        return not self.forbidden

    def may_update(self, home: Home, now: float) -> bool:
        return not self.forbidden

    def update(self, home: Home, room: int, now: float) -> r.Update | None:
        return self.orders.pop() if self.orders else None

    def record(self, home: Home, record: Record, now: float) -> None:
        self.records.append(record)


def make(node: FakeNode, **options: float) -> tuple[Conversation, Told]:
    """A conversation with a node, counters reserved."""
    session = Session(SITE, node.address, root_key(node.address), "")
    session.counters.extend(1, 1_000_000)
    home = Home(HomeConfig(address=node.address, bus="street"), session)
    host = Told()
    return Conversation(home, host, **options), host


def exchange(talk: Conversation, node: FakeNode, now: float, room: int = ROOM) -> bool:
    """One poll and its answer."""
    frame = talk.outgoing(room, now)
    assert len(frame) <= room
    answer = node.answer(frame)
    return answer is not None and talk.received(answer[1], now)


def opened(talk: Conversation, node: FakeNode, room: int = ROOM, now: float = 0.0) -> list[Record]:
    """What the next frame tells the node, which does not act on it."""
    frame = talk.outgoing(room, now)
    assert len(frame) <= room
    return r.decode_all(node.opener.open(frame), "down") if frame else []


def greeted(node: FakeNode, **options: float) -> tuple[Conversation, Told]:
    """A conversation that knows its node, with nothing waiting."""
    talk, host = make(node, **options)
    for now in (0.0, 0.1, 0.2):
        assert exchange(talk, node, now)
    assert talk.home.hello is not None
    host.records.clear()
    return talk, host


def test_nothing_is_sealed_before_the_hello_and_it_is_asked_for_again() -> None:
    node = FakeNode(1)
    talk, _ = make(node)
    request = talk.outgoing(ROOM, 10.0)
    assert request
    assert talk.session.sealed == 0
    assert talk.outgoing(ROOM, 11.9) == b""
    assert talk.outgoing(ROOM, 12.0)
    assert talk.session.sealed == 0


def test_a_greeting_sets_floor_and_clock() -> None:
    node = FakeNode(1)
    node.opener.raise_floor(500)
    node.pending.clear()
    node.hello()
    talk, host = make(node)
    assert exchange(talk, node, 0.0)
    assert talk.home.hello is not None
    assert talk.session.sealed == 0
    assert exchange(talk, node, 0.1)
    assert talk.session.sealed > 500
    assert node.synced
    assert talk.home.telemetry is not None
    assert any(isinstance(record, r.Hello) for record in host.records)


def test_what_waits_goes_out_most_urgent_first_and_once() -> None:
    node = FakeNode(1)
    talk, host = greeted(node)
    home = talk.home
    switch = r.Switch(
        command_id=5, from_phase=1, to_phase=2, issued_s=0, expires_s=int(host.time) + 60
    )
    home.event_ack, home.result_ack, home.switch = 7, 3, switch
    home.ask(r.StatusGet(what=r.WHAT_HELLO))
    frame = opened(talk, node)
    assert frame == [
        switch, r.ResultAck(command_id=3), r.EventAck(seq=7), r.StatusGet(what=r.WHAT_HELLO),
    ]  # fmt: skip
    assert talk.carries == switch
    assert opened(talk, node) == []
    assert talk.carries is None


def test_a_small_room_takes_the_urgent_and_leaves_the_rest_for_later() -> None:
    """As on a radio: nothing is lost, nothing goes before what is more urgent."""
    node = FakeNode(1)
    talk, host = greeted(node)
    home = talk.home
    switch = r.Switch(
        command_id=5, from_phase=1, to_phase=2, issued_s=0, expires_s=int(host.time) + 60
    )
    size = len(switch.encode())
    home.switch, home.result_ack, home.event_ack = switch, 3, 7
    for what in (r.WHAT_HELLO, r.WHAT_HEALTH):
        home.ask(r.StatusGet(what=what))
    room = OVERHEAD + size + 2
    got = [opened(talk, node, room) for _ in range(3)]
    assert got[0][0] == switch
    assert sorted(x.ID for frame in got for x in frame) == sorted(
        x.ID
        for x in (
            switch, r.ResultAck(command_id=3), r.EventAck(seq=7),
            r.StatusGet(what=r.WHAT_HELLO), r.StatusGet(what=r.WHAT_HEALTH),
        )
    )  # fmt: skip
    assert opened(talk, node, room) == []


def test_a_switch_that_does_not_fit_waits_and_one_that_expired_is_dropped() -> None:
    node = FakeNode(1)
    talk, host = greeted(node)
    home = talk.home
    home.switch = r.Switch(
        command_id=5, from_phase=1, to_phase=2, issued_s=0, expires_s=int(host.time) + 60
    )
    assert opened(talk, node, OVERHEAD + 4) == []
    assert home.switch is not None
    assert talk.carries is None
    host.time += 61
    assert opened(talk, node) == []
    assert home.switch is None


def test_no_switch_and_no_update_while_nothing_may_be_commanded() -> None:
    node = FakeNode(1)
    talk, host = greeted(node)
    host.forbidden = True
    talk.home.switch = r.Switch(
        command_id=5, from_phase=1, to_phase=2, issued_s=0, expires_s=int(host.time) + 60
    )
    host.orders = [r.Update(op=r.OP_ABORT, data=bytes(8))]
    assert opened(talk, node) == []
    assert talk.home.switch is None
    assert host.orders
    host.forbidden = False
    assert [type(record) for record in opened(talk, node)] == [r.Update]


def test_more_questions_than_a_frame_holds_keep_their_order() -> None:
    node = FakeNode(1)
    talk, _ = greeted(node)
    asked = [r.Config(key=key, value=1000 + key) for key in range(1, 15)]
    for record in asked:
        talk.home.ask(record)
    got: list[Record] = []
    for _ in range(6):
        frame = talk.outgoing(OVERHEAD + 30, 0.0)
        got += r.decode_all(node.opener.open(frame), "down") if frame else []
    assert got == asked


def test_without_counters_nothing_is_sealed() -> None:
    node = FakeNode(1)
    talk, _ = greeted(node)
    talk.session.counters.end = 0
    talk.home.ask(r.StatusGet(what=r.WHAT_HELLO))
    assert talk.outgoing(ROOM, 0.0) == b""
    assert talk.home.requests


def test_health_is_asked_for_in_its_time_while_it_answers() -> None:
    node = FakeNode(1)
    talk, _ = greeted(node, health_every_s=60.0)
    talk.home.asked_health_at = 0.0
    talk.home.alive = True
    assert opened(talk, node, now=59.0) == []
    assert opened(talk, node, now=60.0) == [r.StatusGet(what=r.WHAT_HEALTH)]
    assert opened(talk, node, now=61.0) == []
    talk.home.alive = False
    assert opened(talk, node, now=500.0) == []


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "twice", "other"])
def test_what_is_not_its_own_new_frame_changes_nothing(damage: str) -> None:
    node = FakeNode(1)
    talk, host = greeted(node)
    home = talk.home
    answer = node.answer(b"")
    assert answer is not None
    frame = answer[1]
    if damage == "twice":
        assert talk.received(frame, 5.0)
        host.records.clear()
    elif damage == "other":
        other = FakeNode(2).answer(b"")
        assert other is not None
        frame = other[1]
    frame = {
        "empty": b"",
        "short": frame[:9],
        "flipped": frame[:-1] + bytes([frame[-1] ^ 1]),
    }.get(damage, frame)
    heard, readings = home.heard_at, home.readings
    counts = home.link.auth_failed + home.link.replayed + home.link.malformed
    assert not talk.received(frame, 6.0)
    assert (home.heard_at, home.readings) == (heard, readings)
    assert home.link.auth_failed + home.link.replayed + home.link.malformed == counts + 1
    assert host.records == []


def test_a_reading_held_back_on_the_way_is_not_used() -> None:
    node = FakeNode(1)
    talk, host = greeted(node, max_delay_s=10.0)
    readings = talk.home.readings
    host.time += 30
    assert exchange(talk, node, 50.0)
    assert talk.home.link.delayed == 1
    assert talk.home.readings == readings
    assert not any(isinstance(record, r.Telemetry) for record in host.records)


def test_what_a_later_frame_said_is_not_taken_back_by_one_that_comes_after_it() -> None:
    """A network changes the order of frames: the home was moved, and its earlier reading comes."""
    node = FakeNode(1)
    talk, host = greeted(node)
    home = talk.home
    node.pending += [r.Health(heap_used_max=1), r.Ack(counter=9, result=0)]
    earlier = node.answer(b"")
    node.phase = node.true_phase = 2
    node.boots += 1
    node.pending.append(r.Health(heap_used_max=2))
    node.hello()
    later = node.answer(b"")
    assert earlier is not None
    assert later is not None
    assert talk.received(later[1], 5.0, anybody=True)
    host.records.clear()
    readings = home.readings
    assert talk.received(earlier[1], 5.1, anybody=True), "it is authentic and new"
    assert (home.phase, home.readings, home.link.delayed) == (2, readings, 1)
    assert home.health is not None
    assert home.health.heap_used_max == 2
    assert [type(record) for record in host.records] == [r.Ack], "what is said once counts"
    assert exchange(talk, node, 6.0)
    assert home.readings == readings + 1


@pytest.mark.parametrize("anybody", [True, False])
def test_a_frame_that_was_held_on_the_way_is_as_old_as_it_is(anybody: bool) -> None:
    """On a medium that holds frames, a bridge's; on wires a node whose clock is behind is not."""
    node = FakeNode(1)
    talk, host = greeted(node)
    held = node.answer(b"")
    assert held is not None
    host.time += 8.0
    assert talk.received(held[1], 100.0, anybody=anybody)
    age_s = 100.0 - talk.home.sampled_at
    assert age_s == pytest.approx(8.0 if anybody else 0.0, abs=1.1)
    assert talk.home.held_s == pytest.approx(8.0 if anybody else 0.0, abs=1.1)


def test_the_running_time_of_a_node_whose_frame_was_held_is_no_second_board() -> None:
    node = FakeNode(1)
    node.born -= 100.0
    talk, _ = greeted(node)
    home, inbox = talk.home, Inbox()
    host = SiteHost(inbox, Standing(1), lambda: wall)
    talk._host = host
    begun = wall = time.time()

    def told(held_s: float, running_s: float) -> list[Fact]:
        """What a Health means that was held for so long on the way."""
        nonlocal wall
        wall = begun
        node.pending.append(r.Health(heap_used_max=1, uptime_s=int(running_s)))
        frame = node.answer(b"")
        assert frame is not None
        wall = begun + held_s
        assert talk.received(frame[1], 1000.0 + held_s, anybody=True)
        return list(inbox._items)

    assert home.boots == 1
    assert told(0.0, 500.0) == []
    assert told(60.0, 500.0) == [], "held for a minute"
    assert len(told(0.0, 540.0)) == 1, "another board"
