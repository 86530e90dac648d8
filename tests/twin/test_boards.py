"""Every board file boots in the twin with the firmware made for it, measures, and switches."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from rigs import node_heap
from rigs.twin import FAST, Poller, until

from pbal_build import board_names
from pbal_sim import figures
from pbal_sim.hal import hwmap
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig

WATTS = 2300.0
STAYS = {"arduino-nano-esp32"}  # latching relays


async def after_a_reset(street: Street, poller: Poller, phase: int) -> float:
    """Resets the chip under load; seconds from the reset until the node tells that it is closed."""
    home = street.homes[0]
    start = time.monotonic()
    before = len(street.witness.closings)
    await street.reset(0)
    dark = 0.0
    while True:
        reading = await poller.telemetry(0)
        if reading.phase:
            break
        assert reading.state != 2, "closed, and on no phase"
        dark = time.monotonic() - start
        assert dark < 15, reading
        await asyncio.sleep(0.02)
    assert (reading.phase, reading.state) == (phase, 2)
    assert home.contacts.closed == [phase - 1]
    closings = street.witness.closings[before:]
    if street.config.board in STAYS:
        assert closings == [], "a contact moved"
    else:
        assert [c[1] for c in closings] == [phase - 1]
        print(f"dark for {closings[0][2] / 1e6 - start:.2f} s after a reset")
    return time.monotonic() - start


@pytest.mark.twin
@pytest.mark.long
async def test_latching_contacts_through_transfers_that_are_cut() -> None:
    """The chip dies at the first reset coil, at the last, at the set coil, after its pulse: all off
    and the old phase, or the new one adopted where it stayed; never two.
    """
    loads = TableLoads(np.full((1, 1), WATTS), 60.0, ["home"])
    config = StreetConfig(homes=1, board="arduino-nano-esp32", loads=loads, node_settings=FAST)
    async with Street(config) as street:
        poller = Poller(street)
        try:
            home = street.homes[0]
            for change in (1, 3, 7, 8):
                phase = await poller.ready(0)
                poller.events[0].clear()
                home.cut_seen.clear()
                home.chip.cut_at(hwmap.CUT_PIN_DONE, change)
                order = poller.command(phase, phase % 3 + 1)
                await poller.poll(0, order, tries=1)
                await asyncio.wait_for(home.cut_seen.wait(), 10)
                await street.power_off(0)
                await street.power_on(0)
                back = await poller.ready(0)
                assert home.contacts.closed == [back - 1]
                result = await poller.outcome(0, order.command_id)
                assert (result.outcome, result.reason) == (4, 14), result  # FAILED, INTERRUPTED
                assert any(e.code == 5 for e in poller.events[0])  # TRANSFER_INTERRUPTED
                assert back == phase
            kinds = {i.kind for i in street.witness.incidents}
            assert not kinds & {"short-circuit", "two-driven", "closed-out-of-band"}, kinds
        finally:
            poller.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pollers() -> AsyncIterator[dict[str, Poller]]:
    """A street of one home for each board: they start, and measure for a while, side by side."""
    made: dict[str, Poller] = {}
    async with contextlib.AsyncExitStack() as stack:

        async def begin(board: str) -> None:
            loads = TableLoads(np.full((1, 1), WATTS), 60.0, ["home"])
            # The converter of a real chip: 1 % of its range of noise, and a curve of 8 mV.
            config = StreetConfig(
                homes=1, board=board, loads=loads, node_settings=FAST, adc_noise_mv=12,
                adc_curve_mv=8,
            )  # fmt: skip
            street = await stack.enter_async_context(Street(config))
            made[board] = poller = Poller(street)
            stack.callback(poller.close)
            await poller.ready(0)
            await until(lambda: street.homes[0].meter.reading.i > 5, "the load flows")

        async with asyncio.TaskGroup() as group:
            for board in board_names():
                group.create_task(begin(board))
        await asyncio.sleep(3)  # the converters' biases are learnt
        yield made


@pytest.mark.twin
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("board", board_names())
async def test_a_board_measures_and_switches(pollers: dict[str, Poller], board: str) -> None:
    poller = pollers[board]
    street = poller.street
    home = street.homes[0]
    phase = await poller.ready(0)
    reading = await poller.telemetry(0)
    v = abs(street.mains.v_home[0])
    assert reading.vout_v == pytest.approx(v, rel=0.02)
    assert reading.p_w == pytest.approx(WATTS, rel=0.05)
    assert reading.freq_hz == pytest.approx(50.0, abs=0.2)
    to = phase % 3 + 1
    result = await poller.switch(0, phase, to)
    assert result.outcome == 2, result  # DONE
    assert home.contacts.closed == [to - 1]
    assert 0 < result.transfer_ms < 1500
    told_s = await after_a_reset(street, poller, to)
    assert told_s < 6  # with 5 s of good voltage it would be more
    assert (await poller.ask_health(0)).heap_free > 0
    report = figures.report(street)
    used = report["node_heap_peak_bytes"]
    print(f"{board}: proven {told_s:.2f} s after a reset; {used} B of heap")
    assert report["incidents"] == {}
    assert report["node_starts"] == 2, home.chip.log()
    assert report["node_heap_peak_bytes"] <= node_heap.USED_BYTES
