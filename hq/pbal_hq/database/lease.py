"""One at a time: a role that several processes are there for runs where the lease is.

The holder renews it; one that is killed, hangs or lost its machine does not, and another process
takes it when it has run out. While the database is away the holder goes on: nobody can take it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable

import psycopg
from psycopg_pool import PoolTimeout

from pbal_host import check_cancelled
from pbal_hq.database.pool import Database

log = logging.getLogger(__name__)

# So often it is renewed within its time; a renewal may be late once.
_RENEWALS = 4

_TAKE = """
INSERT INTO role_lease AS l (role, holder, until)
VALUES (%(role)s, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE l.holder = excluded.holder OR l.until < clock_timestamp()
RETURNING 1
"""
_GIVE = "DELETE FROM role_lease WHERE role = %(role)s AND holder = %(holder)s"


class Lease:
    """The lease of one role, as one process sees it. `seconds`: for how long it is taken."""

    def __init__(self, database: Database, role: str, seconds: float) -> None:
        self._database, self._role, self._seconds = database, role, seconds
        self._mine = {
            "role": role, "seconds": seconds,
            "holder": f"{socket.gethostname()} {os.getpid()} {uuid.uuid4()}",
        }  # fmt: skip

    async def run(self, work: Callable[[], Awaitable[None]], beat: Callable[[], None]) -> None:
        """Wait for the lease, then work until that ends or another process has the lease.

        Raises what `work` raises, and psycopg.Error before it has begun.
        """
        waited = False
        while not await self._take():
            if not waited:
                log.info("another process runs this role", extra={"role": self._role})
            waited = True
            beat()
            await asyncio.sleep(self._seconds / _RENEWALS)
        if waited:
            log.warning("took over", extra={"role": self._role})
        working = asyncio.ensure_future(work())
        holding = asyncio.create_task(self._hold(), name=f"lease of {self._role}")
        try:
            await asyncio.wait([working, holding], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                log.warning("another process took over", extra={"role": self._role})
        finally:
            for task in (working, holding):
                task.cancel()
            await asyncio.wait([working, holding])
            await self._give()
        if not working.cancelled():
            working.result()

    async def _take(self) -> bool:
        async with self._database.connection() as db:
            return await (await db.execute(_TAKE, self._mine)).fetchone() is not None

    async def _hold(self) -> None:
        """Until it is another's."""
        while True:
            await asyncio.sleep(self._seconds / _RENEWALS)
            try:
                if not await self._take():
                    return
            except (psycopg.Error, PoolTimeout):
                check_cancelled()
                continue  # the database is away for everybody; the roles that need it say so

    async def _give(self) -> None:
        """So that nobody has to wait for its end."""
        with contextlib.suppress(psycopg.Error, PoolTimeout, TimeoutError):
            async with asyncio.timeout(2.0), self._database.connection(1.0) as db:
                await db.execute(_GIVE, self._mine)
