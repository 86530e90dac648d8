"""Each kind of site with the real controller and its real bearers, in virtual time: how old its
readings are, how long an urgent event takes to the journal, and a command to its measured
confirmation.

Of 48 homes each. One home at a time, at random moments: something urgent happens, and, apart from
that, a move is ordered.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

# What stands below the bearers is replaced, and what is drawn by chance.
import pbal_controller.bearers.lora.bearer as lora
import pbal_controller.bearers.lora.surroundings as surroundings
import pbal_controller.bearers.rs485.bearer as rs485
import pbal_controller.bearers.udp.bearer as udp
import pbal_controller.loops.backoff as backoff
from bench._media import LineTo, RadioHome, RadioTo, SocketTo
from bench._model_nodes import GROUP_ROOT, SITE, ModelNode, root_key
from bench._radio_site import BW_HZ, HZ, Case, spot
from bench._virtual_time import VirtualLoop, play
from pbal_controller.app import Controller
from pbal_controller.config import Config, load
from pbal_controller.keys import KeyStore
from pbal_controller.view import Streams
from pbal_sim.radio import OPEN_COUNTRY, Air, Ear
from pbal_tools.controllersetup import ControllerSetup, NodeIdentity, create_keys, write_config

_START_S = 4 * 3600.0  # until every home is heard, at most
_PATIENCE_S = 900.0  # for what was begun last
_OPTIONS: dict[str, dict[str, Any]] = {
    "http": {"enabled": False},
    "planner": {"enabled": False},
    "plausibility": {"enabled": False},
    "bearer": {"wifi": {"kind": "udp", "host": "127.0.0.1"}},
}


@dataclass(frozen=True)
class Kind:
    """Homes on the line, on the network, with a radio, and behind bridges: one bridge and homes on
    its wires in each building. `most`: the slowest spreading factor. `gap_s`: from one event to the
    next, and from one move to the next, in the mean.
    """

    name: str
    what: str
    line: int = 0
    network: int = 0
    radio: int = 0
    buildings: int = 0
    building: int = 0
    radius_m: float = 500.0
    most: int = 7
    gap_s: float = 60.0

    @property
    def homes(self) -> int:
        """All of them."""
        return self.line + self.network + self.radio + self.buildings * self.building


KINDS = (
    Kind("urban", "48 on RS-485", line=48, gap_s=10.0),
    Kind("campus", "4 bridges at SF7, 11 homes on wires behind each", buildings=4, building=12),
    Kind("rural, near", "48 with a radio at SF7", radio=48, radius_m=400.0),
    Kind("rural, far", "48 with a radio at SF7 to SF10", radio=48, radius_m=2500.0, most=10,
         gap_s=120.0),
    Kind("mixed", "24 on RS-485, 12 on Wi-Fi, a bridge at SF7 with 11 on wires behind it",
         line=24, network=12, buildings=1, building=12, gap_s=20.0),
)  # fmt: skip


@dataclass
class Found:
    """What was measured, s. `moved`: from the order to the end of the transfer, of each home."""

    ages: list[float] = field(default_factory=list)
    events: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    confirmed: list[float] = field(default_factory=list)
    failed: int = 0
    lost_events: int = 0
    twice: int = 0  # homes that moved more often than they were ordered
    start_s: float = 0.0  # until every home was heard and had the time; all start at once
    hours: float = 0.0
    round_s: float = 0.0


class Chance(random.Random):
    """In the place of the module `random`: with one seed, all that draws from it draws the same in
    each run.
    """

    def Random(self) -> random.Random:
        """A generator that was not given a seed."""
        return random.Random(self.getrandbits(64))


class Site:
    """A site of one kind; `loss`: share of radio frames that is lost besides."""

    def __init__(self, kind: Kind, loop: VirtualLoop, loss: float, seed: int) -> None:
        self.kind, self.loop = kind, loop
        self.rng = random.Random(seed)
        self.nodes = {a: ModelNode(a, loop.unix_s) for a in range(1, kind.homes + 1)}
        self._loss, self._seed = loss, seed
        addresses = iter(self.nodes)

        def some(count: int) -> list[int]:
            return [next(addresses) for _ in range(count)]

        self._line, self._network, self._radio = map(some, (kind.line, kind.network, kind.radio))
        self._buildings = [some(kind.building) for _ in range(kind.buildings)]
        self.air = loop.air = Air(loop.us, loss=OPEN_COUNTRY, seed=seed)
        self._begun: dict[tuple[str, int], float] = {}
        self.found = Found()

    def _on_air(self) -> None:
        """The homes with a radio, where they stand."""
        case = Case(self.kind.homes, self.kind.radius_m, self.kind.most)
        for address in [*self._radio, *(each[0] for each in self._buildings)]:
            name = f"home {address}"
            shadow_db = OPEN_COUNTRY.shadow_db(self._seed, "controller", name)
            at = spot(self.rng, shadow_db, case)[1]
            ear = Ear(
                self.air, name, at, HZ, loss=self._loss, rng=random.Random(address),
                only_from="controller",
            )  # fmt: skip
            RadioHome(self.nodes[address], ear, self.kind.most, BW_HZ).bridges(
                [self.nodes[a] for b in self._buildings if b[0] == address for a in b[1:]]
            )

    def _configured(self, folder: Path, driver: str) -> tuple[Config, KeyStore]:
        """The controller's configuration and keys, in this folder."""
        behind = {a: b[0] for b in self._buildings for a in b[1:]}
        own = dict.fromkeys(self._line, ("street",)) | dict.fromkeys(self._network, ("wifi",))
        nodes = [
            NodeIdentity(a, f"home {a}", "00" * 8, root_key(a), own.get(a, ()), behind.get(a))
            for a in self.nodes
        ]
        keys = create_keys(folder, SITE, GROUP_ROOT, nodes)
        air = {"region": "IN865", "sf": self.kind.most, "driver": driver, "hat": "plain-rfm95"}
        options = _OPTIONS | {"radio": {"air": air}}
        setup = ControllerSetup(folder, SITE, "virtual", 115_200, nodes, options, paths=("air",))
        return load(write_config(setup), {}), keys

    @contextlib.asynccontextmanager
    async def running(
        self, folder: Path, driver: str = "rfm9x", radio: type | None = None
    ) -> AsyncIterator[Controller]:
        """The site's controller at work, over `radio` in the place of its radio's thread."""
        line = type("Line", (LineTo,), {"nodes": {a: self.nodes[a] for a in self._line}})
        socket = type("Socket", (SocketTo,), {"nodes": {a: self.nodes[a] for a in self._network}})
        radio = radio or type(
            "Radio", (RadioTo,), {"air": self.air, "channel": (HZ, BW_HZ), "loss": self._loss}
        )
        chance = Chance(self._seed)
        with (
            mock.patch.object(surroundings, "random", chance),
            mock.patch.object(backoff, "random", chance),
            mock.patch.object(rs485, "LineClient", line),
            mock.patch.object(udp.UdpBearer, "_open", lambda it: socket(it._readable)),
            mock.patch.object(lora, "RadioThread", radio),
            mock.patch.object(Streams, "publish", lambda _, what, body: self._told(what, body)),
        ):
            self._on_air()
            config, self.keys = self._configured(folder, driver)
            controller = Controller(config, self.keys, self.loop.unix_s)
            task = asyncio.create_task(controller.run())
            try:
                yield controller
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    # -- what is measured -------------------------------------------------------------------------

    def _told(self, what: str, body: dict[str, Any]) -> None:
        """The controller published something."""
        now, found = self.loop.time(), self.found
        if what == "node_event":
            begun = self._begun.pop(("event", 1000 * body["home"] + body["seq"]), None)
            if begun is not None:
                found.events.append(now - begun)
        elif what == "move" and body["state"] == "confirmed":
            begun = self._begun.pop(("move", body["id"]))
            found.confirmed.append(now - begun)
            found.moved.append(self.nodes[body["home"]].moved_s - begun)
        elif what == "move" and body["state"] in ("refused", "failed", "expired", "disagreed"):
            self._begun.pop(("move", body["id"]), None)
            found.failed += 1

    async def _moves(self, c: Controller, count: int, gap_s: float) -> None:
        for _ in range(count):
            await asyncio.sleep(self.rng.expovariate(1 / gap_s))
            homes = [h for h in c.fleet if h.phase and not c.dispatcher.busy(h.address)]
            home = self.rng.choice(homes)
            begun = self.loop.time()
            command = await c.dispatcher.order(home, 1 + home.phase % 3, "a measurement", 1.0)
            if command is not None:
                self._begun["move", command] = begun
                self.nodes[home.address].ordered += 1

    async def _events(self, count: int, gap_s: float) -> None:
        for _ in range(count):
            await asyncio.sleep(self.rng.expovariate(1 / gap_s))
            node = self.rng.choice(list(self.nodes.values()))
            self._begun["event", 1000 * node.address + node.event()] = self.loop.time()

    async def _ages(self, c: Controller) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self.loop.time()
            self.found.ages += [now - home.sampled_at for home in c.fleet]
            rounds = [home.round_s for home in c.fleet if home.round_s]
            if rounds:
                self._rounds.append(max(rounds))

    async def run(self, count: int) -> Found:
        """So many events and moves."""
        found, gap_s = self.found, self.kind.gap_s
        self._rounds: list[float] = []
        with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
            async with self.running(Path(name)) as c:
                await self._started(c)
                found.start_s = self.loop.time()
                await asyncio.sleep(120)
                begun_s = self.loop.time()
                ages = asyncio.create_task(self._ages(c))
                await asyncio.gather(self._moves(c, count, gap_s), self._events(count, gap_s))
                await self._until(lambda: not self._begun, _PATIENCE_S, must=False)
                ages.cancel()
                found.hours = (self.loop.time() - begun_s) / 3600
        found.lost_events = sum(what == "event" for what, _ in self._begun)
        found.failed += sum(what == "move" for what, _ in self._begun)
        found.twice = sum(node.moves > node.ordered for node in self.nodes.values())
        found.round_s = sum(self._rounds) / len(self._rounds) if self._rounds else 0.0
        return found

    async def _started(self, c: Controller) -> None:
        await self._until(
            lambda: (
                all(home.alive for home in c.fleet)
                and all(node.synced for node in self.nodes.values())
            ),
            _START_S,
        )

    async def rekey(self) -> tuple[float, float]:
        """Draws a group key; see `rekeyed`."""
        for node in self.nodes.values():
            node.takes_keys = True
        with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
            async with self.running(Path(name)) as c:
                await self._started(c)
                await asyncio.sleep(120)
                begun_s, oldest_s = self.loop.time(), 0.0
                self.keys.new_group_key("a measurement", "bench")
                while self.keys.active.number < self.keys.newest.number:
                    if self.loop.time() > begun_s + _PATIENCE_S:
                        raise RuntimeError(f"{self.kind.name}: no new group key in time")
                    await asyncio.sleep(0.1)
                    now = self.loop.time()
                    oldest_s = max(oldest_s, *(now - home.sampled_at for home in c.fleet))
                return self.loop.time() - begun_s, oldest_s

    async def _until(self, what: Any, seconds: float, must: bool = True) -> None:
        end_s = self.loop.time() + seconds
        while not what() and self.loop.time() < end_s:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        if must and not what():
            raise RuntimeError(f"{self.kind.name}: not every home is heard after {seconds:g} s")


def measured(kind: Kind, count: int, loss: float, seed: int) -> Found:
    """One kind of site."""
    return play(lambda loop: Site(kind, loop, loss, seed).run(count))


def rekeyed(kind: Kind, loss: float, seed: int) -> tuple[float, float]:
    """Of a site that was at rest: how long after a new group key was drawn each home has proven
    that it holds it, and it is in use; how old the oldest reading became meanwhile. In s.
    """
    return play(lambda loop: Site(kind, loop, loss, seed).rekey())
