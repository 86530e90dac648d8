"""The books of a chaos run: what every home did, and what nothing explains."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from bench.site import Site
from pbal_sim.street import Street
from rigs.chaosfaults import Faults
from rigs.reasons import without_reason

_LOOK_S = 0.05
# A reading of the supply older than 60 ms closes no contact, one takes 25 ms and sees a cycle
# of the mains (changeover.py), and the slowest contact of the board takes 15 ms (operate_ms).
UNSEEN_S = 0.06 + 0.025 + 0.02 + 0.015
_AUTONOMOUS_EVENT = 3
_RETURN_EVENT = 4
_LOG_TAIL = 3000


class Books:
    """`counts`: how often each fault was made, and more that is counted on the way."""

    def __init__(self, street: Street, site: Site, faults: Faults) -> None:
        self.street = street
        self.site = site
        self.faults = faults
        self.counts: Counter[str] = Counter()
        self.dark_s = [0.0] * len(street.homes)  # without supply, by home
        self.longest_dark_s = [0.0] * len(street.homes)
        self.longest_stall_s = 0.0  # of the street itself, whose contacts move late then
        self._suspect: int | None = None  # the home that a check was at

    async def watch_supply(self) -> None:
        """How long each home is without supply."""
        since: list[float | None] = [None] * len(self.street.homes)
        while True:
            now = time.monotonic()
            for i, home in enumerate(self.street.homes):
                begin = since[i]
                if not home.contacts.closed:
                    since[i] = now if begin is None else begin
                elif begin is not None:
                    self.dark_s[i] += now - begin
                    self.longest_dark_s[i] = max(self.longest_dark_s[i], now - begin)
                    since[i] = None
            await asyncio.sleep(_LOOK_S)
            self.longest_stall_s = max(self.longest_stall_s, time.monotonic() - now - _LOOK_S)

    def report(self) -> dict[str, Any]:
        """Counts of the faults, and what came of them."""
        seen = self.street.witness.report()
        states = Counter(state for (state,) in self.site.query("SELECT state FROM commands"))
        return {
            "faults": dict(sorted(self.counts.items())),
            "commands": dict(sorted(states.items())),
            "transfers": seen["transfers"],
            "incidents": seen["incidents"],
            "node_starts": sum(h.chip.starts for h in self.street.homes),
            "watchdog_resets": sum(h.wdt_bites for h in self.street.homes),
            "longest_dark_s": round(max(self.longest_dark_s), 1),
            # A busy computer's doing: from some 0.1 s on a contact may look welded.
            "longest_stall_s": round(self.longest_stall_s, 2),
        }

    def account(self, tasks: set[asyncio.Task[None]]) -> str:
        """All that helps to find out why a run failed, with how its tasks ended. Never raises."""
        parts: list[str] = []

        def add(what: str, get: Callable[[], Any]) -> None:
            try:
                got = get()
            except Exception as error:
                got = f"not to be had: {error!r}"
            parts.append(f"{what}: {got}")

        add("counts", lambda: json.dumps(self.report()))
        for task in sorted(tasks, key=lambda t: t.get_name()):
            if not task.done():
                add("under way", task.get_name)
            elif not task.cancelled() and task.exception() is not None:
                add(task.get_name(), lambda task=task: repr(task.exception()))  # type: ignore[misc]
        for home in self.street.homes:
            add(f"home {home.index}", lambda i=home.index: self._home_account(i))  # type: ignore[misc]
        add("last lines of the controller", lambda: "\n" + self.site.log()[-_LOG_TAIL:])
        if self._suspect is not None:
            add(
                "last lines of the suspect's node",
                lambda: "\n" + self._node_log(self._suspect or 0),
            )
        return "\n".join(parts)

    def _home_account(self, i: int) -> str:
        """One home's books: contacts, orders, events, transfers."""
        home, address = self.street.homes[i], self.street.identities[i].address
        orders = self.site.query(
            "SELECT id, from_phase, to_phase, state FROM commands WHERE address = ? ORDER BY id",
            address,
        )
        events = self.site.query(
            "SELECT boots, seq, code, arg0, arg1 FROM events WHERE address = ? "
            "ORDER BY seq DESC LIMIT 12",
            address,
        )
        moves = [
            (t.from_phase + 1, t.to_phase + 1) for t in self.street.witness.transfers if t.home == i
        ]
        words = "" if home.contacts.closed else f"\n    its node: {self._node_log(i)}"
        return (
            f"address {address}, pid {home.chip.pid}, starts {home.chip.starts}, "
            f"watchdog {home.wdt_bites}, resets in a row {self.faults.resets[i]}, "
            f"closed {home.contacts.closed}\n    orders {orders}\n    transfers {moves}\n"
            f"    last events (boot, seq, code, arguments) {events}{words}"
        )

    def _node_log(self, i: int) -> str:
        return self.street.homes[i].chip.log()[-_LOG_TAIL:]

    def check(self) -> None:
        """Raises AssertionError when something happened that no order and no rule explains."""
        seen = self.street.witness.incidents
        wrong = [one for one in seen if not self._unseen(one) and not self._left_a_sag(one)]
        self.counts["closings-into-a-sag-just-begun"] = sum(map(self._unseen, seen))
        self.counts["sags-left-within-the-dwell"] = sum(map(self._left_a_sag, seen))
        assert wrong == [], (wrong, self.faults.sags)
        for home in self.street.homes:
            self._suspect = home.index
            self._check_home(home.index)
        self._suspect = None

    def _unseen(self, incident: Any) -> bool:
        """A closing onto a phase that left its band so shortly before that no reading could tell:
        the last one is taken before the contact is driven, and the contact takes its time. What the
        street itself stood still, as measured, comes to it.
        """
        since = [
            incident.t_us / 1e6 - begin
            for phase, begin in self.faults.sags
            if incident.detail.startswith("ABC"[phase])
        ]
        return incident.kind == "closed-out-of-band" and any(
            0 <= x <= UNSEEN_S + self.longest_stall_s for x in since
        )

    def _left_a_sag(self, incident: Any) -> bool:
        """A change of phase within the dwell, by S8 or S9, which no dwell binds: the phase that was
        left sagged after it had been closed. The witness itself knows only what it was at the
        opening: a contact that fell with its node opens before the sag, one that leaves a short
        sag opens after it.
        """
        if incident.kind != "dwell":
            return False
        move = next(
            t
            for t in self.street.witness.transfers
            if t.home == incident.home and t.closed_us == incident.t_us
        )
        before_s = self.street.witness.dwell_s
        return any(
            phase == move.from_phase and 0 <= incident.t_us / 1e6 - begin <= before_s
            for phase, begin in self.faults.sags
        )

    def _check_home(self, i: int) -> None:
        """Every transfer has a reason, no id has two transfers, every event arrived."""
        address = self.street.identities[i].address
        orders = self.site.query(
            "SELECT id, from_phase, to_phase, state FROM commands WHERE address = ? ORDER BY id",
            address,
        )
        # A node's own moves, as it told them: away from a sick phase (S8), or back after an outage
        # to a phase that has supply (S9; the event knows no phase before it).
        own = self.site.query(
            "SELECT arg0, arg1 FROM events WHERE address = ? AND code IN (?, ?)",
            address,
            _AUTONOMOUS_EVENT,
            _RETURN_EVENT,
        )
        moves = [t for t in self.street.witness.transfers if t.home == i]
        steps = [(t.from_phase + 1, t.to_phase + 1) for t in moves]
        first = without_reason(steps, [(o[1], o[2]) for o in orders], own)
        assert first is None, (address, first, steps, orders, own, moves)
        confirmed = [o for o in orders if o[3] == "confirmed"]
        assert len(confirmed) <= len(moves), (address, orders, moves)
        twice = self.site.query(
            "SELECT command_id FROM results WHERE address = ? AND outcome = 2 "
            "GROUP BY command_id HAVING count(*) > 1",
            address,
        )
        assert not twice, twice
        seqs = [
            n
            for (n,) in self.site.query(
                "SELECT DISTINCT seq FROM events WHERE address = ? ORDER BY seq", address
            )
        ]
        assert seqs == list(range(1, len(seqs) + 1)), (address, seqs)
