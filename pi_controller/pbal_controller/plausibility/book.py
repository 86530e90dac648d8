"""Doubts kept over restarts, and a person's decisions on them: the journal's blob `doubts`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pbal_controller.documents import dump_json, load_json
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.plausibility.watch import Watch

log = logging.getLogger(__name__)

KEY = "doubts"
_EVERY_S = 5.0
_HISTORY = 100


def lift_doubt(journal: Journal, address: int) -> bool:
    """Remove one home from the list of those in doubt; False when it is not on it."""
    listed = _read(journal.get_blob(KEY))
    if str(address) not in listed["now"]:
        return False
    del listed["now"][str(address)]
    journal.put_blob(KEY, dump_json(listed).encode())
    return True


def _read(blob: bytes | None) -> dict[str, Any]:
    """The list as it was written. A damaged one counts as empty, and is logged."""
    if blob is not None:
        try:
            listed = load_json(blob)
            if isinstance(listed["now"], dict) and isinstance(listed["history"], list):
                return dict(listed)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("the list of homes in doubt is damaged", extra={"why": repr(error)})
    return {"now": {}, "history": []}


class DoubtBook:
    """Keeps the list of homes in doubt, and ends the doubts that a person has removed from it."""

    def __init__(
        self, watch: Watch, journal: AsyncJournal, wall: Callable[[], float] = time.time
    ) -> None:
        self._watch = watch
        self._journal = journal
        self._wall = wall
        self._written: dict[str, dict[str, Any]] = {}
        self._history: deque[dict[str, Any]] = deque(maxlen=_HISTORY)

    def history(self) -> list[dict[str, Any]]:
        """The last doubts, oldest first: when, which home, why; `why` is empty where one ended."""
        return list(self._history)

    async def restore(self, now: float) -> None:
        """Take up the list before a start."""
        listed = _read(await self._journal.call(Journal.get_blob, KEY))
        try:
            self._watch.restore(listed["now"], now)
        except ValueError as error:
            log.warning("the list of homes in doubt is damaged", extra={"why": str(error)})
        self._history.extend(listed["history"])
        self._written = self._watch.as_dict()

    async def run(self, beat: Callable[[], None]) -> None:
        """Keep list and homes consistent until cancelled."""
        while True:
            await self.look()
            beat()
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Once: end the doubts removed from the list, then write down what has changed."""
        listed = _read(await self._journal.call(Journal.get_blob, KEY))["now"]
        for home in self._watch.homes:
            address = str(home.address)
            if home.doubted and address in self._written and address not in listed:
                log.info("doubt about a home lifted", extra={"home": home.address})
                self._watch.release(home)
        now = self._watch.as_dict()
        if now == self._written:
            return
        for address in sorted({*now, *self._written}, key=int):
            if now.get(address) != self._written.get(address):
                why = now[address]["why"] if address in now else ""
                self._history.append(
                    {"time_s": round(self._wall(), 3), "home": int(address), "why": why}
                )
        text = dump_json({"now": now, "history": list(self._history)})
        await self._journal.call(Journal.put_blob, KEY, text.encode())
        self._written = now
