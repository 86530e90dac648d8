"""A radio on this computer, over which homes are commissioned: the controller's bearer and rounds.

Homes take turns as under the controller (docs/radio.md). The bearer runs on a thread with an event
loop of its own; the steps, which are one conversation after the other, wait for what comes:

    a question   goes into the home's next exchange, of which there are some in each round
    a reading    comes by itself once in each round

Beacons need counters that nodes have not heard yet. They come from the controller's journal where
it is given; else they follow the clock, below all that a controller starts with later.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pbal_controller.bearers import Answer, Request, Where, find
from pbal_controller.bearers.lora import RadioThread, probe, radio_of
from pbal_controller.config import PollingConfig
from pbal_controller.errors import BearerError
from pbal_controller.homes import Conversation, GroupSession, Home, Inbox, Path, Rounds, Router
from pbal_controller.journal import COUNTER_BLOCK
from pbal_controller.keys import GroupGeneration
from pbal_controller.standing import Standing

from ..errors import CliError, RefusedError, UnreachableError
from ..sitefile import Radio
from .medium import Reserve

log = logging.getLogger(__name__)

# Each healthy home is asked for a whole reading this often, besides what the steps ask.
_POLLING = PollingConfig(min_interval_s=20.0, dead_backoff_max_s=10.0)
_OPEN_S = 15.0
_TRIES, _AGAIN_S = 4, 0.5  # of opening it
_CLOSE_S = 10.0
_LOOK_S = 0.02
_RESERVE_S = 0.2
# Another controller of this site sends a beacon within this long, unless its rounds are very slow.
_LISTEN_S = 6.0
BEACONS = "beacons"  # whose counters these are, in the record


class _Heard(Rounds):
    """The controller's rounds, which count for the steps what came of each home."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.frames: Counter[int] = Counter()  # authentic ones
        self.answers: Counter[int] = Counter()  # those to a question
        self.unanswered: Counter[int] = Counter()

    def offered(self, request: Request, answer: Answer, now: float) -> bool:
        good = super().offered(request, answer, now)
        if good:
            self.frames[request.tag.home.address] += 1
            self.answers[request.tag.home.address] += 1
        return good

    def handle(self, request: Request, answer: Answer | None, now: float) -> None:
        super().handle(request, answer, now)
        self.unanswered[request.tag.home.address] += 1

    def unasked(self, where: Where, frame: bytes, now: float, more: bool = False) -> bool:
        good = super().unasked(where, frame, now, more)
        if good:
            assert isinstance(where, int)
            self.frames[where] += 1
        return good


class Air:
    """One radio of the site file, and its homes. Use it as a context, `join` all, then `open`."""

    steps = ("scan", "survey", "contact", "phases", "calibrate", "transfer", "report")
    most_tries = 3

    def __init__(
        self,
        name: str,
        config: Radio,
        site_id: int,
        group: GroupGeneration,
        reserve_beacons: Callable[[int], int],
    ) -> None:
        """`reserve_beacons(count)` gives the first of so many counters of beacons."""
        self.name = name
        self.config = config
        self._group = GroupSession(site_id, group.root, "group")
        self._reserve_beacons = reserve_beacons
        self._router = Router()
        self._rounds = _Heard(name, self._router, self._group, _POLLING, Inbox(), Standing())
        self._bearer = find("lora").make(name, config, self._rounds)
        self._rounds.serve(self._bearer)
        self._router.add_bearer(name, self._rounds, self._bearer)
        self._homes: dict[int, tuple[Home, Reserve]] = {}
        self._readings: dict[int, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None

    # -- what a medium says ----------------------------------------------------------------------

    @property
    def turn_s(self) -> float:
        """The longer of a round as it is and as it may be."""
        told = float(self._bearer.as_dict()["round_s"])
        return max(told, self._bearer.freshness_s(len(self._homes)))

    @property
    def words(self) -> str:
        return self.config.words

    def place(self, address: int) -> str:
        return f"over the radio {self.name}"

    def remedy(self) -> str:
        return (
            "Check its supply and its antenna's plug, and whether it is provisioned for this site "
            "and channel (pbal provision add --radio)."
        )

    def status(self) -> dict[str, Any]:
        """As the controller's status.json, as far as a survey reads it."""
        homes = []
        for home, _ in self._homes.values():
            path = home.paths[0]
            homes.append({
                "address": home.address, "name": home.config.name, "path": self.name,
                "radio": path.quality or None,
            })  # fmt: skip
        return {"buses": [self._bearer.as_dict()], "homes": homes}

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self) -> Air:
        return self

    def open(self) -> None:
        """Opens the radio and begins the rounds.

        Raises UnreachableError: no radio here; RefusedError: a controller of this site is heard.
        """
        self._probe()
        self._thread = threading.Thread(target=self._run, name="air", daemon=True)
        self._thread.start()
        end = time.monotonic() + _OPEN_S + _LISTEN_S
        while not self._bearer.up:
            self.check()
            if time.monotonic() > end:
                raise self._no_radio(BearerError(self._bearer.as_dict()["last_error"]))
            time.sleep(_LOOK_S)

    def _probe(self) -> None:
        """A chip that is slow after its reset gets another chance, as from the controller."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                probe(self.config)
                return
            except BearerError as exc:
                if not left:
                    raise self._no_radio(exc) from None
            time.sleep(_AGAIN_S)

    def _no_radio(self, exc: Exception) -> UnreachableError:
        return UnreachableError(
            f"radio.{self.name}: {exc}.",
            "Commission where the radio is, with the controller stopped (systemctl stop "
            "pbal-controller); pbal-controller check-config --hardware looks at it.",
        )

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def check(self) -> None:
        """Raises what ended the thread, if it has ended."""
        if isinstance(self._failed, CliError):
            raise self._failed
        if isinstance(self._failed, BearerError):
            raise self._no_radio(self._failed)
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as exc:  # it is raised in the thread that waits for homes
            self._failed = exc

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._listen()
        tasks = [
            asyncio.create_task(self._bearer.run(lambda: None)),
            asyncio.create_task(self._keep_counters()),
        ]
        try:
            while not self._stop.is_set():
                done, _ = await asyncio.wait(tasks, timeout=0.1, return_when="FIRST_COMPLETED")
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _started(self) -> RadioThread:
        for left in range(_TRIES - 1, -1, -1):
            radio = radio_of(self.config)
            try:
                await radio.start()
            except BearerError:
                await radio.stop()
                if not left:
                    raise
                await asyncio.sleep(_AGAIN_S)
            else:
                return radio
        raise AssertionError

    async def _listen(self) -> None:
        """Makes sure that no controller of this site sends on the channel."""
        radio = await self._started()
        try:
            end = time.monotonic() + _LISTEN_S
            radio.tune(0.0, self.config.down[0], self.config.sf)
            while not self._stop.is_set():
                came = await radio.receive(min(end, time.monotonic() + 0.5))
                if came is None and time.monotonic() >= end:
                    return
                if came is None:
                    continue
                if self._group.opens(came.frame):
                    raise RefusedError(
                        f"A controller of this site sends beacons on the radio {self.name}.",
                        "Stop it first: systemctl stop pbal-controller",
                    )
        finally:
            await radio.stop()

    async def _keep_counters(self) -> None:
        """Reserves counters ahead of need, as the controller does."""
        while True:
            if self._group.beacons.wants_more:
                self._group.beacons.extend(self._reserve_beacons(COUNTER_BLOCK), COUNTER_BLOCK)
            for home, reserve in self._homes.values():
                session = home.session
                assert session is not None
                if home.hello is not None and session.counters.wants_more:
                    first = reserve(
                        home.address, session.key_id, max(1, session.counters.floor), COUNTER_BLOCK
                    )
                    session.counters.extend(first, COUNTER_BLOCK)
            await asyncio.sleep(_RESERVE_S)

    # -- homes -----------------------------------------------------------------------------------

    def join(self, talk: Conversation, reserve: Reserve) -> None:
        home = talk.home
        home.paths = (Path(self.name, home.address),)
        self._homes[home.address] = home, reserve
        if self._loop is None:
            self._router.add_home(talk)
        else:
            self._loop.call_soon_threadsafe(self._router.add_home, talk)

    def ask(self, talk: Conversation, meanwhile: Callable[[], None]) -> bool | None:
        home = talk.home
        rounds, address = self._rounds, home.address
        refused = home.link.auth_failed
        asks = bool(home.requests)
        came = rounds.answers if asks else rounds.frames
        before, unanswered = came[address], rounds.unanswered[address]
        if asks and self._loop is not None:
            self._loop.call_soon_threadsafe(self._router.expedite, home)
        end = time.monotonic() + 2 * self.turn_s + 1.0
        while came[address] == before:
            self.check()
            lost = rounds.unanswered[address] > unanswered and asks and not home.requests
            if lost or time.monotonic() > end:
                return False if home.link.auth_failed > refused else None
            meanwhile()
            time.sleep(_LOOK_S)
        return True

    def next_reading(self, talk: Conversation, meanwhile: Callable[[], None]) -> bool:
        home = talk.home
        seen = self._readings.get(home.address, home.readings)
        end = time.monotonic() + 2 * self.turn_s + 1.0
        while home.readings == seen:
            self.check()
            if time.monotonic() > end:
                return False
            meanwhile()
            time.sleep(5 * _LOOK_S)
        self._readings[home.address] = home.readings
        return True
