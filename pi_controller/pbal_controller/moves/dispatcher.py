"""Carries out moves: journal first, then the wire, then the proof.

`order` writes a command down before anything is sent. `run` takes what the segments
received, in order, and advances the commands; on start it takes up every command whose end
is not in the journal, with its old id, so that a crash at any instant neither forgets a
switching nor makes one twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from pbal_controller.config import DispatchConfig
from pbal_controller.crash import crash_point
from pbal_controller.homes import PHASE_NAMES, Doubtful, Fact, Fleet, Home, Inbox, Sent
from pbal_controller.journal import AsyncJournal, CommandRow, Journal, clock_is_set
from pbal_controller.moves.command import Actions, Command, State
from pbal_controller.moves.history import RECENT, History
from pbal_controller.moves.node_events import NodeEvents
from pbal_controller.moves.quarantine import Quarantine
from pbal_controller.moves.rations import Rations
from pbal_controller.standing import Standing
from pbal_controller.standing import store as standing_store
from pbal_protocol import records as r

log = logging.getLogger(__name__)

# How long a home gets no order after its node refused or failed, by outcome.
HOLD_S = {
    State.REFUSED: 300.0,
    State.FAILED: 900.0,
    State.EXPIRED: 120.0,
    State.CONFIRMED: 0.0,
    State.DISAGREED: 0.0,
}
# Longer where the node's own reason lasts longer.
HOLD_BY_REASON_S = {r.REASON_DAILY_CAP: 3600.0, r.REASON_TARGET_OUT_OF_BAND: 900.0}
_TICK_S = 0.1
_ROUNDS = 4  # of a radio: for the command, its answer, and what gets lost
_PATIENCE_MAX_S = 600


def _patience_s(home: Home) -> int:
    """How much longer a command is valid, and its measurement waited for, on a slow medium: some of
    its rounds. Bounded, so that every command expires.
    """
    return min(_PATIENCE_MAX_S, math.ceil(_ROUNDS * home.round_s))


class Dispatcher:
    """The only part that orders switchings."""

    def __init__(
        self,
        fleet: Fleet,
        journal: AsyncJournal,
        inbox: Inbox,
        config: DispatchConfig,
        expedite: Callable[[Home], None],
        publish: Callable[[str, dict[str, Any]], None],
        wall: Callable[[], float] = time.time,
        standing: Standing | None = None,
    ) -> None:
        self.standing = Standing() if standing is None else standing
        self._fleet = fleet
        self._journal = journal
        self._inbox = inbox
        self._config = config
        self._expedite = expedite
        self._wall = wall
        self._open: dict[int, Command] = {}
        self._settling: set[int] = set()
        # States of commands that a failing journal has not taken yet.
        self._unwritten: dict[int, Command] = {}
        self._rations = Rations()
        self._history = History(publish)
        self._events = NodeEvents(fleet, journal, self._rations, publish, expedite)
        self.quarantine = Quarantine(fleet, journal, publish, self.standing.lifted)
        self.ordered_total = 0
        self.finished_total: dict[str, int] = {state.value: 0 for state in State if state.final}
        self._next_quarantine_look = 0.0

    # -- orders --------------------------------------------------------------------------

    @property
    def open_count(self) -> int:
        """Commands whose end is not known yet."""
        return len(self._open) + len(self._settling)

    def moving(self) -> int:
        """Homes that may be moving now: open commands that are not long overdue."""
        wall = self._wall()
        return len(self._settling) + sum(
            command.state is State.DONE or wall < command.expires_s + 30
            for command in self._open.values()
        )

    def busy(self, address: int) -> bool:
        """Whether a home has a command whose end is not known."""
        return address in self._open or address in self._settling

    def under_way(self, address: int) -> tuple[int, int] | None:
        """The two phases, 1..3, of a home's command whose end is not known; None without one."""
        command = self._open.get(address)
        return None if command is None else (command.row.from_phase, command.row.to_phase)

    def why_not(self, now: float) -> str:
        """Why nothing can be ordered now; empty when it can. `now`: the event loop's clock, s."""
        why = [self.standing.why_not(now), self._journal.trouble]
        wall = self._wall()
        if not clock_is_set(wall):
            day = _day(wall)
            why.append(
                f"this computer's clock is not set, it says {day}; set it (timedatectl status says "
                "whether the network does). Commands carry the time"
            )
        return "; ".join(text for text in why if text)

    async def order(self, home: Home, to_phase: int, reason: str, saving: float) -> int | None:
        """Order one move. Returns the command id, or None when it may not be ordered now.

        On return the command is in the journal; sending is under way.
        """
        wall = self._wall()
        # A journal that failed is tried all the same: if it fails again, that raises the error.
        if not clock_is_set(wall) or self.standing.why_not(asyncio.get_running_loop().time()):
            return None
        if home.phase not in (1, 2, 3) or home.phase == to_phase or to_phase not in (1, 2, 3):
            return None
        if self.busy(home.address) or home.quarantined or home.session is None:
            return None
        if home.address in self.standing.reported:
            return None
        self._settling.add(home.address)
        try:
            # Issued a second ago, so that a node whose clock is a little behind accepts it.
            row = await self._journal.call(
                Journal.new_command,
                home.address,
                home.phase,
                to_phase,
                int(wall) - 1,
                int(wall) + self._config.ttl_s + _patience_s(home),
                reason,
                saving,
            )
            crash_point("journaled")
            self._take_up(row, recovered=False)
        finally:
            self._settling.discard(home.address)
        self.ordered_total += 1
        log.info(
            "move ordered",
            extra={
                "home": home.address,
                "command": row.id,
                "from": PHASE_NAMES[row.from_phase],
                "to": PHASE_NAMES[row.to_phase],
                "why": reason,
            },
        )
        self._history.changed(self._open[home.address])
        command = self._open[home.address]
        self._advance(command, command.tick(asyncio.get_running_loop().time(), self._wall()))
        return row.id

    def _take_up(self, row: CommandRow, *, recovered: bool) -> None:
        c = self._config
        home = self._fleet.get(row.address)
        assert home is not None
        home.watched = True
        self._open[row.address] = Command(
            row,
            resend_s=c.resend_s,
            confirm_s=c.confirm_s + _patience_s(home),
            grace_s=c.grace_s,
            tolerance=c.vout_tolerance,
            recovered=recovered,
            ttl_s=row.expires_s - row.issued_s,
        )

    async def recover(self) -> int:
        """Take up the commands that a crash or a stop left open. Returns how many."""
        self.standing.listed(await self._journal.call(standing_store.stood_down))
        await self.write_standing()
        if await self._journal.call(standing_store.take_clearing):
            for each in self._fleet:
                each.signs.clear()
        await self.quarantine.recover()
        rows = await self._journal.call(Journal.open_commands)
        for row in rows:
            home = self._fleet.get(row.address)
            if home is None or home.session is None:
                await self._journal.call(
                    Journal.update_command,
                    row.id,
                    State.FAILED.value,
                    row.attempts,
                    "the home is no longer configured",
                )
                continue
            self._take_up(row, recovered=True)
            home.ask(r.StatusGet(what=r.WHAT_RESULT))
            log.warning(
                "command taken up again",
                extra={"home": row.address, "command": row.id, "state": row.state},
            )
        self._history.fill(await self._journal.call(Journal.recent_commands, RECENT))
        return len(rows)

    # -- the loop ------------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Take facts from the segments until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            items = await self._inbox.take(_TICK_S)
            await self._events.take(items)
            for item in items:
                await self._fact(item)
            await self.write_standing()
            now = loop.time()
            for command in list(self._unwritten.values()):
                await self._carry_out(command, Actions(changed=True))
            for command in list(self._open.values()):
                await self._carry_out(command, command.tick(now, self._wall()))
            if now >= self._next_quarantine_look:
                self._next_quarantine_look = now + 5.0
                await self.quarantine.look()
                await self._look_at_standing()
            beat()

    async def _fact(self, item: Fact) -> None:
        command = self._open.get(item.address)
        home = self._fleet.get(item.address)
        if home is None:
            return
        if isinstance(item, Doubtful):
            if not home.quarantined:
                self.quarantine.put(home, item.why)
            await self.quarantine.write()
            return
        if isinstance(item, Sent):
            if command is not None and command.id == item.command_id:
                await self._carry_out(command, command.sent())
            return
        record = item.record
        if isinstance(record, r.Telemetry):
            if command is not None:
                sampled_at = item.at - record.age_ms / 1000
                actions = command.reading(record, sampled_at, item.at, self._wall())
                await self._carry_out(command, actions)
        elif isinstance(record, r.SwitchResult):
            await self._result(home, command, record, item.at)

    async def _result(
        self, home: Home, command: Command | None, result: r.SwitchResult, at: float
    ) -> None:
        ours = command is not None and command.id == result.command_id
        key = (result.command_id, result.outcome, result.reason)
        if not ours and not self._rations.result(home.address, key, at):
            return
        await self._journal.call(
            Journal.add_result,
            result.command_id,
            home.address,
            result.outcome,
            result.reason,
            result.phase,
            result.transfer_ms,
            result.vout_v,
            result.time_s,
        )
        if command is not None and ours:
            await self._carry_out(command, command.result(result, at))
        elif result.outcome != r.ACCEPTED:
            # The end of a command that is closed here already: the node may forget it.
            home.result_ack = result.command_id

    async def _carry_out(self, command: Command, actions: Actions) -> None:
        home = self._fleet.get(command.address)
        assert home is not None
        if actions.quarantine:
            self.quarantine.put(home, actions.quarantine)
        if actions.changed:
            # A journal that fails ends this turn here; the next one comes back to it.
            self._unwritten[command.address] = command
            await self.quarantine.write()
            await self._journal.call(
                Journal.update_command,
                command.id,
                command.state.value,
                command.attempts,
                command.detail,
                command.transfer_ms,
            )
            del self._unwritten[command.address]
            if command.state in (State.ACCEPTED, State.DONE):
                crash_point("acked")
        self._advance(command, actions)
        if actions.changed:
            if command.state.final:
                self._close(home, command)
            self._history.changed(command)

    def _advance(self, command: Command, actions: Actions) -> None:
        home = self._fleet.get(command.address)
        assert home is not None
        if actions.send:
            home.switch = command.switch()
        if actions.ack:
            home.result_ack = command.id
        if actions.ask_result:
            home.ask(r.StatusGet(what=r.WHAT_RESULT))
        if (actions.send or actions.ack or actions.ask_result) and home.alive:
            self._expedite(home)

    def _close(self, home: Home, command: Command) -> None:
        self._open.pop(home.address, None)
        home.switch = None
        home.watched = False
        self.finished_total[command.state.value] += 1
        hold = max(HOLD_S[command.state], HOLD_BY_REASON_S.get(command.reason, 0.0))
        if hold:
            home.hold_until = asyncio.get_running_loop().time() + hold
            home.hold_reason = f"left alone for a while: {command.detail}"
        level = logging.INFO if command.state is State.CONFIRMED else logging.WARNING
        log.log(
            level,
            "move ended",
            extra={
                "home": home.address,
                "command": command.id,
                "state": command.state.value,
                "why": command.detail,
            },
        )

    @property
    def recent(self) -> Sequence[dict[str, Any]]:
        """The latest moves, oldest first."""
        return self._history.moves

    @property
    def events_total(self) -> int:
        """Events of nodes that were new to the journal, since the start."""
        return self._events.total

    @property
    def put_off_total(self) -> int:
        """Events and results that were more than their home's share of the journal."""
        return self._rations.put_off_total

    # -- standing ------------------------------------------------------------------------

    async def write_standing(self) -> None:
        """Why this controller stands down, as far as the journal does not have it yet."""
        for reason, text in list(self.standing.unwritten.items()):
            await self._journal.call(standing_store.stand_down, reason, text)
            del self.standing.unwritten[reason]

    async def _look_at_standing(self) -> None:
        """A person may have decided that this controller commands (`pbal-controller adopt`)."""
        for reason in self.standing.listed(await self._journal.call(standing_store.stood_down)):
            log.warning("a person lifted a stand-down", extra={"reason": reason})
        if await self._journal.call(standing_store.take_clearing):
            for home in self._fleet:
                home.signs.clear()
                home.ask(r.StatusGet(what=r.WHAT_HELLO))
        for address, why in self.standing.alone(asyncio.get_running_loop().time()).items():
            reported = self._fleet.get(address)
            if reported is not None and not reported.quarantined:
                self.quarantine.put(reported, why)
        await self.quarantine.write()


def _day(wall_s: float) -> str:
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(wall_s))
    except (OverflowError, ValueError, OSError):
        return f"{wall_s:.0f} s since 1970"
