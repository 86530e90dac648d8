"""Bearers of any kind: named in the configuration, and one of another make in sixty lines."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pbal_controller.app import Controller
from pbal_controller.bearers import Answer, Keeps, Request, kinds, register
from pbal_controller.bearers.lossy import LossyBearer, LossyConfig
from pbal_controller.config import load
from pbal_controller.keys import KeyStore
from pbal_controller.view.status import home_dict

from . import toy_bearer
from .conftest import FAST, at_work, toml, until
from .fake import GROUP_ROOT, SITE, FakeNode, root_key

ROOT = Path(__file__).resolve().parents[3]
TOY = Path(toy_bearer.__file__)


@pytest.fixture(autouse=True)
def _toy() -> Iterator[None]:
    register(toy_bearer.KIND)
    yield
    kinds._made.pop("toy")


class Wireless(asyncio.DatagramProtocol):
    """A node at a UDP port."""

    def __init__(self, node: FakeNode) -> None:
        self.node = node
        self.off = False
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        answer = None if self.off else self.node.answer(data[1:])
        if answer is not None:
            self.transport.sendto(bytes((len(answer[1]),)) + answer[1], addr)

    @property
    def place(self) -> str:
        host, port = self.transport.get_extra_info("sockname")
        return f"{host}:{port}"


@contextlib.asynccontextmanager
async def wireless(node: FakeNode) -> AsyncIterator[Wireless]:
    """A node at a UDP port of this computer."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(
        lambda: Wireless(node), ("127.0.0.1", 0)
    )  # fmt: skip
    with contextlib.closing(transport):
        yield made


def write(folder: Path, bearers: str, homes: str) -> Path:
    """A configuration with these tables."""
    (folder / "keys.pass").write_bytes(b"secret\n")
    text = f"[site]\nid = {SITE}\n{bearers}\n"
    text += '[keys]\nfile = "keys.json"\npassphrase_file = "keys.pass"\n'
    text += '[journal]\npath = "journal.db"\n'
    for name, table in FAST.items():
        text += f"[{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in table.items())
    path = folder / "pbal.toml"
    path.write_text(text + homes)
    return path


@contextlib.asynccontextmanager
async def running(folder: Path, bearers: str, homes: str, *addresses: int):
    """A controller at work with these bearers and homes."""
    keys = KeyStore.create(
        folder / "keys.json", b"secret", SITE, log2_n=10, group_key=GROUP_ROOT
    )  # fmt: skip
    keys.add_many([(a, "00" * 8, root_key(a)) for a in addresses])
    async with at_work(Controller(load(write(folder, bearers, homes), {}), keys)) as controller:
        yield controller


def home(address: int, *paths: str) -> str:
    """A home with paths."""
    return f"[[home]]\naddress = {address}\npaths = [{', '.join(paths)}]\n"


# -- another's bearer ---------------------------------------------------------------------


def test_the_toy_is_small_and_is_the_one_in_the_document() -> None:
    text = TOY.read_text("utf-8")
    assert len(text.splitlines()) < 60
    assert f"```python\n{text}```" in (ROOT / "docs" / "bearers.md").read_text("utf-8")


async def test_homes_are_read_and_moved_over_the_toy(tmp_path: Path) -> None:
    async with wireless(FakeNode(1)) as one, wireless(FakeNode(2, phase=2)) as two:
        homes = home(1, f'{{ bearer = "air", at = "{one.place}" }}')
        homes += home(2, f'{{ bearer = "air", at = "{two.place}" }}')
        async with running(tmp_path, '[bearer.air]\nkind = "toy"', homes, 1, 2) as c:
            await until(lambda: one.node.synced and two.node.synced)
            moved = c.fleet.get(2)
            await until(lambda: moved.phase == 2 and not moved.immovable(c.now()))
            assert await c.dispatcher.order(moved, 3, "a test", 1.0)
            await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
            assert two.node.true_phase == 3
            assert list(two.node.executed.values()) == [1]
            two.off = True
            await until(lambda: not moved.alive)
            assert c.fleet.get(1).alive


# -- several paths ------------------------------------------------------------------------


async def test_the_first_path_that_answers_is_used_and_the_others_rest(tmp_path: Path) -> None:
    node = FakeNode(1)
    tables = '[bearer.near]\nkind = "toy"\n[bearer.far]\nkind = "toy"'
    async with wireless(node) as near, wireless(node) as far:
        ways = [
            f'{{ bearer = "near", at = "{near.place}" }}',
            f'{{ bearer = "far", at = "{far.place}" }}',
        ]
        async with running(tmp_path, tables, home(1, *ways), 1) as c:
            one = c.fleet.get(1)
            first, second = one.paths
            await until(lambda: first.alive and second.resting and node.synced)
            before = far.asked
            await until(lambda: near.asked > 20)
            await asyncio.sleep(0.2)
            assert far.asked <= before + 1
            assert one.reached_over("near")
            assert not one.reached_over("far")
            # The near one falls silent: the far one takes over, and orders go over it.
            near.off = True
            await until(lambda: second.alive and not first.alive and one.alive)
            await until(lambda: not one.immovable(c.now()))
            assert await c.dispatcher.order(one, 2, "a test", 1.0)
            await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
            assert node.true_phase == 2
            # It is tried again meanwhile, and used once it answers.
            near.off = False
            await until(lambda: first.alive and second.resting)
            quiet = far.asked
            await asyncio.sleep(0.3)
            assert far.asked <= quiet + 1
            assert one.alive


async def test_a_home_that_no_path_reaches_is_silent_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(1)
    tables = '[bearer.near]\nkind = "toy"\n[bearer.gone]\nkind = "null"\nanswer_timeout_ms = 20'
    async with wireless(node) as near:
        ways = ['{ bearer = "gone" }', f'{{ bearer = "near", at = "{near.place}" }}']
        async with running(tmp_path, tables, home(1, *ways), 1) as c:
            one = c.fleet.get(1)
            await until(lambda: one.alive)
            assert home_dict(one, c.now(), full=True)["paths"] == [
                {"bearer": "gone", "alive": False, "resting": False},
                {"bearer": "near", "alive": True, "resting": False},
            ]
            assert c.router.why_unreached(one.paths[0]) == "this bearer carries nothing"
            assert c.router.why_unreached(one.paths[1]) == ""
            near.off = True
            await until(lambda: not one.alive)
            near.off = False
            await until(lambda: one.alive)
    messages = [x.message for x in caplog.records]
    assert messages.count("readings over this bearer are too old to plan with") == 1
    assert messages.count("home silent") == 1
    assert messages.count("home heard") == 2


async def test_a_revoked_home_is_asked_over_no_path(tmp_path: Path) -> None:
    node = FakeNode(1)
    tables = '[bearer.near]\nkind = "toy"\n[bearer.far]\nkind = "toy"'
    async with wireless(node) as near, wireless(node) as far:
        ways = [
            f'{{ bearer = "near", at = "{near.place}" }}',
            f'{{ bearer = "far", at = "{far.place}" }}',
        ]
        async with running(tmp_path, tables, home(1, *ways), 1) as c:
            first, second = c.fleet.get(1).paths
            await until(lambda: first.alive)
            near.off = True
            await until(lambda: second.alive)
            await until(lambda: near.asked > 10)  # the first is tried now and then
            c.router.drop(c.fleet.get(1))
            await asyncio.sleep(0.15)
            asked = near.asked, far.asked
            await asyncio.sleep(0.6)
            assert (near.asked, far.asked) == asked


async def test_a_frame_that_comes_unasked_counts_once(tmp_path: Path) -> None:
    """As on a radio, where a node speaks in its own time."""
    node = FakeNode(1)
    tables = '[bearer.air]\nkind = "null"\nanswer_timeout_ms = 10'
    async with running(tmp_path, tables, home(1, '{ bearer = "air" }'), 1) as c:
        one = c.fleet.get(1)
        await until(lambda: one.link.polls > 5)
        assert not one.alive
        rounds = c.rounds["air"]
        rounds.unheard(1, c.now())
        assert one.link.lost == 0, "of a home that was never heard nothing is due"
        answer = node.answer(b"")
        assert answer is not None
        rounds.unasked("nobody is here", answer[1], c.now())
        assert one.readings == 0
        rounds.unasked(1, answer[1], c.now())
        assert (one.readings, one.alive) == (1, True)
        rounds.unasked(1, answer[1], c.now())
        assert (one.readings, one.link.replayed) == (1, 1)
        rounds.unheard(1, c.now())
        assert one.link.lost >= 1


# -- the bearers that come with pbal ------------------------------------------------------


async def test_a_lossy_bearer_loses_and_nothing_happens_twice(tmp_path: Path) -> None:
    table = (
        '[bearer.air]\nkind = "lossy"\nlose_down = 0.3\nlose_up = 0.3\nseed = 5\n'
        'over = { kind = "toy", answer_timeout_s = 0.05 }'
    )
    async with wireless(FakeNode(1)) as one:
        homes = home(1, f'{{ bearer = "air", at = "{one.place}" }}')
        async with running(tmp_path, table, homes, 1) as c:
            first = c.fleet.get(1)
            await until(lambda: not math.isinf(first.heard_at))
            not_due = c.bearers["air"].counts()["lost_up"]  # it was not known to be there
            await until(lambda: one.node.synced and not first.immovable(c.now()))
            assert await c.dispatcher.order(first, 2, "a test", 1.0)
            await until(lambda: c.dispatcher.finished_total["confirmed"] == 1)
            assert list(one.node.executed.values()) == [1]
            counts = c.bearers["air"].counts()
            assert counts["lost_down"] > 0
            assert counts["lost_up"] > 0
            assert first.link.lost >= counts["lost_up"] - not_due


def test_what_is_lost_on_its_way_is_neither_carried_nor_answered() -> None:
    class Traffic:
        def __init__(self) -> None:
            self.came: list[Any] = []

        def next_request(self, now: float) -> Request:
            return Request(3, b"frame", tag="mine")

        def handle(self, request: Request, answer: Answer | None, now: float) -> None:
            self.came.append((request.tag, request.frame, answer))

        def offered(self, request: Request, answer: Answer, now: float) -> bool:
            self.came.append((request.tag, answer.frame))
            return True

        def unasked(self, where: Any, frame: bytes, now: float, more: bool = False) -> bool:
            self.came.append(frame)
            return True

        def lost(self) -> None:
            self.came.append("lost")

    over = {"kind": "null"}
    for down, up, carried, heard in ((0, 0, b"frame", 1), (1, 0, b"", 0), (0, 1, b"frame", 0)):
        traffic = Traffic()
        config = LossyConfig(over=over, lose_down=down, lose_up=up)
        losing = LossyBearer("air", config, traffic)._losing
        request = losing.next_request(0.0)
        assert isinstance(request, Request)
        assert (request.to, request.frame) == (3, carried)
        losing.handle(request, Answer(b"answer"), 0.1)
        answer = Answer(b"answer") if heard else None
        assert traffic.came == [("mine", b"frame", answer)]
        assert losing.unasked(3, b"news", 0.2) is not bool(up)
        assert (b"news" in traffic.came) is not bool(up)
        # One that never arrived is answered by nobody.
        reached = not down and not up
        assert losing.offered(request, Answer(b"word"), 0.2) is reached
        assert (("mine", b"word") in traffic.came) is reached
        losing.lost()
        assert traffic.came[-1] == "lost"


def test_what_a_bearer_keeps_for_a_node_is_given_up_beneath_a_lossy_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lossy = LossyBearer("air", LossyConfig(over={"kind": "null"}), SimpleNamespace())  # type: ignore
    assert isinstance(lossy, Keeps)
    lossy.drop(3)  # the one beneath keeps nothing
    lossy.renewed()
    dropped: list[Any] = []
    monkeypatch.setattr(lossy._inner, "drop", dropped.append, raising=False)
    monkeypatch.setattr(lossy._inner, "renewed", lambda: dropped.append("all"), raising=False)
    lossy.drop(3)
    lossy.renewed()
    assert dropped == [3, "all"]
