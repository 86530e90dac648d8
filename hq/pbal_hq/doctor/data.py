"""The database, its copies and its backups."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from pbal_host import Finding, Level
from pbal_hq.config import BackupConfig, Config
from pbal_hq.database import Connection, connected, pending
from pbal_hq.errors import BackupError, DatabaseError
from pbal_hq.failover import kept
from pbal_hq.metrics import facts

_SKEW_S = 2.0  # between the database's clock and ours
_BEHIND_MB = 64.0
_RUN_S = 120.0


async def _one(db: Connection, sql: str, *values: object) -> tuple[Any, ...]:
    row = await (await db.execute(sql, values or None)).fetchone()
    assert row is not None
    return row


async def database(config: Config) -> AsyncIterator[Finding]:
    """Whether it answers, has our schema, is followed by a copy, and archives."""
    try:
        async with connected(config.database) as db:
            async for found in _looked_at(config, db):
                yield found
    except DatabaseError as error:
        yield Finding("database", "error", str(error), "pbal-hq check-config shows where it is")


async def _looked_at(config: Config, db: Connection) -> AsyncIterator[Finding]:
    version, size, recovery, skew_s = await _one(
        db, "SELECT current_setting('server_version'), pg_database_size(current_database()), "
        "pg_is_in_recovery(), extract(epoch FROM clock_timestamp())::float8 - %s",
        datetime.now(UTC).timestamp(),
    )  # fmt: skip
    words = f"PostgreSQL {version}, {size / 1e9:.2f} GB"
    if recovery:
        remedy = "add target_session_attrs=read-write to database.url, and every member"
        yield Finding("database", "error", f"{words}: a standby, which takes nothing", remedy)
    else:
        yield Finding("database", "ok", words)
    if abs(skew_s) > _SKEW_S:
        words = f"the database's clock differs from ours by {skew_s:+.0f} s"
        yield Finding("clock", "error", words, "timedatectl set-ntp true on both")
    try:
        left = await pending(db)
    except DatabaseError as error:
        yield Finding("schema", "error", str(error))
        return
    if left:
        words = f"{len(left)} steps are not applied"
        yield Finding("schema", "error", words, "pbal-hq db migrate")
        return
    yield Finding("schema", "ok", "up to date")
    async for found in _followed(config, db):
        yield found
    if ending := await facts.certificates_ending(db, datetime.now(UTC)):
        days = facts.SITE_RENEWAL_LATE_DAYS
        words = f"{ending} sites have certificates that end within {days} days"
        yield Finding("sites", "warning", words, "pbal-hq site list; see why they do not renew")


async def _followed(config: Config, db: Connection) -> AsyncIterator[Finding]:
    """Standbys, the archive of the log, and leases of roles."""
    several = "," in str(conninfo_to_dict(config.database.url).get("host", ""))
    followers, behind, in_step = await _one(
        db, "SELECT count(*), coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)"
        "::float8 / 1e6, count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) "
        "FROM pg_stat_replication",
    )  # fmt: skip
    look = "patronictl -c /etc/pbal-db/patroni.yml list, on a member"
    if not several:
        yield Finding("replication", "note", "one server alone (docs/hq-reliability.md)")
    elif not followers:
        yield Finding("replication", "error", "no standby follows: one more loss ends HQ", look)
    elif not in_step:
        words = "no standby is synchronous: a loss now may lose what sites were told is stored"
        yield Finding("replication", "warning", words, look)
    elif behind > _BEHIND_MB:
        yield Finding("replication", "warning", f"a standby is {behind:.0f} MB behind", look)
    else:
        yield Finding("replication", "ok", f"{followers} follow, {behind:.1f} MB behind")
    mode, failing, age_s = await _one(
        db, "SELECT current_setting('archive_mode'), last_failed_time > "
        "coalesce(last_archived_time, '-infinity'), "
        "extract(epoch FROM now() - last_archived_time)::float8 FROM pg_stat_archiver",
    )  # fmt: skip
    if mode != "off":
        if failing:
            words = "the last segment could not be archived: the disk fills, backups stand still"
            yield Finding("archive", "error", words, "PostgreSQL's log has pgBackRest's words")
        elif age_s is None:
            yield Finding("archive", "warning", "nothing was archived yet")
        else:
            yield Finding("archive", "ok", f"the last segment was archived {age_s:.0f} s ago")
    for role in config.standby.roles:
        (held,) = await _one(
            db, "SELECT count(*) FROM role_lease WHERE role = %s AND until > now()", role
        )
        if not held:
            words = f"no process runs the role {role}"
            yield Finding("roles", "error", words, f"start one: pbal-hq run {role}")


def backups(config: BackupConfig) -> Iterator[Finding]:
    """How old the newest one is."""
    if not config.info:
        yield Finding("backups", "note", "backup.info is not set: nothing is known of them")
        return
    try:
        done = subprocess.run(
            config.info, capture_output=True, text=True, timeout=_RUN_S, stdin=subprocess.DEVNULL
        )
        found = kept(done.stdout)
    except (OSError, subprocess.TimeoutExpired, BackupError) as error:
        yield Finding("backups", "error", f"{config.info[0]}: {error}", "mend backup.info")
        return
    remedy = "journalctl -u pbal-db-backup, on the members"
    if not found:
        yield Finding("backups", "error", "there is none", remedy)
        return
    age_h = (datetime.now(UTC) - found[-1].ended).total_seconds() / 3600
    words = f"the newest of {len(found)} is {age_h:.0f} hours old ({found[-1].label})"
    level: Level = "error" if age_h > config.late_h else "ok"
    yield Finding("backups", level, words, remedy)
