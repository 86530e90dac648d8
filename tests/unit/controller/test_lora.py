"""The LoRa bearer with homes in the air: joining, turns, exchanges, silence, a second path.

The radio is a rig that carries frames in their time on air; homes take turns by the node's own
`Follower`. On a channel of 500 kHz, so that a round takes a fraction of a second.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pbal_controller.app import Controller
from pbal_controller.bearers import register
from pbal_controller.bearers.base import Request
from pbal_controller.bearers.lora import RadioConfig, RadioThread, bearer
from pbal_controller.bearers.lora.driver import Received
from pbal_controller.homes import rounds
from pbal_controller.homes.session import BEACONS, GroupSession
from pbal_controller.view.status import home_dict
from pbal_protocol import records as r
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import DOWN, GROUP, Opener, Sealer, peek
from pbal_protocol.kdf import group_key
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.compact import compact
from pbal_protocol.radio.follower import SILENT, URGENT_BYTES, Contention, Follower
from pbal_protocol.radio.records import Beacon, SlotAssign

from . import toy_bearer
from .conftest import until
from .fake import GROUP_ROOT, SITE, FakeNode, next_up
from .test_bearers import home, running, wireless

STILL = "a revoked home is on the air, or somebody in its name: nothing of it is taken"
RADIO = '[radio.air]\nregion = "US915"\nsf = 7\nguard_ms = 20.0\nround_s = 0.5\n'
BW = 500_000


class Seen:
    """An Opener that remembers what it opened."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.payload = b""

    @property
    def floor(self) -> int:
        return self._opener.floor

    def open(self, frame: bytes) -> bytes:
        self.payload = self._opener.open(frame)
        return self.payload


class RadioNode(FakeNode):
    """A home with a radio, as firmware/pbal_node/bearers/lora.py is one."""

    off = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.opener = Seen(self.opener)  # type: ignore[assignment]
        self.beacons = Opener(group_key(GROUP_ROOT, SITE), GROUP, SITE, 0)
        self.follower = Follower(BW)
        self.contention = Contention()
        self.rng = random.Random(self.address)
        self.turns = 0

    def seal(self, records: list[r.Record]) -> bytes:
        self.counter = next_up(self.counter, self.synced)
        return self.sealer.seal(self.counter, b"".join(x.encode() for x in records))

    def slot_frame(self) -> bytes:
        self.turns += 1
        self._tick()
        flags = self.flags | (0 if self.synced else r.FLAG_UNSYNCED)
        whole = r.Telemetry(
            time_s=int(time.time()), va_v=self.v[0], vb_v=self.v[1], vc_v=self.v[2],
            vout_v=self.vout(), p_w=self.p_w, phase=self.phase, state=self.state, flags=flags,
            age_ms=700,
        )  # fmt: skip
        return self.seal([compact(whole)])

    def exchange(self, frame: bytes) -> bytes | None:
        refused = self.refused_frames
        found = self.answer(frame)
        if found is None or self.refused_frames != refused:
            return None
        for record in r.decode_all(self.opener.payload, "down"):  # type: ignore[attr-defined]
            if isinstance(record, SlotAssign):
                self.follower.assign(record.map_version, record.slot, record.sf)
        return found[1]


class Aerial(RadioThread):
    """A radio without its thread: carries frames in real time, and loses some."""

    nodes: ClassVar[list[RadioNode]] = []
    loss = 0.0
    rng = random.Random(1)
    said: ClassVar[list[tuple[int, float, float]]] = []  # (address, begin, end) on the air

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()

    def tune(self, at_s: float, hz: int, sf: int) -> None:
        pass

    async def send(self, frame: bytes, hz: int, sf: int) -> float:
        us = time_on_air_us(len(frame), sf, BW)
        await asyncio.sleep(us / 1e6)
        end_s = asyncio.get_running_loop().time()
        kind, address = peek(frame)[1:3]
        for node in self.nodes:
            if node.off or self.rng.random() < self.loss:
                continue
            if kind == GROUP:
                self._beacon(node, frame, us, end_s)
            elif kind == DOWN and address == node.address:
                answer = node.exchange(frame)
                if answer is not None:
                    self._later(node.address, answer, end_s + 0.015)
        return end_s

    def _beacon(self, node: RadioNode, frame: bytes, us: int, end_s: float) -> None:
        try:
            record = r.decode_all(node.beacons.open(frame), "group")[0]
        except RemoteError:
            return
        assert isinstance(record, Beacon)
        begin_s = end_s - us / 1e6
        after = node.follower.beacon(record, us)
        if after != SILENT:
            self._later(node.address, node.slot_frame(), begin_s + after / 1e6)
        if record.repair or (node.follower.joined(record) and not node.unacked_result):
            return
        slot = node.contention.turn(node.rng.randrange(64))
        if slot != SILENT:
            step_us = time_on_air_us(URGENT_BYTES, 7, BW) + 500 * record.shape[6]
            at_us = node.follower.end_us + slot * step_us
            if node.unacked_result:
                news: list[r.Record] = [node.unacked_result]
            else:
                node.hello()
                news = [node.pending.pop()]
            self._later(node.address, node.seal(news), begin_s + at_us / 1e6)
            node.contention.failed(node.rng.randrange(8))

    def _later(self, address: int, frame: bytes, at_s: float) -> None:
        us = time_on_air_us(len(frame), 7, BW)
        self.said.append((address, at_s, at_s + us / 1e6))
        loop = asyncio.get_running_loop()
        if self.rng.random() >= self.loss:
            loop.call_at(at_s + us / 1e6, self._hear, frame, at_s + us / 1e6)

    def _hear(self, frame: bytes, end_s: float) -> None:
        self._put(Received(frame, end_s, -101.0, 8.5, 7))


@pytest.fixture
def aerial(monkeypatch: pytest.MonkeyPatch) -> type[Aerial]:
    monkeypatch.setattr(bearer, "RadioThread", Aerial)
    Aerial.nodes, Aerial.loss, Aerial.rng, Aerial.said = [], 0.0, random.Random(1), []
    return Aerial


async def moved(c: Controller, address: int, to_phase: int) -> Any:
    """Order a move and wait for its confirmation."""
    one = c.fleet.get(address)
    await until(lambda: one.phase and not one.immovable(c.now()))
    before = c.dispatcher.finished_total["confirmed"]
    assert await c.dispatcher.order(one, to_phase, "a test", 1.0)
    await until(lambda: c.dispatcher.finished_total["confirmed"] == before + 1)
    return one


@pytest.mark.parametrize("loss", [0.0, 0.1])
async def test_homes_join_are_read_in_their_turns_and_moved(
    aerial: type[Aerial], tmp_path: Path, loss: float
) -> None:
    nodes = aerial.nodes = [RadioNode(a) for a in (1, 2, 3)]
    aerial.loss = loss
    homes = "".join(home(node.address, '{ bearer = "air" }') for node in nodes)
    async with running(tmp_path, RADIO, homes, 1, 2, 3) as c:
        await until(lambda: all(node.synced and node.turns > 3 for node in nodes))
        one = await moved(c, 2, 3)
        assert nodes[1].true_phase == 3
        assert list(nodes[1].executed.values()) == [1]
        # The reading's age is its own, not that of its arrival.
        await until(lambda: one.heard_at - one.sampled_at > 0.69)
        told = home_dict(one, c.now())
        assert told["path"] == "air"
        assert (told["radio"]["sf"], told["radio"]["rssi_dbm"]) == (7, -101.0)
        # A page that is told of no state would call the radio broken.
        assert c.bearers["air"].as_dict()["state"] == "open"
        # Nobody is taken for a second controller's home because it speaks by itself.
        assert not one.hold_reason
    # No two homes that had a slot ever spoke at once; joining ones may have.
    late = sorted(aerial.said[len(aerial.said) // 2 :], key=lambda said: said[1])
    for (_, _, end), (_, begin, _) in itertools.pairwise(late):
        assert end <= begin


async def test_beacons_of_a_clone_hold_commands_back(
    aerial: type[Aerial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller with a copy of this one's files sends its first beacon within a round. Homes are
    read on; what is sent and comes back, or belongs to another site, is nobody else's.
    """
    monkeypatch.setattr(rounds, "POLLED_S", 1.0)
    nodes = aerial.nodes = [RadioNode(a) for a in (1, 2)]
    homes = "".join(home(node.address, '{ bearer = "air" }') for node in nodes)
    clone = Sealer(group_key(GROUP_ROOT, SITE), GROUP, SITE, 0)
    stranger = Sealer(group_key(bytes(32), SITE + 1), GROUP, SITE + 1, 0)
    beacon = Beacon(
        time_s=2_000_000_000, time_ms=0, round=9, map_version=1, repair=0,
        shape=bytes((3, 0, 0, 0, 0, 0, 24, 39)), heard=b"\0",
    ).encode()  # fmt: skip
    sent: list[bytes] = []
    seal = GroupSession.seal_beacon

    def remembered(self: GroupSession, record: r.Record) -> bytes:
        sent.append(seal(self, record))
        return sent[-1]

    monkeypatch.setattr(GroupSession, "seal_beacon", remembered)
    async with running(tmp_path, RADIO, homes, 1, 2) as c:
        await until(lambda: all(node.turns > 3 for node in nodes))
        one = c.fleet.get(1)
        await until(lambda: one.phase and not one.immovable(c.now()))
        air: Any = c.bearers["air"]
        around = air._around

        def overheard(frame: bytes) -> str:
            now = c.now()
            around.overhear(Received(frame, now, -90.0, 8.0, 7), now)
            return c.standing.why_not(now)

        assert not overheard(stranger.seal(BEACONS | 5, beacon))
        around._own.clear()  # another radio of this controller has sent it
        assert not overheard(sent[-1])
        assert "somebody else sends beacons" in overheard(clone.seal(BEACONS | 5, beacon))
        assert air.counts()["forged"] == 1
        assert await c.dispatcher.order(one, 2, "a test", 1.0) is None
        turns = nodes[0].turns
        await until(lambda: nodes[0].turns > turns + 1)
        await until(lambda: not c.standing.why_not(c.now()))
        await moved(c, 1, 2)


async def test_a_home_whose_radio_is_silent_is_asked_by_wire_within_two_rounds(
    aerial: type[Aerial], tmp_path: Path
) -> None:
    """And its command is carried out once, whichever way it came."""
    register(toy_bearer.KIND)
    node = RadioNode(1)
    aerial.nodes = [node]
    tables = RADIO + '[bearer.wire]\nkind = "toy"\n'
    async with wireless(node) as wire:
        ways = ['{ bearer = "air" }', f'{{ bearer = "wire", at = "{wire.place}" }}']
        async with running(tmp_path, tables, home(1, *ways), 1) as c:
            one = c.fleet.get(1)
            radio, other = one.paths
            await until(lambda: radio.alive and other.resting and node.turns > 2)
            wire.off = True
            await moved(c, 1, 2)
            # The command's frame is taken, its answer lost, and the radio falls silent.
            await until(lambda: not one.immovable(c.now()))
            began = c.bearers["air"].counts()["rounds"]
            node.lose_answers = 1
            assert await c.dispatcher.order(one, 3, "a test", 1.0)
            await until(lambda: node.lose_answers == 0)
            began = c.bearers["air"].counts()["rounds"]
            node.off, wire.off = True, False
            await until(lambda: other.alive and not radio.alive)
            assert c.bearers["air"].counts()["rounds"] - began <= 3  # the one under way, two more
            await until(lambda: c.dispatcher.finished_total["confirmed"] == 2)
            assert sorted(node.executed.values()) == [1, 1]
            node.off = False
            await until(lambda: radio.alive and other.resting)


async def test_a_home_whose_reading_says_that_events_wait_is_asked_in_the_next_round(
    aerial: type[Aerial], tmp_path: Path
) -> None:
    """Whatever becomes of its frames in the window for urgent ones: here it sends none there."""
    nodes = aerial.nodes = [RadioNode(a) for a in (1, 2)]
    homes = "".join(home(node.address, '{ bearer = "air" }') for node in nodes)
    async with running(tmp_path, RADIO, homes, 1, 2) as c:
        await until(lambda: all(node.synced and node.turns > 3 for node in nodes))
        traffic, node = c.rounds["air"], nodes[1]
        await until(lambda: not traffic.scheduler.wanted(2))
        assert traffic.unasked(2, node.slot_frame(), c.now())
        assert not traffic.scheduler.wanted(2)
        node.event()
        node.flags |= r.FLAG_EVENTS_PENDING
        assert traffic.unasked(2, node.slot_frame(), c.now())
        assert traffic.scheduler.wanted(2)
        await until(lambda: not node.events)  # it was acknowledged


async def test_a_home_without_the_time_is_asked_in_the_next_round(
    aerial: type[Aerial], tmp_path: Path
) -> None:
    """Where the answer with the time was lost: in a village its own turn may be minutes away."""
    nodes = aerial.nodes = [RadioNode(a) for a in (1, 2)]
    homes = "".join(home(node.address, '{ bearer = "air" }') for node in nodes)
    async with running(tmp_path, RADIO, homes, 1, 2) as c:
        await until(lambda: all(node.synced and node.turns > 3 for node in nodes))
        traffic, one = c.rounds["air"], c.fleet.get(2)
        await until(lambda: not one.requests and not traffic.scheduler.wanted(2))
        one.asked_hello_at = 0.0  # long ago
        assert traffic.unasked(2, nodes[1].slot_frame(), c.now())
        assert not traffic.scheduler.wanted(2)
        nodes[1].synced = False
        assert traffic.unasked(2, nodes[1].slot_frame(), c.now())
        assert traffic.scheduler.wanted(2)
        await until(lambda: nodes[1].synced)


async def test_the_slot_of_a_home_whose_key_is_revoked_is_nobodys_until_the_group_key_changes(
    aerial: type[Aerial], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then it may still speak there: no word of it counts, nobody else is disturbed, and it
    is said. After that the slot goes to whoever joins next. No other slot moves.
    """
    nodes = aerial.nodes = [RadioNode(a) for a in (1, 2, 3, 4)]
    gone, late = nodes[1], nodes[3]
    late.off = True
    homes = "".join(home(a, '{ bearer = "air" }') for a in (1, 2, 3, 4, 5))
    async with running(tmp_path, RADIO, homes, 1, 2, 3, 4, 5) as c:
        air = c.bearers["air"]
        await until(lambda: all(node.turns > 3 for node in nodes[:3]))
        slots = {node.address: node.follower.slot for node in nodes[:3]}
        one, joins = c.fleet.get(2), air.counts()["joins"]
        assert air.as_dict()["slots"] == joins == 3
        assert not air.reaches(2)
        c.router.drop(one)
        assert air.as_dict()["slots"] == 2
        assert air.reaches(2)
        readings, foreign = one.readings, air.counts()["foreign"]
        await until(lambda: air.counts()["revoked"] > 1)  # it spoke
        assert air.counts()["foreign"] == foreign
        assert air.as_dict()["revoked_homes"][0]["address"] == 2
        assert air.as_dict()["strangers"] == []
        assert [r.message for r in caplog.records].count(STILL) == 1
        turns = [node.turns for node in nodes]
        await until(lambda: nodes[0].turns > turns[0] + 1 and nodes[2].turns > turns[2] + 1)
        assert (one.readings, one.alive) == (readings, False)
        assert {a: nodes[a - 1].follower.slot for a in (1, 3)} == {a: slots[a] for a in (1, 3)}
        assert air.counts()["joins"] == joins
        late.off = False
        await until(lambda: late.turns > 3)
        assert late.follower.slot not in slots.values()
        # The beacons' key changes: it hears none any more.
        gone.off = True
        c.router.renewed()
        last = RadioNode(5)
        nodes.append(last)
        await until(lambda: last.turns > 3)
        assert last.follower.slot == slots[2]
        assert air.as_dict()["slots"] == 4


async def test_a_turn_asks_for_no_frame_that_it_does_not_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is asked for is sealed, and counts as the home's turn."""
    asked, sent = [], []

    class Always:
        """Each answer calls for another frame."""

        def ask(self, where: object, *_: object) -> Request:
            asked.append(where)
            return Request(7, b"following")

    made = bearer.LoraBearer("village", RadioConfig(region="IN865"), Always())  # type: ignore[arg-type]

    async def exchange(_radio: object, todo: Request) -> bool:
        sent.append(todo.frame)
        return True

    monkeypatch.setattr(made._exchanges, "_exchange", exchange)
    await made._exchanges._turn(None, Request(7, b"first"))  # type: ignore[arg-type]
    assert sent == [b"first", b"following"]
    assert asked == [7]
