"""Commissioning over a radio: the controller's bearer and rounds on a thread, with fake homes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbal_controller.bearers.lora import bearer
from pbal_controller.homes import BEACONS as END_OF_BEACONS
from pbal_controller.keys import GroupGeneration, KeyStore
from pbal_protocol import records as r
from pbal_protocol.frames import GROUP, UP, Sealer, peek
from pbal_protocol.kdf import group_key
from pbal_tools.commission import air as airs
from pbal_tools.commission import joins
from pbal_tools.commission.job import Job
from pbal_tools.commission.questions import Asker
from pbal_tools.commission.state import State
from pbal_tools.errors import PeerError, RefusedError, UnreachableError
from pbal_tools.sitefile import validate

from .fake import GROUP_ROOT, SITE, root_key
from .test_lora import Aerial, RadioNode

RADIO = {"region": "US915", "sf": 7, "guard_ms": 20.0, "round_s": 0.5}


class Node(RadioNode):
    """It acknowledges each frame, as the firmware does."""

    def exchange(self, frame: bytes) -> bytes | None:
        self.pending.append(r.Ack(counter=peek(frame)[3], result=0))
        answer = super().exchange(frame)
        if answer is None:
            self.pending.pop()
        return answer


@pytest.fixture
def aerial(monkeypatch: pytest.MonkeyPatch) -> type[Aerial]:
    monkeypatch.setattr(bearer, "RadioThread", Aerial)
    monkeypatch.setattr(airs, "probe", lambda config: "")
    monkeypatch.setattr(airs, "radio_of", lambda config: Aerial(None, 64))
    monkeypatch.setattr(airs, "_LISTEN_S", 0.2)
    monkeypatch.setattr(airs, "_AGAIN_S", 0.05)
    Aerial.nodes, Aerial.loss, Aerial.rng, Aerial.said = [], 0.0, random.Random(1), []
    return Aerial


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A site of three homes on a radio."""
    store = KeyStore.create(tmp_path / "keys.json", b"secret", SITE, log2_n=10,
                            group_key=GROUP_ROOT)  # fmt: skip
    store.add_many([(a, f"{a:016x}", root_key(a)) for a in (1, 2, 3)])
    site = validate(
        {"site": {"id": SITE}, "radio": {"air": RADIO},
         "home": [{"address": a, "bus": "air", "name": f"home {a}"} for a in (1, 2, 3)]}, "site",
    )  # fmt: skip
    state = State.open(tmp_path / "record", SITE, "air")
    made = Job.on_air(site, "air", site.radio["air"], store, state, Asker({}), quiet=True)
    with made.air:
        yield made


def test_homes_are_heard_proven_and_set_over_the_radio(aerial: type[Aerial], job: Job) -> None:
    nodes = aerial.nodes = [Node(a) for a in (1, 2)]
    job.begin()
    found = joins.hear(job, 30.0)
    assert [n["address"] for n in found["heard"]] == [1, 2]
    assert found["absent"] == [3]
    assert joins.open_points(found)[0] == ["not heard: 3"]
    for node in nodes:
        talk = job.talk(node.address)
        assert talk.hello is not None
        assert talk.hello.eui == node.address.to_bytes(8, "big")
        assert node.synced
        reading, at_s = talk.next_reading(lambda: None)
        assert reading.phase == node.phase
        assert abs(time.time() - at_s) < 3
        # It has taken a frame of ours, whose counter is the record's.
        assert node.opener.floor > 0
        talk.finish()
    with pytest.raises(UnreachableError, match="Home 3 does not answer over the radio air"):
        job.talk(3)


def test_a_home_with_another_key_is_told_apart_from_a_silent_one(
    aerial: type[Aerial], job: Job
) -> None:
    other = Node(2)
    other.sealer = Sealer(bytes(32), UP, SITE, 2)
    aerial.nodes = [Node(1), other]
    job.begin()
    found = joins.hear(job, 12.0)
    assert found["other_key"] == [2]
    assert found["absent"] == [3]
    with pytest.raises(PeerError, match="holds another key"):
        job.talk(2)


def test_a_controller_on_the_air_is_a_refusal(aerial: type[Aerial], job: Job) -> None:
    frame = Sealer(group_key(GROUP_ROOT, SITE), GROUP, SITE, 0).seal(
        1 << 31 | 5, r.TimeSync(time_s=1_800_000_000, time_ms=0, nonce=0).encode()
    )

    class Busy(Aerial):
        async def receive(self, until_s: float) -> Any:
            return airs_received(frame)

    def airs_received(data: bytes) -> Any:
        from pbal_controller.bearers.lora.driver import Received

        return Received(data, time.monotonic(), -80.0, 9.0, 7)

    pytest.MonkeyPatch().setattr(airs, "radio_of", lambda config: Busy(None, 64))
    with pytest.raises(RefusedError, match="sends beacons on the radio air"):
        job.begin()


def test_beacons_of_a_second_run_have_new_counters(job: Job) -> None:
    first = job.reserve_beacons(256)
    again = Job.on_air(
        job.site, "air", job.site.radio["air"], job.store,
        State.open(job.state.folder, SITE, "air"), Asker({}),
    )  # fmt: skip
    assert again.reserve_beacons(256) >= first + 256
    assert isinstance(job.store.active, GroupGeneration)


def test_beacons_end_before_a_commissioning_uses_one_counter_twice(job: Job) -> None:
    """Their highest bit is set: the next after the last would be the first again."""
    job.state.reserve(airs.BEACONS, "group", END_OF_BEACONS - 512, 256)
    last = job.reserve_beacons(256)
    assert END_OF_BEACONS - 512 < last <= END_OF_BEACONS - 256
    for _ in range(2):  # also not when it is asked again
        with pytest.raises(RefusedError, match="No counters are left for beacons"):
            job.reserve_beacons(256)


def test_a_commissioning_without_counters_sends_no_beacon_and_says_so(
    aerial: type[Aerial], job: Job
) -> None:
    aerial.nodes = [Node(1)]
    job.state.reserve(airs.BEACONS, "group", END_OF_BEACONS - 256, 256)

    def hear() -> None:
        job.begin()
        joins.hear(job, 30.0)

    with pytest.raises(RefusedError, match="No counters are left for beacons") as error:
        hear()
    assert "clock" in error.value.remedy
    assert aerial.said == []  # the node heard none
