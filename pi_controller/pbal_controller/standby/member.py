"""One of two controllers of a site: follows, takes over when the buses are silent, lets go.

`take_up` is awaited once the lease is held, with whether the other's copy was taken over.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pbal_controller import __version__
from pbal_controller.config import StandbyConfig
from pbal_controller.errors import JournalError
from pbal_controller.journal import AsyncJournal, Journal, note
from pbal_controller.keys import KeyStore
from pbal_controller.loops import Ended
from pbal_controller.standby.copy import Copy, apply, collect, keys_digest
from pbal_controller.standby.lease import Lease, Role, boot_time
from pbal_controller.standby.link import Link, State
from pbal_controller.standing import Standing

log = logging.getLogger(__name__)

# A copy must not have been older than this when the buses went silent.
IN_STEP_S = 60.0
# The other's word that it is at work counts for this long.
WORD_S = 3.0
# Clocks that differ by more are reported: the homes would be given another time.
CLOCK_S = 2.0
_TICK_S = 0.1
_TERM, _LATEST, _KEYS, _TAKE = "standby_term", "standby_latest", "standby_keys", "standby_take"
_REHEARSAL = "standby_rehearsal"
_JOURNAL_AGAIN_S = 2.0  # a journal that failed is tried again


class LeaseLost(Ended):
    """This controller may not go on as it is; made anew, it follows."""


def ask_to_take(journal: Journal) -> None:
    """A person says that the other controller is off: this one may take over without its copy."""
    journal.set_meta(_TAKE, "1")
    note(journal, "standby", "take", "a person says that the other controller is off")


class Member:
    """Holds lease and link together."""

    def __init__(
        self,
        config: StandbyConfig,
        site: int,
        buses: list[str],
        keys: KeyStore,
        journal: AsyncJournal,
        standing: Standing,
        take_up: Callable[[bool], Awaitable[None]],
    ) -> None:
        self.lease = Lease(buses, config.take_s, second=config.member == "b")
        self._config = config
        self._site = site
        self._keys = keys
        self._journal = journal
        self._standing = standing
        self._take_up = take_up
        self._term = 0
        self._latest = False
        self._keys_known = ""
        self._differ = ""
        self._copy_seen: Copy | None = None
        self._take = False
        self._unfit = ""
        self._journal_at = float("-inf")  # it failed; not before then again
        self._silent_at_claim = 0.0
        self.took_over_s: float | None = None  # from the buses' last sound until the traffic went
        self.link = Link(
            config, keys.link_key(), self._state, self._give, wants_copy=lambda: not self.holds
        )
        standing.follows = "on standby: this controller follows"

    @property
    def holds(self) -> bool:
        """Whether the lease is ours, or nearly."""
        return self.lease.role is not Role.FOLLOW

    @property
    def lane(self) -> int:
        """Which half of all numbers is this member's."""
        return int(self._config.member == "b")

    async def begin(self) -> None:
        """Read what the journal knows. Raises JournalError."""
        await self._journal.call(Journal.use_lane, self.lane)
        self._term = int(await self._meta(_TERM) or 0)
        self._latest = await self._meta(_LATEST) == "1"
        self._keys_known = await self._meta(_KEYS)

    async def _meta(self, key: str) -> str:
        return await self._journal.call(lambda journal: journal.meta(key) or "")

    def _state(self) -> State:
        return State(
            site=self._site, member=self._config.member, version=__version__,
            role=self.lease.role, serving=self.lease.serving, term=self._term,
            wall_s=time.time(),
        )  # fmt: skip

    async def _give(self) -> Copy:
        keys = await asyncio.to_thread(self._keys.path.read_bytes)
        return await self._journal.call(collect, self._term, keys)

    # -- the loop ------------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Until cancelled. Raises LeaseLost."""
        while True:
            await self.step()
            beat()
            await asyncio.sleep(_TICK_S)

    async def step(self) -> None:
        """Once: what time, the buses and the other's word ask for. Raises LeaseLost."""
        lease = self.lease
        lease.tick()
        if lease.role is Role.LOST:
            raise LeaseLost(lease.why)
        if lease.serving:
            self._defer_to_peer()
        elif lease.role is Role.HOLD:
            await self._begin_to_serve()
        elif lease.role is Role.FOLLOW and boot_time() >= self._journal_at:
            try:
                await self._follow()
            except JournalError as error:
                self._journal_at = boot_time() + _JOURNAL_AGAIN_S
                self._is_unfit(f"its journal failed: {error}")

    def _peer_now(self) -> State | None:
        return self.link.peer if self.link.peer_age_s() <= WORD_S else None

    def _defer_to_peer(self) -> None:
        """Both at work: a pair that was cut and is whole again. The later one goes on."""
        peer = self._peer_now()
        if peer is None or not peer.serving:
            return
        if (peer.term, peer.member) > (self._term, self._config.member):
            self.lease.lose(f"the other controller is at work too, since later (term {peer.term})")
            raise LeaseLost(self.lease.why)

    async def _follow(self) -> None:
        lease = self.lease
        if lease.used_by_others and self._latest:
            await self._no_longer_latest()
        if self.link.copy is not self._copy_seen:
            await self._take_copy()
        if lease.silent_s < lease.take_s:
            self._unfit = self.unfit()
            return
        self._take = await self._meta(_TAKE) == "1"
        if why := self.unfit():
            self._is_unfit(why)
            return
        # One that claims and then cannot begin would keep the other from a silence to claim in.
        await self._journal.call(self._rehearse, self.link.copy)
        self._unfit = ""
        peer = self._peer_now()
        if peer is not None and peer.role is not Role.FOLLOW:
            return  # it is about to send, or to lose its lease
        self._silent_at_claim = boot_time() - lease.silent_s
        lease.claim()

    def _is_unfit(self, why: str) -> None:
        if self._unfit != why and self.lease.silent_s >= self.lease.take_s:
            log.error("the buses are silent, and nobody takes over", extra={"why": why})
        self._unfit = why

    @staticmethod
    def _rehearse(journal: Journal, copy: Copy | None) -> None:
        """Write as much as a take-over does."""
        journal.set_meta(_REHEARSAL, "" if copy is None else copy.model_dump_json())
        journal.set_meta(_REHEARSAL, "")

    async def _no_longer_latest(self) -> None:
        self._latest = False
        await self._journal.call(Journal.set_meta, _LATEST, "0")

    async def _take_copy(self) -> None:
        copy = self.link.copy
        assert copy is not None
        if copy.term > self._term:
            self._term = copy.term
            await self._journal.call(Journal.set_meta, _TERM, str(copy.term))
        if self._latest:
            await self._no_longer_latest()
        self._copy_seen = copy
        await self._take_keys(base64.b64decode(copy.keys))

    async def _take_keys(self, theirs: bytes) -> None:
        """The other's key store takes the place of ours, unless both were changed."""
        mine = await asyncio.to_thread(self._keys.path.read_bytes)
        digest = keys_digest(theirs)
        if mine != theirs and keys_digest(mine) != self._keys_known:
            self._differ = (
                "the two key stores differ, and this one was changed here: bring keys.json of the "
                "controller that is right to the other, by hand"
            )
            return
        self._differ = ""
        if digest != self._keys_known:
            if mine != theirs:
                await asyncio.to_thread(self._keys.replace, theirs)
            self._keys_known = digest
            await self._journal.call(Journal.set_meta, _KEYS, digest)
        if mine != theirs:
            raise LeaseLost("the other controller's key store was taken over")

    def unfit(self) -> str:
        """Why this controller may not take over when the buses are silent; empty when it may."""
        if self._take:
            return ""
        if self._differ:
            return self._differ
        if self._latest:
            return ""
        first = self._config.member == "a" and self._term == 0
        if first and (self.link.peer is None or self.link.peer.term == 0):
            return ""
        silent_from = boot_time() - self.lease.silent_s
        late = silent_from - self.link.copy_at
        if self.link.copy is not None and late <= IN_STEP_S:
            return ""
        age = "none" if self.link.copy is None else f"one {late:.0f} s older than the silence"
        return (
            f"it must know what the other did until the end, and has {age}. When the other is off "
            "for good: pbal-controller standby --take"
        )

    async def _begin_to_serve(self) -> None:
        copy = self.link.copy
        try:
            handed_over = copy is not None and not self._latest
            if copy is not None and handed_over:
                await self._journal.call(apply, copy)
            await self._take_up(handed_over)
            self._term = max(self._term, self.link.peer.term if self.link.peer else 0) + 1
            await self._journal.call(self._note_term, self._term)
        except JournalError as error:
            self.lease.lose(f"the journal failed: {error}")
            raise LeaseLost(self.lease.why) from error
        self._latest, self._take = True, False
        if not self.lease.serve():
            raise LeaseLost(self.lease.why)
        self._standing.follows = ""
        self.took_over_s = boot_time() - self._silent_at_claim
        log.warning(
            "this controller is at work",
            extra={"term": self._term, "took_s": round(self.took_over_s, 2)},
        )

    @staticmethod
    def _note_term(journal: Journal, term: int) -> None:
        with journal.transaction():
            journal.set_meta(_TERM, str(term))
            journal.set_meta(_LATEST, "1")
            journal.set_meta(_TAKE, "0")
        note(journal, "standby", str(term), "this controller took the lease of the buses")

    # -- for people ----------------------------------------------------------------------

    @property
    def well(self) -> bool:
        """At work, or ready to be."""
        return self.lease.serving or not self._unfit

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        lease, link = self.lease, self.link.as_dict()
        off = abs(link["clock_off_s"]) > CLOCK_S
        return {
            "member": self._config.member,
            "role": lease.role.value,
            "serving": lease.serving,
            "term": self._term,
            "well": self.well,
            "why_not_ready": "" if lease.serving else self._unfit,
            "silent_s": None if lease.serving else round(lease.silent_s, 2),
            "copy_age_s": None if self.link.copy is None else round(
                boot_time() - self.link.copy_at, 1
            ),
            "took_over_s": None if self.took_over_s is None else round(self.took_over_s, 3),
            "clocks_differ": off,
            **link,
        }  # fmt: skip
