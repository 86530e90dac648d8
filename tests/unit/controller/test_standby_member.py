"""Two controllers of a site: who may take over, and what they are configured as."""

import base64
import time
from pathlib import Path
from typing import Any

import pytest

from pbal_controller import onsite
from pbal_controller.config import Config, StandbyConfig
from pbal_controller.errors import KeyStoreError
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.keys import KeyStore
from pbal_controller.standby import Lease, LeaseLost, Member, Role, ask_to_take
from pbal_controller.standby import copy as copying
from pbal_controller.standby import link as linking
from pbal_controller.standby import member as members
from pbal_controller.standing import Standing

from .conftest import full
from .peers import EMPTY, state

TAKE_S = 6.0
PASSPHRASE = b"a passphrase for tests"


@pytest.fixture
async def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Member b with a journal, a key store and a lease that hears silence."""
    keys = KeyStore.create(tmp_path / "keys.json", PASSPHRASE, 7)
    journal = AsyncJournal(tmp_path / "j.db")
    await journal.open()

    async def nothing(handed_over: bool) -> None:
        told.append(handed_over)

    told: list[bool] = []
    config = StandbyConfig(member="b", peer="127.0.0.1:1", port=0)
    made = Member(config, 7, ["bus"], keys, journal, Standing(), nothing)
    made.told = told  # type: ignore[attr-defined]
    now = [5000.0]
    made.lease = Lease(["bus"], TAKE_S, second=True, clock=lambda: now[0])
    made.lease.opened("bus")
    made.now = now  # type: ignore[attr-defined]
    for module in (members, linking):
        monkeypatch.setattr(module, "boot_time", lambda: now[0])
    await made.begin()
    yield made
    await journal.close()


async def silence(member: Any, seconds: float) -> None:
    """So much time passes on a silent bus."""
    for _ in range(int(seconds / 0.5)):
        member.now[0] += 0.5
        await member.step()
        if member.lease.sign_due("bus"):
            member.lease.may_send()


async def in_step(member: Any) -> None:
    """It has a copy of what the other did, up to now, with the same key store."""
    text = member._keys.path.read_bytes()
    member.link.copy = EMPTY.model_copy(update={"keys": base64.b64encode(text).decode()})
    await member._journal.call(Journal.set_meta, "standby_keys", copying.keys_digest(text))
    member._keys_known = copying.keys_digest(text)
    member.link.copy_at = member.now[0]


async def test_without_a_copy_nobody_takes_over(member: Any) -> None:
    await silence(member, 60)
    assert member.lease.role is Role.FOLLOW
    assert "has none" in member.as_dict()["why_not_ready"]
    assert not member.well
    assert member._standing.why_not(0.0)
    # A person takes the responsibility.
    await member._journal.call(ask_to_take)
    await silence(member, 3)
    assert member.lease.serving
    assert member.well
    assert not member._standing.why_not(0.0)


@pytest.mark.parametrize(("old_s", "takes"), [(5.0, True), (59.0, True), (62.0, False)])
async def test_a_copy_must_be_as_new_as_the_silence(member: Any, old_s: float, takes: bool) -> None:
    await in_step(member)
    member.link.copy_at -= old_s
    await silence(member, 15)
    assert member.lease.serving is takes
    if takes:
        assert member._term == 5
        assert member.told == [True]
        assert await member._journal.call(lambda j: j.meta("standby_latest")) == "1"


@pytest.mark.parametrize("knew_the_term", [False, True])
async def test_with_a_full_disk_it_does_not_claim(
    disk: Path, member: Any, knew_the_term: bool
) -> None:
    """A claim would keep the other one from the silence that it needs. With room it takes over."""
    await in_step(member)
    if knew_the_term:
        await silence(member, 4)
    await member._journal.call(lambda j: j.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    with full(disk):
        await silence(member, 60)
        assert member.lease.role is Role.FOLLOW
        assert "its journal failed" in member.as_dict()["why_not_ready"]
        assert not member.well
        assert member.lease.silent_s > 30
    await silence(member, 4)
    assert member.lease.serving
    assert member.well


async def test_a_disk_that_is_full_between_claim_and_traffic(disk: Path, member: Any) -> None:
    await in_step(member)
    while member.lease.role is Role.FOLLOW:
        await silence(member, 0.5)
    await member._journal.call(lambda j: j.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    with full(disk), pytest.raises(LeaseLost, match="journal failed"):
        await silence(member, 15)
    assert member.lease.role is Role.LOST
    assert not member.lease.may_send()
    assert member._standing.why_not(0.0)


@pytest.mark.parametrize("step_s", [-3.15e7, -3600.0, 3600.0, 3.15e7])
async def test_a_step_of_the_clock_makes_nobody_take_over(
    member: Any, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """Whoever follows goes on following, and whoever serves goes on serving: nothing here counts by
    the time of day."""
    await in_step(member)
    await silence(member, 4)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + step_s)
    for _ in range(20):
        member.lease.heard("bus")
        member.link.copy_at = member.now[0]
        await silence(member, 2)
    assert member.lease.role is Role.FOLLOW
    await silence(member, 15)
    assert member.lease.serving
    monkeypatch.setattr(time, "time", lambda: real() - step_s)
    for _ in range(20):
        await member.step()
        assert member.lease.may_send()
        member.now[0] += 1
    assert member.lease.serving


async def test_it_does_not_claim_while_the_other_says_it_is_at_work(member: Any) -> None:
    member._latest = True
    member.link.peer = state("a", serving=True, role=Role.HOLD)
    for _ in range(60):
        member.link.peer_at = member.now[0]
        await silence(member, 0.5)
    assert member.lease.role is Role.FOLLOW
    await silence(member, 8)
    assert member.lease.serving


async def test_the_later_of_two_at_work_goes_on(member: Any) -> None:
    member._latest = True
    await silence(member, 12)
    assert member.lease.serving
    assert member._term == 1
    member.link.peer_at = member.now[0]
    member.link.peer = state("a", serving=True, role=Role.HOLD, term=1)
    await member.step()
    assert member.lease.serving  # the same term: the letter decides
    member.link.peer = state("a", serving=True, role=Role.HOLD, term=2)
    with pytest.raises(LeaseLost, match="term 2"):
        await member.step()
    assert not member.lease.may_send()


async def test_key_stores_that_both_changed_are_left_alone(member: Any) -> None:
    before = member._keys.path.read_bytes()
    with pytest.raises(KeyStoreError, match="does not open here"):
        member._keys.replace(b"{}")
    await member._take_keys(b"another")
    assert "differ" in member.unfit()
    assert member._keys.path.read_bytes() == before


async def test_a_newer_key_store_is_taken_over(member: Any, tmp_path: Path) -> None:
    mine = member._keys.path.read_bytes()
    await member._take_keys(mine)
    other = tmp_path / "theirs.json"
    other.write_bytes(mine)
    theirs = KeyStore.open(other, PASSPHRASE)
    theirs.add(300, "a4cf12fffe000012")
    with pytest.raises(LeaseLost, match="key store"):
        await member._take_keys(other.read_bytes())
    member._keys.reload()
    assert member._keys.addresses() == [300]


def test_a_copy_that_is_damaged_is_no_copy() -> None:
    for text in ("", "{}", '{"term": -1}', EMPTY.model_dump_json().replace("4", '"x"', 1)):
        with pytest.raises(ValueError, match=r"validation error|Invalid JSON"):
            copying.Copy.model_validate_json(text)


# -- the configuration -----------------------------------------------------------------------

SITE: dict[str, Any] = {
    "site": {"id": 7},
    "bus": {"street": {"port": "/dev/ttyUSB0"}},
    "home": [{"address": 257, "bus": "street"}],
    "standby": {"member": "a", "peer": "pi-b.local:8490"},
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"bearer": {"x": {"kind": "null"}}}, "no RS-485 bus"),
        ({"planner": {"min_fresh_share": 0.5}}, "must be above 0.5"),
        ({"bus": {"street": {"port": "socket://pi:1"}}}, "needs a serial port"),
        ({"standby": {"member": "c", "peer": "x:1"}}, "member"),
        ({"standby": {"member": "a", "peer": "x"}}, "peer"),
        ({"standby": {"member": "a", "peer": "x:1", "take_s": 1}}, "take_s"),
    ],
)
def test_what_cannot_be_led_by_two_is_refused(changes: dict[str, Any], text: str) -> None:
    Config.model_validate(SITE)
    with pytest.raises(ValueError, match=text):
        Config.model_validate(SITE | changes)


def test_a_person_is_shown_how_the_two_stand() -> None:
    data = {"member": "b", "serving": False, "well": False, "why_not_ready": "it must know",
            "copy_age_s": None, "silent_s": 2.0, "peer": None, "trouble": "x:1 does not answer",
            "clocks_differ": True, "clock_off_s": 3.0, "peer_age_s": None}  # fmt: skip
    text = "\n".join(onsite._standby_lines(data))
    assert "could NOT take over: it must know; no copy yet" in text
    assert "no word of the other: x:1 does not answer" in text
    assert "differ by 3.0 s" in text
    peer = {"member": "a", "serving": True}
    data |= {"well": True, "copy_age_s": 1.0, "peer": peer, "peer_age_s": 1.0, "trouble": ""}
    text = "\n".join(onsite._standby_lines(data))
    assert "could take over; copy 1 s old" in text
    assert "the other, a: at work" in text
