"""A radio for the link between sites: sends within the plan's airtime, listens otherwise.

Site and gateway have one channel each way: up and down of [radio.NAME]. What was on the air is in
the journal before it is sent, so that restarts do not use a plan's airtime twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from pbal_controller.bearers.lora import RadioConfig, RadioThread, radio_of
from pbal_controller.documents import dump_json, load_json
from pbal_controller.errors import BearerError
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.loops import Backoff, pause
from pbal_protocol.errors import ForbiddenError
from pbal_protocol.frames import HEADER_LEN, MAX_FRAME, TAG_LEN
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.budget import Budget, longest_bytes

log = logging.getLogger(__name__)

OVERHEAD = HEADER_LEN + TAG_LEN
# A slower frame would take too long (bearers/lora/bearer.py); it holds a summary or a part.
_SLOW_FRAME, _FAST_SF = 110, 8
_WINDOW_S = 3600.0
_OPEN_S = (1.0, 60.0)


def room(config: RadioConfig) -> int:
    """Bytes of payload in the longest frame that the plan lets this radio send at once."""
    longest = MAX_FRAME if config.sf <= _FAST_SF else _SLOW_FRAME
    for channel in (config.up, config.down):
        longest = longest_bytes(config.plan, channel, config.sf, longest)
    return longest - OVERHEAD


class Airlink:
    """One end's radio. `gateway`: it sends down and listens up; else the other way round."""

    def __init__(
        self,
        config: RadioConfig,
        journal: AsyncJournal,
        name: str,
        wall: Callable[[], float],
        *,
        gateway: bool,
    ) -> None:
        self.config = config
        self.room = room(config)
        self._send_on, self._hear_on = (
            (config.down, config.up) if gateway else (config.up, config.down)
        )
        self._journal = journal
        self._key = f"airtime {name}"
        self._wall = wall
        self._radio: RadioThread | None = None
        self._budget: Budget | None = None
        self._used: list[tuple[int, int]] = []  # (minute, us), the latest hour
        self.airtime_us = 0
        self.frames_total = 0

    def airtime(self, size: int) -> int:
        """Time on air of a payload of so many bytes, us."""
        return time_on_air_us(size + OVERHEAD, self.config.sf, self._send_on[1])

    def reply_s(self) -> float:
        """How long the longest answer may take to be here, s."""
        us = time_on_air_us(self.room + OVERHEAD, self.config.sf, self._hear_on[1])
        return us / 1e6 + self.config.answer_timeout_ms / 1e3

    async def open(self) -> None:
        """Open the radio and listen. Raises BearerError, JournalError."""
        if self._budget is None:
            self._budget = await self._restored()
        radio = radio_of(self.config)
        await radio.start()
        self._radio = radio
        self._listen()

    async def close(self) -> None:
        """End the radio."""
        if self._radio is not None:
            await self._radio.stop()
            self._radio = None

    async def serve(
        self,
        turn: Callable[[], Awaitable[None]],
        beat: Callable[[], None],
        on_radio: Callable[[str], None],
    ) -> None:
        """Take turns on the radio until cancelled. One that fails is opened again, later and later.

        `on_radio` is told why it failed, or "" when it is open. Raises JournalError.
        """
        backoff = Backoff(*_OPEN_S)
        said = ""
        while True:
            try:
                await self.open()
                on_radio("")
                log.info("the radio is open", extra={"of": self._key})
                said = ""
                while True:
                    beat()
                    await turn()
                    backoff.reset()
            except BearerError as error:
                on_radio(str(error))
                if str(error) != said:
                    log.error("the radio failed", extra={"of": self._key, "why": str(error)})
                    said = str(error)
            finally:
                await self.close()
            await pause(backoff.next(), beat)

    def _listen(self) -> None:
        assert self._radio is not None
        self._radio.tune(0.0, self._hear_on[0], self.config.sf)

    async def _restored(self) -> Budget:
        kept = await self._journal.call(Journal.meta, self._key)
        now = self._wall() / 60
        if kept is not None:
            # A clock that was set back meanwhile frees nothing.
            self._used = [
                (int(minute), int(us))
                for minute, us in load_json(kept)
                if now - minute <= _WINDOW_S / 60 + 1
            ]
        return Budget(self.config.plan, (self._send_on,), sum(us for _, us in self._used))

    def wait_s(self, size: int) -> float:
        """After how long a payload of this size may be sent; 0 is now. Raises BearerError."""
        assert self._budget is not None
        try:
            return self._budget.wait_ms(_now_ms(), 0, self.airtime(size)) / 1000
        except ForbiddenError as error:
            raise BearerError(f"{self._key}: {error}") from None

    def has_spare(self, size: int) -> bool:
        """Whether half of the plan's airtime is left after such a payload, for what is urgent."""
        band = self.config.plan.band(*self._send_on)
        if not band.duty_permille:
            return True
        self._forget_old()
        used_us = sum(us for _, us in self._used) + self.airtime(size)
        return 2 * used_us <= 1000 * band.duty_permille * band.duty_s

    def _forget_old(self) -> None:
        minute = int(self._wall() / 60)
        self._used = [row for row in self._used if minute - row[0] <= _WINDOW_S / 60 + 1]

    async def send(self, frame: bytes) -> None:
        """Send a frame for which `wait_s` was 0. Raises BearerError, JournalError."""
        assert self._budget is not None
        assert self._radio is not None
        us = self.airtime(len(frame) - OVERHEAD)
        self._forget_old()
        self._used.append((int(self._wall() / 60), us))
        await self._journal.call(Journal.set_meta, self._key, dump_json(self._used))
        try:
            self._budget.spend(_now_ms(), 0, us)
        except ForbiddenError as error:
            raise BearerError(f"{self._key}: {error}") from None
        self.airtime_us += us
        self.frames_total += 1
        await self._radio.send(frame, self._send_on[0], self.config.sf)
        self._listen()

    async def receive(self, seconds: float) -> bytes | None:
        """The next frame within so long, or None. Raises BearerError."""
        assert self._radio is not None
        until = asyncio.get_running_loop().time() + max(0.0, seconds)
        received = await self._radio.receive(until)
        return None if received is None else bytes(received.frame)


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
