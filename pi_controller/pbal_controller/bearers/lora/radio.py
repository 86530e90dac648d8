"""The thread that owns the radio: it listens continuously, sends on request, retunes on time.

rfm9x keeps one frame and overwrites it with the next, so no other work may delay a poll: this
thread does nothing but poll it. Frames go to the event loop through a bounded queue; what does not
fit is counted as dropped.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from pbal_controller.bearers.lora.driver import Driver, Received
from pbal_controller.errors import BearerError

_T = TypeVar("_T")

log = logging.getLogger(__name__)

_LOOK_S = 0.0015
_STOP_S = 5.0
# Of the looks, each so many-th measures the power in the channel.
_MEASURES = 32


class RadioThread:
    """One radio. `start` opens it; everything else is quick and is called from the event loop."""

    def __init__(self, opener: Callable[[], Driver], room: int) -> None:
        self._opener = opener
        self._room = room
        self._jobs: list[tuple[float, int, Callable[[Driver], None]]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._received: deque[Received] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came = asyncio.Event()
        self._ended: asyncio.Future[None] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._looks = 0
        self._quietest_dbm: float | None = None
        self.dropped = 0
        self.damaged = 0

    async def start(self) -> None:
        """Open the radio, in its own thread. Raises BearerError."""
        loop = self._loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._ended = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(ready, self._ended), name="radio", daemon=True
        )
        self._thread.start()
        await ready

    async def stop(self) -> None:
        """End the thread and close the radio."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _STOP_S)

    # -- from the event loop -----------------------------------------------------------------------

    async def send(self, frame: bytes, hz: int, sf: int) -> float:
        """Send now; when it ended (s of the loop's clock). Raises BearerError."""
        assert self._loop is not None
        done: asyncio.Future[float] = self._loop.create_future()

        def job(driver: Driver) -> None:
            end_s = driver.send(frame, hz, sf)
            self._tell(done, end_s)

        self._post(0.0, job)
        assert self._ended is not None
        either: set[asyncio.Future[Any]] = {done, self._ended}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            self._ended.result()
            raise BearerError("the radio was closed")
        return done.result()

    def tune(self, at_s: float, hz: int, sf: int) -> None:
        """Listen there from a time of the loop's clock on."""
        self._post(at_s, lambda driver: driver.tune(hz, sf))

    def _post(self, at_s: float, job: Callable[[Driver], None]) -> None:
        with self._lock:
            heapq.heappush(self._jobs, (at_s, next(self._order), job))

    def forget(self) -> None:
        """Cancel what was to be done later."""
        with self._lock:
            self._jobs.clear()

    def quietest_dbm(self) -> float | None:
        """The least power in the channel since the last call; None when nothing was measured."""
        with self._lock:
            least, self._quietest_dbm = self._quietest_dbm, None
        return least

    async def receive(self, until_s: float) -> Received | None:
        """The next frame, None when there is none by then. Raises BearerError when it failed."""
        assert self._loop is not None
        assert self._ended is not None
        while True:
            if self._received:
                return self._received.popleft()
            if self._ended.done():
                self._ended.result()
                raise BearerError("the radio was closed")
            left_s = until_s - self._loop.time()
            if left_s <= 0:
                return None
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left_s)
            except TimeoutError:
                return self._received.popleft() if self._received else None

    # -- in the thread -----------------------------------------------------------------------------

    def _tell(self, future: asyncio.Future[_T], value: _T) -> None:
        def tell() -> None:
            if not future.done():
                future.set_result(value)

        self._call(tell)

    def _call(self, what: Callable[[], object]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            self._stop.set()  # the event loop is closed: there is no receiver

    def _run(self, ready: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        driver: Driver | None = None
        failure: BearerError | None = None
        try:
            driver = self._opener()
            self._tell(ready, None)
            while not self._stop.is_set():
                self._work(driver)
        except BearerError as error:
            failure = error
        except Exception as error:  # whatever a driver raises ends this radio, not the controller
            log.exception("the radio's driver failed")
            failure = BearerError(f"the radio's driver failed: {error!r}")
        finally:
            if driver is not None:
                driver.close()
        why = failure or BearerError("the radio was closed")

        def tell() -> None:
            for future in (ready, ended):
                if not future.done():
                    future.set_exception(why)
            ended.exception()  # its result may never be read
            self._came.set()

        self._call(tell)

    def _work(self, driver: Driver) -> None:
        if driver.ready():
            received = driver.take()
            if received is None:
                self.damaged += 1
            else:
                self._call(lambda: self._put(received))
        job = None
        with self._lock:
            if self._jobs and self._jobs[0][0] <= time.monotonic():
                job = heapq.heappop(self._jobs)[2]
        if job is not None:
            job(driver)
        else:
            time.sleep(_LOOK_S)
            self._looks += 1
            if self._looks % _MEASURES == 0:
                dbm = driver.power_dbm()
                with self._lock:
                    least = self._quietest_dbm
                    self._quietest_dbm = dbm if least is None else min(least, dbm)

    def _put(self, received: Received) -> None:
        if len(self._received) >= self._room:
            self.dropped += 1
            return
        self._received.append(received)
        self._came.set()
