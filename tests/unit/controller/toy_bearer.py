"""A bearer over UDP: one datagram down, one up. Each begins with the length of its frame."""

import asyncio
import contextlib

from pydantic import BaseModel

from pbal_controller.bearers import EVERYBODY, Answer, Kind, Request, Sleeper, Traffic


class ToyConfig(BaseModel, extra="forbid"):
    answer_timeout_s: float = 0.1


class ToyBearer(asyncio.DatagramProtocol):
    room, reconnects, up = 240, 0, False

    def __init__(self, name: str, config: ToyConfig, traffic: Traffic) -> None:
        self.name, self._wait_s, self._traffic = name, config.answer_timeout_s, traffic
        self._asked: asyncio.Future[bytes] = asyncio.Future()
        self._sleeper = Sleeper()
        self.wake, self.counts = self._sleeper.wake, dict
        self.reaches = lambda where: "" if self.up else "the socket is closed"
        self.cost_s = lambda size: self._wait_s / 10
        self.freshness_s = lambda homes: homes * self.cost_s(0)
        self.as_dict = lambda: {"name": name, "kind": "toy"}

    async def run(self, beat) -> None:
        loop = asyncio.get_running_loop()
        socket, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        with contextlib.closing(socket):
            self.up = True
            while True:
                beat()
                todo = self._traffic.next_request(loop.time())
                if not isinstance(todo, Request):
                    await self._sleeper.until(min(todo, loop.time() + 1))
                elif todo.to is not EVERYBODY:
                    self._asked = loop.create_future()
                    socket.sendto(bytes((len(todo.frame),)) + todo.frame, todo.to)
                    if todo.sent is not None:
                        todo.sent()
                    done, _ = await asyncio.wait([self._asked], timeout=self._wait_s)
                    answer = Answer(self._asked.result()) if done else None
                    self._traffic.handle(todo, answer, loop.time())

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data and len(data) == 1 + data[0] and not self._asked.done():
            self._asked.set_result(data[1:])


def locate(config: ToyConfig, address: int, at: object) -> tuple[str, int]:
    host, _, port = str(at).partition(":")
    if not port.isdecimal():
        raise ValueError(f'at = {at!r} is no place; write at = "HOST:PORT"')
    return host, int(port)


KIND = Kind("toy", ToyConfig, locate, ToyBearer)
