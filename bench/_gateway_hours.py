"""Sites behind one gateway, hour by hour in virtual time: the real gateway, the real sites with
their outboxes, sealed frames, and the emulated air between them, where what overlaps is lost.

Each site says a summary each 5 minutes and a switching now and then, and is sent one order of HQ.
HQ is the far side of the gateway's edge node; it acknowledges in batches of 12, as pbal's does.
What each transmitter sends is counted where it goes on the air, not where it is budgeted.

Ends look for work more seldom than in a controller (each second), so an order takes up to a second
longer here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench._media import RadioTo
from bench._virtual_time import BEGIN_S, VirtualLoop, play
from pbal_controller.bearers.lora import RadioConfig, RadioThread
from pbal_controller.config import GatewayConfig, PlannerConfig, UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.standing import Mode, Restraint
from pbal_controller.uplink import (
    Commands,
    EdgeNode,
    Gateway,
    Intents,
    LoraUplink,
    Packet,
    airlink,
    lora,
    outbox,
)
from pbal_controller.uplink import gateway as gateways
from pbal_protocol.frames import UP, peek
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_sim.radio import FREE, Air
from pbal_uplink import Command, Event, State, Summary, metrics, names, signing, sparkplug

FIRST_SITE = 1001
WINDOW_S = 300
HOUR_S = 3600.0
BATCH = 12  # pbal_hq's ingest.stored_batch
_LOOK_S = 1.0
_NEAR_M = 1000.0
_SETTLE_S = 1800  # for what was said last
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@dataclass(frozen=True)
class Case:
    """`backlog`: summaries that wait at each site when it begins. `events`: switchings a day."""

    region: str = "EU868"
    sf: int = 9
    sites: int = 20
    hours: float = 2.0
    events: int = 50
    backlog: int = 0
    seed: int = 1


@dataclass
class Spans:
    """What one transmitter sent: (begin s, us)."""

    sent: list[tuple[float, int]] = field(default_factory=list)

    def most_in_s(self, seconds: float) -> float:
        """The longest time on the air in any such span, s."""
        inside: deque[tuple[float, int]] = deque()
        total = most = 0
        for begin_s, us in self.sent:
            inside.append((begin_s, us))
            total += us
            while inside[0][0] <= begin_s - seconds:
                total -= inside.popleft()[1]
            most = max(most, total)
        return most / 1e6


class LinkRadio(RadioTo):
    """An end's radio: tuned up or down as it is told. `spans` by site; the gateway's under 0."""

    spans: ClassVar[dict[int, Spans]] = {}

    def _measure(self) -> None:
        """No end of this link looks at the channel's power."""

    def tune(self, at_s: float, hz: int, sf: int) -> None:
        self._ear.tune(sf, hz)
        self._sf = sf

    async def send(self, frame: bytes, hz: int, sf: int) -> float:
        kind, address = peek(frame)[1:3]
        us = time_on_air_us(len(frame), sf, self._bw_hz)
        begin_s = asyncio.get_running_loop().time()
        self.spans.setdefault(address if kind == UP else 0, Spans()).sent.append((begin_s, us))
        self._ear.tune(sf, hz)
        return await super().send(frame, hz, sf)


class Headquarters:
    """Beyond the gateway's edge node: takes what is published, acknowledges, and orders."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._node = EdgeNode("north", "900", "packed", time.time, devices=True)
        self._unsaid: dict[str, list[int]] = {}
        self.at_s: dict[int, float] = {}  # by token, when it came first
        self.said: dict[int, Summary | Event] = {}
        self.twice = 0
        self.answers: dict[tuple[int, int], tuple[float, int]] = {}  # when, outcome
        self.born: set[str] = set()

    async def run(self) -> None:
        """Take what the gateway publishes."""
        loop = asyncio.get_running_loop()
        self._node.connecting(0)
        state = State(site=900, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300)
        self._node.birth(state)
        for packet in await self._gateway.births(self._node, first=True):
            await self._take(packet)
        while True:
            for packet in await self._gateway.due(self._node, loop.time()):
                await self._take(packet)
            await asyncio.sleep(_LOOK_S)

    async def _take(self, packet: Packet) -> None:
        _, _, kind, _, device = packet.topic.split("/")
        if kind == "DBIRTH":
            self.born.add(device)
        for message, _old in metrics.messages(sparkplug.decode(packet.payload).metrics):
            if not isinstance(message, Summary | Event):
                continue
            token = metrics.token(message)
            if token in self.said:
                self.twice += 1
            else:
                self.said[token] = message
                self.at_s[token] = time.time()
            if isinstance(message, Event) and message.kind == names.KIND_ANSWER:
                key = message.site, message.command_id
                self.answers.setdefault(key, (time.time(), message.outcome))
            waiting = self._unsaid.setdefault(device, [])
            waiting.append(token)
            if len(waiting) >= BATCH or kind == "DBIRTH":
                await self._gateway.take(Intents(stored=waiting[:], device=device))
                waiting.clear()

    async def order(self, site: int, number: int) -> float:
        """An order signed and given to the gateway; when."""
        now = int(time.time())
        command = Command(
            site=site, command_id=number, issued_s=now, expires_s=now + 3000,
            kind=names.COMMAND_MODE, mode=names.MODE_HOLD, detail="operator, storm warning",
        )  # fmt: skip
        sealed = signing.seal(command, _KEY)
        await self._gateway.take(Intents(commands=[sealed], device=str(site)))
        return time.time()


@dataclass
class Site:
    """One site, what it said, and the order it was given."""

    number: int
    journal: AsyncJournal
    link: LoraUplink
    commands: Commands
    restraint: Restraint
    said: int = 0
    ordered_s: float = 0.0


def _summary(site: int, start_s: int) -> Summary:
    return Summary(
        site=site, start_s=start_s, length_s=WINDOW_S, ia_mean_a=100.0, ib_mean_a=90.0,
        ic_mean_a=80.0, in_mean_a=17.0, homes=40, homes_alive=40, homes_fresh=40,
        complete_percent=100,
    )  # fmt: skip


async def _site(folder: Path, number: int, root: bytes, radio: RadioConfig) -> Site:
    journal = AsyncJournal(folder / f"{number}.db")
    await journal.open()
    await journal.call(outbox.switch, True)
    config = UplinkConfig(
        kind="lora", radio="link", hq_keys=(_KEY.public_key().public_bytes_raw().hex(),),
        allow=("mode",),
    )  # fmt: skip
    restraint = Restraint()
    commands = Commands(journal, config, PlannerConfig(), number, restraint, time.time)
    await commands.restore()

    def state(backlog: int, thinned: int) -> State:
        return State(
            site=number, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=WINDOW_S,
            homes=40, backlog=backlog, thinned=thinned, name=f"hill {number}",
        )  # fmt: skip

    async def no_reading() -> Summary | None:
        return None

    link = LoraUplink(
        journal, config, radio, root, number, state, commands, no_reading, time.time
    )  # fmt: skip
    return Site(number, journal, link, commands, restraint)


async def _says(site: Site, case: Case, rng: random.Random) -> None:
    """A window's summary when it ends, and switchings between."""
    begin = int(BEGIN_S)
    for n in range(case.backlog):
        await site.journal.call(
            outbox.put, _summary(site.number, begin - WINDOW_S * (case.backlog - n)), 1_000_000
        )
        site.said += 1
    ends_s = asyncio.get_running_loop().time() + case.hours * HOUR_S
    number = 0
    while (now := asyncio.get_running_loop().time()) < ends_s:
        window = int(now) // WINDOW_S * WINDOW_S
        due: list[float] = [
            window + rng.random() * WINDOW_S
            for _ in range(case.events)
            if rng.random() < WINDOW_S / 86_400
        ]
        for at in sorted(due):
            await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
            number += 1
            event = Event(
                site=site.number, event_id=site.number << 32 | number, at_s=int(time.time()),
                kind=names.KIND_SWITCHING, address=257 + number, from_phase=1, to_phase=2,
                outcome=names.OUTCOME_CONFIRMED, command_id=number, detail="measured",
            )  # fmt: skip
            await site.journal.call(outbox.put, event, 1_000_000)
            site.said += 1
            site.link.wake()
        await asyncio.sleep(window + WINDOW_S - asyncio.get_running_loop().time())
        await site.journal.call(outbox.put, _summary(site.number, begin + window), 1_000_000)
        site.said += 1
        site.link.wake()


@contextlib.asynccontextmanager
async def _going(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def _nothing() -> None:
    pass


def _limit_s(radio: RadioConfig, channel: tuple[int, int]) -> float | None:
    band = radio.plan.band(*channel)
    return band.duty_permille * band.duty_s / 1000 or None


class _Places:
    """Where the ends stand: the gateway in the middle, its sites around it."""

    def __init__(self, air: Air, radio: RadioConfig, seed: int) -> None:
        self._air, self._radio = air, radio
        self._rng = random.Random(seed)
        self._count = 0

    def radio(self, _config: RadioConfig) -> RadioThread:
        """For the next end that opens its radio; the gateway is the first."""
        at = (0.0, 0.0)
        if self._count:
            at = self._rng.uniform(-_NEAR_M, _NEAR_M), self._rng.uniform(-_NEAR_M, _NEAR_M)
        kind: Callable[..., RadioTo] = type("Placed", (LinkRadio,), {
            "air": self._air, "channel": self._radio.up, "place": (f"end {self._count}", at),
        })  # fmt: skip
        self._count += 1
        return kind(None, 64)


async def _run(loop: VirtualLoop, case: Case, folder: Path) -> dict[str, Any]:
    radio = RadioConfig(region=case.region, sf=case.sf, power_dbm=11)
    loop.air = Air(loop.us, loss=FREE, seed=case.seed)
    rng = random.Random(case.seed)
    numbers = range(FIRST_SITE, FIRST_SITE + case.sites)
    roots = {number: rng.randbytes(32) for number in numbers}
    far = AsyncJournal(folder / "gateway.db")
    await far.open()
    given = GatewayConfig.model_validate(
        {"radio": "link", "site": [{"site": number} for number in numbers]}
    )
    LinkRadio.spans = {}
    with (
        mock.patch.object(airlink, "radio_of", _Places(loop.air, radio, case.seed).radio),
        mock.patch.object(lora, "_LISTEN_S", _LOOK_S),
        mock.patch.object(gateways, "_LISTEN_S", _LOOK_S),
    ):
        gateway = Gateway(far, given, radio, roots, 7200.0, time.time, _nothing)
        hq = Headquarters(gateway)
        async with _going(gateway.run(_nothing), hq.run()):
            await asyncio.sleep(1)
            sites = [await _site(folder, n, roots[n], radio) for n in numbers]

            async def orders(site: Site, after_s: float) -> None:
                await asyncio.sleep(after_s)
                site.ordered_s = await hq.order(site.number, 10_000 + site.number)

            works = []
            for site in sites:
                works += [
                    site.link.run(_nothing), _says(site, case, random.Random(site.number)),
                    orders(site, rng.uniform(0.1, 0.4) * case.hours * HOUR_S),
                ]  # fmt: skip
            async with _going(*works):
                await asyncio.sleep(case.hours * HOUR_S)
                for _ in range(_SETTLE_S if not case.backlog else WINDOW_S // 2):
                    said = sum(s.said for s in sites) + len(sites)  # each answers its order
                    if len(hq.said) >= said:
                        break
                    await asyncio.sleep(1)
    left = [await site.journal.call(outbox.backlog) for site in sites]
    for journal in (far, *(site.journal for site in sites)):
        await journal.close()
    return _found(case, radio, hq, sites, left)


def _found(
    case: Case, radio: RadioConfig, hq: Headquarters, sites: list[Site], left: list[int]
) -> dict[str, Any]:
    came = Counter(message.site for message in hq.said.values())
    ages = [
        hq.at_s[token] - message.start_s - message.length_s
        for token, message in hq.said.items()
        if isinstance(message, Summary) and message.start_s >= BEGIN_S
    ]
    back: list[float] = []
    for site in sites:
        at_s, outcome = hq.answers.get((site.number, 10_000 + site.number), (0.0, 0))
        if outcome == names.OUTCOME_DONE and site.restraint.mode is Mode.HOLD:
            back.append(at_s - site.ordered_s)
    spans = LinkRadio.spans
    worst = max(spans.get(s.number & 0xFFFF, Spans()).most_in_s(HOUR_S) for s in sites)
    up_us = sum(us for who, each in spans.items() if who for _, us in each.sent)
    answered = sum(1 for s in sites if (s.number, 10_000 + s.number) in hq.answers)
    return {
        "region": case.region, "sf": case.sf, "sites": case.sites, "hours": case.hours,
        "devices_born": len(hq.born), "said": sum(s.said for s in sites) + answered,
        "at_hq": len(hq.said), "twice": hq.twice, "least_of_a_site": min(
            came[s.number] for s in sites), "most_of_a_site": max(came[s.number] for s in sites),
        "left": sum(left), "age_s": round(statistics.median(ages), 1) if ages else None,
        "age_most_s": round(max(ages), 1) if ages else None, "orders": len(sites),
        "orders_done": len(back),
        "order_s": round(statistics.median(back), 1) if back else None,
        "order_most_s": round(max(back), 1) if back else None,
        "retries": sum(s.link.retries_total for s in sites),
        "site_hour_s": round(worst, 1), "site_limit_s": _limit_s(radio, radio.up),
        "gateway_hour_s": round(spans.get(0, Spans()).most_in_s(HOUR_S), 1),
        "gateway_limit_s": _limit_s(radio, radio.down),
        "load": round(up_us / 1e6 / (case.hours * HOUR_S), 4),
    }  # fmt: skip


def hours(case: Case) -> dict[str, Any]:
    """Play it; what is printed."""
    with tempfile.TemporaryDirectory() as folder:
        return play(lambda loop: _run(loop, case, Path(folder)))
