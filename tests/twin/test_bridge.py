"""A campus in the twin: one home on the network carries the frames of its wired neighbours."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import numpy as np
import pytest
from rigs import node_heap
from rigs.badnetwork import BadNetwork
from rigs.twin import FAST

from pbal_sim import figures
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig

from .test_wifi import controller_of, until

pytestmark = [pytest.mark.twin, pytest.mark.timeout(300)]

BRIDGE = 0


async def test_wired_neighbours_are_read_and_moved_over_a_bridge(tmp_path: Path) -> None:
    loads = TableLoads(np.full((1, 4), 900.0), 60.0, ["bridge", "one", "two", "three"])
    async with BadNetwork(0, lose=0.05, twice=0.05) as network:
        config = StreetConfig(
            homes=4,
            loads=loads,
            node_settings=dict(FAST),
            start_phases=[0] * 4,
            wifi=frozenset({BRIDGE}),
            bridge=BRIDGE,
            controller=("127.0.0.1", network.port),
        )
        async with Street(config) as street:
            c = controller_of(street, tmp_path, wired="wifi")
            task = asyncio.create_task(c.run())
            try:
                await until(lambda: c.ready.is_set() or task.done())
                bearer = c.bearers["wifi"]
                await until(lambda: bearer.up)
                network.controller = bearer.port
                homes = list(c.fleet)
                await until(lambda: all(home.alive for home in homes))
                # One place for all: the bridge's.
                assert len(set(bearer.places.values())) == 1
                for home, to in ((homes[2], 2), (homes[BRIDGE], 3), (homes[3], 3)):
                    await until(lambda h=home: not h.immovable(c.now()))
                    confirmed = c.dispatcher.finished_total["confirmed"]
                    assert await c.dispatcher.order(home, to, "a test", 1.0)
                    await until(lambda n=confirmed: c.dispatcher.finished_total["confirmed"] > n)
                assert [t.home for t in street.witness.transfers] == [2, BRIDGE, 3]
                # It dies: its neighbours are silent and hold their phases (S7).
                phases = [home.contacts.phase for home in street.homes]
                await street.power_off(BRIDGE)
                await until(lambda: not any(home.alive for home in homes))
                assert [home.contacts.phase for home in street.homes][1:] == phases[1:]
                await street.power_on(BRIDGE)
                await until(lambda: all(home.alive for home in homes))
                assert [home.contacts.phase for home in street.homes][1:] == phases[1:]
                assert not c.standing.reported
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            assert street.witness.report()["incidents"] == {}
            report = figures.report(street)
            print(f"{report['node_heap_peak_bytes']} B of heap at most")
            assert report["node_heap_peak_bytes"] <= node_heap.USED_BYTES
