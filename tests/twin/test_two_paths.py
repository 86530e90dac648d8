"""A home with RS-485 and a radio, with the real firmware: its wires are cut in the middle of a
transfer, and somebody plays back what the controller sent it by radio, across a reset.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from rigs.twin import until

from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import DOWN, peek
from pbal_sim.radio import Ear
from pbal_tools import streetoptions
from pbal_tools.streetoptions import RunOptions

from .test_campus import LONGEST_S, Watched, played

pytestmark = [pytest.mark.twin, pytest.mark.timeout(400)]


def of_home(status: dict[str, Any], address: int) -> dict[str, Any]:
    found: dict[str, Any] = next(h for h in status["homes"] if h["address"] == address)
    return found


def rounds(status: dict[str, Any]) -> int:
    return int(next(bus["rounds"] for bus in status["buses"] if bus["kind"] == "lora"))


def is_for(frame: bytes, address: int) -> bool:
    """Whether a frame claims to be the controller's for this home."""
    try:
        return peek(frame)[1:3] == (DOWN, address)
    except RemoteError:
        return False


@pytest.mark.long
async def test_a_path_that_dies_in_a_transfer_and_frames_played_back_move_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Long enough to cut the wires meanwhile.
    monkeypatch.setitem(streetoptions.NODE_SETTINGS, "dead_time_ms", 900)

    async def play(run: Watched) -> None:
        street = run.street
        await run.until(lambda s: s["homes_fresh"] == 2)

        def between() -> list[int]:
            return [i for i, home in enumerate(street.homes) if home.contacts.phase < 0]

        await until(lambda: not between(), "both are supplied", 60.0)
        await until(between, "a home between two phases", 120.0)
        i = between()[0]
        address = street.identities[i].address
        await street.segment.wire(i, False)
        began, cut_s = rounds(run._status), time.monotonic()
        await run.until(lambda s: of_home(s, address)["path"] == "village")
        took = rounds(run._status) - began
        print(f"over the radio after {took} rounds, {time.monotonic() - cut_s:.1f} s")
        assert took <= 3  # the one under way, two more
        (command,) = [
            move["id"] for move in run._status["moves"]
            if move["home"] == address and move["state"] in ("sent", "accepted", "done")
        ]  # fmt: skip

        def state(status: dict[str, Any]) -> str:
            return next(m["state"] for m in status["moves"] if m["id"] == command)

        await run.until(lambda s: state(s) == "confirmed")
        # What the controller sent it by radio, played back after a reset.
        frames = [t for t in street.air.sent if is_for(t.payload, address)]
        assert frames
        await street.reset(i)
        tuned = frames[0].tuning
        ear = Ear(street.air, "somebody", (20.0, 0.0), tuned.hz, bw_hz=tuned.bw_hz, sf=tuned.sf)
        for sent in frames:
            ear.send(sent.payload)
            await asyncio.sleep(sent.us / 1e6 + 0.2)
        await run.until(lambda s: s["homes_fresh"] == 2)
        await run.until(lambda s: not s["switches"]["open"])
        # No id moved a home twice: no more transfers than orders.
        ordered = Counter(move["home"] for move in run._status["moves"])
        for home, identity in enumerate(street.identities):
            assert street.witness.transfers_of(home) <= ordered[identity.address]

    await played(Watched(RunOptions(homes=2, seconds=LONGEST_S, scenario="two-paths"), play))
