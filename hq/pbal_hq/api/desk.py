"""The objects that every route uses: the database, the keys, the clock, the counts of tries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pbal_hq.auth import Keyring, Tries
from pbal_hq.commands import Signer
from pbal_hq.config import AlarmsConfig, PortalConfig
from pbal_hq.database import Connection, Database, autocommit
from pbal_hq.reports import CourseSource, Source

if TYPE_CHECKING:
    from pbal_hq.auth.oidc import Provider


class Answering(Source, CourseSource, Protocol):
    """Who answers reports and trends in the place of the store."""


@dataclass
class Desk:
    """One object for the whole portal."""

    database: Database
    keys: Keyring
    signer: Signer
    config: PortalConfig
    alarms: AlarmsConfig = field(default_factory=AlarmsConfig)
    wall: Callable[[], float] = time.time
    # Logins: ten at once and one each half minute for a name, more for an address, which a whole
    # office may share.
    tries_of_name: Tries = field(default_factory=lambda: Tries(10, 30.0))
    tries_of_address: Tries = field(default_factory=lambda: Tries(30, 2.0))

    # Calls of the API by one user: 600 at once, then ten a second.
    calls: Tries = field(default_factory=lambda: Tries(600, 0.1))
    provider: Provider | None = None
    # Who answers reports and trends before the store.
    reported_by: Answering | None = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection in autocommit: transactions are explicit, and a refusal's entry in the audit
        log stays although the request fails."""
        async with autocommit(self.database) as conn:
            yield conn

    def count_try(self, name: str, address: str) -> None:
        """A login is tried. Raises TooMany."""
        now_s = self.wall()
        self.tries_of_address.take(address, now_s)
        self.tries_of_name.take(name, now_s)
