"""Application updates end to end: real firmware takes releases, good and bad, into its flash."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rigs import ota as rig
from rigs.ota import Sender
from rigs.twin import Poller, until

from pbal_protocol import records as r
from pbal_sim.hal import hwmap
from pbal_sim.street import Street, StreetConfig

pytestmark = [pytest.mark.twin, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

HOMES = 5
V1, V2 = 0x000100, 0x000200
FAILED, DONE = r.EVENT_UPDATE_FAILED, r.EVENT_UPDATE_DONE


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def poller() -> AsyncIterator[Poller]:
    """A street whose nodes know the release key; each test has a home of its own."""
    config = StreetConfig(
        homes=HOMES,
        node_settings=dict(rig.FAST),
        files=rig.flash_files(trial_s=12),
        start_phases="even",
    )
    async with Street(config) as street:
        running = Poller(street)
        yield running
        running.close()
        assert street.witness.report()["incidents"].get("short-circuit", 0) == 0


def events(poller: Poller, home: int, code: int) -> list[tuple[int, int]]:
    """(arg0, arg1) of the events of one kind."""
    return [(e.arg0, e.arg1) for e in poller.events[home] if e.code == code]


async def told(poller: Poller, home: int, code: int) -> list[tuple[int, int]]:
    """Polls until an event of that kind came."""
    for _ in range(100):
        await poller.poll(home)
        if events(poller, home, code):
            break
        await asyncio.sleep(0.1)
    return events(poller, home, code)


async def test_a_good_update_proves_itself_and_stays(poller: Poller) -> None:
    street = poller.street
    await poller.ready(0)
    release = rig.good("0.2.0")
    sender = Sender(poller, 0, release)
    ready = await sender.until(r.STAGE_READY)
    assert ready.running == V1
    # All but the manifest and the version is copied on the node.
    assert sender.sent < len(release.manifest) + 500
    await sender.commit()
    good = await sender.until(r.STAGE_GOOD)
    assert (good.running, good.slot) == (V2, 1)
    assert await told(poller, 0, DONE) == [(V2, 1)]
    assert await poller.ready(0) in (1, 2, 3)
    await street.power_cut(0, 0.2)
    after = await rig.running(poller, 0)
    assert (after.running, after.slot, after.stage) == (V2, 1, r.STAGE_GOOD)
    older = Sender(poller, 0, rig.good("0.1.9"))
    refused = await older.until(r.STAGE_FAILED)
    assert refused.why == r.WHY_VERSION
    assert (await rig.running(poller, 0)).running == V2


@pytest.mark.long
async def test_what_is_not_signed_for_this_node_is_refused(poller: Poller) -> None:
    await poller.ready(1)
    starts = poller.street.homes[1].chip.starts
    good = rig.good()
    other_key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    flipped = dataclasses.replace(good, signature=good.signature[:-1] + b"\x00")
    in_a_digest = good.manifest[: good.manifest.index(b" pbal_node/metering/") - 30]
    at_a_folder = in_a_digest + good.manifest[len(in_a_digest) :].partition(b"/plain")[0]
    assert at_a_folder.endswith(b" pbal_node/metering")
    cases = [
        (rig.signed(good, other_key), r.WHY_SIGNATURE),
        (flipped, r.WHY_SIGNATURE),
        (rig.signed(dataclasses.replace(good, manifest=in_a_digest)), r.WHY_MANIFEST),
        (rig.signed(dataclasses.replace(good, manifest=at_a_folder)), r.WHY_MANIFEST),
        (rig.changed(lambda files: None, boards=(2, 3)), r.WHY_BOARD),
    ]
    for release, why in cases:
        sender = Sender(poller, 1, release)
        status = await sender.until(r.STAGE_FAILED)
        assert (status.why, status.running) == (why, V1)
    # A bit that flips on the way is caught by the file's hash, and said.
    sender = Sender(poller, 1, rig.changed(lambda f: f.update({"pbal_node/new.mpy": b"x" * 900})))
    at = sender.stream.index(b"x" * 900)
    sender.stream = sender.stream[: at + 5] + b"y" + sender.stream[at + 6 :]
    assert (await sender.until(r.STAGE_FAILED)).why == r.WHY_HASH
    told_of = {why for why, _ in await told(poller, 1, FAILED)}
    assert r.WHY_SIGNATURE in told_of
    assert poller.street.homes[1].chip.starts == starts
    assert poller.street.homes[1].contacts.phase >= 0


BAD = {
    "crashes": ("import machine\ndef main():\n    machine.reset()\n", r.WHY_CRASHED),
    "leads-nowhere": (
        "import asyncio, machine\n"
        "async def idle():\n"
        "    wdt = machine.WDT(timeout=15000)\n"
        "    while True:\n"
        "        wdt.feed()\n"
        "        await asyncio.sleep(1)\n"
        "def main():\n"
        "    asyncio.run(idle())\n",
        r.WHY_UNPROVEN,
    ),
}


@pytest.mark.parametrize("kind", ["crashes", pytest.param("leads-nowhere", marks=pytest.mark.long)])
async def test_a_bad_application_gives_way_to_the_old_one(
    poller: Poller, tmp_path: Path, kind: str
) -> None:
    home = 2
    text, why = BAD[kind]
    app = rig.module(tmp_path, text, "pbal_node/app.py")
    release = rig.changed(lambda files: files.update({"pbal_node/app.mpy": app}))
    await poller.ready(home)
    before = len(events(poller, home, FAILED))
    sender = Sender(poller, home, release)
    await sender.until(r.STAGE_READY)
    await sender.commit()
    status = await sender.until(r.STAGE_FAILED)
    assert (status.why, status.running, status.slot) == (why, V1, 0)
    for _ in range(50):
        await poller.poll(home)
        if len(events(poller, home, FAILED)) > before:
            break
        await asyncio.sleep(0.1)
    assert events(poller, home, FAILED)[-1] == (why, 1)
    assert await poller.ready(home) in (1, 2, 3)


CUTS = (1, 7, 300)  # flash operations after the first chunk; bench.ota_cuts takes them all


async def test_power_cuts_while_receiving_cost_little_and_break_nothing(poller: Poller) -> None:
    home, street = 3, poller.street
    await poller.ready(home)
    chip = street.homes[home].chip
    release = rig.changed(
        lambda files: files.update({"pbal_node/more.mpy": bytes(range(256)) * 20})
    )
    sender = Sender(poller, home, release)
    for n in CUTS:
        await sender.until(r.STAGE_RECEIVING, r.STAGE_READY)
        chip.cut_at(hwmap.CUT_FLASH, n)
        task = asyncio.create_task(sender.until(r.STAGE_READY))
        await until(lambda t=task: street.homes[home].cut_seen.is_set() or t.done(), "a cut")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if street.homes[home].cut_seen.is_set():
            await street.power_cut(home, 0.1)
            sender.status = None
            assert (await rig.running(poller, home)).running == V1
    await sender.until(r.STAGE_READY)
    assert sender.sent <= len(release.manifest) + 5120 + 500 + len(CUTS) * 1100


@pytest.mark.parametrize("n", [1, pytest.param(4, marks=pytest.mark.long)])
async def test_power_cuts_while_slots_are_switched_leave_one_that_runs(
    poller: Poller, n: int
) -> None:
    home, street = 4, poller.street
    await poller.ready(home)
    chip = street.homes[home].chip
    before = (await rig.running(poller, home)).running
    minor = (before >> 8 & 0xFF) + 1
    sender = Sender(poller, home, rig.good(f"0.{minor}.0"))
    await sender.until(r.STAGE_READY)
    chip.cut_at(hwmap.CUT_FLASH, n)
    # It comes while the trial is written down, or while the new application boots or confirms.
    task = asyncio.create_task(sender.commit())
    await until(street.homes[home].cut_seen.is_set, "a cut", 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await street.power_cut(home, 0.1)
    sender.status = None
    status = await sender.until(r.STAGE_READY, r.STAGE_TRIAL, r.STAGE_GOOD)
    if status.stage == r.STAGE_READY:
        await sender.commit()
    status = await sender.until(r.STAGE_GOOD)
    assert status.running == minor << 8
