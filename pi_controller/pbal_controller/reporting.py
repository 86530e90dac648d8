"""What a site runs for HQ: summaries, orders, the link, its certificate, the audit's anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from pbal_controller.config import Config
from pbal_controller.homes import Fleet
from pbal_controller.journal import AsyncJournal
from pbal_controller.keys import KeyStore
from pbal_controller.loops import LoopBody
from pbal_controller.meters import MeterLoop
from pbal_controller.moves import PlannerLoop
from pbal_controller.standing import Restraint, Standing
from pbal_controller.updates import store as rollout_store
from pbal_controller.uplink import (
    Anchors,
    Commands,
    Link,
    Renewal,
    SiteAlarm,
    StateMaker,
    Summaries,
    gateway_of,
    link_of,
    outbox,
)
from pbal_uplink import Summary, names


class Reported(NamedTuple):
    """The parts of the controller of which HQ is informed."""

    journal: AsyncJournal
    fleet: Fleet
    meter: MeterLoop
    planner: PlannerLoop
    restraint: Restraint
    standing: Standing


class Reporting:
    """Made inside a running event loop. `link` is the way to HQ."""

    def __init__(
        self,
        config: Config,
        keys: KeyStore,
        site: Reported,
        wall: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.site = site
        self.now = now
        self._linked = config.uplink.kind != "null"
        journal, number = site.journal, config.site.id
        state = StateMaker(config, site.restraint, site.standing, wall, now)
        self.summaries = Summaries(
            journal, site.fleet, number, config.uplink, config.transformer,
            config.planner.max_age_s, lambda: site.meter.reading, state.mode, wall, self._wake,
            self._alarms,
        )  # fmt: skip
        self.commands = Commands(
            journal, config.uplink, config.planner, number, site.restraint, wall,
            rollout_store.order if config.update.directory is not None else None,
        )  # fmt: skip
        self.renewal = (
            Renewal(config.uplink, number, journal, wall, secret=keys.tls_secret())
            if config.uplink.kind == "sparkplug"
            else None
        )
        self.gateway = gateway_of(config, keys, journal, wall, self._wake)
        self.link: Link = link_of(
            config, keys, journal, state.state, self.commands, self._reading, wall, self.gateway
        )
        self.anchors = Anchors(journal, keys.audit_key(), number, self._linked, self._wake)

    async def restore(self) -> None:
        """What the journal knows of HQ's orders. Raises JournalError."""
        await self.commands.restore()
        await self.site.journal.call(outbox.switch, self._linked)

    def loops(self) -> Iterator[tuple[str, LoopBody, float]]:
        """Name, body and the seconds after which it counts as stuck. None is essential."""
        yield "summaries", self.summaries.run, 60.0
        yield "audit", self.anchors.run, 120.0
        if self._linked:
            yield "uplink", self.link.run, 120.0
            if self.gateway is not None:
                yield "gateway", self.gateway.run, 120.0
            if self.renewal is not None:
                yield "certificate", self.renewal.run, 120.0

    def _wake(self) -> None:
        self.link.wake()

    async def _reading(self) -> Summary | None:
        return await self.summaries.reading(self.now())

    def _alarms(self) -> Iterator[SiteAlarm]:
        """The alarms of which HQ is informed while they last."""
        overload = self.site.planner.overload(self.now())
        if overload:
            yield SiteAlarm(names.KIND_OVERLOAD, "overload", overload)
        for alarm in self.site.meter.as_dict()["alarms"]:
            home = alarm["home"] or 0
            key = f"{alarm['kind']} {alarm['phases']} {home}"
            yield SiteAlarm(names.KIND_RESIDUAL, key, alarm["why"], home)
        for each in self.site.fleet:
            if each.doubted:
                yield SiteAlarm(names.KIND_DOUBT, str(each.address), each.doubted, each.address)
