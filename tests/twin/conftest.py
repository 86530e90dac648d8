"""One street for the whole folder: real firmware on seven homes, no controller."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from rigs.twin import FAST, Poller

from pbal_sim.loads import TableLoads
from pbal_sim.street import Street, StreetConfig

HOMES = 7
FIXED_HOME = 6  # marked in its identity, as provisioning marks it (S10)


def quiet_loads(watts: float = 800.0, homes: int = HOMES) -> TableLoads:
    """The same load for every home, all the time; tests change `watts[0, home]`."""
    return TableLoads(np.full((1, homes), watts), 60.0, [f"home_{i}" for i in range(homes)])


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def street() -> AsyncIterator[Street]:
    """Homes on phases A, B, C, A, B, C, A with quick settings; the last one is fixed."""
    config = StreetConfig(
        homes=HOMES,
        loads=quiet_loads(),
        node_settings=dict(FAST),
        start_phases="even",
        fixed=frozenset({FIXED_HOME}),
    )
    async with Street(config) as running:
        yield running
        # Whatever a test did: nothing unsafe may have happened that it did not expect.
        assert running.witness.report()["incidents"].get("short-circuit", 0) == 0


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def poller(street: Street) -> AsyncIterator[Poller]:
    """Speaks to the homes of the street."""
    running = Poller(street)
    yield running
    running.close()


@pytest.fixture
def watts(street: Street) -> np.ndarray:
    """The loads table's only row, to write to."""
    assert isinstance(street.loads, TableLoads)
    return street.loads.watts[0]
