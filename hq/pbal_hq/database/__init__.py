"""PostgreSQL: the pool of connections, and the schema's numbered steps."""

from pbal_hq.database.migrate import Step, migrate, pending, steps
from pbal_hq.database.pool import Connection, Database, connected, explain, pool

__all__ = [
    "Connection",
    "Database",
    "Step",
    "connected",
    "explain",
    "migrate",
    "pending",
    "pool",
    "steps",
]
