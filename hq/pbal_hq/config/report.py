"""What `pbal-hq check-config` shows."""

from __future__ import annotations

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pbal_hq.config.tables import Config
from pbal_hq.errors import ConfigError


def without_password(url: str) -> str:
    """A connection string that may be shown. Raises ConfigError where it is none."""
    try:
        parts = conninfo_to_dict(url)
    except ProgrammingError as error:
        raise ConfigError(f"database.url: {str(error).strip()}") from None
    if "password" in parts:
        parts["password"] = "***"
    return make_conninfo("", **parts)


def describe(config: Config) -> list[str]:
    """The configuration in words, one fact a line. Raises ConfigError."""
    c = config
    return [
        f"data: {c.data}",
        f"database: {without_password(c.database.url)}, at most {c.database.pool_max} connections",
        f"broker: {c.broker.host}:{c.broker.port}, host application {c.broker.host_id}",
        "bus: a file below data"
        if c.bus.kind == "file"
        else f"bus: Kafka at {', '.join(c.bus.kafka.servers)} as {c.bus.kafka.user}",
        *(
            [f"ChirpStack: {c.chirpstack.host}:{c.chirpstack.port}, group {c.chirpstack.group}"]
            if c.chirpstack.host
            else []
        ),
        f"enrolment: {c.enrol.listen}:{c.enrol.port}, tokens for {c.enrol.token_hours:g} h, "
        f"certificates for {c.enrol.certificate_days} days",
        f"metrics: {c.metrics.listen}:{c.metrics.port or 'any port'}",
        "notices to: " + (", ".join(f"{r.name} ({r.kind})" for r in c.notify.routes) or "nobody"),
        f"lake: {c.lake.url or 'none'}",
        f"logs: {c.logs.url or 'no OpenSearch'}"
        + (f" as {c.logs.user}, kept {c.logs.keep_days} days" if c.logs.url else ""),
        f"kept: summaries {c.store.raw_days} days, hours {c.store.hourly_days} days, days for ever",
    ]
