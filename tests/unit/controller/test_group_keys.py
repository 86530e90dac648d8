"""A new group key on a street: who gets it, who must not, what a crash or an old copy leaves."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pbal_controller.app import Controller
from pbal_controller.homes import Conversation, group_keys, rounds
from pbal_controller.keys import KeyStore
from pbal_controller.keys import store as keystore
from pbal_controller.standing import Reason
from pbal_controller.view import metrics
from pbal_protocol import records as r
from pbal_protocol.codec import Record
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import GROUP, Opener, Sealer, peek
from pbal_protocol.kdf import group_key

from .conftest import Site, rows, until
from .fake import GROUP_ROOT, SITE, FakeNode

MakeSite = Callable[..., Site]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_keys, "SETTLE_S", 1.0)
    monkeypatch.setattr(rounds, "_FIRST_SYNC_S", 0.05)
    monkeypatch.setattr(group_keys, "_TICK_S", 0.02)
    monkeypatch.setattr(group_keys, "_AGAIN_S", 0.3)


def fast(site: Site, **security: Any) -> None:
    site.changes["polling"] = {"time_sync_every_s": 0.05}
    site.changes["security"] = security


def elsewhere(site: Site) -> KeyStore:
    """The key store as the command line opens it."""
    return KeyStore.open(site.folder / "keys.json", b"secret")


def key(root: bytes) -> bytes:
    return group_key(root, SITE)


def holds(node: FakeNode, root: bytes) -> bool:
    return node.group.proof(1, 2) == Opener(key(root), GROUP, SITE, 0).proof(1, 2)


def behind(controller: Controller) -> dict[int, str]:
    told = controller.group_keys.as_dict()["homes_behind"]
    return {home["address"]: home["state"] for home in told}


async def test_by_hand_every_home_gets_it_and_then_it_is_used(make_site: MakeSite) -> None:
    nodes = [FakeNode(1), FakeNode(2)]
    site = make_site(*nodes)
    fast(site)
    async with site.running() as controller:
        await until(lambda: not behind(controller) and all(n.group_times for n in nodes))
        assert not any(node.refused_frames for node in nodes)
        made = elsewhere(site).new_group_key("by hand", "somebody")
        assert made.number == 2
        await until(lambda: site.keys.active.number == 2)
        assert all(node.generation == 2 and holds(node, made.root) for node in nodes)
        heard = [len(node.group_times) for node in nodes]
        await until(lambda: all(node.older_group is None for node in nodes))
        await until(lambda: all(len(n.group_times) > h for n, h in zip(nodes, heard, strict=True)))
        assert not any(node.group_refused for node in nodes), "no group frame was lost in between"
        told = controller.group_keys.as_dict()
        assert (told["number"], told["next"], told["why"]) == (2, None, "by hand")
        assert told["homes_with_newest"] == 2
        assert "pbal_group_key_number 2\n" in metrics.render(controller.view)
    log = rows(site, "SELECT what, subject, who, why FROM audit ORDER BY at_s")
    assert log[1:] == [
        ("group key drawn", "2", "somebody", "by hand"),
        ("group key in use", "2", "controller", "homes without it: none"),
    ]
    again = elsewhere(site)
    assert again.active.root == again.newest.root == made.root


async def test_a_revoked_home_is_left_out_and_its_old_key_is_worth_nothing(
    make_site: MakeSite,
) -> None:
    nodes = [FakeNode(1), FakeNode(2), FakeNode(3)]
    site = make_site(*nodes)
    fast(site)
    async with site.running() as controller:
        await until(lambda: all(node.group_times for node in nodes))
        made = elsewhere(site).revoke(2, "somebody")
        assert made is not None
        await until(lambda: site.keys.active.number == made.number)
        await until(lambda: nodes[0].older_group is None and nodes[2].older_group is None)
        polled = nodes[1].polled
        await asyncio.sleep(0.3)
        assert nodes[1].polled == polled, "nobody speaks to it"
        assert not holds(nodes[1], made.root)
        home = controller.fleet.get(2)
        assert home is not None
        assert "revoked" in home.immovable(controller.now())
        assert 2 not in behind(controller)
        forged = Sealer(key(GROUP_ROOT), GROUP, SITE, 0).seal(
            0xFFFFFFF0, r.TimeSync(time_s=1).encode()
        )
        for node in (nodes[0], nodes[2]):
            refused = node.group_refused
            node.group_frame(forged)
            assert node.group_refused == refused + 1
    assert ("group key drawn", "node 2 revoked") in rows(site, "SELECT what, why FROM audit")
    assert elsewhere(site).revoke(2, "again") is None, "revoked once, rotated once"


async def test_a_dark_home_learns_it_when_it_is_back(make_site: MakeSite) -> None:
    nodes = [FakeNode(1), FakeNode(2)]
    site = make_site(*nodes)
    fast(site)
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        nodes[1].silent = True
        await until(lambda: not controller.fleet.get(2).alive)  # type: ignore[union-attr]
        made = elsewhere(site).new_group_key("by hand", "")
        await until(lambda: site.keys.active.number == made.number)
        assert behind(controller) == {2: "not heard"}
        nodes[1].silent = False
        await until(lambda: not behind(controller))
        assert holds(nodes[1], made.root)


async def test_firmware_that_does_not_follow_holds_nobody_up(make_site: MakeSite) -> None:
    nodes = [FakeNode(1), FakeNode(2, knows_groups=False)]
    site = make_site(*nodes)
    fast(site, group_key_wait_s=5.0)
    async with site.running() as controller:
        await until(lambda: behind(controller) == {2: "its firmware does not follow"})
        await until(lambda: nodes[1].refused_frames >= 3)
        assert nodes[1].refused_frames < 6, "more and more seldom"
        made = elsewhere(site).new_group_key("by hand", "")
        await until(lambda: holds(nodes[0], made.root))
        assert site.keys.active.number == 1, "it waits for the living"
        await until(lambda: site.keys.active.number == made.number)
        await until(lambda: controller.group_keys.as_dict()["alarm"] == [2])
        synced = nodes[1].polled
        await until(lambda: nodes[1].polled > synced + 3)
        home = controller.fleet.get(2)
        assert home is not None
        assert home.alive
        assert not home.link.malformed
        # An update brings a firmware that does: it starts anew and says so.
        nodes[1].knows_groups = True
        nodes[1].reset()
        await until(lambda: not behind(controller))
        await until(lambda: not controller.group_keys.as_dict()["alarm"])
    assert ("homes without it: 2",) in rows(site, "SELECT why FROM audit")


async def test_a_key_goes_in_a_frame_of_its_own(make_site: MakeSite) -> None:
    """What an older firmware refuses must cost nothing else."""
    site = make_site(FakeNode(1))
    controller = Controller(site.config(), site.keys)
    home = controller.fleet.get(1)
    assert home is not None
    home.asked_health_at = 0.0
    home.group_key = wanted = r.GroupKey(generation=1, challenge=1)
    home.event_ack = 7
    home.ask(r.StatusGet(what=r.WHAT_HELLO))
    home.hello = r.Hello(board=1)
    assert home.session is not None
    home.session.counters.extend(1, 256)
    talk = Conversation(home, controller.host, health_every_s=60.0)

    def outgoing() -> list[Record]:
        frame = talk.outgoing(240, 0.0)
        return r.decode_all(site.nodes[1].opener.open(frame), "down") if frame else []

    assert outgoing() == [r.EventAck(seq=7), r.StatusGet(what=r.WHAT_HELLO)]
    home.result_ack = 3
    assert outgoing() == [r.ResultAck(command_id=3)]
    assert outgoing() == [wanted]
    assert outgoing() == []


class Claims(FakeNode):
    """Claims to hold the number that it was told."""

    def _group_key(self, order: r.GroupKey) -> None:
        super()._group_key(order)
        said = self.pending[-1]
        assert isinstance(said, r.GroupProof)
        said.generation = order.generation


@pytest.mark.parametrize("kind", [FakeNode, Claims])
async def test_a_home_that_takes_no_key_is_told_of(
    make_site: MakeSite, kind: type[FakeNode]
) -> None:
    """Also one that names the new key's number: a number alone proves nothing."""
    nodes = [FakeNode(1), kind(2, forgets_keys=True)]
    site = make_site(*nodes)
    fast(site, group_key_wait_s=1.0)
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        elsewhere(site).new_group_key("by hand", "")
        await until(lambda: site.keys.active.number == 2)
        assert behind(controller) == {2: "holds an older one"}


class Repeats(FakeNode):
    """Answers every challenge as it answered the first one."""

    first: r.Record | None = None

    def _group_key(self, order: r.GroupKey) -> None:
        super()._group_key(order)
        self.first = self.pending[-1] = self.first or self.pending[-1]


async def test_a_proof_that_was_kept_proves_nothing(make_site: MakeSite) -> None:
    """A node that held the key lost it: an older flash was put back."""
    nodes = [FakeNode(1), Repeats(2)]
    site = make_site(*nodes)
    fast(site)
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        nodes[1].group = Opener(bytes(32), GROUP, SITE, 0)
        nodes[1].reset()
        await until(lambda: behind(controller) == {2: "its firmware does not follow"})
        await asyncio.sleep(0.5)
        assert behind(controller)


async def test_an_old_copy_of_the_key_store_gets_a_newer_key(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = [FakeNode(1), FakeNode(2)]
    site = make_site(*nodes)
    fast(site)
    shutil.copy(site.folder / "keys.json", site.folder / "backup.json")
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        for number in (2, 3):
            elsewhere(site).new_group_key("by hand", "")
            await until(lambda n=number: site.keys.active.number == n)  # type: ignore[misc]
    assert [node.generation for node in nodes] == [3, 3]
    shutil.copy(site.folder / "backup.json", site.folder / "keys.json")
    site.keys = elsewhere(site)
    assert site.keys.newest.number == 1
    async with site.running() as controller:
        await until(lambda: site.keys.active.number == 4 and not behind(controller))
    assert all(holds(node, site.keys.newest.root) for node in nodes)
    assert "restored backup" in caplog.text
    assert site.keys.newest.why in ("home 1 holds number 3", "home 2 holds number 3")


async def test_a_controller_that_stands_down_draws_nothing_by_itself(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture
) -> None:
    node = FakeNode(1)
    site = make_site(node)
    fast(site, group_key_days=30)
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        controller.standing.stand_down(Reason.RESTORED, "an older copy")
        aged(site, 40)
        await asyncio.sleep(0.3)
        assert site.keys.newest.number == 1, "by the calendar"
        node.group, node.generation = Opener(bytes(32), GROUP, SITE, 0), 5
        node.forgets_keys = True
        node.reset()
        await until(lambda: "restored backup" in caplog.text)
        assert site.keys.newest.number == 1, "because of a home's word"
        # What a person asks for is done, and after the adoption the rest.
        node.forgets_keys = False
        elsewhere(site).new_group_key("by hand", "")
        await until(lambda: site.keys.active.number == 2)


async def test_no_key_is_taken_into_use_beside_another_controller(make_site: MakeSite) -> None:
    site = make_site(FakeNode(1))
    fast(site, group_key_wait_s=1.0)
    async with site.running() as controller:
        await until(lambda: not behind(controller))
        controller.standing.stand_down(Reason.RIVAL, "heard")
        elsewhere(site).new_group_key("by hand", "")
        await until(lambda: site.keys.newest.number == 2)
        await asyncio.sleep(1.5)
        assert site.keys.active.number == 1


async def test_a_lying_home_moves_the_number_a_little_once(make_site: MakeSite) -> None:
    nodes = [FakeNode(1), FakeNode(2, forgets_keys=True)]
    site = make_site(*nodes)
    fast(site, group_key_wait_s=1.0)
    nodes[1].generation = 0x3FFFFFFF
    nodes[1].group = Opener(bytes(32), GROUP, SITE, 0)
    async with site.running() as controller:
        await until(lambda: site.keys.active.number > 1)
        await asyncio.sleep(1.0)
        assert site.keys.newest.number == site.keys.active.number == 1 + 1000 + 1
        assert behind(controller) == {2: "holds an older one"}


def aged(site: Site, days: float) -> None:
    old = site.keys.newest
    made = replace(old, made_s=time.time() - days * 86400)
    site.keys._content = replace(site.keys._content, generations=(made,))
    site.keys._write()


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("write", [1, 2])
@pytest.mark.parametrize("after", [False, True])
async def test_a_controller_killed_at_any_write_goes_on(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch, write: int, after: bool
) -> None:
    """Drawing (1) and using (2) a key: killed before or after the file is replaced."""
    nodes = [FakeNode(1), FakeNode(2)]
    site = make_site(*nodes)
    fast(site)
    aged(site, 40)
    site.changes["security"] = {"group_key_days": 30}
    real = keystore.atomic_write
    count = 0

    def deadly(path: Any, data: bytes, mode: int = 0o600) -> None:
        nonlocal count
        count += 1
        if count == write and not after:
            raise Killed
        real(path, data, mode)
        if count == write:
            raise Killed

    monkeypatch.setattr(keystore, "atomic_write", deadly)
    with contextlib.suppress(Killed, BaseExceptionGroup):
        async with site.running():
            await until(lambda: count >= write)
            await asyncio.sleep(0.3)
    monkeypatch.setattr(keystore, "atomic_write", real)
    site.keys = elsewhere(site)
    known = {g.root for g in (site.keys.active, site.keys.newest)}
    assert all(any(holds(node, root) for root in known) for node in nodes), "no key is lost"
    async with site.running() as controller:
        await until(lambda: site.keys.active.number == 2 and not behind(controller))
        heard = len(site.bus.group_log)
        await until(lambda: len(site.bus.group_log) > heard + 3)
    assert not any(node.group_refused for node in nodes)
    # No counter came twice, under whichever key.
    counters = [peek(frame)[3] for frame in site.bus.group_log]
    assert len(set(counters)) == len(counters)
    for frame in site.bus.group_log:
        assert sum(opens(root, frame) for root in (GROUP_ROOT, site.keys.newest.root)) == 1


def opens(root: bytes, frame: bytes) -> bool:
    try:
        Opener(key(root), GROUP, SITE, 0).open(frame)
    except RemoteError:
        return False
    return True
