"""Wired homes behind a bridge on a radio channel: read in batches, told through it, its death."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbal_controller.config import load
from pbal_controller.errors import ConfigError
from pbal_protocol.frames import GROUP, peek
from pbal_protocol.radio import carried
from pbal_protocol.radio.airtime import time_on_air_us

from .conftest import until
from .fake import FakeNode
from .test_bearers import home, running, write
from .test_lora import BW, RADIO, Aerial, RadioNode, aerial, moved

__all__ = ["aerial"]

BRIDGE, FIRST = 1, 10
BEHIND = f'{{ bearer = "air", at = {BRIDGE} }}'


class BridgeNode(RadioNode):
    """A home with a radio and wired neighbours, as firmware/pbal_node/bearers/carrier.py is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.neighbours: dict[int, FakeNode] = {}
        self.kept: list[bytes] = []
        self.asks = 0
        self.lose_batches = 0
        self.most_bytes = 0

    def batches(self, data: bytes) -> list[bytes]:
        """What answers an ask: the bridge's own frame first, then one of each neighbour."""
        items = carried.opened(bytes((carried.BATCH, data[1], data[2], 0)) + data[6:])
        assert items is not None
        own = self.exchange(items[2][0])
        if own is None:
            return []
        self.asks += 1
        for frame in items[2][1:]:
            self._poll(peek(frame)[2], frame)
        waiting = {peek(frame)[2] for frame in self.kept}
        for address in self.neighbours:
            if address not in waiting:
                self._poll(address, b"")
        frames = [own, *self.kept]
        found: list[list[bytes]] = [[]]
        for frame in frames:
            if sum(len(x) + 1 for x in found[-1]) + len(frame) + 1 + carried.BATCH_HEAD > data[5]:
                found.append([])
            found[-1].append(frame)
        left = found[: data[4]]
        self.kept = [frame for frames in found[data[4] :] for frame in frames]
        return [
            bytes((carried.BATCH, data[1], data[2], i + 1 < len(left)))
            + b"".join(bytes((len(frame),)) + frame for frame in frames)
            for i, frames in enumerate(left)
        ]

    def _poll(self, address: int, frame: bytes) -> None:
        node = self.neighbours.get(address)
        found = node.answer(frame) if node is not None else None
        if found is not None:
            self.kept.append(found[1])


class CampusAerial(Aerial):
    """As Aerial, with bridges on the channel."""

    groups = 0

    async def send(self, frame: bytes, hz: int, sf: int) -> float:
        end_s = await super().send(frame, hz, sf)
        if peek(frame)[1] == GROUP and len(frame) < 35:
            type(self).groups += 1
        for node in self.nodes:
            if (
                isinstance(node, BridgeNode)
                and not node.off
                and frame[0] == carried.ASK
                and frame[1] | frame[2] << 8 == node.address
                and self.rng.random() >= self.loss
            ):
                at_s = end_s + 0.015
                for batch in node.batches(frame):
                    assert len(batch) <= frame[5]
                    node.most_bytes = max(node.most_bytes, len(batch))
                    if node.lose_batches:
                        node.lose_batches -= 1
                    else:
                        self._later(node.address, batch, at_s)
                    at_s += time_on_air_us(len(batch), 7, BW) / 1e6 + 0.02
        return end_s


@pytest.fixture
def campus(aerial: type[Aerial], monkeypatch: pytest.MonkeyPatch) -> BridgeNode:
    from pbal_controller.bearers.lora import bearer

    monkeypatch.setattr(bearer, "RadioThread", CampusAerial)
    node = BridgeNode(BRIDGE)
    node.neighbours = {a: FakeNode(a) for a in range(FIRST, FIRST + 9)}
    aerial.nodes = [node]
    CampusAerial.groups = 0
    return node


def homes(node: BridgeNode) -> tuple[str, list[int]]:
    text = home(BRIDGE, '{ bearer = "air" }')
    text += "".join(home(address, BEHIND) for address in node.neighbours)
    return text, [BRIDGE, *node.neighbours]


@pytest.mark.parametrize("loss", [0.0, 0.1])
async def test_wired_homes_are_read_and_moved_through_their_bridge(
    campus: BridgeNode, tmp_path: Path, loss: float
) -> None:
    Aerial.loss = loss
    text, addresses = homes(campus)
    async with running(tmp_path, RADIO, text, *addresses) as c:
        wired = campus.neighbours.values()
        await until(lambda: campus.synced and all(node.synced for node in wired), 60)
        await until(lambda: all(one.phase for one in c.fleet), 60)
        one = await moved(c, FIRST + 3, 2)
        assert campus.neighbours[FIRST + 3].true_phase == 2
        assert list(campus.neighbours[FIRST + 3].executed.values()) == [1]
        await moved(c, BRIDGE, 3)
        assert campus.true_phase == 3
        # Several homes in one frame, and none too long for the chip.
        assert 180 < campus.most_bytes <= 255
        told = c.bearers["air"].as_dict()
        assert told["bridges"][0]["homes"] == addresses[1:]
        assert told["carried"] > told["batches"] > 0
        assert one.paths[0].quality["bridge"] == BRIDGE
        # Group frames go on the air where wired homes need them.
        await until(lambda: CampusAerial.groups > 0, 60)


async def test_a_bridge_that_dies_is_said_and_its_homes_are_silent(
    campus: BridgeNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, addresses = homes(campus)
    async with running(tmp_path, RADIO, text, *addresses) as c:
        wired = campus.neighbours.values()
        await until(lambda: all(node.synced for node in wired), 60)
        campus.off = True
        await until(lambda: not any(one.alive for one in c.fleet), 60)
        phases = [node.true_phase for node in wired]
        air = c.bearers["air"]
        assert air.counts()["bridges_silent"] == 1
        assert "bridge 1 is silent" in air.reaches(c.fleet.get(FIRST).paths[0].where)
        said = [x for x in caplog.records if x.message.startswith("bridge silent")]
        assert len(said) == 1
        assert said[0].homes == addresses[1:]
        campus.off = False
        await until(lambda: all(one.alive for one in c.fleet), 60)
        assert air.counts()["bridges_silent"] == 0
        assert [node.true_phase for node in wired] == phases


async def test_a_home_that_is_dropped_leaves_its_bridge_and_a_dropped_bridge_is_silent(
    campus: BridgeNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text, addresses = homes(campus)
    async with running(tmp_path, RADIO, text, *addresses) as c:
        await until(lambda: all(one.phase for one in c.fleet), 60)
        air = c.bearers["air"]
        c.router.drop(c.fleet.get(FIRST))
        assert air.as_dict()["bridges"][0]["homes"] == addresses[2:]
        readings = [one.readings for one in c.fleet]
        others = list(c.fleet)[2:]
        await until(lambda: all(one.readings > readings[one.address - FIRST + 1] for one in others))
        assert c.fleet.get(FIRST).readings == readings[1]
        c.router.drop(c.fleet.get(BRIDGE))
        await until(lambda: not any(one.alive for one in c.fleet), 60)
        assert air.counts()["bridges_silent"] == 1
        await until(lambda: air.counts()["rounds"] > 3)
        said = [x.message for x in caplog.records if x.message.startswith("bridge ")]
        assert said == ["bridge silent: its homes hold their phases"]
        assert air.as_dict()["slots"] == 0


async def test_a_wired_home_that_is_silent_is_silent_alone(
    campus: BridgeNode, tmp_path: Path
) -> None:
    text, addresses = homes(campus)
    async with running(tmp_path, RADIO, text, *addresses) as c:
        await until(lambda: all(one.phase for one in c.fleet), 60)
        campus.neighbours[FIRST].silent = True
        one = c.fleet.get(FIRST)
        await until(lambda: not one.alive, 60)
        assert all(other.alive for other in c.fleet if other is not one)
        campus.neighbours[FIRST].silent = False
        await until(lambda: one.alive, 60)


async def test_an_event_behind_a_bridge_is_stored_and_acknowledged(
    campus: BridgeNode, tmp_path: Path
) -> None:
    text, addresses = homes(campus)
    async with running(tmp_path, RADIO, text, *addresses):
        node = campus.neighbours[FIRST + 1]
        await until(lambda: node.synced, 60)
        node.event()
        await until(lambda: not node.events, 60)


async def test_a_batch_that_nobody_sealed_changes_nothing(
    campus: BridgeNode, tmp_path: Path
) -> None:
    text, addresses = homes(campus)
    async with running(tmp_path, RADIO, text, *addresses) as c:
        wired = [one for one in c.fleet if one.address != BRIDGE]
        await until(lambda: all(one.phase for one in wired), 60)
        sealed = campus.batches

        def forged(data: bytes) -> list[bytes]:
            """Each frame with one bit changed."""
            found = []
            for batch in sealed(data):
                items = carried.opened(batch)
                assert items is not None
                frames = [frame[:-1] + bytes((frame[-1] ^ 1,)) for frame in items[2]]
                found.append(batch[:4] + b"".join(bytes((len(x),)) + x for x in frames))
            return found

        campus.batches = forged  # type: ignore[method-assign]
        asks = campus.asks
        await until(lambda: campus.asks > asks, 60)
        readings = [one.readings for one in wired]
        await until(lambda: campus.asks > asks + 2, 60)
        assert [one.readings for one in wired] == readings
        await until(lambda: not any(one.alive for one in wired), 60)


@pytest.mark.parametrize("at", ['"bridge"', "0", "70000"])
def test_a_place_that_is_no_bridge_is_refused(tmp_path: Path, at: str) -> None:
    path = write(tmp_path, RADIO, home(FIRST, f'{{ bearer = "air", at = {at} }}'))
    with pytest.raises(ConfigError, match="address of the bridge"):
        load(path, {})


def test_a_bridge_that_is_no_home_of_the_radio_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, RADIO, home(FIRST, BEHIND))
    with pytest.raises(ConfigError, match="home 10 is behind bridge 1, which is no home"):
        load(path, {})
