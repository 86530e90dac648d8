"""One run of a street with its controller: what `pbal sim run` starts, watches and shows.

The twin (pbal_sim) is the ground truth and an independent witness; the controller is the real
one, started as a process of its own and asked over HTTP like any other.
"""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp

from pbal_host import counted
from pbal_sim import figures
from pbal_sim.placing import placed
from pbal_sim.street import Street, StreetConfig
from pbal_sim.streetconfig import building_of

from . import topology
from .controllersetup import ControllerSetup, NodeIdentity, create_keys, write_config
from .errors import CheckFailed, CliError
from .picture import HomeCell, Picture
from .statusclient import Feed, fetch
from .streetfaults import FAULT_DELAY_S, FAULTS
from .streetoptions import (
    CONTROLLER_OPTIONS,
    DECISION_S,
    DWELL_S,
    NODE_SETTINGS,
    SCENARIOS,
    RunOptions,
    free_udp_port,
    read_link,
)
from .streetresult import result_of, start_note
from .streetuplink import StreetUplink

POLL_S = 0.5
STEP_S = 0.1
CONTROLLER_START_S = 30.0
CONTROLLER_STOP_S = 10.0

START = "from pbal_controller.cli import main; main()"


class StreetRun:
    """Runs the street; `picture` shows it while it runs, `result` has its figures afterwards."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        title = f"pbal · a street of {counted(options.homes, 'home')} on this computer"
        self.picture = Picture(
            title, stage="starting", note=f"Starting {counted(options.homes, 'home')}."
        )
        self.picture.homes = [HomeCell(f"home {i + 1:02d}") for i in range(options.homes)]
        self._link = None if options.link is None else read_link(options.link)
        scenario = SCENARIOS[options.scenario]
        self.picture.told += topology.told(scenario, options.homes)
        self._site = scenario.radio
        if scenario.radio is not None:
            radios = topology.radios(scenario, options.homes)
            self._site, spots = placed(scenario.radio, radios, options.seed, scenario.most_sf)
            self.picture.told += topology.placed_lines(self._site, spots)
        self.result: dict[str, Any] = {}
        self.stopping = asyncio.Event()
        self._began = time.monotonic()
        self._feed = Feed(self.picture)
        self._status: dict[str, Any] = {}
        self._faults_done: list[str] = []
        self._read_at: float | None = None
        self._controller_s = 0.0
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
        street = Street(self.street_config())
        begin = asyncio.create_task(street.__aenter__())
        try:
            while not begin.done():
                booted = sum(home.at_main.is_set() for home in street.homes)
                self.picture.note = (
                    f"Starting {counted(o.homes, 'home')}, each a MicroPython interpreter with "
                    f"the node's firmware: {booted} run."
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

    def street_config(self) -> StreetConfig:
        """The street that is started."""
        o, scenario = self.options, SCENARIOS[self.options.scenario]
        return StreetConfig(
            homes=o.homes,
            site_id=1 if self._link is None else self._link.site,
            board=scenario.board,
            radio=self._site,
            wifi=scenario.on_wifi(o.homes),
            buildings=scenario.buildings(o.homes),
            on_line=scenario.on_line(o.homes),
            bridge_heap=scenario.bridge_heap,
            both=frozenset(range(o.homes)) if scenario.two_paths else frozenset(),
            heap=scenario.heap,
            controller=("127.0.0.1", free_udp_port()),
            profiles=o.profiles,
            speed=o.speed,
            load_start_s=3600.0 * o.hour,
            seed=o.seed,
            node_settings=dict(NODE_SETTINGS),
        )

    # -- the controller -------------------------------------------------------------------

    async def _with_controller(self, street: Street) -> None:
        self.picture.note = "Starting the controller."
        folder = street.workdir / "controller"
        folder.mkdir(mode=0o700)
        hq, tables = None, {}
        if self.options.uplink:
            hq = StreetUplink(street.workdir / "hq", self._heard)
            tables = await hq.start()
        elif self._link is not None:
            tables = self._link.tables
        try:
            await self._with_hq(street, folder, tables)
            if hq is not None and self.result:
                self.result["uplink"] = hq.result()
        finally:
            if hq is not None:
                await hq.stop()

    def _heard(self, line: str) -> None:
        """What HQ received: a line when headless, else the footer of the live picture."""
        self.picture.told.append(line)
        self.picture.footer = f"{line} · Ctrl-C ends it"

    async def _with_hq(
        self, street: Street, folder: Path, tables: dict[str, dict[str, Any]]
    ) -> None:
        config = self._configure(street, folder, tables)
        pid = await street.run(
            "controller",
            [sys.executable, "-c", START, "run", "--config", str(config)],
            {
                **os.environ,
                "PBAL_HTTP__PORT": str(self.options.port),
                **(street.hub.environment() if street.hub is not None else {}),
            },
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

    def _configure(self, street: Street, folder: Path, tables: dict[str, dict[str, Any]]) -> Path:
        c = street.config
        nodes = [
            NodeIdentity(n.address, n.name, n.eui, n.root, *_way(street, i))
            for i, n in enumerate(street.identities)
        ]
        create_keys(folder, c.site_id, street.identities[0].group, nodes)
        options = {name: dict(table) for name, table in CONTROLLER_OPTIONS.items()}
        options |= tables
        scenario = SCENARIOS[self.options.scenario]
        for name, table in scenario.options.items():
            options[name] = {**options.get(name, {}), **table}
        if self._site is not None:
            radios = options["radio"].items()
            options["radio"] = {name: {**table, "sf": self._site.sf} for name, table in radios}
        if c.wifi:
            host, port = c.controller
            wifi = {"kind": "udp", "host": host, "port": port}
            options["bearer"] = {**options.get("bearer", {}), "wifi": wifi}
        options["planner"]["core"] = {**options["planner"]["core"], **self.options.core}
        return write_config(
            ControllerSetup(
                folder, c.site_id, street.device, c.baud, nodes, options, paths=scenario.paths
            )
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
        raise CheckFailed("The controller's status page did not start.", last_words(street.workdir))

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
        self._controller_s = self.elapsed_s
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
        # Fetched once more, so that the results of the last orders are counted.
        self._status = await fetch(session, url)
        self._look(street)
        truth = figures.report(street)
        self.result = result_of(o, self._status, truth, self.elapsed_s, self._controller_s)

    def _look(self, street: Street) -> None:
        """The twin's own currents and the controller's status, into the picture."""
        status, picture = self._status, self.picture
        truth = figures.snapshot(street)
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
            picture.note = start_note(status, sum(home["phase"] > 0 for home in truth["homes"]))
            return
        picture.record(self.elapsed_s)
        if truth["transfers"]:
            picture.neutral_before_a = figures.report(street)["neutral_before_a"]

    async def _break_something(self, street: Street) -> None:
        if self._read_at is None or time.monotonic() - self._read_at < FAULT_DELAY_S:
            return
        for name in self.options.faults:
            if name not in self._faults_done:
                self._faults_done.append(name)
                action, words = FAULTS[name]
                await action(street)
                self.picture.fault = words
                self.picture.footer = f"fault: {words} · Ctrl-C ends it"

    def _clock(self) -> None:
        self.picture.elapsed_s = self.elapsed_s
        if self.options.seconds is not None:
            self.picture.remaining_s = self.options.seconds - self.elapsed_s


def _way(street: Street, i: int) -> tuple[tuple[str, ...], int | None]:
    """A home's own bearers, none for those of the scenario, and where it is on them."""
    if i in street.config.wifi:
        return ("wifi",), None
    if i in street.config.on_line:
        return ("street",), None
    building = building_of(street.config, i)
    behind = bool(building) and i != building[0]
    return (), street.identities[building[0]].address if behind else None


def clock_time(hour: float) -> str:
    """19.5 as 19:30."""
    minutes = round(hour * 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def last_words(workdir: Path) -> str:
    """The end of the controller's log: errors and warnings, where there are any."""
    with contextlib.suppress(OSError):
        lines = (workdir / "controller.log").read_text(errors="replace").splitlines()
        bad = [line for line in lines if " ERROR " in line or " WARNING " in line]
        return "\n      ".join((bad or lines)[-8:])
    return ""


def _keep(workdir: Path, keep: Path) -> None:
    """Copies logs, configuration and journal, not the keys."""
    keep.mkdir(parents=True, exist_ok=True)
    for path in [*workdir.glob("*.log"), *(workdir / "controller").glob("*")]:
        if path.is_file() and not path.name.startswith("keys."):
            shutil.copy2(path, keep / path.name)
