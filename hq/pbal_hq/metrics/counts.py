"""What the roles of this process count as they work. A role that is run again counts on."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

# When a count began is Prometheus' to know: `process_start_time_seconds` would be the same time.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()

MESSAGES = Counter(
    "pbal_hq_messages", "Messages taken from the broker, by kind.", ["kind"], registry=REGISTRY
)
SESSIONS = Counter("pbal_hq_sessions", "Births and deaths of sites.", ["change"], registry=REGISTRY)
REBIRTHS = Counter("pbal_hq_rebirths_asked", "Rebirths asked of sites.", registry=REGISTRY)
ROWS = Counter("pbal_hq_rows_written", "Rows given to the database.", ["table"], registry=REGISTRY)
DEAD_LETTERS = Counter("pbal_hq_dead_letters", "Dead letters kept.", registry=REGISTRY)
REQUESTS = Histogram(
    "pbal_hq_http_request_seconds",
    "Time from a request to the end of its answer.",
    ["service", "method", "status"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    registry=REGISTRY,
)

# What is not yet counted is shown as 0, so that its first increase is one.
for _table in ("summary", "event", "site_state"):
    ROWS.labels(_table)
for _change in ("birth", "death"):
    SESSIONS.labels(_change)
