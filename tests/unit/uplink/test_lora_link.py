"""A site's link to its gateway: nothing lost, nothing double, nothing that HQ did not sign."""

from __future__ import annotations

import asyncio
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rigs.loralink import (
    HQ_KEY,
    RADIO,
    ROOT,
    SITE,
    START_S,
    Ether,
    FakeRadio,
    Hq,
    a_gateway,
    a_site,
    beat,
    command,
    ether,
    fill,
    going,
    switch,
    until,
)
from rigs.uplink import a_state, opened

from pbal_controller.errors import BearerError
from pbal_controller.journal import AsyncJournal, Journal, Vault, lift_numbers
from pbal_controller.standing import Mode
from pbal_controller.uplink import airlink, outbox, relay
from pbal_controller.uplink.node import Intents
from pbal_controller.uplink.sealed import End, SealedLink
from pbal_protocol.errors import RemoteError
from pbal_uplink import Event, Summary, names, signing

__all__ = ["ether"]


@pytest.mark.parametrize("loss", [0.0, 0.4])
async def test_all_arrives_once_and_leaves_the_outbox_when_hq_has_it(tmp_path, ether, loss):
    ether.loss = loss
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    await fill(near, 9)
    await switch(near)
    gateway, (site, *_) = a_gateway(far), a_site(near)
    hq = Hq(gateway)
    left = []

    async def watch():
        while True:
            left.append(await near.call(outbox.backlog))
            await asyncio.sleep(0.05)

    async with going(gateway.run(beat), site.run(beat), hq.run(), watch()):
        await until(lambda: left and left[-1] == 0)
        assert site.born
    starts = [m.start_s for m in hq.store.values() if isinstance(m, Summary)]
    assert sorted(starts) == [START_S + 300 * n for n in range(9)]
    (event,) = [m for m in hq.store.values() if isinstance(m, Event)]
    assert event.event_id == 77
    assert ("long " * 39).startswith(event.detail)
    assert hq.states[-1].name == "Mill"
    assert hq.kinds[0] == "DBIRTH"
    assert hq.seqs == [n % 256 for n in range(1, len(hq.seqs) + 1)]
    assert await far.call(relay.backlog) == 0
    for each in (far, near):
        await each.close()


@pytest.mark.parametrize("room", [44, 12])
async def test_what_does_not_fit_the_gateways_frames_holds_up_nothing(tmp_path, ether, room):
    """44: ten tokens need 82 bytes, so fewer go at once. 12: an order has too many parts."""
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    await fill(near, 12)
    gateway, (site, restraint, _) = a_gateway(far), a_site(near)
    gateway._air.room = room
    hq = Hq(gateway)
    sealed = signing.seal(command(), HQ_KEY)
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await gateway.take(Intents(commands=[sealed], device="7"))
        await until(lambda: site.as_dict()["acknowledged"] >= 12)
        if room == 44:
            await until(lambda: restraint.mode is Mode.HOLD)
    assert len(hq.store) >= 12
    assert (restraint.mode is Mode.HOLD) == (room == 44)
    for each in (far, near):
        await each.close()


async def test_what_hq_has_not_stored_stays_at_the_site_over_any_restart(tmp_path, ether):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    await fill(near, 5)
    for _ in range(3):  # both start again and again, HQ takes and says nothing
        gateway, (site, *_) = a_gateway(far), a_site(near)
        hq = Hq(gateway, silent=True)
        async with going(gateway.run(beat), site.run(beat), hq.run()):
            await until(lambda hq=hq: len(hq.store) == 5)
        assert await near.call(outbox.backlog) == 5
        assert await far.call(relay.backlog) == 5
    gateway, (site, *_) = a_gateway(far), a_site(near)
    hq = Hq(gateway)
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await until(lambda: site.as_dict()["acknowledged"] == 5)
    assert await near.call(outbox.backlog) == 0
    counters = [int.from_bytes(f[3:7], "little") for f in ether.frames]
    seen = {(f[0], c) for f, c in zip(ether.frames, counters, strict=True)}
    assert len(seen) == len(ether.frames), "a counter was used twice"
    for each in (far, near):
        await each.close()


@pytest.mark.parametrize("loss", [0.0, 0.4])
async def test_a_command_reaches_the_site_and_is_answered_once(tmp_path, ether, loss):
    ether.loss = loss
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    gateway, (site, restraint, commands) = a_gateway(far), a_site(near)
    hq = Hq(gateway)
    answers = lambda: [m for m in hq.store.values() if isinstance(m, Event)]  # noqa: E731
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await until(lambda: site.born)
        for _ in range(3):  # HQ says it again until it is answered
            await hq.order(command())
        await until(answers)
        await until(lambda: not gateway.as_dict()["sites"][0]["orders"])
    (answer,) = answers()
    assert (answer.kind, answer.command_id) == (names.KIND_ANSWER, 5)
    assert answer.outcome == names.OUTCOME_DONE
    assert restraint.mode.value == "hold"
    assert commands.taken_total == 1
    assert await far.call(relay.commands, time.time()) == []
    for each in (far, near):
        await each.close()


async def test_neither_the_gateway_nor_anybody_on_the_air_can_order(tmp_path, ether):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    gateway, (site, restraint, commands) = a_gateway(far), a_site(near)
    hq = Hq(gateway)
    foreign = Ed25519PrivateKey.generate()
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await until(lambda: site.born)
        await hq.order(command(), key=foreign)
        await until(lambda: commands.refused_total)
        for frame in list(ether.frames):  # all that was said is said again
            for end in ether._ends:
                end.queue.put_nowait(frame)
        await until(lambda: site.foreign_total and gateway.foreign_total)
    assert commands.taken_total == 0
    assert restraint.mode.value == "run"
    for each in (far, near):
        await each.close()


async def test_a_site_with_another_key_is_not_heard(tmp_path, ether):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    await fill(near, 1)
    gateway, (site, *_) = a_gateway(far), a_site(near, root=bytes(32))
    hq = Hq(gateway)
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await until(lambda: gateway.foreign_total >= 3)
    assert hq.kinds == []
    assert not site.born
    for each in (far, near):
        await each.close()


async def test_a_command_waits_at_the_gateway_over_its_restart(tmp_path, ether):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    gateway = a_gateway(far)
    await Hq(gateway).order(command(names.COMMAND_READING))
    gateway, (site, *_) = a_gateway(far), a_site(near)
    hq = Hq(gateway)
    read = lambda: [m for m in hq.store.values() if isinstance(m, Summary)]  # noqa: E731
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await until(read)
        await until(lambda: any(isinstance(m, Event) for m in hq.store.values()))
    assert read()[0].start_s == START_S + 999 * 60
    for each in (far, near):
        await each.close()


async def test_a_silent_site_dies_and_is_born_again(tmp_path, ether):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    gateway = a_gateway(far)
    gateway._config = gateway._config.model_copy(update={"silent_s": 0.5})
    hq = Hq(gateway)
    async with going(gateway.run(beat), hq.run()):
        async with going(a_site(near)[0].run(beat)):
            await until(lambda: "DBIRTH" in hq.kinds)
        await until(lambda: hq.kinds[-1] == "DDEATH")
        async with going(a_site(near)[0].run(beat)):
            await until(lambda: hq.kinds.count("DBIRTH") == 2)
    for each in (far, near):
        await each.close()


async def test_a_full_gateway_leaves_messages_at_the_site(tmp_path, ether):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    await fill(near, 20)
    gateway, (site, *_) = a_gateway(far), a_site(near, resend_s=600)
    gateway._config = gateway._config.model_copy(update={"max_waiting": 12})
    hq = Hq(gateway, silent=True)
    async with going(gateway.run(beat), site.run(beat), hq.run()):
        await until(lambda: gateway.refused_total >= 2)
    assert await far.call(relay.backlog) == 12
    assert await near.call(outbox.backlog) == 20
    for each in (far, near):
        await each.close()


async def test_a_restored_journal_repeats_no_counter(tmp_path):
    journal = await opened(tmp_path / "s.db")
    await journal.call(Journal.back_up, tmp_path / "copy.db")
    used = []
    for path in (None, "copy.db"):
        if path:
            journal = await opened(tmp_path / path)
            await journal.call(lift_numbers, time.time())  # as `pbal backup restore` does
        end = SealedLink(journal, SITE, ROOT, End.SITE)
        await end.restore()
        used += [(await end.seal(b"x"))[0] for _ in range(300)]
        await journal.close()
    assert len(set(used)) == 600


async def test_a_frame_counts_once_also_after_a_restart(tmp_path):
    far, near = await opened(tmp_path / "g.db"), await opened(tmp_path / "s.db")
    site = SealedLink(near, SITE, ROOT, End.SITE)
    _, frame = await site.seal(b"x")
    for n in range(2):
        gateway = SealedLink(far, SITE, ROOT, End.GATEWAY)
        await gateway.restore()
        if n == 0:
            assert (await gateway.open(frame))[1] == b"x"
        with pytest.raises(RemoteError):
            await gateway.open(frame)
    for each in (far, near):
        await each.close()


async def test_the_airtime_of_the_latest_hour_is_remembered(tmp_path, monkeypatch):
    """1 % of EU868 is 36 s an hour, also for a site that starts again and again."""
    ether = Ether()
    monkeypatch.setattr(airlink, "radio_of", ether.radio)
    journal = await opened(tmp_path / "s.db")
    sent_us = 0
    for _ in range(5):
        air = airlink.Airlink(RADIO, journal, "link", time.time, gateway=False)
        await air.open()
        for _ in range(40):
            if air.wait_s(air.room):
                break
            await air.send(bytes(air.room + airlink.OVERHEAD))
        sent_us += air.airtime_us
        await air.close()
    assert 30e6 < sent_us <= 36e6
    await journal.close()


async def test_a_radio_that_fails_is_opened_again(tmp_path, ether, monkeypatch):
    monkeypatch.setattr("pbal_controller.uplink.airlink._OPEN_S", (0.05, 0.1))
    near = await opened(tmp_path / "s.db")
    tries = []

    class Broken(FakeRadio):
        async def start(self):
            tries.append(1)
            raise BearerError("no radio answers")

    monkeypatch.setattr(airlink, "radio_of", lambda config: Broken(ether))
    site, *_ = a_site(near)
    async with going(site.run(beat)):
        await until(lambda: len(tries) >= 3)
        assert site.as_dict()["why"] == "no radio answers"
    await near.close()


async def test_what_the_gateway_holds_is_sealed_on_its_disk(tmp_path):
    path = tmp_path / "g.db"
    journal = AsyncJournal(path, time.time, Vault(bytes(32)))
    await journal.open()
    made = Summary(site=SITE, start_s=START_S, length_s=300)
    state, order = a_state(1, 2), command()
    sealed = signing.seal(order, HQ_KEY)
    assert await journal.call(relay.hold, made, False, 100) == (True, False)
    await journal.call(relay.keep_state, state)
    await journal.call(relay.keep_command, order, sealed)
    (held,) = await journal.call(relay.waiting, 0, 10)
    assert held.message() == made
    assert await journal.call(relay.states) == {SITE: state.encode()}
    (kept,) = await journal.call(relay.commands, time.time())
    assert kept[3] == sealed
    await journal.close()
    on_disk = b"".join(p.read_bytes() for p in tmp_path.glob("g.db*"))
    for clear in (made.encode(), state.encode(), sealed, order.detail.encode()):
        assert clear not in on_disk
