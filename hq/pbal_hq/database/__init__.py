"""PostgreSQL: the pool of connections, the schema's numbered steps, leases of roles; whether it is
there yet."""

from pbal_hq.database.lease import Lease
from pbal_hq.database.migrate import Step, migrate, pending, steps
from pbal_hq.database.pool import (
    Connection,
    Database,
    autocommit,
    connected,
    explain,
    listening,
    notified,
    pool,
)
from pbal_hq.database.reach import ready

__all__ = [
    "Connection",
    "Database",
    "Lease",
    "Step",
    "autocommit",
    "connected",
    "explain",
    "listening",
    "migrate",
    "notified",
    "pending",
    "pool",
    "ready",
    "steps",
]
