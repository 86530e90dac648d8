"""One run of a street with its controller: what `pbal sim run` shows, counts and reports.

The twin (pbal_sim) is the ground truth and an independent witness; the controller is the real
one, started as a process of its own and asked over HTTP like any other.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from pbal_sim.street import Street, StreetConfig

from .controllersetup import ControllerSetup, NodeIdentity, create_keys, write_config
from .errors import CheckFailed, CliError, InputError
from .feed import Feed, fetch
from .picture import HomeCell, Picture

POLL_S = 0.5
STEP_S = 0.1
CONTROLLER_START_S = 30.0
CONTROLLER_STOP_S = 10.0
FAULT_DELAY_S = 10.0
# From the boot of the last home until every home has been read, on a busy computer.
SETTLED_S = 15.0

# What the demo changes so that a minute shows what takes hours on a street. The screen says so.
DECISION_S = 5.0
DWELL_S = 20
# A dozen homes carry a tenth of what a full street does, and their squared currents a hundredth.
SWITCHING_PRICE_A2 = 25.0
NODE_SETTINGS = {"dwell_s": DWELL_S, "daily_cap": 200, "return_spread_ms": 1000}
CONTROLLER_OPTIONS: dict[str, dict[str, Any]] = {
    "planner": {
        "every_s": DECISION_S,
        "settle_s": 6.0,
        "observe_every_s": 1.0,
        "max_moving_share": 0.2,
        "core": {
            "dwell_s": float(DWELL_S),
            "daily_cap": 200,
            # How long loads last and what a relay may be spent on per day are learned in hours;
            # here a fixed price on what is measured now.
            "predict": False,
            "window_s": 20.0,
            "price": SWITCHING_PRICE_A2,
            "price_floor": SWITCHING_PRICE_A2,
            "wear_budget_per_day": 10000.0,
        },
    },
    "log": {"level": "info", "format": "text"},
}

START = "from pbal_controller.cli import main; main()"

Fault = Callable[[Street], Awaitable[None]]


async def _noise(street: Street) -> None:
    await street.segment.noise(2e-5)


async def _dead(street: Street) -> None:
    await street.power_off(len(street.homes) - 1)


async def _unplugged(street: Street) -> None:
    await street.segment.wire(len(street.homes) - 1, False)


async def _babble(street: Street) -> None:
    await street.segment.babble(0)


async def _welded(street: Street) -> None:
    phase = street.homes[0].contacts.phase
    if phase >= 0:
        street.contact_fault(0, phase, "welded")


async def _sag(street: Street) -> None:
    street.set_phase(0, 0.85)


async def _reset(street: Street) -> None:
    await street.reset(0)


FAULTS: dict[str, tuple[Fault, str]] = {
    "noise": (_noise, "bit errors on the line"),
    "dead": (_dead, "the last home's node loses its supply"),
    "unplugged": (_unplugged, "the last home's wires are cut"),
    "babble": (_babble, "the first home's node sends noise"),
    "welded": (_welded, "a contact of the first home welds"),
    "sag": (_sag, "phase A sags by 15 %"),
    "reset": (_reset, "the first home's node is reset"),
}


@dataclass
class RunOptions:
    """What the command line asked for. `seconds` None means until Ctrl-C."""

    homes: int = 12
    seconds: float | None = None
    profiles: Path | None = None
    speed: float = 4.0
    hour: float = 19.0
    seed: int = 42
    faults: tuple[str, ...] = ()
    keep: Path | None = None
    port: int = 0
    core: dict[str, Any] = field(default_factory=dict)


def check(options: RunOptions) -> None:
    """Raises InputError for what cannot work, before anything is started."""
    for name in options.faults:
        if name not in FAULTS:
            raise InputError(
                f"There is no fault {name!r}.", f"There are: {', '.join(sorted(FAULTS))}."
            )
    if options.profiles is not None and not options.profiles.is_file():
        raise InputError(f"There is no file {options.profiles}.", "Give a CSV of watts per home.")
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        raise InputError(f"The folder {options.keep} is not empty.", "Name a new one.")


class StreetRun:
    """Runs the street; `picture` shows it while it runs, `result` tells it afterwards."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        title = f"pbal · a street of {options.homes} homes on this computer"
        self.picture = Picture(title, stage="starting", note=f"Starting {options.homes} homes.")
        self.picture.homes = [HomeCell(f"home {i + 1:02d}") for i in range(options.homes)]
        self.result: dict[str, Any] = {}
        self.stopping = asyncio.Event()
        self._began = time.monotonic()
        self._feed = Feed(self.picture)
        self._status: dict[str, Any] = {}
        self._faults_done: list[str] = []
        self._read_at: float | None = None
        self._next_poll = 0.0
        self.picture.footer = (
            f"loads from {clock_time(options.hour)}, x{options.speed:g} · decides every "
            f"{DECISION_S:g} s (street: 60 s), dwell {DWELL_S} s (street: 30 min) · Ctrl-C ends it"
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run was asked for, starting up included."""
        return time.monotonic() - self._began

    async def run(self) -> None:
        """The whole run. Raises CheckFailed when the street or the controller fails."""
        o = self.options
        street = Street(
            StreetConfig(
                homes=o.homes,
                profiles=o.profiles,
                speed=o.speed,
                load_start_s=3600.0 * o.hour,
                seed=o.seed,
                node_settings=dict(NODE_SETTINGS),
            )
        )
        begin = asyncio.create_task(street.__aenter__())
        try:
            while not begin.done():
                booted = sum(home.at_main.is_set() for home in street.homes)
                self.picture.note = (
                    f"Starting {o.homes} homes, each a MicroPython interpreter with the node's "
                    f"firmware: {booted} run."
                )
                self._clock()
                await asyncio.wait({begin}, timeout=STEP_S)
            try:
                await begin
            except TimeoutError:
                raise CheckFailed(
                    "The homes did not start in time.",
                    "Is this computer very busy? Try fewer homes.",
                ) from None
            await self._with_controller(street)
        finally:
            begin.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await begin
            if o.keep is not None and street.workdir.exists():
                _keep(street.workdir, o.keep)
            await street.close()

    # -- the controller -------------------------------------------------------------------

    async def _with_controller(self, street: Street) -> None:
        self.picture.note = "Starting the controller."
        folder = street.workdir / "controller"
        folder.mkdir(mode=0o700)
        config = self._configure(street, folder)
        pid = await street.run(
            "controller",
            [sys.executable, "-c", START, "run", "--config", str(config)],
            {**os.environ, "PBAL_HTTP__PORT": str(self.options.port)},
        )
        ended = asyncio.create_task(street.wait(pid))
        try:
            url = await self._url(folder, ended, street)
            async with aiohttp.ClientSession() as session:
                await self._watch(street, session, url, ended)
        finally:
            if not ended.done():
                street.kill(pid, 15)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(ended), CONTROLLER_STOP_S)
            ended.cancel()

    def _configure(self, street: Street, folder: Path) -> Path:
        c = street.config
        nodes = [NodeIdentity(n.address, n.name, n.eui, n.root) for n in street.identities]
        create_keys(folder, c.site_id, street.identities[0].group, nodes)
        options = {name: dict(table) for name, table in CONTROLLER_OPTIONS.items()}
        options["planner"]["core"] = {**options["planner"]["core"], **self.options.core}
        return write_config(
            ControllerSetup(folder, c.site_id, street.device, c.baud, nodes, options)
        )

    async def _url(self, folder: Path, ended: "asyncio.Task[int]", street: Street) -> str:
        deadline = time.monotonic() + CONTROLLER_START_S
        while time.monotonic() < deadline:
            if ended.done():
                raise self._controller_failed(street, ended.result())
            with contextlib.suppress(OSError, ValueError):
                return f"http://127.0.0.1:{int((folder / 'http.port').read_text())}"
            self._clock()
            await asyncio.sleep(STEP_S)
        raise CheckFailed("The controller did not start.", last_words(street.workdir))

    def _controller_failed(self, street: Street, code: int) -> CliError:
        return CheckFailed(f"The controller ended by itself ({code}).", last_words(street.workdir))

    # -- watching -------------------------------------------------------------------------

    async def _watch(
        self,
        street: Street,
        session: aiohttp.ClientSession,
        url: str,
        ended: "asyncio.Task[int]",
    ) -> None:
        o, picture = self.options, self.picture
        picture.note = "The controller runs and reads the homes for the first time."
        picture.url = url
        while not self.stopping.is_set():
            if ended.done():
                raise self._controller_failed(street, ended.result())
            if time.monotonic() >= self._next_poll:
                self._next_poll = time.monotonic() + POLL_S
                self._status = await fetch(session, url)
                self._look(street)
            await self._break_something(street)
            self._clock()
            if o.seconds is not None and self.elapsed_s >= o.seconds:
                break
            await asyncio.sleep(STEP_S)
        # Nothing is ordered in the last moment without its end being counted.
        self._status = await fetch(session, url)
        self._look(street)
        self.result = self._report(street)

    def _look(self, street: Street) -> None:
        """The twin's own currents and the controller's status, into the picture."""
        status, picture = self._status, self.picture
        truth = street.snapshot()
        if status["homes_alive"] < 1 or status["homes_fresh"] < 1:
            return
        everyone = status["homes_fresh"] >= status["homes_configured"]
        supplied = all(home["phase"] for home in truth["homes"])
        if self._read_at is None and everyone and supplied:
            self._read_at = time.monotonic()
        self._feed.apply(status, own_neutral=False)
        picture.neutral_a = truth["neutral_a"]
        a, b, c = truth["phase_a"]
        picture.phase_a = (a, b, c)
        if self._read_at is None:
            picture.stage = "starting"
            on = sum(home["phase"] > 0 for home in truth["homes"])
            picture.note = (
                f"{status['homes_fresh']} of {status['homes_configured']} homes are read, {on} are "
                "supplied: after power returns a node waits for 5 s of good voltage."
            )
            return
        picture.record(self.elapsed_s)
        if truth["transfers"]:
            picture.neutral_before_a = street.report()["neutral_before_a"]

    async def _break_something(self, street: Street) -> None:
        if self._read_at is None or time.monotonic() - self._read_at < FAULT_DELAY_S:
            return
        for name in self.options.faults:
            if name not in self._faults_done:
                self._faults_done.append(name)
                action, words = FAULTS[name]
                await action(street)
                self.picture.footer = f"fault: {words} · Ctrl-C ends it"

    def _clock(self) -> None:
        self.picture.elapsed_s = self.elapsed_s
        if self.options.seconds is not None:
            self.picture.remaining_s = self.options.seconds - self.elapsed_s

    # -- the result -----------------------------------------------------------------------

    def _report(self, street: Street) -> dict[str, Any]:
        o, status, truth = self.options, self._status, street.report()
        switches, frames = status["switches"], status["frames"]
        result = {
            "homes": o.homes,
            "interpreter": truth["interpreter"],
            "neutral_current_before_a": truth["neutral_before_a"],
            "neutral_current_after_a": truth["neutral_after_a"],
            "neutral_current_without_a": truth["neutral_without_a"],
            "switches_ordered": switches["ordered"],
            "switches_confirmed": switches["confirmed"],
            "switches_open": switches["open"],
            # A node's own word (S1..S12) is no failure of the street; a broken switching is.
            "switches_refused": switches["refused"] + switches["expired"],
            "switches_failed": switches["failed"] + switches["disagreed"],
            "switches_seen_by_the_twin": truth["transfers"],
            "telemetry_age_p95_s": status["telemetry_age_p95_s"],
            "frames_answered": frames["answers"],
            "frames_lost": frames["lost"],
            "frames_refused": frames["auth_failed"] + frames["replayed"] + frames["malformed"],
            "node_heap_peak_bytes": truth["node_heap_peak_bytes"],
            "homes_fresh": status["homes_fresh"],
            "incidents": truth["incidents"],
            "node_crashes": truth["node_crashes"],
            "watchdog_bites": truth["watchdog_bites"],
            "boot_s": truth["boot_s"],
            "seconds": self.elapsed_s,
            "speed": o.speed,
            "hour": o.hour,
            "seed": o.seed,
            "profiles": str(o.profiles) if o.profiles else "built-in household generator",
            "faults": list(o.faults),
            "decision_every_s": DECISION_S,
            "dwell_s": DWELL_S,
            "switching_price_a2": SWITCHING_PRICE_A2,
            "moves": status["moves"],
        }
        result["notes"] = notes(result)
        result["problems"] = problems(result)
        return result


def clock_time(hour: float) -> str:
    """19.5 as 19:30."""
    minutes = round(hour * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def problems(result: dict[str, Any]) -> list[str]:
    """What went wrong in a run, in words; empty when nothing did."""
    found = []
    if result["incidents"]:
        found.append(f"the witness saw {result['incidents']}")
    if not result["faults"]:
        settled = result["seconds"] - result["boot_s"] >= SETTLED_S
        if settled and result["homes_fresh"] < result["homes"]:
            found.append(f"only {result['homes_fresh']} of {result['homes']} homes are fresh")
        if result["node_crashes"] or result["watchdog_bites"]:
            found.append(
                f"{result['node_crashes']} nodes crashed, {result['watchdog_bites']} watchdogs bit"
            )
        if result["switches_failed"]:
            found.append(f"{result['switches_failed']} switchings failed")
    return found


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the figures should know, although nothing failed."""
    found = []
    after, without = result["neutral_current_after_a"], result["neutral_current_without_a"]
    if result["neutral_current_before_a"] is None:
        found.append(
            f"{result['seconds']:.0f} s were too short to measure anything: starting up and the "
            "first 5 s of good voltage take about 15 s"
        )
    elif result["switches_confirmed"] and after and without and after > without:
        found.append(
            "the loads changed faster than they could be followed: without any switching the "
            f"neutral current would be {without:.1f} A now, not {after:.1f} A"
        )
    return found


def last_words(workdir: Path) -> str:
    """The end of the controller's log."""
    with contextlib.suppress(OSError):
        lines = (workdir / "controller.log").read_text(errors="replace").splitlines()
        return "\n      ".join(lines[-8:])
    return ""


def _keep(workdir: Path, keep: Path) -> None:
    """Copies logs, configuration and journal; the keys stay behind."""
    keep.mkdir(parents=True, exist_ok=True)
    for path in [*workdir.glob("*.log"), *(workdir / "controller").glob("*")]:
        if path.is_file() and not path.name.startswith("keys."):
            shutil.copy2(path, keep / path.name)
