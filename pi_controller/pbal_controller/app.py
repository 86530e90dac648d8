"""Puts the controller together and runs it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from pbal_controller.bearers import Bearer, Leased, Registers
from pbal_controller.config import Config, HomeConfig
from pbal_controller.errors import JournalError, KeyStoreError
from pbal_controller.homes import (
    Conversation,
    Counters,
    Fleet,
    GroupKeys,
    GroupSession,
    Home,
    Inbox,
    Path,
    Rounds,
    Router,
    Session,
    SiteHost,
)
from pbal_controller.journal import AsyncJournal, Journal, Vault, note, note_change, prune
from pbal_controller.keys import KeyStore
from pbal_controller.loops import LoopBody, Supervisor, sdnotify
from pbal_controller.meters import HomeNow, MeterLoop
from pbal_controller.moves import Dispatcher, PlannerLoop
from pbal_controller.moves import memory as planner_memory
from pbal_controller.plausibility import DoubtBook
from pbal_controller.records import Records
from pbal_controller.reporting import Reported, Reporting
from pbal_controller.standby import Member
from pbal_controller.standing import LOOK_EVERY_S, Restraint, Standing
from pbal_controller.standing import mark as journal_mark
from pbal_controller.standing import store as standing_store
from pbal_controller.updates import Firmware, Rollouts
from pbal_controller.view import SiteView, StatusServer, Streams

log = logging.getLogger(__name__)

MEMORY_EVERY_S = 900.0
ORDERS_EVERY_S = 2.0


class Controller:
    """Everything of one site. Create it inside a running event loop, then `run`."""

    def __init__(
        self, config: Config, keys: KeyStore, wall: Callable[[], float] = time.time
    ) -> None:
        self.config = config
        self.wall = wall
        self.now = asyncio.get_running_loop().time
        self.started = self.now()
        self.journal = AsyncJournal(config.journal.path, wall, Vault(keys.vault_key()))
        self.restraint = Restraint()
        self._mark_path = journal_mark.mark_path(config.keys.file)
        self.inbox = Inbox()
        self.streams = Streams()
        self.supervisor = Supervisor()
        self.ready = asyncio.Event()
        self._taken_up = False
        self._group = GroupSession(config.site.id, keys.active.root, "group")
        self.fleet = Fleet(_make_home(config, keys, home) for home in config.home)
        self.records = Records(self.fleet, self.journal, config.planner.max_age_s, wall)
        self.standing = Standing(sum(home.session is not None for home in self.fleet))
        self.counters = Counters(
            self.fleet, self._group, self.journal, self.inbox, self.now, config.sends_beacons
        )
        self.rounds: dict[str, Rounds] = {}
        self.bearers: dict[str, Bearer] = {}
        self.router = Router()
        self.host = SiteHost(self.inbox, self.standing, wall, config.planner.dry_run)
        self._carry()
        self.meter = self._metering()
        self.dispatcher = Dispatcher(
            self.fleet, self.journal, self.inbox, config.dispatch, self.router.expedite,
            self.streams.publish, wall, self.standing,
        )  # fmt: skip
        self.planner = PlannerLoop(
            self.fleet, self.dispatcher, config.planner, self.streams.publish,
            lambda: self.meter.reading, wall, config.plausibility, self.restraint,
        )  # fmt: skip
        self.doubts = DoubtBook(self.planner.watch, self.journal, wall)
        self.rollouts = Rollouts(
            self.fleet, self.journal, config.update, self.dispatcher.busy, self.streams.publish
        )
        self.host.updates = self.rollouts
        for rounds in self.rounds.values():
            rounds.updates = self.rollouts
        self.firmware = Firmware(self.fleet, lambda: self.rollouts.under_way)
        self.group_keys = GroupKeys(
            keys, self.fleet, self._group, self.journal, config.security, self.router.expedite,
            self._revoked, self.router.renewed, self.streams.publish, wall, self.standing,
        )  # fmt: skip
        self.reporting = Reporting(config, keys, self._reported(), wall, self.now)
        self.uplink = self.reporting.link
        self.member = self._stand_by(keys)
        self.view = self._view()
        self.server = StatusServer(self.view, config.http, self.streams, self._note_login)

    def _carry(self) -> None:
        """The bearers of the configuration, and over each the rounds of its homes."""
        config = self.config
        for name, (kind, settings) in config.bearers().items():
            rounds = Rounds(
                name, self.router, self._group, config.polling, self.inbox, self.standing, self.wall
            )
            bearer = kind.make(name, settings, rounds)
            rounds.serve(bearer)
            self.router.add_bearer(name, rounds, bearer)
            self.rounds[name] = rounds
            self.bearers[name] = bearer
        for home in self.fleet:
            if home.session is not None:
                polling = config.polling
                talk = Conversation(
                    home,
                    self.host,
                    health_every_s=polling.health_every_s,
                    max_delay_s=polling.max_delay_s,
                    look_every_s=LOOK_EVERY_S,
                )
                self.router.add_home(talk)
        for name, bearer in self.bearers.items():
            homes = sum(path.bearer == name for home in self.fleet for path in home.paths)
            fresh_s = bearer.freshness_s(homes)
            if homes and fresh_s > config.planner.max_age_s:
                log.warning(
                    "readings over this bearer are too old to plan with",
                    extra={
                        "bearer": name, "homes": homes, "age_s": round(fresh_s, 1),
                        "remedy": "fewer homes on it, a faster one, or a greater planner.max_age_s",
                    },
                )  # fmt: skip

    def _stand_by(self, keys: KeyStore) -> Member | None:
        """This controller as one of two, where the configuration says so."""
        config = self.config.standby
        if config is None:
            return None
        member = Member(
            config, self.config.site.id, list(self.bearers), keys, self.journal, self.standing,
            self._take_up,
        )  # fmt: skip
        for bearer in self.bearers.values():
            assert isinstance(bearer, Leased)  # the configuration was checked
            bearer.lease = member.lease
        return member

    def _reported(self) -> Reported:
        return Reported(
            self.journal, self.fleet, self.meter, self.planner, self.restraint, self.standing
        )

    def _view(self) -> SiteView:
        return SiteView(
            site=self.config.site,
            max_age_s=self.config.planner.max_age_s,
            phase_limit_a=self.config.planner.phase_limit_a,
            started=self.started,
            now=self.now,
            wall=self.wall,
            fleet=self.fleet,
            moves=self.dispatcher,
            planner=self.planner,
            loops=self.supervisor,
            standing=self.standing,
            firmware=self.firmware,
            group_keys=self.group_keys,
            doubts=self.doubts,
            updates=self.rollouts,
            updates_on=self.config.update.directory is not None,
            bearers=self.bearers,
            rounds=self.rounds,
            transformer=lambda: self.meter.reading,
            residual=self.meter,
            uplink=self.uplink,
            standby=self.member,
            neutral_history=self.records.neutral_history,
            facts_dropped=lambda: self.inbox.dropped,
            node_events=self.node_events,
        )

    def _revoked(self, home: Home) -> None:
        self.router.drop(home)
        home.no_key = f"the key of address {home.address} is revoked; provision the node anew"

    async def _note_login(self, good: bool, address: str, why: str) -> None:
        what = "login" if good else "login refused"
        await self.journal.call(note, what, address, why)

    async def node_events(self) -> list[dict[str, Any]]:
        """The latest events of the nodes."""
        return await self.journal.call(Journal.recent_events, 200)

    # -- life ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. Raises JournalError when the journal cannot be opened."""
        await self.journal.open()
        try:
            await self._judge_journal()
            if self.member is None:
                await self.journal.call(Journal.use_lane, None)
                await self._take_up()
            else:
                await self.member.begin()
            log.info(
                "controller starts",
                extra={
                    "site": self.config.site.id,
                    "homes": len(self.fleet),
                    "buses": len(self.bearers),
                    "open_commands": self.dispatcher.open_count,
                },
            )
            self._declare_loops()
            self.ready.set()
            sdnotify.notify("READY=1")
            await self.supervisor.run()
        finally:
            sdnotify.notify("STOPPING=1")
            with contextlib.suppress(Exception):
                await self.dispatcher.write_standing()
                await self.counters.write_heard()
                await self.records.write(everything=True)
                if self._taken_up:
                    await self._write_planner_memory()
                await self._mark_journal()
            await self.journal.close()

    async def _take_up(self, handed_over: bool = False) -> None:
        """Everything that the journal knows, before the first frame. Raises JournalError.

        `handed_over`: by another controller of this site, whose last frames the copy may lack: the
        homes' first word of what they have accepted is then no sign of a rival.
        """
        if handed_over:
            for home in self.fleet:
                home.signs.clear()
        await self.counters.restore()
        await self.counters.reserve()
        await self.dispatcher.recover()
        await self.journal.call(note_change, "configuration", self.config.digest())
        await self._mark_journal()
        self.planner.remember(await self.journal.call(Journal.get_blob, planner_memory.KEY))
        await self.doubts.restore(self.now())
        await self.reporting.restore()
        self._taken_up = True

    def _at_work(self, body: LoopBody) -> LoopBody:
        """A loop that waits while this controller follows another one."""
        member = self.member
        if member is None:
            return body

        async def waits(beat: Callable[[], None]) -> None:
            while not member.lease.serving:
                beat()
                await asyncio.sleep(0.1)
            await body(beat)

        return waits

    def _declare_loops(self) -> None:
        def add(name: str, body: LoopBody, limit_s: float, *, essential: bool = True) -> None:
            self.supervisor.add(name, self._at_work(body), limit_s, essential=essential)

        always = self.supervisor.add
        for name, bearer in self.bearers.items():
            always(f"bus {name}", bearer.run, 60.0)
        add("counters", self.counters.run, 30.0)
        add("dispatcher", self.dispatcher.run, 30.0)
        add("group keys", self.group_keys.run, 60.0, essential=False)
        add("doubts", self.doubts.run, 60.0, essential=False)
        add("firmware", self.firmware.run, 120.0, essential=False)
        add("planner", self.planner.run, 60.0)
        add("records", self._records_loop, 30.0)
        if self.config.update.directory is not None:
            add("rollout", self.rollouts.run, 60.0, essential=False)
        add("orders", self._orders_loop, 60.0, essential=False)
        for name, body, limit_s in self.reporting.loops():
            add(name, body, limit_s, essential=False)
        if self.member is not None:
            always("standby", self.member.run, 10.0)
            always("standby answers", self.member.link.serve, 30.0, essential=False)
            always("standby asks", self.member.link.ask, 60.0, essential=False)
        always("watchdog", self.supervisor.feed_watchdog, 60.0, essential=False)
        if self.config.http.enabled:
            always("http", self.server.run, 30.0, essential=False)
        if self.config.transformer.meter is not None:
            add("meter", self.meter.run, 60.0, essential=False)

    # -- the journal ---------------------------------------------------------------------

    async def _judge_journal(self) -> None:
        """Check against the mark that this is the site's journal, and no older copy of it."""
        found = await self.journal.call(standing_store.mark)
        verdict = journal_mark.judge(
            journal_mark.read_mark(self._mark_path), found, len(self.fleet)
        )
        if verdict is not None:
            self.standing.stand_down(*verdict)
        self.standing.fresh_journal = await self.journal.call(standing_store.is_fresh)

    async def _mark_journal(self) -> None:
        """Increment the journal's count, then write the mark; a stand-down is journaled first."""
        mark = await self.journal.call(standing_store.mark, count=True)
        await asyncio.to_thread(journal_mark.write_mark, self._mark_path, mark)

    async def _write_planner_memory(self) -> None:
        memory = self.planner.memory()
        if memory is not None:
            await self.journal.call(Journal.put_blob, planner_memory.KEY, memory)

    # -- slow records --------------------------------------------------------------------

    async def _records_loop(self, beat: Callable[[], None]) -> None:
        """Once a second: ages, neutral current, minute aggregates; once a day: tidy up."""
        next_prune = self.now() + 600
        next_memory = self.now() + MEMORY_EVERY_S
        while True:
            now = self.now()
            self.records.sample(now)
            await self.records.write()
            if now >= next_memory:
                next_memory = now + MEMORY_EVERY_S
                await self._write_planner_memory()
                await self._mark_journal()
            if now >= next_prune:
                next_prune = now + 86400
                if not await self.journal.call(prune, self.config.journal.keep_days):
                    log.debug("nothing was old enough to be dropped")
            beat()
            await asyncio.sleep(1.0)

    def _metering(self) -> MeterLoop:
        config = self.config.transformer
        shared = self.bearers[config.meter.bus] if config.meter and config.meter.bus else None
        assert shared is None or isinstance(shared, Registers)  # the configuration was checked
        return MeterLoop(config, shared, self._homes_now, self.streams.publish)

    def _homes_now(self) -> list[HomeNow]:
        now, max_age_s = self.now(), self.config.planner.max_age_s
        return [
            HomeNow(
                home.address,
                home.phase,
                home.current_a(),
                home.age_s(now) <= max_age_s and not home.doubted,
                home.config.fuse_a,
            )
            for home in self.fleet
        ]

    async def _orders_loop(self, beat: Callable[[], None]) -> None:
        """Log when ordering becomes impossible and possible again; retry a journal that failed;
        mark one that has a new quarantine.
        """
        said = ""
        while True:
            if self.journal.trouble:
                with contextlib.suppress(JournalError):
                    await self.journal.call(Journal.put_blob, "probe", b"")
            if self.dispatcher.quarantine.to_be_marked:
                await self._mark_journal()
                self.dispatcher.quarantine.to_be_marked = False
            why = self.dispatcher.why_not(self.now())
            if why != said:
                if why:
                    log.error("nothing is ordered", extra={"why": why})
                else:
                    log.info("orders are possible again", extra={"was": said})
                said = why
            beat()
            await asyncio.sleep(ORDERS_EVERY_S)


def _make_home(config: Config, keys: KeyStore, home: HomeConfig) -> Home:
    try:
        root = keys.get(home.address)
        key_id = keys.node(home.address).fingerprint
    except KeyStoreError as error:
        log.error("home has no key", extra={"home": home.address, "why": str(error)})
        return Home(home, None, str(error))
    paths = tuple(Path(bearer, where) for bearer, where in config.ways(home))
    return Home(home, Session(config.site.id, home.address, root, key_id), paths=paths)
