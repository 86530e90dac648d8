"""Role gateway: sites without a link of their own reach HQ as Sparkplug devices of this edge node.

Over the radio a site's messages are put on the disk and acknowledged with HELD; towards HQ they
wait until HQ has STORED them, which the site is then told. HQ's sealed commands are passed on in
parts until the site answers or they expire. The gateway cannot make one: the site verifies HQ's
signature. A site that was silent for `silent_s` is a device that died, until it is heard again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pbal_controller.bearers.lora import RadioConfig
from pbal_controller.config import GatewayConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.loops import Backoff
from pbal_controller.uplink import relay
from pbal_controller.uplink.airlink import Airlink
from pbal_controller.uplink.node import EdgeNode, Intents, Packet
from pbal_controller.uplink.sealed import End, SealedLink, link_address
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import peek
from pbal_uplink import BadMessage, Command, Event, State, Summary, brief, link, names, signing

log = logging.getLogger(__name__)

_LISTEN_S = 0.25
_TURN_S = 0.03  # until a site that has just sent listens
_TELL_S = 5.0  # STORED waits so long for a frame to go with
_TOKENS = 10  # of one frame
_ORDER_S = (20.0, 600.0)  # pauses between two tries to pass an order on
_ORDER_PAUSE = 50.0  # of a try's time on air: no pause is shorter
_STEP = 50  # messages to HQ in one look
_COMMAND_AT = signing.KEY_ID + signing.SIGNATURE


@dataclass
class _Order:
    sealed: bytes
    expires_s: float
    due_at: float
    pauses: Backoff = field(default_factory=lambda: Backoff(*_ORDER_S))


@dataclass
class _Site:
    """One site behind this gateway."""

    site: int
    name: str
    link: SealedLink
    state: State | None = None
    alive: bool = False
    born: bool = False  # HQ was told that it is there
    news: bool = False  # HQ does not know its latest State
    heard_at: float = float("-inf")
    held: int | None = None  # the frame that is to be answered
    tokens: dict[int, float] = field(default_factory=dict)  # STORED, to be told; since when
    orders: dict[int, _Order] = field(default_factory=dict)  # by id
    frames: int = 0


class Gateway:
    """Both sides: `run` is the radio's loop; the uplink calls `births`, `due` and `take`."""

    def __init__(
        self,
        journal: AsyncJournal,
        config: GatewayConfig,
        radio: RadioConfig,
        roots: Mapping[int, bytes],
        resend_s: float,
        wall: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        """`roots`: the link's key of each site; `wake`: the uplink has something to do."""
        self._journal = journal
        self._config = config
        self._resend_s = resend_s
        self._wall = wall
        self._wake = wake
        self._air = Airlink(radio, journal, config.radio, wall, gateway=True)
        self._sites = [
            _Site(
                each.site, each.node or str(each.site),
                SealedLink(journal, each.site, roots[each.site], End.GATEWAY),
            )
            for each in config.site
        ]  # fmt: skip
        self._turns = list(self._sites)  # who waited longest for a frame comes first
        self._above = 0  # messages up to here were sent in this session
        self._old_to = 0  # messages up to here waited before it
        self._on_way: dict[int, float] = {}
        self.why = "the radio is not open yet"
        self.foreign_total = 0
        self.refused_total = 0
        self.relayed_total = 0

    def as_dict(self) -> dict[str, Any]:
        """For the status."""
        now = asyncio.get_running_loop().time()
        return {
            "radio": self._config.radio,
            "why": self.why,
            "frames": self._air.frames_total,
            "airtime_s": round(self._air.airtime_us / 1e6, 3),
            "on_way": len(self._on_way),
            "relayed": self.relayed_total,
            "foreign": self.foreign_total,
            "refused": self.refused_total,
            "sites": [
                {
                    "site": s.site, "node": s.name, "alive": s.alive, "frames": s.frames,
                    "heard_s": round(now - s.heard_at, 1) if s.frames else None,
                    "orders": len(s.orders),
                }
                for s in self._sites
            ],
        }  # fmt: skip

    # -- towards HQ: the uplink's task ------------------------------------------------------

    async def births(self, node: EdgeNode, *, first: bool) -> list[Packet]:
        """After the node's birth: those of the sites that are heard. Nothing counts as sent."""
        self._on_way.clear()
        self._above = 0
        if first:
            last = await self._journal.call(relay.last_id)
            self._old_to = last
        out = []
        for s in self._sites:
            s.born, s.news = s.alive, False
            if s.alive:
                out.append(node.device_birth(s.name, s.state))
        return out

    async def due(self, node: EdgeNode, now: float) -> list[Packet]:
        """What is to be published now."""
        out: list[Packet] = []
        for s in self._sites:
            if s.alive and now - s.heard_at > self._config.silent_s:
                s.alive = False
                log.warning("a site behind this gateway is silent", extra={"site": s.site})
            if s.alive and not s.born:
                out.append(node.device_birth(s.name, s.state))
                s.born, s.news = True, False
            elif s.born and not s.alive:
                out.append(node.device_death(s.name))
                s.born = False
            elif s.born and s.news and s.state is not None:
                out.append(node.device_data(s.name, s.state, s.state.at_s, historical=False))
                s.news = False
        names_of = {s.site: s for s in self._sites}
        oldest = min(self._on_way.values(), default=now)
        if now - oldest >= self._resend_s:
            self._above = 0
        for held in await self._journal.call(relay.waiting, self._above, _STEP):
            self._above = held.id
            site = names_of.get(held.site)
            if site is None or now - self._on_way.get(held.id, float("-inf")) < self._resend_s:
                continue  # no longer configured: it is kept
            if not site.born:
                # HQ takes a device's data after its birth.
                out.append(node.device_birth(site.name, site.state))
                site.born = site.alive = True
                site.heard_at = max(site.heard_at, now)
            try:
                message = held.message()
            except BadMessage as error:
                # Of a later version, or damaged: it is kept, and does not hold up the others.
                log.error("a message cannot be sent", extra={"row": held.id, "why": str(error)})
                continue
            at_s = held.at_s + (message.length_s if isinstance(message, Summary) else 0)
            historical = held.historical or held.id <= self._old_to
            out.append(node.device_data(site.name, message, at_s, historical=historical))
            self._on_way[held.id] = now
        self.relayed_total += len(out)
        return out

    async def take(self, intents: Intents) -> None:
        """What HQ says to a device."""
        site = next((s for s in self._sites if s.name == intents.device), None)
        if site is None:
            return
        now = asyncio.get_running_loop().time()
        if intents.stored:
            for number in await self._journal.call(relay.stored, site.site, intents.stored):
                self._on_way.pop(number, None)
            for token in intents.stored:
                site.tokens.setdefault(token, now)
        for sealed in intents.commands:
            await self._order(site, sealed, now)

    async def _order(self, site: _Site, sealed: bytes, now: float) -> None:
        try:
            # Only to know how long it is worth carrying; the site judges it.
            command = Command.decode(sealed[_COMMAND_AT:])
        except BadMessage as error:
            log.warning("HQ's command is none", extra={"site": site.site, "why": str(error)})
            return
        if command.site != site.site or command.expires_s <= self._wall():
            return
        if command.command_id not in site.orders:
            await self._journal.call(relay.keep_command, command, sealed)
            site.orders[command.command_id] = _Order(sealed, command.expires_s, now)

    # -- towards the sites: the radio's task ------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Listen and answer until cancelled. Raises JournalError."""
        await self._restore()
        await self._air.serve(self._turn, beat, self._on_radio)

    def _on_radio(self, why: str) -> None:
        self.why = why

    async def _turn(self) -> None:
        frame = await self._air.receive(_LISTEN_S)
        if frame is not None:
            await self._received(frame)
        await self._answer()

    async def _restore(self) -> None:
        now = asyncio.get_running_loop().time()
        states = await self._journal.call(relay.states)
        orders = await self._journal.call(relay.commands, self._wall())
        for s in self._sites:
            await s.link.restore()
            if s.site in states:
                with contextlib.suppress(BadMessage):  # it is asked for again
                    s.state = State.decode(states[s.site])
            for site, number, expires_s, sealed in orders:
                if site == s.site:
                    s.orders[number] = _Order(sealed, expires_s, now)

    async def _received(self, frame: bytes) -> None:
        try:
            address = peek(frame)[2]
        except RemoteError:
            self.foreign_total += 1
            return
        for s in self._sites:
            if link_address(s.site) != address:
                continue
            try:
                counter, payload = await s.link.open(frame)
            except RemoteError:
                continue
            await self._heard(s, counter, payload)
            return
        self.foreign_total += 1

    async def _heard(self, s: _Site, counter: int, payload: bytes) -> None:
        s.heard_at = asyncio.get_running_loop().time()
        s.alive = True
        s.frames += 1
        held = True
        try:
            items = link.unpack(payload)
        except BadMessage as error:
            log.warning("a site's frame", extra={"site": s.site, "why": str(error)})
            items = []
        for item in items:
            if item.kind in (link.NEW, link.OLD):
                try:
                    held &= await self._message(s, item)
                except BadMessage as error:
                    # Sent again it would be as bad.
                    log.warning("a site's message", extra={"site": s.site, "why": str(error)})
        if held:
            s.held = counter
        else:
            self.refused_total += 1
        self._wake()

    async def _message(self, s: _Site, item: link.Item) -> bool:
        message = brief.decode(item.body, s.site)
        if isinstance(message, State):
            s.news |= message != s.state
            s.state = message
            await self._journal.call(relay.keep_state, message)
            return True
        assert isinstance(message, Summary | Event)
        if isinstance(message, Event) and message.kind == names.KIND_ANSWER:
            s.orders.pop(message.command_id, None)
            await self._journal.call(relay.end_command, s.site, message.command_id)
        held, stored = await self._journal.call(
            relay.hold, message, item.kind == link.OLD, self._config.max_waiting
        )
        if stored:
            s.tokens.setdefault(relay.token(message), float("-inf"))
        return held

    async def _answer(self) -> None:
        """One frame to each site for which something is due, within the airtime that there is."""
        for s in list(self._turns):
            now = asyncio.get_running_loop().time()
            expired = [n for n, order in s.orders.items() if order.expires_s <= self._wall()]
            for number in expired:
                del s.orders[number]
            ready = [order for order in s.orders.values() if order.due_at <= now]
            if not self._air.has_spare(self._air.room):
                ready = []  # what is left is for the answers, without which sites say it all again
            old = any(now - since >= _TELL_S for since in s.tokens.values())
            if s.held is None and not old and not ready:
                continue
            items = self._items(s)
            parts = [part for order in ready for part in self._parts(s, order)]
            if self._air.wait_s(self._air.room) > 0:
                return  # within the next window of the budget
            if s.held is not None:
                await asyncio.sleep(_TURN_S)
            self._turns.remove(s)
            self._turns.append(s)
            await self._send(s, items, parts)
            pause_s = _ORDER_PAUSE * sum(self._air.airtime(part.size) for part in parts) / 1e6
            for order in ready:
                now = asyncio.get_running_loop().time()
                order.due_at = now + max(order.pauses.next(), pause_s)

    def _parts(self, s: _Site, order: _Order) -> list[link.Item]:
        """The order in parts that fit; none where it is too long for this radio."""
        try:
            return link.split(order.sealed, self._air.room)
        except BadMessage as error:
            log.error("HQ's command is too long", extra={"site": s.site, "why": str(error)})
            return []

    def _items(self, s: _Site) -> list[link.Item]:
        items = [] if s.held is None else [link.held(s.held)]
        if s.state is None:
            items.append(link.Item(link.ASK))
        if tokens := list(s.tokens)[: min(_TOKENS, link.stored_room(self._air.room))]:
            items.append(link.stored(tokens))
        return items

    async def _send(self, s: _Site, items: list[link.Item], parts: list[link.Item]) -> None:
        told = [token for item in items if item.kind == link.STORED
                for token in link.stored_tokens(item)]  # fmt: skip
        s.held = None
        for token in told:
            s.tokens.pop(token, None)
        for n, together in enumerate(link.fill([*items, *parts], self._air.room)):
            if n:
                await asyncio.sleep(_TURN_S)
            payload = link.pack(together)
            if self._air.wait_s(len(payload)) > 0:
                return  # the rest comes with the next try
            _, frame = await s.link.seal(payload)
            await self._air.send(frame)
