"""Brings a new group key to every node, and uses it once they have it.

    drawn (in the key store) --> told to each node --> proven by each --> used for group frames
      revoked node                in a frame of its    or they had        the old one is
      schedule                    own, first thing     `wait_s`           forgotten
      by hand                     it hears
      a node holds a newer one

The key store is the memory: a key is in it before any node hears of it, and which one is used is in
it before the first frame is sealed with it. What nodes hold is asked anew after every start of
theirs or ours. Group counters go on over all keys, so none comes twice with one key.

A node is never asked for proof together with anything else: firmware that does not know the record
refuses the whole frame. Such a node is asked again more and more seldom, and served by frames of
its own.

A controller that stands down (standing.py) draws no key by itself, and uses no new one while
another controller sends to the homes; what a person asks for is still sent to them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbal_controller.config import SecurityConfig
from pbal_controller.homes.fleet import Fleet, Home
from pbal_controller.homes.session import GroupSession
from pbal_controller.journal import EPOCH_S, AsyncJournal, add_audit
from pbal_controller.keys import GroupGeneration, KeyStore
from pbal_controller.standing import Standing
from pbal_protocol import records as r
from pbal_protocol.frames import GROUP, Sealer
from pbal_protocol.kdf import group_key

log = logging.getLogger(__name__)

_TICK_S = 0.2
# Time from the last living home's proof of the new key to its use, for homes not heard yet.
SETTLE_S = 20.0
# No proof came: asked again after this, doubled each time.
_AGAIN_S = 3.0
_AGAIN_MAX_S = 3600.0
# So many questions without an answer: this firmware does not know the record.
_DEAF_AFTER = 3
# A home may claim any generation; ours then rises by at most so much, and at most so often.
_MAX_STEP = 1000
_FOREIGN_EVERY_S = 3600.0
_DAY_S = 86400.0


@dataclass
class HomeGroup:
    """What is known of one home's group key since its last start."""

    holds: int = 0  # the generation that it has proven to hold; 0: none that we know
    answers: bool = False  # its firmware knows the record
    said: r.GroupProof | None = None  # not evaluated yet
    challenge: int = 0
    asked: int = 0  # questions since the last answer
    again_at: float = 0.0
    lags: bool = False  # logged once


class GroupKeys:
    """The group key of one site; `run` is a loop of the controller's."""

    def __init__(
        self,
        keys: KeyStore,
        fleet: Fleet,
        group: GroupSession,
        journal: AsyncJournal,
        config: SecurityConfig,
        expedite: Callable[[Home], None],
        revoked: Callable[[Home], None],
        renewed: Callable[[], None],
        publish: Callable[[str, dict[str, Any]], None],
        wall: Callable[[], float] = time.time,
        standing: Standing | None = None,
    ) -> None:
        self._standing = Standing() if standing is None else standing
        self._keys = keys
        self._fleet = fleet
        self._group = group
        self._journal = journal
        self._config = config
        self._expedite = expedite
        self._revoked = revoked
        self._renewed = renewed
        self._publish = publish
        self._wall = wall
        self._homes: dict[int, HomeGroup] = {}
        self._boots: dict[int, int] = {}
        self._sealers: dict[bytes, Sealer] = {}
        self._stamp = _stamp(keys.path)
        self._offered = 0  # the generation that homes are sent, since our start
        self._offered_at = 0.0
        self._foreign_at = self._foreign_said_at = float("-inf")
        self._recorded = 0
        self.switched_total = 0

    # -- the loop ------------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Never returns. Raises KeyStoreError and JournalError; the supervisor starts it again."""
        now = asyncio.get_running_loop().time
        while True:
            await self._watch_store()
            await self._schedule(now())
            await self._look(now())
            await self._switch(now())
            beat()
            await asyncio.sleep(_TICK_S)

    async def _watch_store(self) -> None:
        """The command line may have changed the store: a node revoked, a key drawn."""
        stamp = _stamp(self._keys.path)
        if stamp != self._stamp and stamp is not None:
            await asyncio.to_thread(self._keys.reload)
            self._stamp = stamp
            revoked = {a for a in self._keys.addresses() if self._keys.node(a).revoked}
            for home in self._fleet:
                if home.session is not None and home.address in revoked:
                    self._revoked(home)
                    log.warning("home revoked", extra={"home": home.address})
        newest = self._keys.newest
        if self._recorded != newest.number:
            if newest.number != self._keys.active.number:
                log.info("new group key", extra={"generation": newest.number, "why": newest.why})
            await self._journal.call(
                add_audit, newest.made_s, "group key drawn", str(newest.number), newest.by,
                newest.why,
            )  # fmt: skip
            self._recorded = newest.number

    async def _change(self, why: str, above: int = 0) -> None:
        await asyncio.to_thread(self._keys.new_group_key, why, "controller", above)

    async def _schedule(self, now: float) -> None:
        """Draws a key when one is due, while no living home is known to lack the last one."""
        days = self._config.group_key_days
        newest, wall = self._keys.newest, self._wall()
        if (
            self._standing.why_not(now)
            or not days
            or wall < EPOCH_S
            or newest.number != self._keys.active.number
        ):
            return
        homes = [self._of(home) for home in self._members() if home.alive]
        ready = homes and all(group.holds == newest.number for group in homes)
        if ready and wall - newest.made_s >= days * _DAY_S:
            await self._change(f"older than {days:g} days")
        elif ready and newest.made_s - wall >= _DAY_S:
            # Drawn under a clock that was ahead: its age would not be known for as long.
            await self._change("drawn at a time that has not come yet")

    # -- the homes -----------------------------------------------------------------------

    def _members(self) -> list[Home]:
        return [home for home in self._fleet if home.session is not None]

    def _of(self, home: Home) -> HomeGroup:
        return self._homes.setdefault(home.address, HomeGroup())

    def _proof(self, generation: GroupGeneration, address: int, challenge: int) -> bytes:
        sealer = self._sealers.get(generation.root)
        if sealer is None:
            site = self._keys.site_id
            sealer = Sealer(group_key(generation.root, site), GROUP, site, 0)
            if len(self._sealers) > 3:
                self._sealers.clear()
            self._sealers[generation.root] = sealer
        return sealer.proof(address, challenge)

    async def _look(self, now: float) -> None:
        """Check the homes' proofs, and ask those that have not proven the newest key."""
        newest = self._keys.newest
        if self._offered != newest.number:
            self._offered, self._offered_at = newest.number, now
            for group in self._homes.values():
                group.asked, group.again_at, group.lags = 0, 0.0, False
            for home in self._fleet:
                home.group_key = None
        for home in self._members():
            group = self._of(home)
            if home.boots != self._boots.get(home.address, home.boots):
                # The node restarted, maybe with another firmware.
                group = self._homes[home.address] = HomeGroup()
            self._boots[home.address] = home.boots
            said, home.group_proof = home.group_proof, None
            if said is not None and said.challenge == group.challenge and group.asked:
                await self._judge(home, group, said, now)
            if group.holds == newest.number or not home.alive or not home.can_be_sealed_for:
                continue
            if now >= group.again_at and home.group_key is None:
                group.challenge = secrets.randbits(32)
                known = group.answers
                home.group_key = r.GroupKey(
                    generation=newest.number,
                    challenge=group.challenge,
                    group_key=group_key(newest.root, self._keys.site_id) if known else b"",
                )
                group.asked += 1
                group.again_at = now + min(_AGAIN_S * 2 ** (group.asked - 1), _AGAIN_MAX_S)
                self._expedite(home)
            if not group.lags and now - self._offered_at >= self._config.group_key_wait_s:
                group.lags = True
                log.warning(
                    "home has not taken the group key; it is served by frames of its own, and "
                    "group frames under the old key may still move its clock within its bounds",
                    extra={"home": home.address, "generation": newest.number,
                           "why": self._word(group)},
                )  # fmt: skip

    async def _judge(self, home: Home, group: HomeGroup, said: r.GroupProof, now: float) -> None:
        newest = self._keys.newest
        first = not group.answers
        group.answers = True
        group.holds = 0
        for generation in (newest, self._keys.active):
            if said.proof == self._proof(generation, home.address, said.challenge):
                group.holds = generation.number
                break
        if group.holds == newest.number:
            group.asked = 0
            if group.lags:
                group.lags = False
                log.info("home has the group key now", extra={"home": home.address})
            return
        if first:
            # Sent at once; a home that was sent it and still holds another waits for its next time.
            group.asked, group.again_at = 0, 0.0
        if not group.holds and said.generation > newest.number:
            await self._foreign(home, said.generation, now)

    async def _foreign(self, home: Home, claimed: int, now: float) -> None:
        """A home holds a key that is newer than ours: our store is old, or the claim false."""
        if now - self._foreign_at < _FOREIGN_EVERY_S:
            return
        newest = self._keys.newest.number
        if now - self._foreign_said_at >= _FOREIGN_EVERY_S:
            self._foreign_said_at = now
            self._say_foreign(home, claimed, newest)
        if self._standing.why_not(now):
            return  # drawn when a person has adopted this state
        self._foreign_at = now
        await self._change(
            f"home {home.address} holds number {claimed}", min(claimed, newest + _MAX_STEP)
        )

    def _say_foreign(self, home: Home, claimed: int, newest: int) -> None:
        log.error(
            "a home holds a group key newer than any in the key store, which is perhaps a restored "
            "backup: a newer one is drawn. Nodes revoked or given keys since the backup are not in "
            "it: revoke and provision them again",
            extra={"home": home.address, "its": claimed, "ours": newest},
        )

    # -- the change ----------------------------------------------------------------------

    async def _switch(self, now: float) -> None:
        """Use the newest key when the homes have it, or have had their time."""
        newest = self._keys.newest
        if self._keys.active.number == newest.number or self._standing.rival:
            return
        homes = self._members()
        waiting = [home for home in homes if self._of(home).holds != newest.number]
        living = [home for home in waiting if home.alive]
        waited = now - self._offered_at
        made_s, wall = newest.made_s, self._wall()
        late = waited >= self._config.group_key_wait_s or (
            made_s > EPOCH_S and wall - made_s >= self._config.group_key_wait_s
            and waited >= SETTLE_S
        )  # fmt: skip
        nobody = len(waiting) == len(homes)
        if waiting and not late and (living or nobody or waited < SETTLE_S):
            return
        if not await asyncio.to_thread(self._keys.activate, newest.number):
            return  # a newer one was drawn meanwhile
        self._group.use(newest.root)
        self._renewed()
        self.switched_total += 1
        behind = _addresses(waiting)
        log.log(
            logging.WARNING if living else logging.INFO,
            "group key in use",
            extra={"generation": newest.number, "why": newest.why, "homes_without_it": behind},
        )
        self._publish("group_key", self.as_dict())
        await self._journal.call(
            add_audit, wall, "group key in use", str(newest.number), "controller",
            f"homes without it: {', '.join(map(str, behind)) or 'none'}",
        )  # fmt: skip

    # -- looking at it -------------------------------------------------------------------

    def _word(self, group: HomeGroup) -> str:
        if group.holds == self._keys.newest.number:
            return "holds it"
        if group.answers:
            return "holds an older one"
        return "its firmware does not follow" if group.asked >= _DEAF_AFTER else "not asked yet"

    def as_dict(self) -> dict[str, Any]:
        """How the group key stands; no secrets."""
        newest, active = self._keys.newest, self._keys.active
        behind = {
            home.address: self._word(self._of(home)) if home.alive else "not heard"
            for home in self._members()
            if self._of(home).holds != newest.number
        }
        return {
            "number": active.number,
            "next": newest.number if newest.number != active.number else None,
            "made_s": newest.made_s,
            "why": newest.why,
            "by": newest.by,
            "homes_with_newest": len(self._members()) - len(behind),
            "homes_behind": [{"address": a, "state": word} for a, word in behind.items()],
            "alarm": [a for a, group in self._homes.items() if group.lags],
        }


def _addresses(homes: Iterable[Home]) -> list[int]:
    return [home.address for home in homes]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file is replaced; None while it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
