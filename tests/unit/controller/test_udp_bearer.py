"""The UDP bearer alone: whom it asks, what it lets in, what its configuration may say."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rigs.needs import require_module

from pbal_controller.bearers import EVERYBODY, Request
from pbal_controller.bearers.udp import UdpBearer, UdpConfig
from pbal_controller.bearers.udp.ration import Allowance, Ration
from pbal_controller.config import load
from pbal_controller.errors import ConfigError
from pbal_protocol import datagram

from .conftest import until
from .fake import SITE


class Script:
    """Traffic that hands out what it is given, and notes what came of it."""

    def __init__(self, *todo: Request) -> None:
        self.todo = list(todo)
        self.handled: list[tuple[Any, Any]] = []
        self.offers: list[bytes] = []
        self.opens = True

    def next_request(self, now: float) -> Request | float:
        return self.todo.pop(0) if self.todo else now + 60

    def handle(self, request: Request, answer: Any, now: float) -> None:
        self.handled.append((request.tag, answer))

    def offered(self, request: Request, answer: Any, now: float) -> bool:
        self.offers.append(answer.frame)
        if self.opens:
            self.handled.append((request.tag, answer.frame))
        return self.opens

    def unasked(self, where: Any, frame: bytes, now: float, more: bool = False) -> bool:
        return self.opens

    def lost(self) -> None:
        pass


@contextlib.asynccontextmanager
async def carrying(script: Script, **settings: Any) -> AsyncIterator[UdpBearer]:
    config = UdpConfig(host="127.0.0.1", port=0, **settings)
    bearer = UdpBearer("air", config, script)
    task = asyncio.create_task(bearer.run(lambda: None))
    try:
        await until(lambda: bearer.up)
        yield bearer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not bearer.up


def frame_of(address: int, body: bytes = b"x" * 9) -> bytes:
    return bytes((0x11,)) + address.to_bytes(2, "little") + bytes(4) + body


async def test_a_silent_home_keeps_nobody_waiting_and_two_requests_to_one_are_in_order() -> None:
    script = Script()
    async with carrying(script, answer_timeout_ms=3000, per_s=2000) as bearer:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as node:
            node.bind(("127.0.0.1", 0))
            node.setblocking(False)
            loop = asyncio.get_running_loop()

            def say(address: int, body: bytes) -> None:
                data = datagram.datagram(datagram.FRAMES, address, 0, frame_of(address, body))
                node.sendto(data, ("127.0.0.1", bearer.port))

            for address in (1, 2):
                say(address, b"hello-hi!")
            await until(lambda: len(bearer.places) == 2)
            script.todo = [Request(1, b"a", tag="a"), Request(1, b"b", tag="b"),
                           Request(2, b"c", tag="c")]  # fmt: skip
            bearer.wake()
            came = [datagram.items(await loop.sock_recv(node, 300)) for _ in range(2)]
            assert came == [[(1, 0, b"a")], [(2, 0, b"c")]]
            say(2, b"of-two-ok")
            await until(lambda: [tag for tag, _ in script.handled] == ["c"])
            say(1, b"of-one-ok")
            assert datagram.items(await loop.sock_recv(node, 300)) == [(1, 0, b"b")]
            script.opens = False
            say(1, b"forged---")
            await until(lambda: len(script.offers) == 3)
            assert [tag for tag, _ in script.handled] == ["c", "a"]
            script.opens = True
            say(1, b"again-ok-")
            await until(lambda: [tag for tag, _ in script.handled] == ["c", "a", "b"])
            assert bearer.timeouts == 0


async def test_a_group_frame_goes_once_to_each_place() -> None:
    script = Script()
    async with carrying(script) as bearer:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as node:
            node.bind(("127.0.0.1", 0))
            node.setblocking(False)
            for address in (1, 2):  # two homes behind one bridge
                data = datagram.datagram(datagram.FRAMES, address, 0, frame_of(address))
                node.sendto(data, ("127.0.0.1", bearer.port))
            await until(lambda: len(bearer.places) == 2)
            sent = []
            script.todo = [Request(EVERYBODY, b"the time", lambda: sent.append(1))]
            bearer.wake()
            loop = asyncio.get_running_loop()
            data = await asyncio.wait_for(loop.sock_recv(node, 300), 10)
            assert data[0] == datagram.GROUP
            assert datagram.items(data) == [(0, 0, b"the time")]
            await asyncio.sleep(0.1)
            with pytest.raises(BlockingIOError):
                node.recv(300)
            assert sent == [1]


async def test_a_port_that_is_taken_is_one_line_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    holder.bind(("127.0.0.1", 0))
    config = UdpConfig(host="127.0.0.1", port=holder.getsockname()[1])
    bearer = UdpBearer("air", config, Script())
    task = asyncio.create_task(bearer.run(lambda: None))
    try:
        await until(lambda: bearer.last_error)
        assert "in use" in bearer.reaches(1)
        holder.close()
        await until(lambda: bearer.up)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert [x.message for x in caplog.records if x.levelname == "ERROR"] == ["port unusable"]


def test_several_hundred_homes_are_fresh_enough_to_plan_with() -> None:
    bearer = UdpBearer("air", UdpConfig(), Script())
    assert bearer.freshness_s(500) < 10


def test_a_share_is_spent_by_who_spends_it_and_comes_back() -> None:
    ration = Ration(each=0.01, all_of_them=0.1)
    assert ration.allows("a", 0.0)
    ration.spend("a", 0.02)
    assert not ration.allows("a", 0.5)
    others = [name for name in "bcdefgh" if ration.allows(name, 0.5)]
    assert len(others) >= 5
    assert ration.allows("a", 1.6)
    for number in range(200):
        ration.spend(f"host {number}", 0.001)
    assert not ration.allows("one more", 1.6)
    allowance = Allowance(0.5)
    assert allowance.left(100.0)
    allowance.spend(0.6)
    assert not allowance.left(100.1)
    assert allowance.left(100.3)


@pytest.mark.parametrize(
    ("table", "home", "words"),
    [
        ('host = "example.org"', "", "is no address"),
        ("port = 70000", "", "must be at most 65535"),
        ("per_s = 0", "", "must be at least 1"),
        ('mdns = "Site Seven"', "", "is no name for mdns"),
        ("", 'at = "192.168.1.5"', "says by itself where it is"),
        ("prot = 7225", "", "prot"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, table: str, home: str, words: str) -> None:
    text = f'[site]\nid = {SITE}\n[bearer.air]\nkind = "udp"\n{table}\n[[home]]\naddress = 1\n'
    text += f'paths = [{{ bearer = "air"{", " + home if home else ""} }}]\n'
    path = tmp_path / "pbal.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(path, {})
    assert words in str(error.value)


def test_mdns_without_its_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pbal\[mdns\]"):
        UdpConfig(mdns="pbal-7")


async def test_the_name_is_answered_by_mdns() -> None:
    """A one-shot query as the node sends it, to the real responder."""
    require_module("zeroconf", "mdns")
    from pbal_controller.bearers.udp.announce import announced

    query = b"\x12\x34" + bytes((0, 0, 0, 1)) + bytes(6)
    query += b"\x0apbal-test7\x05local\x00\x00\x01\x80\x01"
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as node:
        node.setblocking(False)
        node.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        node.bind(("127.0.0.1", 0))
        loop = asyncio.get_running_loop()
        async with announced("pbal-test7", "127.0.0.1", 7225):
            for _ in range(20):
                node.sendto(query, ("224.0.0.251", 5353))
                with contextlib.suppress(TimeoutError):
                    data = await asyncio.wait_for(loop.sock_recv(node, 1500), 1.0)
                    break
            else:
                pytest.fail("no answer")
    assert data[:2] == b"\x12\x34"
    assert socket.inet_aton("127.0.0.1") in data
