"""PostgreSQL: the pool of connections, and the schema's numbered steps."""

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

__all__ = [
    "Connection",
    "Database",
    "Step",
    "autocommit",
    "connected",
    "explain",
    "listening",
    "migrate",
    "notified",
    "pending",
    "pool",
    "steps",
]
