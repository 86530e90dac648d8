"""`pbal commission` over LoRa: real firmware, emulated radios, the controller's driver over SPI.

One village for all, in the order of a crew's day: heard, surveyed, watched, tested, reported. What
a test needs of the ones before it is made by a fixture where it is not there.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from rigs import needs
from rigs.aircommission import FAR, LATE, OTHER_KEY, Village, second_pi, village
from rigs.twin import until

from pbal_sim.placing import HUB
from pbal_tools.errors import ExitCode

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"), pytest.mark.twin, pytest.mark.long,
    pytest.mark.timeout(900), pytest.mark.keeps_processes,
]  # fmt: skip
AGREED = {"transfer": {"consent": True}, "report": {"crew": "A. Tester"}}
GOOD = 2  # homes that commission well


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig() -> AsyncIterator[Village]:
    needs.require_module("adafruit_rfm9x", "pi")
    async with village() as made:
        yield made
        assert made.street.witness.report()["incidents"].get("short-circuit", 0) == 0


async def only_good(rig: Village) -> None:
    """A site file of the homes that can be heard; who has another key is off: to the scan it is
    a home that is missing there, whenever one of its frames comes.
    """
    rig.write_site(homes=GOOD)
    await rig.street.power_off(OTHER_KEY)


@pytest_asyncio.fixture(loop_scope="module")
async def measured(rig: Village) -> Village:
    """The homes that can be heard are in the site file, and their phases on record."""
    record = rig.folder / "record" / "commission.json"
    steps = json.loads(record.read_text())["steps"] if record.exists() else {}
    if not steps.get("phases", {}).get("ok"):
        await only_good(rig)
        done = await rig.run(
            "--again", "scan", "--until", "phases", "--watch", "120", "--every", "0.4"
        )
        assert done.code == 0, done.err + done.out
    return rig


def told_by(rig: Village, home: int) -> str:
    """What a home's chip printed, for a failure's message."""
    return rig.street.homes[home].chip.log()[-2000:]


async def test_homes_join_late_or_not_at_all_and_each_is_named(rig: Village) -> None:
    """One is put on while the crew listens, one holds another key, one is out of reach."""
    await rig.street.power_off(LATE)

    async def later() -> None:
        await asyncio.sleep(20)
        await rig.street.power_on(LATE)

    late = asyncio.create_task(later())
    done = await rig.run("--until", "scan", "--listen", "90", "--json")
    await late
    assert done.code == ExitCode.CHECK_FAILED, done.err
    found = done.json["steps"]["scan"]
    assert found["absent"] == [FAR + 1], done.err + told_by(rig, LATE)
    assert [n["address"] for n in found["heard"]] == [1, LATE + 1], found
    assert [n["eui"] for n in found["heard"]] == [n.eui for n in rig.street.identities[:GOOD]]
    assert found["other_key"] == [OTHER_KEY + 1], found
    assert "heard with another key: 3" in done.err
    assert "not heard: 4" in done.err


async def test_the_survey_and_the_phases_are_measured_over_the_radio(rig: Village) -> None:
    await only_good(rig)
    air = rig.street.air
    begun_us = air.now_us
    running = asyncio.create_task(
        rig.run(
            "--again", "scan", "--until", "phases", "--watch", "120", "--every", "0.4", "--json"
        )
    )
    # Meanwhile somebody tries the same from another computer: the site's beacons are on the air.
    await until(
        lambda: any(t.source == HUB and t.start_us > begun_us for t in air.sent), "a beacon", 60.0
    )
    async with second_pi(rig) as other:
        second = await rig.pbal(
            *rig.command("--folder", "second", "--until", "scan"), **other.environment()
        )
    done = await running
    assert second.code == ExitCode.REFUSED, second.err
    assert "sends beacons on the radio village" in second.err
    assert done.code == 0, done.err + done.out
    told = {int(a): home["phases"] for a, home in done.json["homes"].items()}
    truth = ["ABC"[home.contacts.phase] for home in rig.street.homes[:GOOD]]
    assert [told[a]["real_phase"] for a in (1, 2)] == truth
    assert [told[a]["pairing"] for a in (1, 2)] == ["ABC", "ABC"]
    links = done.json["survey"]["homes"]
    assert [link["verdict"] for link in links] == ["good", "good"]
    # The farther one is heard less well.
    assert links[0]["rssi_dbm"] > links[1]["rssi_dbm"]
    assert (rig.folder / "record" / "survey.png").read_bytes().startswith(b"\x89PNG")


async def test_ctrl_c_in_the_middle_of_a_transfer_leaves_nothing_half_done(
    measured: Village,
) -> None:
    rig = measured
    (rig.folder / "answers.json").write_text(json.dumps(AGREED))
    assert rig.street.hub is not None
    before = len(rig.street.witness.transfers)
    process = await asyncio.create_subprocess_exec(
        needs.require_tool("pbal"), *rig.command("--until", "transfer"), cwd=rig.folder,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "HOME": str(rig.folder), **rig.street.hub.environment()},
    )  # fmt: skip
    ended = asyncio.create_task(process.wait())
    await until(
        lambda: ended.done() or len(rig.street.witness.transfers) > before, "a transfer", 120.0
    )
    if not ended.done():
        process.send_signal(signal.SIGINT)
    said, _ = await asyncio.wait_for(process.communicate(), 90.0)
    assert process.returncode == ExitCode.INTERRUPTED, said
    left = json.loads((rig.folder / "record" / "commission.json").read_text())
    assert left["restore"] == {}, said


async def test_transfers_and_a_signed_report_with_the_site_as_measured(measured: Village) -> None:
    rig = measured
    done = await rig.run("--json", answers=AGREED)
    assert done.code == 0, done.err + told_by(rig, 0) + done.out
    for home in done.json["homes"].values():
        moves = home["transfer"]["moves"]
        assert [m["outcome"] for m in moves] == ["done"] * 3, moves
        assert all(m["follows"] for m in moves), moves
        assert home["transfer"]["dwell_s"] == home["transfer"]["dwell_after_s"] == 900
    report = Path(done.json["steps"]["report"]["folder"])
    assert (rig.folder / report / "report.html").read_text().count("The radio") == 1
    verified = await rig.pbal("commission", "verify", str(report), "--keys", "keys.json")
    assert verified.code == 0, verified.err
    # The crew's file with what was measured, ready for the controller.
    shown = await rig.pbal("site", "show", "record/site.toml", "--json")
    homes = shown.json["home"]
    assert [home["phase"] for home in homes] == [
        "ABC"[home.contacts.phase] for home in rig.street.homes[:GOOD]
    ]
    assert [home["eui"] for home in homes] == [n.eui for n in rig.street.identities[:GOOD]]
    config = await rig.pbal("site", "controller", "record/site.toml", "--out", "pbal.toml")
    assert config.code == 0, config.err
    made = tomllib.loads((rig.folder / "pbal.toml").read_text())
    assert made["radio"]["village"]["region"] == "IN865"
