"""A gateway and a site that speak over a radio of their own making, and HQ behind them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller.bearers.lora import RadioConfig
from pbal_controller.config import GatewayConfig, PlannerConfig, UplinkConfig
from pbal_controller.standing import Restraint
from pbal_controller.uplink import Commands, Gateway, LoraUplink, airlink, outbox
from pbal_controller.uplink.node import EdgeNode, Intents
from pbal_uplink import Command, Event, State, Summary, metrics, names, signing, sparkplug
from rigs.uplink import a_state

SITE = 7
ROOT = bytes(range(32))
RADIO = RadioConfig(region="EU868", sf=7, power_dbm=11)
START_S = 1_700_000_100 // 300 * 300
HQ_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


class Ether:
    """Both radios: what one sends the others hear, but for what is lost."""

    def __init__(self, loss: float = 0.0, seed: int = 1) -> None:
        self.loss = loss
        self.frames: list[bytes] = []
        self._rng = random.Random(seed)
        self._ends: list[FakeRadio] = []

    def radio(self, _config: RadioConfig) -> FakeRadio:
        return FakeRadio(self)

    def carry(self, sender: FakeRadio, frame: bytes, hz: int) -> None:
        self.frames.append(frame)
        for end in self._ends:
            if end is not sender and end.hz == hz and self._rng.random() >= self.loss:
                end.queue.put_nowait(frame)


class FakeRadio:
    def __init__(self, ether: Ether) -> None:
        self.ether, self.hz = ether, 0
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def start(self) -> None:
        self.ether._ends.append(self)

    async def stop(self) -> None:
        self.ether._ends.remove(self)

    def tune(self, at_s: float, hz: int, sf: int) -> None:
        self.hz = hz

    async def send(self, frame: bytes, hz: int, sf: int) -> float:
        self.ether.carry(self, frame, hz)
        return 0.0

    async def receive(self, until: float):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                frame = await self.queue.get()
                return type("Heard", (), {"frame": frame})
        return None


@pytest.fixture
def ether(monkeypatch) -> Ether:
    made = Ether()
    monkeypatch.setattr(airlink, "radio_of", made.radio)
    # Pauses as they are, at a twentieth of their length.
    monkeypatch.setattr("pbal_controller.uplink.lora._RETRY_S", (0.05, 0.5))
    monkeypatch.setattr("pbal_controller.uplink.lora._OLD_PAUSE", 0.0)
    monkeypatch.setattr("pbal_controller.uplink.gateway._ORDER_S", (0.2, 1.0))
    monkeypatch.setattr("pbal_controller.uplink.gateway._ORDER_PAUSE", 0.0)
    monkeypatch.setattr("pbal_controller.uplink.gateway._TELL_S", 0.1)
    monkeypatch.setattr("pbal_controller.uplink.airlink.Airlink.reply_s", lambda self: 0.15)
    # The duty cycle is not what these tests are about: bench.lora_uplink counts it.
    monkeypatch.setattr("pbal_controller.uplink.airlink.Airlink.wait_s", lambda self, size: 0.0)
    monkeypatch.setattr("pbal_protocol.radio.budget.Budget.spend", lambda self, *a: None)
    return made


class Hq:
    """HQ at the far side of the gateway's edge node: stores what is published, and says so."""

    def __init__(self, gateway: Gateway, *, silent: bool = False) -> None:
        self.gateway = gateway
        self.silent = silent
        self.node = EdgeNode("north", "900", "packed", time.time, devices=True)
        self.store: dict[int, object] = {}
        self.states: list[State] = []
        self.kinds: list[str] = []
        self.seqs: list[int] = []

    async def run(self) -> None:
        self.node.connecting(0)
        self.node.birth(a_state(0, 0))
        for packet in await self.gateway.births(self.node, first=True):
            await self._take(packet)
        while True:
            for packet in await self.gateway.due(self.node, asyncio.get_running_loop().time()):
                await self._take(packet)
            await asyncio.sleep(0.02)

    async def _take(self, packet) -> None:
        _, _, kind, _, device = packet.topic.split("/")
        payload = sparkplug.decode(packet.payload)
        self.kinds.append(kind)
        self.seqs.append(payload.seq)
        for message, _old in metrics.messages(payload.metrics):
            if isinstance(message, State):
                self.states.append(message)
                continue
            token = metrics.token(message)
            self.store[token] = message
            if not self.silent:
                await self.gateway.take(Intents(stored=[token], device=device))

    async def order(self, command: Command, key=HQ_KEY, device="7") -> None:
        sealed = signing.seal(command, key)
        await self.gateway.take(Intents(commands=[sealed], device=device))


@contextlib.asynccontextmanager
async def going(*works):
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(found, asyncio.CancelledError):
                raise found


async def until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.02)


def a_gateway(journal, **more) -> Gateway:
    config = GatewayConfig(radio="link", site=[{"site": SITE}], **more)
    return Gateway(journal, config, RADIO, {SITE: ROOT}, 2.0, time.time, lambda: None)


def a_site(journal, root=ROOT, **more):
    public = HQ_KEY.public_key().public_bytes_raw().hex()
    given = {"resend_s": 2.0, "spread_s": 0.0, "allow": ("mode", "reading", "rebirth")} | more
    config = UplinkConfig(kind="lora", radio="link", hq_keys=(public,), **given)
    restraint = Restraint()
    commands = Commands(journal, config, PlannerConfig(), SITE, restraint, time.time)

    async def reading():
        return Summary(site=SITE, start_s=START_S + 999 * 60, length_s=60)

    made = LoraUplink(
        journal, config, RADIO, root, SITE, a_state, commands, reading, time.time
    )  # fmt: skip
    return made, restraint, commands


async def nothing() -> None:
    pass


def beat() -> None:
    pass


async def fill(journal, count, first=0):
    for n in range(first, first + count):
        made = Summary(site=SITE, start_s=START_S + 300 * n, length_s=300, ia_mean_a=10.04 + n)
        await journal.call(outbox.put, made, 100_000)


async def switch(journal):
    event = Event(
        site=SITE, event_id=77, at_s=START_S, kind=names.KIND_SWITCHING, detail="long " * 39
    )
    await journal.call(outbox.put, event, 100_000)


def command(kind=names.COMMAND_MODE, number=5, **more):
    now = int(time.time())
    given = {"mode": names.MODE_HOLD} if kind == names.COMMAND_MODE else {}
    return Command(site=SITE, command_id=number, issued_s=now, expires_s=now + 600, kind=kind,
                   detail="for a test, with many words", **(given | more))  # fmt: skip
