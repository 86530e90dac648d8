"""Homes with a radio, real firmware, the controller's own driver over SPI (`--scenario rural`).

They are read and moved; then one is stolen and its key revoked.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from rigs.twin import until

from pbal_controller.keys import KeyStore
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import GROUP, Opener, peek
from pbal_protocol.kdf import group_key
from pbal_protocol.radio.tdma import UP_BYTES
from pbal_tools.streetoptions import RunOptions
from pbal_tools.streetrun import START

from .test_campus import LONGEST_S, Watched, confirmed, played
from .test_two_paths import of_home

pytestmark = [pytest.mark.twin, pytest.mark.timeout(400)]

STOLEN = 1


class Village(Watched):
    """What its radios send is kept."""

    def __init__(self, options: RunOptions) -> None:
        super().__init__(options, play)
        self.frames: dict[str, dict[int, bytes]] = defaultdict(dict)  # by sender and microsecond

    def listen(self) -> None:
        """Keep what is on the air; the air itself forgets it after some seconds."""
        for sent in self.street.air.sent:
            self.frames[sent.source][sent.start_us] = sent.payload

    def since(self, source: str, us: int) -> dict[int, bytes]:
        """What a station has sent since then."""
        self.listen()
        return {at: frame for at, frame in self.frames[source].items() if at >= us}

    @property
    def folder(self) -> Path:
        return self.street.workdir / "controller"

    async def group_root(self) -> bytes:
        """Of the key that is used now. Off this loop, which also keeps the radios' time."""

        def read() -> bytes:
            secret = (self.folder / "keys.pass").read_bytes()
            return KeyStore.open(self.folder / "keys.json", secret).active.root

        return await asyncio.to_thread(read)


def now_us() -> int:
    return time.monotonic_ns() // 1000


def opens(root: bytes, frame: bytes) -> bool:
    """Whether the holder of this group root can read a frame of the group."""
    try:
        Opener(group_key(root, 1), GROUP, 1, 0).open(frame)
    except RemoteError:
        return False
    return True


def beacons(frames: dict[int, bytes]) -> list[bytes]:
    """Of frames that were not broken off."""
    return [frame for frame in frames.values() if len(frame) > 16 and peek(frame)[1] == GROUP]


def readings(frames: dict[int, bytes]) -> int:
    """How many of them are readings in a slot."""
    return sum(len(frame) == UP_BYTES for frame in frames.values())


def phase(run: Village, i: int) -> int:
    return run.street.homes[i].contacts.phase


async def play(run: Watched) -> None:
    assert isinstance(run, Village)
    await run.until(lambda s: s["homes_fresh"] == 3 and confirmed(s))
    await run.until(lambda s: not s["switches"]["open"])
    listening = asyncio.create_task(kept(run))
    try:
        before = {move["id"] for move in run._status["moves"]}
        began = time.monotonic()
        await a_stolen_node_is_revoked(run)
        print(f"revoked in {time.monotonic() - began:.1f} s")
        # Orders for it are lost with it.
        gone = run.street.identities[STOLEN].address
        run.cut_off = sum(
            move["home"] == gone and move["id"] not in before for move in run._status["moves"]
        )
    finally:
        listening.cancel()


async def kept(run: Village) -> None:
    while True:
        run.listen()
        await asyncio.sleep(1.0)


async def a_stolen_node_is_revoked(run: Village) -> None:
    street, address = run.street, run.street.identities[STOLEN].address
    stolen = await run.group_root()
    begin_us = now_us()
    argv = ["keys", "revoke", str(address), "--json", "-c", str(run.folder / "pbal.toml")]
    assert run._status["buses"][0]["slots"] == 3
    pid = await street.run("revoke", [sys.executable, "-c", START, *argv], dict(os.environ))
    assert await street.wait(pid) == 0
    told = json.loads((street.workdir / "revoke.log").read_text())
    assert told["group_key"]["next"] == 2
    # Its slot is free long before the others have the new key.
    await run.until(lambda s: s["buses"][0]["slots"] == 2)
    assert run._status["group_key"]["number"] == 1
    await run.until(lambda s: s["group_key"]["number"] == 2)
    assert run._status["group_key"]["homes_behind"] == []
    await asyncio.sleep(2.0)  # what the last beacon under the old key began
    changed_us, holds = now_us(), phase(run, STOLEN)
    await until(lambda: len(beacons(run.since("controller", changed_us))) >= 3, "three beacons")
    fresh = await run.group_root()
    said = beacons(run.since("controller", changed_us))
    assert not any(opens(stolen, frame) for frame in said)
    assert all(opens(fresh, frame) for frame in said)
    # It knows no beacon, so not when it may speak; it holds its phase.
    assert run.since("home 2", changed_us) == {}
    assert phase(run, STOLEN) == holds >= 0
    assert not of_home(run._status, address)["alive"]
    # The others follow the new key's beacons: each says its reading in its slot.
    for name in ("home 1", "home 3"):
        await until(lambda name=name: readings(run.since(name, changed_us)) >= 3, f"{name}'s slots")
    # They have missed no round, but for a lost frame or two.
    await run.until(lambda s: s["homes_fresh"] == 2)
    for name in ("home 1", "home 3"):
        times = sorted(run.since(name, begin_us))
        pause_s = max(b - a for a, b in pairwise(times)) / 1e6
        print(f"{name}: {len(times)} frames, at most {pause_s:.1f} s apart")
        assert pause_s < 15.0
    assert stolen.hex() not in (street.workdir / "controller.log").read_text(errors="replace")


@pytest.mark.long
async def test_a_village_is_read_and_moved_and_revokes_a_stolen_node() -> None:
    run = Village(RunOptions(homes=3, seconds=LONGEST_S, scenario="rural"))
    await played(run)
    assert run.result["switches_confirmed"] >= 1, run.result
