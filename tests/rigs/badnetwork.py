"""A network between nodes and a controller that loses, repeats, delays and reorders datagrams.

    async with BadNetwork(controller_port, lose=0.1, twice=0.1, late=0.2) as network:
        ...   # nodes speak to 127.0.0.1, network.port

Each node has a socket of its own towards the controller, as behind an address translation; `move`
gives all of them new ones, as a router does that was restarted.
"""

import asyncio
import random
from typing import Any


class _Side(asyncio.DatagramProtocol):
    def __init__(self, came: Any) -> None:
        self._came = came
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._came(data, addr)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens at the far end just now: as if it were lost."""


class BadNetwork:
    """Shares of datagrams, each way, that are lost, come twice, or come late; all in 0..1."""

    def __init__(
        self, port: int, *, lose: float = 0.0, twice: float = 0.0, late: float = 0.0,
        late_s: float = 0.05, seed: int = 1,
    ) -> None:  # fmt: skip
        self.lose, self.twice, self.late, self.late_s = lose, twice, late, late_s
        self.lost = self.repeated = self.delayed = self.carried = 0
        self.cut = False
        self.seen: list[bytes] = []  # the latest that nodes said
        self.controller = port
        self._random = random.Random(seed)
        self._near: _Side
        self._far: dict[Any, _Side] = {}
        self._opening: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "BadNetwork":
        loop = asyncio.get_running_loop()
        _, self._near = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_node), ("127.0.0.1", 0)
        )  # fmt: skip
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        self.move()
        self._near.transport.close()

    @property
    def port(self) -> int:
        """Where nodes find the controller."""
        return int(self._near.transport.get_extra_info("sockname")[1])

    def move(self) -> None:
        """From now on every node speaks from another port."""
        far, self._far = self._far, {}
        for side in far.values():
            side.transport.close()

    def _from_node(self, data: bytes, node: Any) -> None:
        self.seen = [*self.seen[-99:], data]
        if node in self._far:
            self._carry(self._far[node], data, ("127.0.0.1", self.controller))
            return
        task = asyncio.get_running_loop().create_task(self._open(node, data))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, node: Any, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, side = await loop.create_datagram_endpoint(
            lambda: _Side(lambda down, _: self._carry(self._near, down, node)),
            local_addr=("127.0.0.1", 0),
        )
        self._far[node] = side
        self._carry(side, data, ("127.0.0.1", self.controller))

    def _carry(self, side: _Side, data: bytes, to: Any) -> None:
        if self.cut or self._random.random() < self.lose:
            self.lost += 1
            return
        self._later(side, data, to)
        if self._random.random() < self.twice:
            self.repeated += 1
            self._later(side, data, to)

    def _later(self, side: _Side, data: bytes, to: Any) -> None:
        self.carried += 1
        delay_s = 0.0
        if self._random.random() < self.late:
            self.delayed += 1
            delay_s = self._random.random() * self.late_s

        def deliver() -> None:
            if not side.transport.is_closing():
                side.transport.sendto(data, to)

        asyncio.get_running_loop().call_later(delay_s, deliver)
