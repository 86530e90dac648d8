"""The lease between two controllers of one site, the copy that is handed over, and the link."""

import asyncio
import base64
import itertools
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller import onsite
from pbal_controller.config import Config, StandbyConfig
from pbal_controller.errors import KeyStoreError
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.journal.numbers import LANE, Numbers, in_lane
from pbal_controller.keys import KeyStore
from pbal_controller.standby import Lease, LeaseLost, Member, Role, ask_to_take
from pbal_controller.standby import copy as copying
from pbal_controller.standby import link as linking
from pbal_controller.standby import member as members
from pbal_controller.standing import Standing
from pbal_controller.standing import store as standing_store

from .conftest import full

TAKE_S = 6.0
PASSPHRASE = b"a passphrase for tests"


class Line:
    """A bus that two leases hear, with its own clock. A cut line carries nothing to the other."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.cut = False
        self.sent: list[tuple[float, str]] = []
        draws = iter([0.1, 0.25, 0.17, 0.4, 0.3] * 100_000)
        self.leases = {
            name: Lease(["bus"], TAKE_S, second=name == "b", clock=lambda: self.now,
                        draw=lambda low, high: low + next(draws) * (high - low))
            for name in "ab"
        }  # fmt: skip
        self.frozen: set[str] = set()
        self.fit = {"a", "b"}
        for lease in self.leases.values():
            lease.opened("bus")

    def write(self, name: str) -> bool:
        """Put something on the line, if the lease allows it."""
        if not self.leases[name].may_send():
            return False
        self.sent.append((self.now, name))
        if not self.cut:
            other = self.leases["b" if name == "a" else "a"]
            if other.role is not Role.LOST and not other.serving:
                other.heard("bus")
        return True

    def run(self, seconds: float, step: float = 0.05) -> None:
        """Let both live for so long; who serves polls at each step."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for name in "ab":
                if name in self.frozen:
                    continue
                lease = self.leases[name]
                lease.tick()
                if lease.role is Role.FOLLOW and name in self.fit and lease.silent_s >= TAKE_S:
                    lease.claim()
                if lease.role is Role.HOLD:
                    lease.serve()
                if lease.sign_due("bus") or lease.serving:
                    self.write(name)

    def serving(self) -> set[str]:
        """Who is at work and would still be allowed to send."""
        return {name for name, lease in self.leases.items() if lease.serving}


def test_one_of_two_takes_a_silent_bus_and_the_other_follows() -> None:
    line = Line()
    line.run(30)
    assert line.serving() == {"a"}
    assert line.leases["b"].role is Role.FOLLOW


def test_the_follower_takes_over_after_the_silence_and_not_before() -> None:
    line = Line()
    line.run(10)
    died = line.now
    line.frozen.add("a")
    line.run(TAKE_S * 1.5 - 0.2)
    assert line.serving() == {"a"}
    assert line.leases["b"].role is Role.FOLLOW
    line.run(3)
    assert line.leases["b"].serving
    first = min(at for at, name in line.sent if name == "b" and at > died)
    assert first - died >= TAKE_S * 1.5 - 0.1


def test_who_stood_still_sends_nothing_more() -> None:
    line = Line()
    line.run(10)
    line.frozen.add("a")
    line.run(20)
    assert line.leases["b"].serving
    # It wakes up in the middle of what it did: the very next write is refused.
    assert not line.write("a")
    assert line.leases["a"].role is Role.LOST
    line.frozen.clear()
    line.run(20)
    assert line.serving() == {"b"}
    assert not line.leases["a"].claim()


@pytest.mark.parametrize("pause_s", [0.5, 1.0, 2.0, 2.9, 3.1, 5.0, 8.9, 9.1, 12.0, 60.0])
def test_no_pause_of_the_one_at_work_lets_both_send(pause_s: float) -> None:
    line = Line()
    line.run(10)
    line.frozen.add("a")
    line.run(pause_s)
    line.frozen.clear()
    line.run(30)
    others = [(at, name) for at, name in line.sent if at > 1011]
    # Whoever sends after the other has sent again, has the line alone from then on.
    changes = sum(x[1] != y[1] for x, y in itertools.pairwise(others))
    assert changes <= 1
    assert len(line.serving()) <= 1


@pytest.mark.parametrize("step", [0.05, 0.11, 0.23])
def test_both_start_in_the_same_moment(step: float) -> None:
    line = Line()
    line.leases["b"].take_s = TAKE_S  # without the head start of the first
    line.run(60, step)
    assert len(line.serving()) == 1


def test_silence_counts_only_while_all_buses_are_heard() -> None:
    now = [0.0]
    lease = Lease(["x", "y"], TAKE_S, second=False, clock=lambda: now[0])
    lease.opened("x")
    for _ in range(200):
        now[0] += 0.1
        lease.tick()
    assert lease.silent_s < 1
    assert not lease.claim()
    lease.opened("y")
    for _ in range(70):
        now[0] += 0.1
        lease.tick()
    assert lease.claim()


def test_a_follower_that_stood_still_begins_to_listen_anew() -> None:
    now = [0.0]
    lease = Lease(["x"], TAKE_S, second=False, clock=lambda: now[0])
    lease.opened("x")
    lease.tick()
    now[0] = 30.0
    lease.tick()
    assert not lease.claim()


def test_a_sign_is_due_where_nothing_else_is_sent() -> None:
    line = Line()
    line.run(10)
    lease = line.leases["a"]
    assert lease.serving
    for _ in range(400):
        line.now += 0.05
        lease.tick()
        if lease.sign_due("bus"):
            line.write("a")
    assert lease.serving
    gaps = [y[0] - x[0] for x, y in zip(line.sent[-20:], line.sent[-19:], strict=False)]
    assert max(gaps) < lease.hold_s / 2


# -- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 64, LANE])
def test_two_lanes_never_meet(count: int) -> None:
    given: list[set[int]] = [set(), set()]
    now = 1_780_000_000.0
    for lane in (0, 1):
        for opening in range(6):
            numbers = Numbers(draw=opening * 999, lane=lane)
            stored = 0
            for _ in range(50):
                first = numbers.next("x", stored, now, count=count)
                given[lane].update(range(first, first + count))
                stored = first + count
    assert not given[0] & given[1]
    assert min(map(len, given)) > 50 * count / 2


def test_a_lane_goes_up_and_refuses_what_does_not_fit() -> None:
    for first in range(1, 2000, 7):
        for lane in (0, 1):
            found = in_lane(first, 100, lane)
            assert first <= found < first + 2 * LANE
            assert found // LANE % 2 == (found + 99) // LANE % 2 == lane
    with pytest.raises(ValueError, match="do not fit"):
        in_lane(1, LANE + 1, 0)


def test_every_program_keeps_to_the_journals_lane(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    Journal(path).use_lane(1)
    for _ in range(5):
        journal = Journal(path)
        assert journal.reserve(257, 2, "k", 1, 64) // LANE % 2 == 1
        assert journal.new_command(257, 1, 2, 0, 60, "", 0).id // LANE % 2 == 1
        journal.close()


# -- the copy --------------------------------------------------------------------------------


def filled(path: Path) -> Journal:
    """A journal of a controller that was at work."""
    journal = Journal(path)
    journal.use_lane(0)
    journal.reserve(257, 2, "k", 1, 256)
    journal.set_counter(257, 1, "k", 5000)
    journal.quarantine(258, "it lies")
    standing_store.stand_down(journal, "rival", "two of us")
    journal.new_command(257, 1, 2, 10, 70, "for balance", 3.5)
    journal.put_blob("planner", b"\x00memory")
    journal.put_blob("probe", b"")
    journal.set_meta("hq_restraint", '{"mode": "hold"}')
    journal.db.execute("INSERT INTO hq_commands VALUES ('7', 1.0, 'mode', 'done', '', x'00ff')")
    return journal


def test_what_is_copied_is_there_and_numbers_go_on_above(tmp_path: Path) -> None:
    theirs = filled(tmp_path / "a.db")
    text = copying.collect(theirs, 3, b"keys").model_dump_json()
    mine = Journal(tmp_path / "b.db")
    mine.use_lane(1)
    mine.quarantine(300, "our own")
    for _ in range(2):  # twice is as once
        copying.apply(mine, copying.Copy.model_validate_json(text))
    assert mine.quarantined() == {258: "it lies", 300: "our own"}
    assert standing_store.stood_down(mine) == {"rival": "two of us"}
    assert [row.address for row in mine.open_commands()] == [257]
    assert mine.get_blob("planner") == b"\x00memory"
    assert mine.get_blob("probe") is None
    assert mine.meta("hq_restraint") == '{"mode": "hold"}'
    assert mine.db.execute("SELECT id, body FROM hq_commands").fetchall() == [("7", b"\x00\xff")]
    assert mine.up_counters()[257] == ("k", 5000)
    assert mine.down_counters()[257][1] == theirs.down_counters()[257][1]
    old = theirs.open_commands()[0].id
    assert mine.new_command(257, 2, 3, 0, 60, "", 0).id > old
    assert mine.reserve(257, 2, "k", 1, 256) >= theirs.down_counters()[257][1]


def test_marks_never_fall(tmp_path: Path) -> None:
    theirs = filled(tmp_path / "a.db")
    copy = copying.collect(theirs, 1, b"")
    mine = Journal(tmp_path / "b.db")
    mine.set_counter(257, 1, "k", 9000)
    mine.set_meta("command_id", str(3_000_000_000))
    copying.apply(mine, copy)
    assert mine.up_counters()[257][1] == 9000
    assert mine.meta("command_id") == str(3_000_000_000)


# -- the link --------------------------------------------------------------------------------


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def state(member: str, **changes: Any) -> linking.State:
    """What a controller says of itself."""
    said = linking.State(
        site=7, member=member, version="1", role=Role.FOLLOW, serving=False, term=0,
        wall_s=1000.0,
    )  # fmt: skip
    return said.model_copy(update=changes)


EMPTY = copying.Copy(
    term=4, command_id=0, counters=[], quarantine=[], stand_down=[], orders=[], meta={}, blobs={},
    first_phases=[], hq_commands=[], keys="",
)  # fmt: skip


def link(config: StandbyConfig, key: Ed25519PrivateKey, said: linking.State) -> linking.Link:
    """One end."""

    async def give() -> copying.Copy:
        return EMPTY

    return linking.Link(config, key, lambda: said, give, wants_copy=lambda: True)


async def asked(
    theirs: linking.State, mine: linking.State, *, other_key: bool = False
) -> linking.Link:
    """What one end knows after it asked the other once."""
    port = free_port()
    key = Ed25519PrivateKey.generate()
    serves = link(StandbyConfig(member="a", peer="x:1", host="127.0.0.1", port=port), key, theirs)
    task = asyncio.create_task(serves.serve(lambda: None))
    await asyncio.sleep(0.3)
    mine_key = Ed25519PrivateKey.generate() if other_key else key
    asks = link(StandbyConfig(member="b", peer=f"127.0.0.1:{port}"), mine_key, mine)
    try:
        connector = aiohttp.TCPConnector(ssl=asks._client_tls)
        async with aiohttp.ClientSession(connector=connector) as http:
            await asks.once(http)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return asks


async def test_two_ends_with_one_key_store_understand_each_other() -> None:
    found = await asked(state("a", serving=True, role=Role.HOLD, wall_s=1010.0), state("b"))
    assert found.trouble == ""
    assert found.peer is not None
    assert found.peer.serving
    assert found.copy == EMPTY
    assert 9 < found.clock_off_s < 12


async def test_another_key_store_is_refused() -> None:
    found = await asked(state("a"), state("b"), other_key=True)
    assert found.peer is None
    assert "not this site's: copy keys.json" in found.trouble


@pytest.mark.parametrize(
    ("theirs", "text"), [({"site": 8}, "is of site 8"), ({"member": "b"}, 'one must be "a"')]
)
async def test_a_wrong_peer_is_named(theirs: dict[str, Any], text: str) -> None:
    found = await asked(state("a", serving=True, **theirs) if "site" in theirs
                        else state(theirs["member"], serving=True), state("b"))  # fmt: skip
    assert text in found.trouble
    assert found.copy is None


async def test_who_has_no_key_hears_nothing() -> None:
    port = free_port()
    key = Ed25519PrivateKey.generate()
    config = StandbyConfig(member="a", peer="x:1", host="127.0.0.1", port=port)
    task = asyncio.create_task(link(config, key, state("a")).serve(lambda: None))
    await asyncio.sleep(0.3)
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    try:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientError):
                async with http.get(f"https://127.0.0.1:{port}/copy", ssl=careless) as answer:
                    await answer.read()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# -- who may take over -----------------------------------------------------------------------


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
