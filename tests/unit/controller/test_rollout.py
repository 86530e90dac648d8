"""The rollout's rules for one home and for all, with homes that are only data."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller.config import UpdateConfig
from pbal_controller.homes import Home
from pbal_controller.journal import Journal
from pbal_controller.updates import Release, Rollouts, make, store
from pbal_controller.updates.folder import ReleaseFolder
from pbal_controller.updates.progress import Step
from pbal_controller.updates.store import State
from pbal_protocol import ota
from pbal_protocol import records as r

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PAPER = make({"pbal_node/app.mpy": b"x" * 500}, "0.2.0", [1])


class Calls:
    """The journal, without its thread."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    async def call(self, work: Callable[..., Any], *args: Any) -> Any:
        return work(self.journal, *args)


class Street(list[Any]):
    def get(self, address: int) -> Any:
        return next((home for home in self if home.address == address), None)


def home(address: int, flags: int = 0) -> Home:
    made = Home(
        SimpleNamespace(address=address, bus="north", fixed=False),  # type: ignore[arg-type]
        SimpleNamespace(),  # type: ignore[arg-type]
    )
    made.alive, made.heard_at, made.boots = True, 0.0, 5
    made.hello = SimpleNamespace(board=1)  # type: ignore[assignment]
    made.telemetry = SimpleNamespace(flags=flags, phase=1)  # type: ignore[assignment]
    return made


def said(stage: int, release: Release = PAPER) -> r.UpdateStatus:
    return r.UpdateStatus(
        digest=release.digest[:8], stage=stage, want=100 if stage == r.STAGE_RECEIVING else 0
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db")
    yield made
    made.close()


CONFIG = {"soak_s": 60.0, "trial_s": 300.0, "silent_s": 30.0}


@pytest_asyncio.fixture
async def rollouts(journal: Journal, tmp_path: Path) -> AsyncIterator[Rollouts]:
    """A release for three homes, published and looked at once; home 1 has had a meter fault."""
    release = Release(PAPER.manifest, PAPER.files, KEY.sign(ota.signed(PAPER.digest)), PAPER.head)
    (tmp_path / "r.pbal").write_bytes(release.to_bytes())
    street = Street([home(1, r.FLAG_METER_FAULT), home(2), home(3)])
    made = take_up(street, journal, tmp_path)
    await made._look()
    yield made


def take_up(street: Street, journal: Journal, folder: Path) -> Rollouts:
    config = UpdateConfig(directory=folder, **CONFIG)  # type: ignore[arg-type]
    return Rollouts(street, Calls(journal), config, lambda a: False, lambda t, d: None)  # type: ignore[arg-type]


async def advance(rollouts: Rollouts, now: float) -> dict[int, str]:
    assert rollouts.active is not None
    await rollouts._advance(rollouts.active, now)
    return {address: p.step.value for address, p in rollouts.active.homes.items()}


async def to_ready(rollouts: Rollouts, now: float = 1.0) -> Home:
    """The first home has all of it, and is about to be told to restart."""
    assert (await advance(rollouts, now))[1] == "sending"
    one: Home = rollouts._fleet.get(1)  # type: ignore[assignment]
    assert rollouts.order(one, 225, now) is not None
    rollouts.received(one, said(r.STAGE_READY), now)
    assert (await advance(rollouts, now))[1] == "ready"
    return one


async def test_a_home_that_never_comes_back_stops_the_rollout(rollouts: Rollouts) -> None:
    """Also where the answer to the order to restart was lost, so that no trial was ever seen."""
    one = await to_ready(rollouts)
    await advance(rollouts, 2.0)
    order = rollouts.order(one, 225, 4.0)
    assert order is not None
    assert order.op == r.OP_COMMIT
    one.alive = False
    assert (await advance(rollouts, 290.0))[1] == "ready"
    assert (await advance(rollouts, 303.0))[1] == "failed"
    assert rollouts.active is not None
    assert rollouts.active.row.state == State.STOPPED.value
    assert "silent since it was told to restart" in rollouts.active.row.detail
    assert [p.step for p in rollouts.active.homes.values()][1:] == [Step.WAITING, Step.WAITING]


async def test_a_home_that_goes_silent_before_that_only_waits(rollouts: Rollouts) -> None:
    rollouts._config = rollouts._config.model_copy(update={"at_once": 0})  # none may restart now
    one = await to_ready(rollouts)
    one.alive = False
    assert (await advance(rollouts, 40.0))[1] == "waiting"
    assert rollouts.active is not None
    assert rollouts.active.row.state == State.RUNNING.value


async def test_nothing_is_sent_while_the_rollout_is_held(
    rollouts: Rollouts, journal: Journal
) -> None:
    one = await to_ready(rollouts)
    await advance(rollouts, 2.0)  # the order to restart is due
    store.set_wish(journal, PAPER.digest.hex(), "pause")
    await rollouts._look()
    assert rollouts.order(one, 225, 10.0) is None
    assert rollouts.idle_home("north", 0.04, 10.0) is None
    store.set_wish(journal, PAPER.digest.hex(), "resume")
    await rollouts._look()
    order = rollouts.order(one, 225, 20.0)
    assert order is not None
    assert order.op == r.OP_COMMIT


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_fault_from_before_speaks_against_no_release(
    rollouts: Rollouts, journal: Journal, tmp_path: Path, restarted: bool
) -> None:
    one = await to_ready(rollouts)
    await advance(rollouts, 2.0)
    rollouts.received(one, said(r.STAGE_TRIAL), 3.0)
    assert (await advance(rollouts, 3.0))[1] == "trial"
    if restarted:
        # A new controller has only the journal, and has not heard the home yet.
        rollouts = take_up(rollouts._fleet, journal, tmp_path)  # type: ignore[arg-type]
        await rollouts._look()
    rollouts.received(one, said(r.STAGE_GOOD), 5.0)
    assert (await advance(rollouts, 5.0))[1] == "watched"
    one.heard_at = 6.0
    assert (await advance(rollouts, 6.0))[1] == "watched"
    # A new one does.
    one.telemetry = SimpleNamespace(flags=r.FLAG_METER_FAULT | r.FLAG_SENSE_FAULT)  # type: ignore[assignment]
    assert (await advance(rollouts, 7.0))[1] == "failed"


def test_only_a_release_signed_with_a_known_key_is_taken(tmp_path: Path) -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    known = KEY.public_key().public_bytes_raw().hex()
    folder = ReleaseFolder(UpdateConfig(directory=tmp_path, keys=(known,)))

    def publish(signature: bytes) -> None:
        release = Release(PAPER.manifest, PAPER.files, signature, PAPER.head)
        (tmp_path / "r.pbal").write_bytes(release.to_bytes())

    publish(b"")
    assert folder.new() == []
    assert "not signed" in folder.refused["r.pbal"]
    publish(other.sign(ota.signed(PAPER.digest)))
    os.utime(tmp_path / "r.pbal", (1, 1))  # another file, however fast it was written
    assert folder.new() == []
    assert "not in update.keys" in folder.refused["r.pbal"]
    publish(KEY.sign(ota.signed(PAPER.digest)))
    os.utime(tmp_path / "r.pbal", (2, 2))
    assert [(file, found.digest) for file, found in folder.new()] == [("r.pbal", PAPER.digest)]
    assert folder.refused == {}
    assert folder.new() == []  # nothing has changed since
    assert folder.take("r.pbal", PAPER.digest.hex()) is not None
    assert folder.take("r.pbal", "00" * 32) is None
    assert "another release than it was" in folder.refused["r.pbal"]
    assert ReleaseFolder(UpdateConfig()).new() == []


def publish(folder: Path, name: str, version: str, boards: list[int]) -> Release:
    made = make({"pbal_node/app.mpy": name.encode() * 200}, version, boards)
    signed = Release(made.manifest, made.files, KEY.sign(ota.signed(made.digest)), made.head)
    (folder / f"{name}.pbal").write_bytes(signed.to_bytes())
    return signed


def states(journal: Journal) -> dict[str, str]:
    return {row.file: row.state for row in store.rollouts(journal)}


async def test_releases_for_different_boards_take_turns(journal: Journal, tmp_path: Path) -> None:
    """A site with radios on some homes: neither release takes the other's place."""
    plain = publish(tmp_path, "plain", "0.2.0", [1, 3])
    radio = publish(tmp_path, "radio", "0.2.0", [2])
    street = Street([home(1), home(2), home(3)])
    street[1].hello.board = 2
    made = take_up(street, journal, tmp_path)
    seen: dict[str, list[int]] = {}
    for _ in range(4):
        await made._look()
        assert made.active is not None
        await made._advance(made.active, 1.0)
        seen[made.active.row.file] = sorted(made.active.homes)
        for one in made.active.homes.values():
            one.step = Step.DONE
    assert seen == {"plain.pbal": [1, 3], "radio.pbal": [2]}
    assert set(states(journal).values()) == {"running"}
    newer = publish(tmp_path, "newer", "0.3.0", [2])
    await made._look()
    assert states(journal)["radio.pbal"] == "superseded"
    assert states(journal)["plain.pbal"] == "running"
    # One that is stopped holds all: what harms one kind of board may harm the other.
    store.set_state(journal, plain.digest.hex(), State.STOPPED.value, "home 1: back on 0.1.0")
    for _ in range(3):
        await made._look()
        assert made.active is not None
        assert made.active.row.file == "plain.pbal"
        assert not made.under_way
    assert newer.digest != radio.digest


async def test_one_at_work_is_not_interrupted(journal: Journal, tmp_path: Path) -> None:
    publish(tmp_path, "plain", "0.2.0", [1])
    publish(tmp_path, "radio", "0.2.0", [2])
    street = Street([home(1), home(2)])
    street[1].hello.board = 2
    made = take_up(street, journal, tmp_path)
    await made._look()
    assert made.active is not None
    first = made.active.row.file
    await made._advance(made.active, 1.0)
    for _ in range(3):
        await made._look()
        assert made.active.row.file == first


async def test_a_release_that_waits_for_an_order_holds_nobody_up(
    journal: Journal, tmp_path: Path
) -> None:
    publish(tmp_path, "first", "0.2.0", [1])
    made = take_up(Street([home(1)]), journal, tmp_path)
    await made._look()
    made._config = made._config.model_copy(update={"start": "ordered"})
    later = publish(tmp_path, "later", "0.3.0", [1])
    await made._look()
    assert states(journal) == {"first.pbal": "running", "later.pbal": "waiting"}
    assert made.active is not None
    assert made.active.row.file == "first.pbal"
    store.set_wish(journal, later.digest.hex(), "resume")
    await made._look()
    assert states(journal) == {"first.pbal": "superseded", "later.pbal": "running"}
