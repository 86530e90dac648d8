"""A node, or anybody, floods the pair: homes keep their power and are read again after it (S11).

At the ESP32's own speed and for an hour: tests/unit/node/test_flood.py.
"""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from rigs.street import small_street
from rigs.twin import DONE, Poller, other

from pbal_sim.rules import crc16
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin]

FLOOD_S = 8.0


async def _flood(poller: Poller, frame: bytes, seconds: float) -> None:
    """`frame` back to back at line rate, from the end where the controller was."""
    char_s = 11 / poller.street.config.baud
    many = frame * (600 // len(frame))
    end = time.monotonic() + seconds
    due = time.monotonic()
    while time.monotonic() < end:
        os.write(poller._fd, many)
        due += len(many) * char_s
        await asyncio.sleep(max(due - time.monotonic(), 0))


async def _read_again(poller: Poller, homes: int) -> float:
    """How long it takes until every home has answered."""
    start = time.monotonic()
    waiting = set(range(homes))
    while waiting and time.monotonic() < start + 20:
        for i in list(waiting):
            if await poller.poll(i, tries=1):
                waiting.discard(i)
    assert not waiting, f"homes {waiting} do not answer"
    return time.monotonic() - start


@pytest.mark.parametrize(
    "kind",
    [
        "broadcasts",
        pytest.param("other_units", marks=pytest.mark.long),
        pytest.param("noise", marks=pytest.mark.long),
    ],
)
async def test_homes_keep_their_power_and_are_read_again(kind: str) -> None:
    homes = 3
    async with small_street(homes) as street:
        poller = Poller(street)
        phases = [await poller.ready(i) for i in range(homes)]
        starts = [h.chip.starts for h in street.homes]
        moves = len(street.witness.transfers)
        await _attack(kind, street, poller)
        assert await _read_again(poller, homes) < 10
        assert [h.contacts.phase + 1 for h in street.homes] == phases
        assert [h.chip.starts for h in street.homes] == starts, "a node was reset"
        assert len(street.witness.transfers) == moves
        assert not street.witness.report()["incidents"]
        # And they do what they are told, at once.
        assert (await poller.switch(0, phases[0], other(phases[0]))).outcome == DONE
        poller.close()


async def _attack(kind: str, street: Street, poller: Poller) -> None:
    if kind == "noise":
        await street.segment.babble(2, on_ms=50, off_ms=0.1)
        await asyncio.sleep(FLOOD_S)
        await street.segment.babble(2, 0)
        return
    body = bytes((0, 100, 7, 0)) if kind == "broadcasts" else bytes((9, 4, 0, 0, 0, 12))
    await _flood(poller, body + crc16(body), FLOOD_S)
