"""Real firmware on a network that loses, repeats and reorders: homes are read, and moved once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rigs import node_heap
from rigs.badnetwork import BadNetwork
from rigs.twin import FAST

from pbal_controller.app import Controller
from pbal_controller.config import load
from pbal_sim import figures
from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig
from pbal_tools.controllersetup import ControllerSetup, NodeIdentity, create_keys, write_config

pytestmark = [pytest.mark.twin, pytest.mark.timeout(300)]

WIRED = 2
OPTIONS = {
    "http": {"enabled": False},
    "planner": {"enabled": False},
    "polling": {"dead_backoff_max_s": 2.0},
    "dispatch": {"confirm_s": 30.0},
    "bearer": {"wifi": {"kind": "udp", "host": "127.0.0.1", "port": 0}},
}


async def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.02)


def controller_of(street: Street, folder: Path, wired: str = "street") -> Controller:
    """A controller for the street, on its wires and its network."""
    c = street.config
    nodes = [
        NodeIdentity(n.address, n.name, n.eui, n.root, ("wifi" if i in c.wifi else wired,))
        for i, n in enumerate(street.identities)
    ]
    keys = create_keys(folder, c.site_id, street.identities[0].group, nodes)
    setup = ControllerSetup(folder, c.site_id, street.device, c.baud, nodes, OPTIONS)
    return Controller(load(write_config(setup), {}), keys)


async def test_homes_on_a_bad_network_are_read_and_moved_once(tmp_path: Path) -> None:
    loads = TableLoads(np.full((1, 3), 900.0), 60.0, ["one", "two", "three"])
    async with BadNetwork(0, lose=0.1, twice=0.1, late=0.2, late_s=0.1) as network:
        config = StreetConfig(
            homes=3,
            loads=loads,
            node_settings=dict(FAST),
            start_phases=[0, 0, 0],
            wifi=frozenset({0, 1}),
            controller=("127.0.0.1", network.port),
        )
        async with Street(config) as street:
            c = controller_of(street, tmp_path)
            task = asyncio.create_task(c.run())
            try:
                await until(lambda: c.ready.is_set() or task.done())
                bearer = c.bearers["wifi"]
                await until(lambda: bearer.up)
                network.controller = bearer.port
                homes = list(c.fleet)
                await until(lambda: all(home.alive for home in homes))
                await until(lambda: all(not home.immovable(c.now()) for home in homes))
                assert homes[0].reached_over("wifi")
                assert homes[WIRED].reached_over("street")
                # Both ways, one order each; the network loses, the journal does not.
                for home, to in ((homes[0], 2), (homes[WIRED], 3), (homes[0], 3)):
                    await until(lambda h=home: not h.immovable(c.now()))
                    confirmed = c.dispatcher.finished_total["confirmed"]
                    assert await c.dispatcher.order(home, to, "a test", 1.0)
                    await until(lambda n=confirmed: c.dispatcher.finished_total["confirmed"] > n)
                assert street.homes[0].contacts.phase == 2
                assert street.homes[WIRED].contacts.phase == 2
                assert network.lost > 5
                assert network.repeated > 5
                assert [t.home for t in street.witness.transfers] == [0, WIRED, 0]
                # Out of reach of its network: it holds its phase, and comes back by itself.
                street.homes[1].chip.wifi_in_reach(False)
                await until(lambda: not homes[1].alive)
                assert homes[0].alive
                assert street.homes[1].contacts.phase == 0
                street.homes[1].chip.wifi_in_reach(True)
                await until(lambda: homes[1].alive)
                # A router that gives everybody another port.
                network.move()
                read = [home.readings for home in homes]
                await until(
                    lambda: all(h.readings > n + 5 for h, n in zip(homes, read, strict=True))
                )
                assert not c.standing.reported
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            assert street.witness.report()["incidents"] == {}
            report = figures.report(street)
            assert report["node_heap_peak_bytes"] <= node_heap.USED_BYTES
            print(f"{report['node_heap_peak_bytes']} B of heap at most")
