"""Forged, replayed, expired, truncated and bit-flipped frames never switch, and are counted."""

import asyncio
import os
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from rigs.street import small_street
from rigs.twin import DONE, Poller, other, until

from pbal_protocol import aead, frames, kdf, records
from pbal_sim.rules import crc16
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def poller() -> AsyncIterator[Poller]:
    """Two homes that are ready to be switched."""
    async with small_street(2) as street:
        running = Poller(street)
        for i in range(2):
            await running.ready(i)
        yield running
        running.close()


def counted(health: Any, names: str) -> int:
    """Sum of some of a node's counters."""
    return sum(int(getattr(health, name)) for name in names.split())


async def refused(
    poller: Poller, counter: str, attack: Callable[[Any], Awaitable[None]], i: int = 0
) -> None:
    """`attack` gets a Switch that would be obeyed if it were sent properly."""
    street: Street = poller.street
    phase = await poller.ready(i)
    before = counted(await poller.ask_health(i), counter)
    moves = street.witness.transfers_of(i)
    await attack(poller.command(phase, other(phase)))
    await asyncio.sleep(0.6)
    assert street.witness.transfers_of(i) == moves
    assert street.homes[i].contacts.phase == phase - 1
    assert counted(await poller.ask_health(i), counter) > before


async def test_the_order_itself_would_be_obeyed(poller: Poller) -> None:
    phase = await poller.ready(0)
    assert (await poller.switch(0, phase, other(phase))).outcome == DONE


async def test_forged_with_another_key(poller: Poller) -> None:
    async def attack(order: Any) -> None:
        n = poller.street.identities[0]
        _, wrong = kdf.node_keys(os.urandom(32), 1, n.address)
        sealer = frames.Sealer(wrong, frames.DOWN, 1, n.address)
        await poller.raw(poller.adu(0, sealer.seal(poller.sealed(0) + 50, order.encode())))

    await refused(poller, "auth_failed", attack)


async def test_sealed_for_the_neighbour(poller: Poller) -> None:
    async def attack(order: Any) -> None:
        await poller.raw(poller.adu(0, poller.seal(1, order)))

    # The header already names somebody else.
    await refused(poller, "auth_failed malformed", attack)


async def test_replayed(poller: Poller) -> None:
    """A frame that was obeyed once, again after the home has moved on."""
    phase = await poller.ready(0)
    order = poller.command(phase, other(phase))
    body = poller.seal(0, order)
    poller.open(0, await poller.raw(poller.adu(0, body)))
    assert (await poller.outcome(0, order.command_id)).outcome == DONE

    async def attack(_: Any) -> None:
        await poller.raw(poller.adu(0, body))

    await refused(poller, "replayed", attack)


async def test_replayed_after_a_reset(poller: Poller) -> None:
    """A node that forgot its window still refuses what it had accepted."""
    body = poller.seal(0, records.StatusGet(what=2))
    assert poller.open(0, await poller.raw(poller.adu(0, body)))
    await poller.street.reset(0)

    async def attack(_: Any) -> None:
        await poller.raw(poller.adu(0, body))

    await refused(poller, "replayed", attack)


@pytest.mark.parametrize("bit", [4 * 8 + 3, 5 * 8, 8 * 8 + 1, 12 * 8 + 6, 20 * 8, -9])
async def test_bit_flipped_with_a_good_crc(poller: Poller, bit: int) -> None:
    """One bit of header, counter, ciphertext or tag; the Modbus CRC is made good again."""

    async def attack(order: Any) -> None:
        adu = bytearray(poller.adu(0, poller.seal(0, order))[:-2])
        at = bit if bit >= 0 else len(adu) * 8 + bit
        adu[at // 8] ^= 1 << at % 8
        await poller.raw(bytes(adu) + crc16(bytes(adu)))

    await refused(poller, "malformed" if 0 <= bit < 7 * 8 else "auth_failed", attack)


async def test_flipped_on_the_line(poller: Poller) -> None:
    """A flip on the wire breaks the CRC: the request is not even looked at."""

    async def attack(order: Any) -> None:
        await poller.street.segment.rule(
            way="down", unit=poller.unit(0), body=True, do="flip", bit=100
        )
        await poller.raw(poller.adu(0, poller.seal(0, order)))

    await refused(poller, "bad_crc", attack)


@pytest.mark.parametrize("keep", [12, 20, 30])
async def test_truncated_with_a_good_crc(poller: Poller, keep: int) -> None:
    async def attack(order: Any) -> None:
        await poller.street.segment.rule(
            way="down", unit=poller.unit(0), body=True, do="truncate", keep=keep, crc=True
        )
        await poller.raw(poller.adu(0, poller.seal(0, order)))

    street = poller.street
    phase = await poller.ready(0)
    h = await poller.ask_health(0)
    before = h.auth_failed + h.malformed
    moves = street.witness.transfers_of(0)
    await attack(poller.command(phase, other(phase)))
    await asyncio.sleep(0.5)
    h = await poller.ask_health(0)
    assert h.auth_failed + h.malformed > before
    assert street.witness.transfers_of(0) == moves


async def test_expired_on_arrival(poller: Poller) -> None:
    async def attack(order: Any) -> None:
        now = int(time.time())
        await poller.poll(
            0, poller.command(order.from_phase, order.to_phase, issued_s=now - 9, expires_s=now - 1)
        )

    await refused(poller, "expired", attack)


async def test_held_back_until_it_expired(poller: Poller) -> None:
    """An authentic frame that somebody kept and released after its expiry."""

    async def attack(order: Any) -> None:
        now = int(time.time())
        body = poller.seal(
            0, poller.command(order.from_phase, order.to_phase, issued_s=now, expires_s=now + 1)
        )
        await asyncio.sleep(2.5)
        poller.open(0, await poller.raw(poller.adu(0, body)))

    await refused(poller, "expired", attack)


async def test_time_that_was_kept_back_sets_no_clock(poller: Poller) -> None:
    """Somebody on the line keeps the answer to a Hello, and a command behind it, for an hour: the
    node has said hello again, and knows by its nonce that both are old.
    """
    i = 1
    phase = await poller.ready(i)
    await poller.street.reset(i)
    await until(lambda: poller.street.homes[i].ready.is_set(), "node 1 runs again")
    hello = records.StatusGet(what=1)
    await poller.poll(i, hello)
    await poller.poll(i)
    then = int(time.time()) - 3600
    order = poller.command(phase, other(phase), issued_s=then, expires_s=then + 60)
    nonce = poller.hellos[i][-1].nonce
    kept = poller.seal(i, records.TimeSync(time_s=then, time_ms=0, nonce=nonce), order)
    await asyncio.sleep(1.1)  # sooner it is the same question
    await poller.poll(i, hello)
    await poller.poll(i)
    assert poller.hellos[i][-1].nonce != nonce
    moves = poller.street.witness.transfers_of(i)
    poller.open(i, await poller.raw(poller.adu(i, kept)))
    await asyncio.sleep(0.6)
    assert (await poller.telemetry(i)).time_s == 0
    assert poller.street.witness.transfers_of(i) == moves
    assert await poller.ready(i) == phase


async def test_a_group_frame_cannot_switch(poller: Poller) -> None:
    """Even one sealed with the site's own group key."""

    async def attack(order: Any) -> None:
        key = kdf.group_key(poller.street.identities[0].group, 1)
        # Sealer would refuse to make it.
        head = struct.pack("<BHI", 1 << 4 | frames.GROUP, 0, 500000)
        nonce = struct.pack("<BIHIH", frames.GROUP, 1, 0, 500000, 0)
        body = head + aead.Ccm(key).seal(nonce, head, order.encode())
        request = bytes((0, 100, 1, len(body))) + body
        await poller.raw(request + crc16(request), 0.1)

    await refused(poller, "malformed", attack)


async def test_a_plain_write_is_an_exception(poller: Poller) -> None:
    phase = await poller.ready(0)
    moves = poller.street.witness.transfers_of(0)
    for function in (5, 6, 15, 16):
        request = bytes((poller.unit(0), function, 0, 9, 0, 2))
        if function in (15, 16):
            request = bytes((poller.unit(0), function, 0, 9, 0, 1, 2, 0, 2))
        answer = await poller.raw(request + crc16(request))
        assert answer[1:3] == bytes((function | 0x80, 1)), (function, answer.hex())
    assert poller.street.witness.transfers_of(0) == moves
    assert await poller.ready(0) == phase
