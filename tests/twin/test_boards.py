"""Every board file boots in the twin with the firmware made for it, measures, and switches."""

import asyncio

import node_heap
import numpy as np
import pytest
from twin_rig import FAST, Poller, until

from pbal_sim.boards import board_names
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig

WATTS = 2300.0


@pytest.mark.twin
@pytest.mark.parametrize("board", board_names())
async def test_a_board_measures_and_switches(board: str) -> None:
    loads = TableLoads(np.full((1, 1), WATTS), 60.0, ["home"])
    # The converter of a real chip: 1 % of its range of noise, and a curve of 8 mV.
    config = StreetConfig(
        homes=1, board=board, loads=loads, node_settings=FAST, adc_noise_mv=12, adc_curve_mv=8
    )
    async with Street(config) as street:
        poller = Poller(street)
        try:
            home = street.homes[0]
            phase = await poller.ready(0)
            await until(lambda: home.meter.reading.i > 5, "the load flows")
            await asyncio.sleep(3)  # the converter's bias is learnt
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
            assert (await poller.ask_health(0)).heap_free > 0
            report = street.report()
            assert report["incidents"] == {}
            assert report["node_starts"] == 1, home.chip.log()
            assert report["node_heap_peak_bytes"] <= node_heap.USED_BYTES
        finally:
            poller.close()
