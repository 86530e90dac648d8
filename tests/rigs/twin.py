"""A poller of one's own for the twin's tests: speaks function 100 to nodes, frame by frame."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from pbal_controller.config import HomeConfig
from pbal_controller.homes import Conversation, Home, Host, Session, time_sync
from pbal_protocol import errors, modbus, modbus_client, records
from pbal_sim.street import Street

FAST = {
    "dwell_s": 2,
    "daily_cap": 200,
    "good_time_ms": 600,
    "autonomy_confirm_ms": 400,
    "autonomy_spread_ms": 400,
    "return_spread_ms": 400,
    "dead_time_ms": 100,
}
# The planner of a street that has to be balanced within seconds.
OPTIONS: dict[str, dict[str, Any]] = {
    "planner": {
        "every_s": 1.0,
        "settle_s": 2.0,
        "observe_every_s": 0.5,
        "max_moving_share": 0.2,
        # What relays may be spent on per day, and how long loads last, is learnt in hours: here a
        # fixed price on what is measured now.
        "core": {
            "dwell_s": 3.0,
            "daily_cap": 200,
            "predict": False,
            "window_s": 5.0,
            "price": 5.0,
            "price_floor": 5.0,
            "wear_budget_per_day": 10000.0,
        },
    },
    "polling": {"min_interval_s": 0.05},
    "dispatch": {"ttl_s": 15, "confirm_s": 8.0, "resend_s": 0.5},
}
LATE_S = 0.2  # for the answer that is behind a late one
GOOD_AFTER_S = 7  # of a node's start: it measures within 1.5 s, and 5 s more make a phase good
# Counters of frames to nodes: from here on, and so many.
_FIRST, _COUNTERS = 1001, 1 << 30
ACCEPTED, DONE, REFUSED, FAILED, EXPIRED = 1, 2, 3, 4, 5


async def until(true: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Waits for a condition of the twin."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = true()
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"never: {what}")


def _acknowledged(got: list[Any], counter: int) -> bool:
    """Whether this answers the request with that counter."""
    return any(isinstance(r, records.Ack) and r.counter == counter for r in got)


class _Told(Host):
    """Keeps what a node's latest frame said."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def record(self, home: Home, record: Any, now: float) -> None:
        self.got.append(record)


class Poller:
    """Homes by index, as in the street. Keeps counters across node restarts."""

    def __init__(self, street: Street) -> None:
        self.street = street
        self._fd = os.open(street.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._fd)
        self._in = bytearray()
        self._came = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)
        site = street.config.site_id
        self._site = site
        self.talks: list[Conversation] = []
        self._told = [_Told() for _ in street.identities]
        for n, told in zip(street.identities, self._told, strict=True):
            session = Session(site, n.address, n.root, "")
            session.counters.extend(_FIRST, _COUNTERS)
            home = Home(HomeConfig(address=n.address, bus="line"), session)
            self.talks.append(Conversation(home, told, floor_skip=0))
        self.events: list[list[Any]] = [[] for _ in street.identities]
        self._acked = [0] * len(street.identities)
        self.health: list[Any] = [None] * len(street.identities)
        self.hellos: list[list[Any]] = [[] for _ in street.identities]
        self.results: dict[int, list[Any]] = {}
        self._command = int(time.time()) & 0xFFFFFF

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """While another program has the port: two that read it would take each other's bytes."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        try:
            yield
        finally:
            loop.add_reader(self._fd, self._read)

    def close(self) -> None:
        """Gives the device back."""
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._in += os.read(self._fd, 4096)
        self._came.set()

    def unit(self, i: int) -> int:
        """Modbus unit of a home."""
        return self.street.identities[i].address & 0xFF

    async def raw(self, request: bytes, timeout_s: float = 0.4) -> bytes:
        """Sends bytes as they are; what came back until 30 ms of silence, b"" for nothing."""
        await asyncio.sleep(0.004)
        self._in.clear()
        os.write(self._fd, request)
        return await self._listen(timeout_s)

    async def _listen(self, timeout_s: float) -> bytes:
        end = time.monotonic() + timeout_s
        while True:
            self._came.clear()
            left = end - time.monotonic() if not self._in else 0.03
            try:
                await asyncio.wait_for(self._came.wait(), max(left, 0.001))
            except TimeoutError:
                return bytes(self._in)

    def seal(self, i: int, *items: Any) -> bytes:
        """A sealed DOWN frame with exactly these records, next counter."""
        return self.talks[i].session.seal(items)

    def sealed(self, i: int) -> int:
        """The latest counter sealed for a home."""
        return self.talks[i].session.sealed

    def adu(self, i: int, body: bytes = b"") -> bytes:
        """A poll request."""
        return modbus_client.adu(self.unit(i), modbus_client.request_pdu(modbus.OP_POLL, body))

    def open(self, i: int, answer: bytes) -> list[Any]:
        """The records of an answer; [] when it is none."""
        try:
            _, body = modbus_client.parse_pdu(modbus_client.split_adu(answer)[1])
        except errors.RemoteError:
            return []
        if not body:
            return []
        items = self._told[i].got = []
        if not self.talks[i].received(body, time.monotonic()):
            link = self.talks[i].home.link
            raise AssertionError(
                f"home {i} sent a frame that is not its own, or an old one: {link}"
            )
        for r in items:
            if isinstance(r, records.Event):
                if all(e.seq != r.seq for e in self.events[i]):
                    self.events[i].append(r)
            elif isinstance(r, records.SwitchResult):
                self.results.setdefault(r.command_id, []).append(r)
            elif isinstance(r, records.Hello):
                self.hellos[i].append(r)
            elif isinstance(r, records.Health):
                self.health[i] = r
        return items

    async def poll(self, i: int, *items: Any, tries: int = 4) -> list[Any]:
        """One poll; with records they are sealed into the request. Tries again on silence."""
        newest = max((e.seq for e in self.events[i]), default=0)
        if newest > self._acked[i]:
            # As the controller does: what was received is acknowledged, so that more can come.
            self._acked[i] = newest
            items = (*items, records.EventAck(seq=newest))
        for _ in range(tries):
            body = self.seal(i, *items) if items else b""
            sealed = self.sealed(i)
            got = self.open(i, await self.raw(self.adu(i, body)))
            if got and items and not _acknowledged(got, sealed):
                # Perhaps the answer to the request before, late on a busy computer: taken for
                # this one's, every answer from here on would be one request behind.
                self._in.clear()
                got = self.open(i, await self._listen(LATE_S)) or got
            if got:
                return got
        return []

    async def telemetry(self, i: int) -> Any:
        """A fresh reading of a home."""
        for r in await self.poll(i, tries=20):
            if isinstance(r, records.Telemetry):
                return r
        raise AssertionError(f"home {i} does not answer\n{self.street.homes[i].chip.log()}")

    async def sync(self, i: int, timeout_s: float = 20.0) -> None:
        """Sets a node's clock as the contract wants it: echoing its nonce."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            reading = await self.telemetry(i)
            if reading.time_s:
                return
            await self.poll(i, records.StatusGet(what=1))
            await self.poll(i)
            if self.hellos[i]:
                await self.poll(i, time_sync(self.hellos[i][-1].nonce))
        raise AssertionError(f"home {i} never took the time")

    async def ready(self, i: int, timeout_s: float = 25.0) -> int:
        """Waits until a home is closed, its clock set, and every phase was good for 5 s (S3: the
        home's own phase closes sooner after a reset); its phase 1..3.
        """
        await self.sync(i)
        end = time.monotonic() + timeout_s
        up_s = (await self.ask_health(i)).uptime_s
        await asyncio.sleep(max(0, GOOD_AFTER_S - up_s))
        while time.monotonic() < end:
            t = await self.telemetry(i)
            if t.phase and t.state == 2 and t.dwell_left_s == 0:
                return int(t.phase)
            await asyncio.sleep(0.1)
        raise AssertionError(f"home {i} never closed: {t.as_dict()}")

    def command(self, from_phase: int, to_phase: int, **change: Any) -> Any:
        """A Switch record with a new id, valid for 20 s."""
        self._command += 1
        now = int(time.time())
        fields = {
            "command_id": self._command,
            "from_phase": from_phase,
            "to_phase": to_phase,
            "issued_s": now - 1,
            "expires_s": now + 20,
            **change,
        }
        return records.Switch(**fields)

    async def outcome(self, i: int, command_id: int, timeout_s: float = 20.0) -> Any:
        """Polls until a command's final result comes, and acknowledges it."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            await self.poll(i)
            for r in self.results.get(command_id, []):
                if r.outcome != ACCEPTED:
                    await self.poll(i, records.ResultAck(command_id=command_id))
                    return r
            await asyncio.sleep(0.05)
        raise AssertionError(f"no result of {command_id}: {self.results.get(command_id)}")

    async def switch(self, i: int, from_phase: int, to_phase: int, **change: Any) -> Any:
        """Orders a switching and waits for its final result."""
        order = self.command(from_phase, to_phase, **change)
        await self.poll(i, order)
        return await self.outcome(i, order.command_id)

    async def set(self, i: int, key: int, value: int) -> None:
        """Changes one setting of a node and waits until it says that it has it."""
        for _ in range(40):
            await self.poll(i, records.Config(key=key, value=value))
            for r in await self.poll(i, records.ConfigGet(key=key)):
                if isinstance(r, records.ConfigValue) and (r.key, r.value) == (key, value):
                    return
            await asyncio.sleep(0.1)
        raise AssertionError(f"home {i} never took setting {key} = {value}")

    async def ask_health(self, i: int) -> Any:
        """The node's own counters."""
        self.health[i] = None
        for _ in range(20):
            await self.poll(i, records.StatusGet(what=2))
            await self.poll(i)
            if self.health[i] is not None:
                return self.health[i]
        raise AssertionError(f"home {i} tells no health")


def other(phase: int, step: int = 1) -> int:
    """Another phase, 1..3."""
    return (phase - 1 + step) % 3 + 1
