"""One UDP port with the homes that use it: their addresses, requests and answers.

A home's place is the source of its last frame that opened; a home that has not sent yet is not
polled. Many requests are under way at a time, one for each home: a second one for the same home
waits until the first is over. A frame that comes late, twice or in another order is taken as
unasked, or refused by its counter; it affects no other exchange.

Frames that do not open take a bounded share of the time (`ration`); reading pauses while only such
frames come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pbal_controller.bearers.base import EVERYBODY, Answer, Request, Traffic, Where
from pbal_controller.bearers.sleeper import Sleeper
from pbal_controller.bearers.udp.announce import announced
from pbal_controller.bearers.udp.ration import Allowance, Ration
from pbal_controller.bearers.udp.settings import UdpConfig
from pbal_controller.loops import Backoff
from pbal_protocol import datagram
from pbal_protocol.frames import HEADER_LEN, MAX_FRAME, UP, UP_EXPLICIT, VERSION

log = logging.getLogger(__name__)

Place = tuple[Any, ...]  # of a socket: host, port, and what IPv6 adds

_READ_AT_ONCE = 32  # datagrams; then other tasks of the event loop run
_BUFFER_BYTES = 1 << 20  # the kernel's, for the answers of many homes
_READING = 0.2  # share of the time that reading useless datagrams may take ...
_PAUSE_S = 0.05  # ... and how long reading then pauses
_COPIES = 8  # of a group frame in one turn
_FIRST = (VERSION << 4 | UP, VERSION << 4 | UP_EXPLICIT)
_SMOOTH = 0.05


@dataclass(slots=True)
class _Asked:
    """A request on its way; `then` are those for the same home that wait for its end."""

    request: Request
    began: float
    deadline: float
    then: deque[Request] = field(default_factory=deque)


class UdpBearer:
    """The owner of one UDP port."""

    def __init__(self, name: str, config: UdpConfig, traffic: Traffic) -> None:
        self.name = name
        self.room = MAX_FRAME
        self.config = config
        self.up = False
        self.reconnects = 0
        self.last_error = ""
        self.places: dict[Where, Place] = {}
        self.round_trip_s = 0.0  # smoothed
        self.requests = self.answers = self.timeouts = self.unasked = 0
        self.junk = self.rationed = self.pauses = self.moved = self.unsent = 0
        self._traffic = traffic
        self._timeout_s = config.answer_timeout_ms / 1e3
        self._sleeper = Sleeper()
        self._asked: dict[Where, _Asked] = {}  # in the order of their deadlines
        self._waiting = 0  # requests in their `then`
        self._copies: deque[tuple[bytes, Place]] = deque()
        self._next_at = 0.0
        self._known, self._others = Ration(), Ration()
        self._reading = Allowance(_READING)
        self._socket: socket.socket | None = None

    # -- what others may ask -------------------------------------------------------------

    def reaches(self, where: Where) -> str:
        """A home is reached at the place it spoke from."""
        if not self.up:
            return self.last_error or "the port is closed"
        if where not in self.places:
            return "it has not spoken yet: is it on the network, and has it this computer's name?"
        return ""

    def cost_s(self, size: int) -> float:
        """A turn in the pace of requests, however long the frame."""
        return 1 / self.config.per_s

    def freshness_s(self, homes: int) -> float:
        """One round at that pace; a lost datagram is asked for again after the time-out."""
        return homes / self.config.per_s + 2 * self._timeout_s

    def wake(self) -> None:
        """Something new may be due."""
        self._sleeper.wake()

    @property
    def port(self) -> int:
        """The port that is open, 0 while none is."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    def counts(self) -> dict[str, int]:
        """Exchanges since start, by outcome."""
        return {
            "requests": self.requests,
            "answers": self.answers,
            "timeouts": self.timeouts,
            "unasked": self.unasked,
            "junk": self.junk,
            "rationed": self.rationed,
            "pauses": self.pauses,
            "moved": self.moved,
            "unsent": self.unsent,
        }

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        return {
            "name": self.name,
            "kind": "udp",
            "host": self.config.host,
            "port": self.port or self.config.port,
            "state": "open" if self.up else "closed",
            "last_error": self.last_error,
            "reconnects": self.reconnects,
            "homes_spoke": len(self.places),
            "round_trip_ms": round(self.round_trip_s * 1e3, 1),
            **self.counts(),
        }

    # -- the owner -----------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Own the port until cancelled."""
        backoff = Backoff(0.5, 15.0)
        while True:
            try:
                self._socket = self._open()
            except OSError as error:
                why = f"{self.config.host} port {self.config.port}: {error.strerror or error}"
                if why != self.last_error:
                    log.error("port unusable", extra={"bearer": self.name, "why": why})
                self.last_error = why
                beat()
                await asyncio.sleep(backoff.next())
                continue
            if self.last_error:
                log.info("port usable again", extra={"bearer": self.name})
                self.last_error = ""
            loop = asyncio.get_running_loop()
            loop.add_reader(self._socket, self._readable)
            self.up = True
            try:
                async with announced(self.config.mdns, self.config.host, self.port):
                    await self._serve(beat)
            finally:
                self._close()

    def _open(self) -> socket.socket:
        c = self.config
        family = socket.AF_INET6 if ":" in c.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            with contextlib.suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            made.bind((c.host, c.port))
        except BaseException:
            made.close()
            raise
        return made

    def _close(self) -> None:
        self.up = False
        made, self._socket = self._socket, None
        if made is not None:
            asyncio.get_running_loop().remove_reader(made)
            made.close()
        self._asked.clear()
        self._copies.clear()
        self._waiting = 0

    async def _serve(self, beat: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        pace_s = 1 / self.config.per_s
        while True:
            beat()
            now = loop.time()
            self._expire(now)
            self._send_copies()
            if self._copies or now < self._next_at:
                await self._sleeper.until(now + 0.002 if self._copies else self._next_at)
                continue
            deadline = next((x.deadline for x in self._asked.values()), now + 1.0)
            if len(self._asked) + self._waiting >= self.config.window:
                await self._sleeper.until(deadline)
                continue
            todo = self._traffic.next_request(now)
            if not isinstance(todo, Request):
                await self._sleeper.until(min(todo, deadline, now + 1.0))
            elif todo.to is EVERYBODY:
                self._copies.extend(
                    (datagram.datagram(datagram.GROUP, 0, 0, todo.frame), place)
                    for place in set(self.places.values())
                )
                if todo.sent is not None:
                    todo.sent()
            elif todo.to not in self.places:
                self._traffic.handle(todo, None, now)
                await asyncio.sleep(0)
            else:
                # A pause is not made up for by a burst.
                self._next_at = max(self._next_at, now - 2 * pace_s) + pace_s
                self._ask(todo, now)

    def _ask(self, request: Request, now: float) -> None:
        where = request.to
        asked = self._asked.get(where)
        if asked is not None:
            asked.then.append(request)
            self._waiting += 1
            return
        self.requests += 1
        assert isinstance(where, int)  # as `locate` made it
        self._send(datagram.datagram(datagram.POLL, where, 0, request.frame), self.places[where])
        if request.sent is not None:
            request.sent()
        self._asked[where] = _Asked(request, now, now + self._timeout_s)

    def _over(self, asked: _Asked, now: float) -> None:
        """This exchange is over: the next one for this home begins."""
        del self._asked[asked.request.to]
        if asked.then:
            following = asked.then.popleft()
            self._waiting -= 1
            self._ask(following, now)
            self._asked[following.to].then = asked.then

    def _expire(self, now: float) -> None:
        while self._asked:
            first = next(iter(self._asked.values()))
            if now < first.deadline:
                return
            self.timeouts += 1
            self._over(first, now)
            self._traffic.handle(first.request, None, now)

    def _send_copies(self) -> None:
        for _ in range(min(_COPIES, len(self._copies))):
            self._send(*self._copies.popleft())

    def _send(self, data: bytes, place: Place) -> None:
        assert self._socket is not None
        try:
            self._socket.sendto(data, place)
        except OSError:  # no route now, or the kernel's buffer is full: as if lost
            self.unsent += 1

    # -- what comes ----------------------------------------------------------------------

    def _readable(self) -> None:
        made = self._socket
        if made is None:
            return
        began = time.perf_counter()
        good = False
        for _ in range(_READ_AT_ONCE):
            try:
                data, place = made.recvfrom(2048)
            except BlockingIOError:
                break
            except OSError:  # an error (ICMP) that an earlier datagram of ours caused
                continue
            good = self._datagram(data, place) or good
        if good:
            return
        loop = asyncio.get_running_loop()
        self._reading.spend(time.perf_counter() - began)
        if not self._reading.left(loop.time()):
            self.pauses += 1
            loop.remove_reader(made)
            loop.call_later(_PAUSE_S, self._read_on, made)

    def _read_on(self, made: socket.socket) -> None:
        if self._socket is made:
            asyncio.get_running_loop().add_reader(made, self._readable)

    def _datagram(self, data: bytes, place: Place) -> bool:
        """Whether there was a frame in it that opened."""
        found = None
        if data[:1] == _FRAMES and len(data) <= datagram.MAX_DATAGRAM:
            found = datagram.items(data)
        if found is None:
            self.junk += 1
            return False
        good = False
        for address, hints, frame in found:
            good = self._frame(address, hints, frame, place) or good
        return good

    def _frame(self, address: int, hints: int, frame: bytes, place: Place) -> bool:
        if (
            len(frame) <= HEADER_LEN
            or frame[0] not in _FIRST
            or frame[1] | frame[2] << 8 != address
        ):
            self.junk += 1
            return False
        loop = asyncio.get_running_loop()
        now = loop.time()
        ration = self._known if self.places.get(address) == place else self._others
        if not ration.allows(place[0], now):
            self.rationed += 1
            return False
        began = time.perf_counter()
        asked = self._asked.get(address)
        if asked is not None:
            opened = self._traffic.offered(asked.request, Answer(frame, bool(hints)), now)
        else:
            opened = self._traffic.unasked(address, frame, now, bool(hints))
        if not opened:
            self.junk += 1
            ration.spend(place[0], time.perf_counter() - began)
            return False
        before = self.places.get(address)
        self.places[address] = place
        if before is not None and before != place:
            self.moved += 1
            log.info("home speaks from elsewhere", extra={"home": address, "place": place[0]})
        if asked is None:
            self.unasked += 1
        else:
            self.answers += 1
            self.round_trip_s += _SMOOTH * (now - asked.began - self.round_trip_s)
            self._over(asked, now)
        self._sleeper.wake()
        return True


_FRAMES = bytes((datagram.FRAMES,))
