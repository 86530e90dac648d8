"""A street on which things go wrong at random, and the books that must be right all the same.

    chaos = Chaos(street, site, seed, faketime)
    try:
        await chaos.play(300)  # raises ChaosFailed: what went wrong, and all books
    finally:
        await chaos.close()

`play` starts the controller, makes one fault after the other, some at the same time, ends them all,
waits until every home is served again, and looks for what nothing explains.

The controller is the real one, on a serial port that can be pulled (socat), with a clock that can
be stepped (libfaketime) and a disk that can be full (RLIMIT_FSIZE, which the kernel enforces on
every write). Nodes are the real firmware.

A node that crashes four times in a row goes into safe mode, where a contact in doubt stays open for
ten minutes (docs/safety.md). No home gets so many resets in a row: its power is cut instead, with
which they count from zero. Safe mode has tests of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.site import Site
from pbal_sim import chip as chips
from pbal_sim.street import Street
from rigs.reasons import without_reason

BACK_S = 10.0  # after the faults end, every home is closed and read again within so long
LOOK_S = 0.05
# A reading of the supply older than 60 ms closes no contact, one takes 25 ms and sees a cycle
# of the mains (changeover.py), and the slowest contact of the board takes 15 ms (operate_ms).
UNSEEN_S = 0.06 + 0.025 + 0.02 + 0.015
# A phase that sags is left by itself after confirmation and delay (twin_rig.FAST).
_SAG_S = 3.0
_AUTONOMOUS_EVENT = 3
_RETURN_EVENT = 4
_RESETS_IN_A_ROW = 3  # one more makes safe mode
_OF_ONE = ("controller-killed", "controller-stopped", "disk-full")  # one of them at a time
_FAULTS_END_S = 120.0  # the last faults, a controller's start on a busy computer among them
_LOG_TAIL = 3000


class ChaosFailed(AssertionError):
    """A chaos run did not end as it must. Says where, why, and everything the books have."""


class Chaos:
    """`faults` names those to choose from; default: all."""

    def __init__(
        self, street: Street, site: Site, seed: int, faketime: str, faults: list[str] | None = None
    ) -> None:
        self.street = street
        self.site = site
        self._seed = seed
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.sags: list[tuple[int, float]] = []  # phase, monotonic time at which it left its band
        self.dark_s = [0.0] * len(street.homes)  # without supply, by home
        self.longest_dark_s = [0.0] * len(street.homes)
        self.longest_stall_s = 0.0  # of the street itself, whose contacts move late then
        self.offset_s = 0
        self._faketime = faketime
        self._clock = street.workdir / "clock"
        self._port = street.workdir / "port"
        self._pulled = False
        self._socat = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._suspect: int | None = None  # the home that a check was at
        # Of each home: resets in a row that we made, and the watchdog's before the first of them.
        self._resets = [0] * len(street.homes)
        self._bites = [0] * len(street.homes)
        everything: dict[str, Callable[[], Awaitable[None]]] = {
            "node-killed": self._node_killed,
            "node-reset": self._node_reset,
            "node-power-cut": self._node_power_cut,
            "controller-killed": self._controller_killed,
            "controller-stopped": self._controller_stopped,
            "port-pulled": self._port_pulled,
            "disk-full": self._disk_full,
            "clock-stepped": self._clock_stepped,
            "noise": self._noise,
            "answers-lost": self._answers_lost,
            "babbler": self._babbler,
            "wire-cut": self._wire_cut,
            "phase-sags": self._phase_sags,
        }
        self._faults = {n: f for n, f in everything.items() if faults is None or n in faults}
        self._controller = asyncio.Lock()  # one fault of the controller at a time
        self._homes = [asyncio.Lock() for _ in street.homes]

    # -- running ---------------------------------------------------------------------------

    async def play(self, seconds: float) -> None:
        """The whole run, with faults for `seconds`. Raises ChaosFailed."""
        stage = "start"
        try:
            await self.start()
            stage = "faults"
            await self.run(seconds)
            stage = "calm"
            await self.calm()
            stage = "check"
            self.check()
        except Exception as error:
            why = "".join(traceback.format_exception(error))
            raise ChaosFailed(f"seed {self._seed}, at {stage}:\n{why}\n{self.account()}") from None

    async def start(self) -> None:
        """The controller on its port, everything well; returns when every home is read."""
        self._clock.write_text("+0")
        await self._plug()
        self.site.port = str(self._port)
        await self.site.start(self._environment())
        homes = len(self.street.homes)
        await self.site.until(lambda s: s["homes_fresh"] == homes, "every home is read", 60)
        self._spawn(self._watch_supply(), "supply")

    async def run(self, seconds: float) -> None:
        """Faults at random for `seconds`, and until the last has ended; raises what one raised."""
        end = time.monotonic() + seconds
        names = list(self._faults)
        under_way: set[asyncio.Task[None]] = set()
        while time.monotonic() < end:
            # Each kind comes early once, then by chance. Where the controller starts slowly, its
            # faults would queue.
            able = [n for n in names if n not in _OF_ONE or not self._controller.locked()]
            fresh = [n for n in able if not self.counts[n]]
            name = self.random.choice(fresh or able or names)
            task = self._spawn(self._one(name), name)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(self.random.uniform(0.5, 5.0))
            self._raise_what_failed()
        if under_way:
            await asyncio.wait(under_way, timeout=_FAULTS_END_S)
        self._raise_what_failed()
        left = sorted(task.get_name() for task in under_way)
        assert not left, f"faults that do not end: {left}"

    async def _one(self, name: str) -> None:
        self.counts[name] += 1
        await self._faults[name]()

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"chaos {name}")
        self._tasks.add(task)
        return task

    def _raise_what_failed(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise AssertionError(f"{task.get_name()} failed: {error!r}") from error

    async def calm(self) -> None:
        """Ends all faults and waits until every home is closed and read again."""
        await self.street.segment.noise(0.0)
        await self.street.segment.clear_rules()
        self._clock.write_text("+0")
        begin = time.monotonic()
        homes = len(self.street.homes)
        await self.site.until(
            lambda s: (
                s["homes_fresh"] == homes and all(h.contacts.closed for h in self.street.homes)
            ),
            "every home is closed and read again",
            BACK_S + 20,
        )
        self.counts["seconds-to-calm"] = round(time.monotonic() - begin)
        await self._settled()

    async def _settled(self) -> None:
        """Until no command is under way."""
        under_way = "('journaled', 'sent', 'accepted', 'done')"
        for _ in range(300):
            if not self.site.query(f"SELECT id FROM commands WHERE state IN {under_way}"):
                return
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Ends what the chaos itself started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.site.stop()
        if self._socat:
            self.street.kill(self._socat)

    def _environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": self._faketime,
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    async def _watch_supply(self) -> None:
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
            await asyncio.sleep(LOOK_S)
            self.longest_stall_s = max(self.longest_stall_s, time.monotonic() - now - LOOK_S)

    # -- faults of nodes ---------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _some_home(self) -> Any:
        i = self.random.randrange(len(self._homes))
        async with self._homes[i]:
            yield i

    async def _node_killed(self) -> None:
        async with self._some_home() as i:
            pid = self.street.homes[i].chip.pid
            if not self._may_reset(i):
                await self._cut(i)
            elif pid:
                self.street.kill(pid)
            await self._up(i)

    async def _node_reset(self) -> None:
        async with self._some_home() as i:
            if self._may_reset(i):
                await self.street.reset(i, chips.HARD_RESET)
            else:
                await self._cut(i)
            await self._up(i)

    async def _node_power_cut(self) -> None:
        async with self._some_home() as i:
            await self._cut(i)
            await self._up(i)

    def _may_reset(self, i: int) -> bool:
        """Whether one more reset in a row makes no safe mode; it is counted then."""
        bites = self.street.homes[i].wdt_bites - self._bites[i]
        may = self._resets[i] + bites < _RESETS_IN_A_ROW
        self._resets[i] += may
        return may

    async def _cut(self, i: int) -> None:
        """After a power cut the node counts its resets from zero."""
        await self.street.power_cut(i, self.random.uniform(0.05, 2.0))
        self._resets[i] = 0
        self._bites[i] = self.street.homes[i].wdt_bites

    async def _up(self, i: int) -> None:
        """A node is left alone until it runs: what never gets to its program proves nothing."""
        await asyncio.sleep(0.3)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.street.homes[i].ready.wait(), 20)

    async def _wire_cut(self) -> None:
        async with self._some_home() as i:
            await self.street.segment.wire(i, False)
            await asyncio.sleep(self.random.uniform(0.5, 6.0))
            await self.street.segment.wire(i, True)

    async def _babbler(self) -> None:
        async with self._some_home() as i:
            await self.street.segment.babble(i, on_ms=15, off_ms=self.random.uniform(60, 200))
            await asyncio.sleep(self.random.uniform(0.5, 4.0))
            await self.street.segment.babble(i, on_ms=0)

    # -- faults of the line and the mains ----------------------------------------------------

    async def _noise(self) -> None:
        await self.street.segment.noise(10 ** self.random.uniform(-5, -3.5))
        await asyncio.sleep(self.random.uniform(0.5, 6.0))
        await self.street.segment.noise(0.0)

    async def _answers_lost(self) -> None:
        for _ in range(self.random.randrange(1, 6)):
            await self.street.segment.rule(way="up", do="drop", skip=self.random.randrange(20))

    async def _phase_sags(self) -> None:
        phase = self.random.randrange(3)
        self.sags.append((phase, time.monotonic()))
        self.street.set_phase(phase, self.random.choice((0.0, 0.8)))
        await asyncio.sleep(self.random.uniform(0.2, _SAG_S))
        self.street.set_phase(phase, 1.0)

    # -- faults of the controller and its computer -------------------------------------------

    async def _controller_killed(self) -> None:
        await self._restart(9)

    async def _controller_stopped(self) -> None:
        await self._restart(15)

    async def _restart(self, sig: int) -> None:
        async with self._controller:
            await self.site.stop(sig)
            await asyncio.sleep(self.random.uniform(0.0, 3.0))
            await self.site.start(self._environment())

    async def _plug(self) -> None:
        self._port.unlink(missing_ok=True)
        self._socat = await self.street.run(
            "socat",
            [
                "socat",
                f"pty,rawer,link={self._port}",
                f"open:{self.street.device},rawer",
            ],
        )
        for _ in range(100):
            if self._port.exists():
                return
            await asyncio.sleep(0.02)
        raise RuntimeError("socat did not make the controller's port")

    async def _port_pulled(self) -> None:
        """The adapter is unplugged and plugged in again: every read and write fails meanwhile."""
        if self._pulled:
            return
        self._pulled = True
        self.street.kill(self._socat)
        await self.street.wait(self._socat)
        await asyncio.sleep(self.random.uniform(0.2, 5.0))
        await self._plug()
        self._pulled = False

    async def _disk_full(self) -> None:
        async with self._controller:
            pid = self.site.pid
            none = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
                await asyncio.sleep(self.random.uniform(0.5, 6.0))
                resource.prlimit(pid, resource.RLIMIT_FSIZE, none)
            except ProcessLookupError:
                pass

    async def _clock_stepped(self) -> None:
        """The computer's clock jumps, and jumps back: no battery, a bad time server."""
        step = self.random.choice((-60, -5, -3, 3, 5, 60))
        self._clock.write_text(f"{step:+d}")
        await asyncio.sleep(self.random.uniform(1.5, 6.0))
        self._clock.write_text("+0")

    # -- the books ---------------------------------------------------------------------------

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

    def account(self) -> str:
        """All that helps to find out why a run failed. Never raises."""
        parts: list[str] = []

        def add(what: str, get: Callable[[], Any]) -> None:
            try:
                got = get()
            except Exception as error:
                got = f"not to be had: {error!r}"
            parts.append(f"{what}: {got}")

        add("counts", lambda: json.dumps(self.report()))
        for task in sorted(self._tasks, key=lambda t: t.get_name()):
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
            f"watchdog {home.wdt_bites}, resets in a row {self._resets[i]}, "
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
        assert wrong == [], (wrong, self.sags)
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
            for phase, begin in self.sags
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
            for phase, begin in self.sags
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


def libfaketime() -> Path | None:
    """The library that steps a program's clock, where it is installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return found[0] if found else None


def seconds() -> float:
    """How long: PBAL_CHAOS_S, else five minutes in CI and one elsewhere."""
    given = os.environ.get("PBAL_CHAOS_S")
    return float(given) if given else 300.0 if os.environ.get("CI") else 60.0


def seed() -> int:
    """PBAL_CHAOS_SEED, else another one each time."""
    given = os.environ.get("PBAL_CHAOS_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 30)
