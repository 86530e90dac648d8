"""Commands of HQ: verified, allowed, bounded, journalled, answered, carried out once.

A command counts only with the signature of a key that this site holds (`uplink.hq_keys`): neither
the broker nor whoever has its password can make one. Anything that is not a command for this site
only adds to a count and to the log; every other gets an answer, which is an Event. The order and
its effect are one transaction, so that a crash leaves both or none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pbal_controller.config import PlannerConfig, UplinkConfig
from pbal_controller.documents import dump_json, load_json
from pbal_controller.journal import AsyncJournal, Journal, clock_is_set
from pbal_controller.standing import Mode, Restraint
from pbal_controller.uplink import outbox
from pbal_controller.uplink.facts import GOOD, answer
from pbal_uplink import Command, UplinkValueError, names, signing

log = logging.getLogger(__name__)

# Clocks of HQ and site may differ by so much, s; no order is good for longer than a day.
CLOCK_S = 60
LONGEST_S = 86_400
_RESTRAINT = "hq_restraint"
_MODES = {
    names.MODE_RUN: Mode.RUN,
    names.MODE_DRY_RUN: Mode.DRY_RUN,
    names.MODE_HOLD: Mode.HOLD,
}
# Of a release by the beginning of its digest, for a command: whether every home has it (None: it is
# under way; a fact tells how it ends), and the words for it.
Release = Callable[[Journal, bytes, str], tuple[bool | None, str]]
# An answer without an outcome: another one follows when the rollout has ended.
_OF_RELEASE = {
    True: names.OUTCOME_DONE,
    None: names.OUTCOME_NONE,
    False: names.OUTCOME_REFUSED,
}


@dataclass(frozen=True)
class Effect:
    """What is to be done outside of the journal once the order is in it."""

    rebirth: bool = False
    reading: bool = False


class Commands:
    """Judges and carries out what HQ orders."""

    def __init__(
        self,
        journal: AsyncJournal,
        config: UplinkConfig,
        planner: PlannerConfig,
        site: int,
        restraint: Restraint,
        wall: Callable[[], float],
        release: Release | None = None,
    ) -> None:
        self._journal = journal
        self._config = config
        self._planner = planner
        self._site = site
        self._restraint = restraint
        self._wall = wall
        self._release = release
        publics = [bytes.fromhex(text) for text in config.hq_keys]
        self._keys = {signing.key_id(public): public for public in publics}
        self.refused_total = 0  # not ours: unsigned, for another site, no command
        self.taken_total = 0

    async def restore(self) -> None:
        """Take up the restraint that HQ had ordered before a restart. Raises JournalError."""
        text = await self._journal.call(Journal.meta, _RESTRAINT)
        try:
            if text is not None:
                self._set(load_json(text))
        except (ValueError, KeyError, TypeError) as error:
            raise self._journal.damaged(error) from error

    def _set(self, kept: dict[str, object]) -> None:
        self._restraint.mode = Mode(str(kept["mode"]))
        for name in ("phase_limit_a", "max_moving_share"):
            value = kept[name]
            setattr(self._restraint, name, None if value is None else float(str(value)))

    async def take(self, sealed: bytes) -> Effect:
        """Judge one sealed command and carry it out. Raises JournalError."""
        try:
            command = signing.open_sealed(sealed, self._keys)
        except UplinkValueError as error:
            return self._not_ours(str(error))
        if command.site != self._site:
            return self._not_ours(f"it is for site {command.site}")
        kept = self._kept()
        outcome, detail, effect = self._judge(command, kept)
        new = await self._journal.call(
            _carry_out, command, outcome, detail, kept, self._wall(), self._site, self._release
        )
        if new is None:
            log.info("HQ's command came again", extra={"command": command.command_id})
            return Effect()
        outcome, detail = new
        self.taken_total += 1
        done = outcome == names.OUTCOME_DONE
        if done:
            self._set(kept)
        log.log(
            logging.INFO if outcome in GOOD else logging.WARNING,
            "command of HQ",
            extra={
                "command": command.command_id,
                "kind": names.COMMANDS[command.kind],
                "outcome": names.OUTCOMES[outcome],
                "why": detail,
                "asked": command.detail,
            },
        )
        return effect if done else Effect()

    def _not_ours(self, why: str) -> Effect:
        self.refused_total += 1
        # Logged at the first, second, fourth, ...: a sender may send thousands.
        if self.refused_total & (self.refused_total - 1) == 0:
            log.warning("a command was not taken", extra={"why": why, "so_far": self.refused_total})
        return Effect()

    def _kept(self) -> dict[str, object]:
        r = self._restraint
        return {
            "mode": r.mode.value,
            "phase_limit_a": r.phase_limit_a,
            "max_moving_share": r.max_moving_share,
        }

    def _judge(self, command: Command, kept: dict[str, object]) -> tuple[int, str, Effect]:
        """(outcome, words, effect) of a command of ours; writes into `kept` what it changes."""
        wall = self._wall()
        kind = names.COMMANDS[command.kind]
        refused, done = names.OUTCOME_REFUSED, names.OUTCOME_DONE
        if not clock_is_set(wall):
            return refused, "this site's clock is not set", Effect()
        if command.issued_s > wall + CLOCK_S:
            return refused, "issued in this site's future: the clocks differ", Effect()
        if wall >= command.expires_s:
            return names.OUTCOME_EXPIRED, "expired before it came", Effect()
        if command.expires_s - command.issued_s > LONGEST_S:
            return refused, f"good for more than {LONGEST_S // 3600} hours", Effect()
        if kind not in self._config.allow:
            return refused, f"uplink.allow of this site does not name {kind}", Effect()
        if command.kind == names.COMMAND_MODE:
            if command.mode is None:
                return refused, "it names no mode", Effect()
            kept["mode"] = _MODES[command.mode].value
            return done, f"mode {_MODES[command.mode].value}", Effect()
        if command.kind == names.COMMAND_LIMITS:
            return *self._limits(command, kept), Effect()
        if command.kind == names.COMMAND_ROLLOUT:
            if command.release is None:
                return refused, "it names no release", Effect()
            if self._release is None:
                return refused, "this site brings no releases to its nodes", Effect()
            return done, f"release {command.release.hex()}", Effect()
        return done, kind, Effect(
            rebirth=command.kind == names.COMMAND_REBIRTH,
            reading=command.kind == names.COMMAND_READING,
        )  # fmt: skip

    def _limits(self, command: Command, kept: dict[str, object]) -> tuple[int, str]:
        """Limits of HQ hold beside the configured ones, so only tighter ones make sense."""
        limit, share = command.phase_limit_a, command.max_moving_percent
        own = self._planner.phase_limit_a
        if limit is not None and own is not None and limit > own:
            return names.OUTCOME_REFUSED, f"{limit:g} A is above this site's own {own:g} A"
        if share is not None and share > round(100 * self._planner.max_moving_share):
            own_share = f"{self._planner.max_moving_share:.0%}"
            return names.OUTCOME_REFUSED, f"{share} % is above this site's own {own_share}"
        kept["phase_limit_a"] = limit
        kept["max_moving_share"] = None if share is None else share / 100
        words = ["as configured" if limit is None else f"{limit:g} A"]
        words.append("as configured" if share is None else f"{share} % moving")
        return names.OUTCOME_DONE, f"limits: {', '.join(words)}"


def _carry_out(
    journal: Journal,
    command: Command,
    outcome: int,
    detail: str,
    kept: dict[str, object],
    wall: float,
    site: int,
    release: Release | None,
) -> tuple[int, str] | None:
    """The order, its effect and its answer, all or none; None when the id is known.

    A command that came again is answered again as it was then.
    """
    with journal.transaction():
        known = journal.db.execute(
            "SELECT outcome, detail, received_s FROM hq_commands WHERE id = ?",
            (str(command.command_id),),
        ).fetchone()
        if known is not None:
            was = next(n for n, word in names.OUTCOMES.items() if word == known[0])
            outbox.insert(journal, answer(site, known[2], command, was, known[1]))
            return None
        done = outcome == names.OUTCOME_DONE
        if done and command.release is not None and command.kind == names.COMMAND_ROLLOUT:
            assert release is not None
            there, detail = release(journal, command.release, str(command.command_id))
            outcome = _OF_RELEASE[there]
        if done and command.kind in (names.COMMAND_MODE, names.COMMAND_LIMITS):
            journal.set_meta(_RESTRAINT, dump_json(kept))
        number = str(command.command_id)
        journal.db.execute(
            "INSERT INTO hq_commands VALUES (?, ?, ?, ?, ?, ?)",
            (number, wall, names.COMMANDS[command.kind], names.OUTCOMES[outcome], detail,
             journal.sealed("hq_commands", number, command.encode())),
        )  # fmt: skip
        outbox.insert(journal, answer(site, wall, command, outcome, detail))
        return outcome, detail
