"""Homes over UDP: read and moved over a network that loses, repeats and reorders; what opened, and
nothing else, says where a home is; junk costs a share of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rigs.badnetwork import BadNetwork

from pbal_controller.bearers.udp import UdpBearer
from pbal_protocol import datagram

from .conftest import until
from .fake import FakeNode
from .test_bearers import running

AIR = '[bearer.air]\nkind = "udp"\nhost = "127.0.0.1"\nport = 0\nanswer_timeout_ms = 150\n'


class Wireless(asyncio.DatagramProtocol):
    """A node that speaks UDP: it speaks first, and answers when it is polled."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.off = False
        self.asked = 0
        self.groups = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def speak(self, frame: bytes = b"") -> None:
        """What it has to say."""
        told = self.node.answer(frame)
        if told is not None and not self.off:
            hints, sealed = told
            self.transport.sendto(
                datagram.datagram(datagram.FRAMES, self.node.address, hints, sealed)
            )

    def datagram_received(self, data: bytes, addr: Any) -> None:
        for address, _, frame in datagram.items(data) or ():
            if data[0] == datagram.GROUP:
                self.groups += 1
                self.node.group_frame(frame)
            elif data[0] == datagram.POLL and address == self.node.address:
                self.asked += 1
                self.speak(frame)

    def error_received(self, exc: Exception) -> None:
        """The controller is not there yet."""


@contextlib.asynccontextmanager
async def wireless(port: int, *nodes: FakeNode) -> AsyncIterator[list[Wireless]]:
    """Nodes that speak to a port, each now and then by itself while nobody asks it."""
    loop = asyncio.get_running_loop()
    made: list[Wireless] = []

    async def keep(one: Wireless) -> None:
        while True:
            before = one.asked
            await asyncio.sleep(0.3)
            if one.asked == before:
                one.speak()

    for node in nodes:
        _, one = await loop.create_datagram_endpoint(
            lambda node=node: Wireless(node), remote_addr=("127.0.0.1", port)
        )
        made.append(one)
        one.speak()
    tasks = [loop.create_task(keep(one)) for one in made]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in made:
            one.transport.close()


def homes(*addresses: int) -> str:
    return "".join(f'[[home]]\naddress = {a}\npaths = [{{ bearer = "air" }}]\n' for a in addresses)


def forged_of(data: bytes) -> bytes:
    """A datagram as a node's, with a counter that was never used: only its seal is wrong."""
    at = datagram.HEAD + 3
    return data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :]


async def opened(controller: Any) -> UdpBearer:
    bearer = controller.bearers["air"]
    assert isinstance(bearer, UdpBearer)
    await until(lambda: bearer.up)
    return bearer


# -- read and moved -----------------------------------------------------------------------


async def test_homes_are_read_and_moved(tmp_path: Path) -> None:
    async with running(tmp_path, AIR, homes(1, 2, 300), 1, 2, 300) as c:
        bearer = await opened(c)
        nodes = FakeNode(1), FakeNode(2, phase=2), FakeNode(300)
        assert "has not spoken" in bearer.reaches(1)
        async with wireless(bearer.port, *nodes) as (_, two, _):
            await until(lambda: all(node.synced for node in nodes))
            assert bearer.reaches(1) == ""
            moved = c.fleet.get(2)
            await until(lambda: moved.phase == 2 and not moved.immovable(c.now()))
            assert await c.dispatcher.order(moved, 3, "a test", 1.0)
            await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
            assert two.node.true_phase == 3
            two.off = True
            await until(lambda: not moved.alive)
            assert c.fleet.get(1).alive
            assert bearer.counts()["answers"] > 10
            assert not c.standing.reported


async def test_loss_reorder_and_repetition_are_harmless(tmp_path: Path) -> None:
    async with running(tmp_path, AIR, homes(1, 2), 1, 2) as c:
        bearer = await opened(c)
        one, two = FakeNode(1), FakeNode(2, phase=2)
        async with (
            BadNetwork(bearer.port, lose=0.15, twice=0.3, late=0.3, late_s=0.2) as network,
            wireless(network.port, one, two),
        ):
            moved = c.fleet.get(1)
            await until(lambda: one.synced and not moved.immovable(c.now()))
            for phase in (2, 3, 1):
                # A command may expire where this process had to wait; then it is given anew.
                while one.true_phase != phase:
                    done = sum(c.dispatcher.finished_total.values())
                    await until(lambda: not moved.immovable(c.now()))
                    assert await c.dispatcher.order(moved, phase, "a test", 1.0)
                    await until(lambda d=done: sum(c.dispatcher.finished_total.values()) > d)
            assert list(one.executed.values()) == [1, 1, 1]
            assert c.dispatcher.finished_total["refused"] == 0, "an old reading was believed"
            await until(lambda: network.lost > 20 and network.repeated > 20)
            # A repeated frame is the network's doing: it says nothing against home or site.
            assert moved.link.replayed > 5
            assert "used before" not in moved.immovable(c.now())
            assert not c.standing.reported
            assert not c.standing.rival


async def test_a_home_that_speaks_from_elsewhere_is_followed(tmp_path: Path) -> None:
    async with running(tmp_path, AIR, homes(1), 1) as c:
        bearer = await opened(c)
        async with BadNetwork(bearer.port) as network, wireless(network.port, FakeNode(1)):
            home = c.fleet.get(1)
            await until(lambda: home.alive)
            before = bearer.places[1]
            network.move()
            await until(lambda: bearer.places[1] != before)
            read = home.readings
            await until(lambda: home.readings > read + 3)
            assert bearer.moved >= 1


# -- who may say where a home is ----------------------------------------------------------


async def test_only_what_opened_says_where_a_home_is(tmp_path: Path) -> None:
    async with running(tmp_path, AIR, homes(1), 1) as c:
        bearer = await opened(c)
        home = c.fleet.get(1)
        async with BadNetwork(bearer.port) as network, wireless(network.port, FakeNode(1)):
            await until(lambda: home.readings > 5)
            place = bearer.places[1]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                # What was said before, said again from elsewhere; and one that was altered.
                old = network.seen[0]
                altered = forged_of(old)
                junk = bearer.junk
                for data in (old, altered, b"", b"\xa3", old[:-1], b"\xa3" + bytes(1300)):
                    other.sendto(data, ("127.0.0.1", bearer.port))
                await until(lambda: bearer.junk >= junk + 6)
            assert bearer.places[1] == place
            assert home.link.auth_failed >= 1
            read = home.readings
            await until(lambda: home.readings > read + 3)
            assert home.alive


async def test_an_answer_that_somebody_invents_does_not_end_the_wait(tmp_path: Path) -> None:
    """A flood of frames that bear the home's address, while it is asked and answers."""
    async with running(tmp_path, AIR, homes(1), 1) as c:
        bearer = await opened(c)
        home = c.fleet.get(1)
        async with BadNetwork(bearer.port) as network, wireless(network.port, FakeNode(1)):
            await until(lambda: home.readings > 5)
            good = network.seen[-1]
            forged = forged_of(good)
            lost, read = home.link.lost, home.readings
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                for _ in range(30):
                    other.sendto(forged, ("127.0.0.1", bearer.port))
                    await asyncio.sleep(0.01)
            await until(lambda: home.readings > read + 5)
            assert home.link.lost - lost <= 2
            assert home.link.auth_failed > 0


async def test_a_flood_of_junk_costs_a_share_of_the_time(tmp_path: Path) -> None:
    async with running(tmp_path, AIR, homes(1), 1) as c:
        bearer = await opened(c)
        home = c.fleet.get(1)
        async with BadNetwork(bearer.port) as network, wireless(network.port, FakeNode(1)):
            await until(lambda: home.readings > 5)
            forged = forged_of(network.seen[-1])
            looked = bearer.junk
            end = time.monotonic() + 2.0
            sent = 0
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                while time.monotonic() < end:
                    for _ in range(200):
                        other.sendto(forged, ("127.0.0.1", bearer.port))
                        sent += 1
                    await asyncio.sleep(0)
            # Most of it was not even opened, however it was said.
            assert sent > 2000
            assert bearer.rationed > 0
            assert bearer.junk - looked < sent / 2
            read = home.readings
            await until(lambda: home.readings > read + 5)
