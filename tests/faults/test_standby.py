"""Two controllers of one site on one pair: one at work, the other takes over, never both."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from rigs.pair import OnPort, Pair, moved
from rigs.twin import OPTIONS

from bench.site import Site
from pbal_sim.hq import free_port
from pbal_sim.street import Street

pytestmark = [pytest.mark.twin, pytest.mark.long, pytest.mark.timeout(240)]

HOMES = 4
TAKE_S = 6.0


class Wire:
    """TCP from one port to another that can be cut: the network between the two controllers."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0
        self.cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, other[1]), (other[0], writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                if not self.cut:
                    sink.write(data)  # a cut wire loses everything, silently
                    await sink.drain()
        except OSError:
            return
        finally:
            sink.close()

    async def close(self) -> None:
        """No traffic any more."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Two:
    """Both controllers, their network, and their pair."""

    def __init__(self, street: Street, pair: Pair) -> None:
        self.street, self.pair = street, pair
        ports = [free_port(), free_port()]
        self.wires = [Wire(ports[1]), Wire(ports[0])]
        self.sites: list[Site] = []
        self._ports = ports

    async def start(self) -> None:
        """The first at work, the second in step."""
        for wire in self.wires:
            await wire.open()
        for index, name in enumerate("ab"):
            place = OnPort(self.street, self.pair.ports[index], name)
            if index:
                folder = place.workdir / "controller"
                folder.mkdir(mode=0o700)
                for file in ("keys.json", "keys.pass"):
                    shutil.copy2(self.sites[0].folder / file, folder / file)
            peer = f"127.0.0.1:{self.wires[index].port}"
            standby = {"member": name, "peer": peer, "take_s": TAKE_S,
                       "host": "127.0.0.1", "port": self._ports[index]}  # fmt: skip
            self.sites.append(Site(place, {**OPTIONS, "standby": standby}))  # type: ignore[arg-type]
            await self.sites[-1].start()
        a, b = self.sites
        await a.until(
            lambda s: s["standby"]["serving"] and s["homes_fresh"] == HOMES, "a is at work"
        )
        await b.until(lambda s: s["standby"]["well"] and s["standby"]["copy_age_s"], "b is in step")

    async def stop(self) -> None:
        """Both ends, and the network."""
        for site in self.sites:
            await site.stop()
        for wire in self.wires:
            await wire.close()

    def cut_network(self, cut: bool) -> None:
        """Nothing passes between the two, in neither direction."""
        for wire in self.wires:
            wire.cut = cut


async def standing(site: Site) -> dict[str, Any]:
    status: dict[str, Any] = (await site.status())["standby"]
    return status


async def with_two(make_street: Callable[..., Street], body: Callable[[Two], Any]) -> None:
    async with make_street(HOMES) as street:
        pair = Pair(street.device)
        two = Two(street, pair)
        try:
            await two.start()
            await body(two)
        finally:
            await two.stop()
            pair.close()
        assert street.witness.report()["incidents"] == {}


async def test_the_second_takes_over_from_one_that_is_killed(
    make_street: Callable[..., Street],
) -> None:
    async def body(two: Two) -> None:
        a, b = two.sites
        # It has moved homes: there is something to hand over, and nothing to be taken for a rival.
        await a.until(lambda s: s["switches"]["confirmed"] >= 1, "a moves a home", 60)
        assert (await b.status())["switches"]["ordered"] == 0
        assert two.pair.bytes_from[1] == 0, "the one that follows sent something"
        await a.stop(signal.SIGKILL)
        died = time.monotonic()
        sent = two.pair.bytes_from[0]
        status = await b.until(lambda s: s["standby"]["serving"], "b takes over", 30)
        took = time.monotonic() - died
        await b.until(lambda s: s["homes_fresh"] == HOMES, "b reads all homes", 30)
        fresh = time.monotonic() - died
        print(f"took over after {took:.1f} s (silence {status['standby']['took_over_s']} s), "
              f"all homes fresh after {fresh:.1f} s")  # fmt: skip
        assert took >= TAKE_S
        assert two.pair.bytes_from[0] == sent
        status = await b.until(lambda s: not s["why_no_commands"], "b may command", 60)
        assert not status["stands_down"]
        old = {row[0] for row in a.query("SELECT id FROM commands")}
        new = {row[0] for row in b.query("SELECT id FROM commands")} - old
        assert all(number // 256 % 2 == 0 for number in old)
        assert all(number // 256 % 2 == 1 for number in new)
        # The first comes back and follows: it sends nothing.
        before = two.pair.bytes_from[0]
        await a.start()
        await a.until(lambda s: s["standby"]["copy_age_s"], "a follows")
        await asyncio.sleep(2 * TAKE_S)
        assert not (await standing(a))["serving"]
        assert two.pair.bytes_from[0] == before
        assert (await b.status())["stands_down"] == ""

    await with_two(make_street, body)


async def test_a_network_that_splits_makes_no_second_commander(
    make_street: Callable[..., Street],
) -> None:
    async def body(two: Two) -> None:
        a, b = two.sites
        two.cut_network(True)
        await b.until(lambda s: s["standby"]["trouble"], "b hears nothing of a", 30)
        await asyncio.sleep(2 * TAKE_S)
        assert (await standing(a))["serving"]
        assert two.pair.bytes_from[1] == 0
        # It stands still for longer than the lease lasts, and wakes up beside another.
        os.kill(a.pid, signal.SIGSTOP)
        try:
            status = await b.until(lambda s: s["standby"]["serving"], "b takes over", 40)
        finally:
            sent = two.pair.bytes_from[0]
            os.kill(a.pid, signal.SIGCONT)
        await a.until(lambda s: not s["standby"]["serving"], "a lets go", 20)
        await asyncio.sleep(2 * TAKE_S)
        # Not one frame: what was asked before the pause is answered to nobody.
        assert two.pair.bytes_from[0] == sent, "a sent after its lease was over"
        assert (await standing(b))["serving"]
        for site in (a, b):
            assert not site.query("SELECT reason FROM stand_down")
        assert status["standby"]["term"] == 2
        ids = [{row[0] for row in each.query("SELECT id FROM commands")} for each in (a, b)]
        assert not {i for i in ids[0] if i // 256 % 2} - ids[1]
        assert moved(two.street) <= len(ids[0] | ids[1])

    await with_two(make_street, body)
