"""What the roles of a process share: the bus and the pool of connections."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from pbal_hq.bus import Bus, FileBus
from pbal_hq.ca import Pki
from pbal_hq.config import Config
from pbal_hq.database import Database, pool, ready


class Hq:
    """Bus and database, each once it is open."""

    def __init__(
        self, config: Config, bus: Bus | None = None, database: Database | None = None
    ) -> None:
        self.config = config
        #: None: not open (yet).
        self.open_bus, self.open_database = bus, database

    @property
    def bus(self) -> Bus:
        """For roles, which begin when it is open."""
        assert self.open_bus is not None, "the bus is not open"
        return self.open_bus

    @property
    def database(self) -> Database:
        """For roles, which begin when it is open."""
        assert self.open_database is not None, "the database is not open"
        return self.open_database

    @property
    def pki(self) -> Pki:
        """The authority's files."""
        return Pki(self.config.data / "pki")


@contextlib.asynccontextmanager
async def opened(config: Config) -> AsyncIterator[Hq]:
    """Bus and pool, open. Raises BusError, ConfigError."""
    async with bus_of(config) as bus, pool(config.database) as database:
        yield Hq(config, bus, database)


def bus_of(config: Config) -> AbstractAsyncContextManager[Bus]:
    """The bus that the configuration asks for. Raises ConfigError."""
    if config.bus.kind == "file":
        return FileBus(config.data / "bus" / "bus.db", min_free_mb=config.bus.min_free_mb)
    from pbal_hq import kafkabus  # Kafka's client is installed only where it is used

    return kafkabus.opened(config)


async def open_database(hq: Hq, stack: AsyncExitStack) -> None:
    """Ask for the database, and have its pool. Raises DatabaseAway, DatabaseError."""
    await ready(hq.config.database)
    hq.open_database = await stack.enter_async_context(pool(hq.config.database))


class Opening:
    """Asks for the bus, again and again by the same client, and opens it."""

    def __init__(self, hq: Hq, stack: AsyncExitStack) -> None:
        self._hq, self._stack = hq, stack
        self._bus: AbstractAsyncContextManager[Bus] | None = None

    async def __call__(self) -> None:
        """Once. Raises BusAway, BusError, ConfigError."""
        if self._bus is None:
            self._bus = bus_of(self._hq.config)
        self._hq.open_bus = await self._stack.enter_async_context(self._bus)
