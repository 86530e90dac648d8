"""The controller's LoRa bearer among others: another site, a jammer, an insider.

The air is the twin's (pbal_sim.radio): what overlaps is lost. The bearers are the real ones, in
virtual time, frames and seals too. Two sites begin at the same moment with as many homes: without
giving way their turns lie on each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar, TypeVar

import pytest

from bench._media import RadioTo
from bench._virtual_time import VirtualLoop, play
from pbal_controller.bearers.base import Answer, Request
from pbal_controller.bearers.lora import RadioConfig, bearer
from pbal_protocol import records as r
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import DOWN, GROUP, UP, Opener, Sealer, peek
from pbal_protocol.kdf import group_key, node_keys
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import SILENT, URGENT_BYTES
from pbal_protocol.radio.records import Beacon
from pbal_sim.radio import FREE, Air, Ear, Jammer
from pbal_sim.radio.air import Heard

from .conftest import until
from .fake import GROUP_ROOT, SITE, root_key
from .test_lora import BW, RadioNode

HZ = 903_000_000
OTHER_ROOT = bytes(range(64, 96))
SF = 7
T = TypeVar("T")


class AirNode(RadioNode):
    """A home on the emulated air."""

    def on(self, air: Air, name: str, at: tuple[float, float], root: bytes) -> AirNode:
        """Its radio, and the group key of its site."""
        key = group_key(root, SITE)
        self.beacons, self.group = (Opener(key, GROUP, SITE, 0) for _ in "ab")
        self.air = air
        self.ear = Ear(air, name, at, HZ, bw_hz=BW, on_frame=self.hears)
        return self

    def say(self, frame: bytes, at_us: float) -> None:
        self.air.call_at(round(at_us), lambda: self.ear.send(frame, SF) and None)

    def hears(self, frame: bytes, _heard: Heard, end_us: int) -> None:
        kind, address = peek(frame)[1:3]
        if kind == DOWN and address == self.address:
            answer = self.exchange(frame)
            if answer is not None:
                self.say(answer, end_us + 15_000)
        elif kind == GROUP:
            with contextlib.suppress(RemoteError):
                record = r.decode_all(self.beacons.open(frame), "group")[0]
                if isinstance(record, Beacon):
                    self.follow(record, len(frame), end_us)

    def follow(self, beacon: Beacon, size: int, end_us: int) -> None:
        us = time_on_air_us(size, SF, BW)
        after = self.follower.beacon(beacon, us)
        if after != SILENT:
            self.say(self.slot_frame(), end_us - us + after)
        if beacon.repair or self.follower.joined(beacon):
            return
        slot = self.contention.turn(self.rng.randrange(64))
        if slot != SILENT:
            step_us = time_on_air_us(URGENT_BYTES, SF, BW) + 500 * beacon.shape[6]
            self.hello()
            self.say(
                self.seal([self.pending.pop()]), end_us - us + self.follower.end_us + slot * step_us
            )
            self.contention.failed(self.rng.randrange(8))


class AirRadio(RadioTo):
    """A hub on the air. Each bearer takes the next place."""

    channel = (HZ, BW)
    places: ClassVar[list[tuple[str, tuple[float, float]]]] = []

    def __init__(self, opener: Any, room: int) -> None:
        self.place = self.places.pop(0)
        super().__init__(opener, room)


class Asks:
    """In place of the controller above a bearer: opens and seals, and hands out slots."""

    def __init__(self, root: bytes, nodes: list[AirNode]) -> None:
        key = group_key(root, SITE)
        self._group = Sealer(key, GROUP, SITE, 0)
        self._root_key = key
        self._counter = 0x80000000 | random.Random(root).getrandbits(30)
        self._up, self._down = {}, {}
        for node in nodes:
            up, down = node_keys(root_key(node.address), SITE, node.address)
            self._up[node.address] = Opener(up, UP, SITE, node.address)
            self._down[node.address] = Sealer(down, DOWN, SITE, node.address)
        self._told: dict[int, r.Record] = {}
        self.heard: Counter[int] = Counter()
        self.unheard_: Counter[int] = Counter()

    def next_request(self, now_s: float) -> Request | float:
        if not self._told:
            return now_s + 1
        address, record = self._told.popitem()
        sealer = self._down[address]
        return Request(address, sealer.seal(sealer.last + 1, record.encode()), None, record)

    def ask(self, where: object, now_s: float, room: int, waiting: bool) -> None:
        return None

    def handle(self, request: Request, answer: object, now_s: float) -> None:
        self._told.setdefault(request.to, request.tag)  # type: ignore[arg-type]

    def offered(self, request: Request, answer: Answer, now_s: float) -> bool:
        return self.unasked(request.to, answer.frame, now_s)

    def unasked(self, where: object, frame: bytes, now_s: float, more: bool = False) -> bool:
        assert isinstance(where, int)
        try:
            self._up[where].open(frame)
        except (KeyError, RemoteError):
            return False
        self.heard[where] += 1
        return True

    def unheard(self, where: object, now_s: float) -> None:
        assert isinstance(where, int)
        self.unheard_[where] += 1

    def quality(self, where: object, figures: dict[str, float]) -> None:
        pass

    def beacon(self, record: r.Record) -> bytes:
        self._counter += 1
        return self._group.seal(self._counter, record.encode())

    def foreign_beacon(self, frame: bytes, now_s: float) -> bool:
        try:
            Opener(self._root_key, GROUP, SITE, 0).open(frame)
        except RemoteError:
            return False
        return True

    def tell(self, where: object, record: r.Record) -> None:
        assert isinstance(where, int)
        self._told[where] = record

    def lost(self) -> None:
        pass


def now() -> float:
    return asyncio.get_running_loop().time()


def played(monkeypatch: pytest.MonkeyPatch, what: Callable[[Air], Coroutine[Any, Any, T]]) -> T:
    """Run a play on a new air, in virtual time."""

    def begin(loop: VirtualLoop) -> Coroutine[Any, Any, T]:
        air = loop.air = AirRadio.air = Air(loop.us, loss=FREE)
        return what(air)

    monkeypatch.setattr(AirRadio, "places", [])
    monkeypatch.setattr(bearer, "RadioThread", AirRadio)
    return play(begin)


@contextlib.asynccontextmanager
async def site(
    air: Air, number: int, root: bytes, homes: int, give_way_s: float
) -> AsyncIterator[tuple[bearer.LoraBearer, Asks, list[AirNode]]]:
    """A bearer with homes around it."""
    x = 20.0 * number  # no nearer to the own hub than to the other
    nodes = []
    for i in range(homes):
        address = 10 * number + i + 1
        node = AirNode(address)
        nodes.append(node.on(air, f"home {address}", (x + 20.0 * i, 50.0), root))
    AirRadio.places.append((f"hub {number}", (x, 0.0)))
    config = RadioConfig(
        region="US915", sf=SF, guard_ms=12.0, round_s=0.5, give_way_s=give_way_s, power_dbm=14
    )
    asks = Asks(root, nodes)
    made = bearer.LoraBearer("air", config, asks)
    task = asyncio.create_task(made.run(lambda: None))
    try:
        yield made, asks, nodes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def arrived(air: Air, give_way_s: float, seconds: float) -> list[int]:
    """Frames of homes that each of two sites received, from their beginning on."""
    async with (
        site(air, 0, GROUP_ROOT, 4, give_way_s) as (a, asks_a, _),
        site(air, 1, OTHER_ROOT, 4, give_way_s) as (b, asks_b, _),
    ):
        await asyncio.sleep(seconds)
        if give_way_s:
            for one in (a, b):
                told = one.as_dict()
                assert told["neighbours"] == 1, told
                assert told["neighbours_heard"][0]["rssi_dbm"] > -120
                assert told["forged"] == 0
                assert told["slots"] == 4
        return [sum(asks.heard.values()) for asks in (asks_a, asks_b)]


def test_two_sites_that_give_way_hear_more_than_two_that_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = played(monkeypatch, lambda air: arrived(air, 0.0, 30.0))
    giving_way = played(monkeypatch, lambda air: arrived(air, 5.0, 30.0))
    print(f"frames in 30 s: {without}, giving way {giving_way}")
    assert min(giving_way) > min(without)
    assert sum(giving_way) > sum(without)


def test_a_jammer_is_told_from_homes_that_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """And when it stops, the alarm ends and the homes are read again."""

    async def play(air: Air) -> None:
        async with site(air, 0, GROUP_ROOT, 3, 5.0) as (made, asks, nodes):
            await until(lambda: all(n.turns > 3 for n in nodes))
            for node in nodes:
                node.ear.on_frame = None
            await asyncio.sleep(20)
            assert sum(asks.unheard_.values()) > 10
            assert made.as_dict()["alarm"] == ""
            for node in nodes:
                node.ear.on_frame = node.hears
            await asyncio.sleep(20)
            now_us = round(1e6 * now())
            jammer = Jammer((10.0, 10.0), HZ, BW, 14.0, on=[(now_us, now_us + 3_600_000_000)])
            air.jammers.append(jammer)
            await until(lambda: "jammed" in made.as_dict()["alarm"])
            assert made.counts()["jammed"] == 1
            jammer.on = []
            await until(lambda: made.as_dict()["alarm"] == "")
            before = asks.heard.copy()
            await until(lambda: all(asks.heard[n.address] > before[n.address] for n in nodes))

    played(monkeypatch, play)


def test_an_insiders_beacons_are_reported_and_move_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has a node's keys has the group key: he can send beacons, and is noticed."""

    async def play(air: Air) -> None:
        async with site(air, 0, GROUP_ROOT, 3, 5.0) as (made, _asks, nodes):
            await until(lambda: all(n.turns > 3 for n in nodes))
            insider = Ear(air, "insider", (5.0, 5.0), HZ, bw_hz=BW)
            sealer = Sealer(group_key(GROUP_ROOT, SITE), GROUP, SITE, 0)
            phases = [n.true_phase for n in nodes]
            lie = Beacon(
                time_s=2_000_000_000, time_ms=0, round=9, map_version=1, repair=0,
                shape=bytes((3, 0, 0, 0, 0, 0, 24, 39)), heard=b"\0",
            )  # fmt: skip
            for number in range(100):
                air.catch_up()
                # Not far ahead of the true ones, so that nodes go on to hear those.
                insider.send(sealer.seal(0xC0000001 + number, lie.encode()), SF)
                await asyncio.sleep(0.3)
            told = made.as_dict()
            assert told["forged"] >= 3
            assert told["neighbours"] == 0, "it is not taken for another site"
            assert [n.true_phase for n in nodes] == phases
            assert not any(n.executed for n in nodes)

    played(monkeypatch, play)
