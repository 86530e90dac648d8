"""A backup that nobody restored is none: it is restored beside the database, opened and counted.

Nothing of the running cluster is touched. To be run where the backups' configuration is, as the
user postgres or as root, who has that user do it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pbal_hq.errors import BackupError
from pbal_hq.failover.files import APPLICATION, STANZA

_USER = "postgres"
_RESTORE_S = 6 * 3600.0
_OPEN_S = 3600.0


@dataclass(frozen=True)
class Proof:
    """What was in the restored database."""

    backup: str  # pgBackRest's name of the backup that it began from
    at: str  # the asked moment, or "" for the latest
    restore_s: float
    step: int  # the newest step of HQ's schema
    summaries: int
    newest_summary: datetime.datetime | None
    newest_event: datetime.datetime | None


def prove(conf: Path, bin_dir: Path, folder: Path, at: datetime.datetime | None = None) -> Proof:
    """Restore into `folder`, which must not be there, and remove it again. Raises BackupError.

    `at`: to which moment; it needs a time zone.
    """
    begun = time.monotonic()
    try:
        folder.mkdir(parents=True, mode=0o700)
        if user := _other_user().get("user"):
            os.chown(folder, user, -1)
    except FileExistsError:
        raise BackupError(f"{folder} is there; name a folder that is not") from None
    except OSError as error:
        raise BackupError(f"{folder}: {error.strerror}") from None
    data = folder / "data"
    try:
        target = []
        if at is not None:
            moment = f"{at:%Y-%m-%d %H:%M:%S.%f%z}"
            target = ["--type=time", f"--target={moment}", "--target-action=promote"]
        label = _label(conf, at)
        _backrest(conf, "restore", f"--pg1-path={data}", *target)
        with _server(bin_dir, data, folder) as url:
            found = _look(url)
        restored_s = time.monotonic() - begun
        return Proof(label, "" if at is None else at.isoformat(), restored_s, *found)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> dict[str, Any]:
    """How root starts what PostgreSQL's user has to do. Raises BackupError."""
    if os.geteuid():
        return {}
    try:
        user = pwd.getpwnam(_USER)
    except KeyError:
        raise BackupError(
            f"there is no user {_USER} on this machine; apt install postgresql"
        ) from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _backrest(conf: Path, command: str, *words: str) -> str:
    """Run pgBackRest; what it printed. Raises BackupError."""
    argv = ["pgbackrest", f"--config={conf}", f"--stanza={STANZA}", *words, command]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_RESTORE_S, stdin=subprocess.DEVNULL,
            cwd="/", **_other_user(),
        )  # fmt: skip
    except OSError as error:
        raise BackupError(f"pgbackrest: {error.strerror}; apt install pgbackrest") from None
    except subprocess.TimeoutExpired:
        raise BackupError(f"pgbackrest {command} took longer than {_RESTORE_S:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise BackupError(f"pgbackrest {command} failed ({done.returncode}):\n{said}")
    return done.stdout


@dataclass(frozen=True)
class Kept:
    """One backup in the repository."""

    label: str
    ended: datetime.datetime
    kind: str  # full, diff or incr


def kept(info: str) -> list[Kept]:
    """Of `pgbackrest info --output=json`, oldest first. Raises BackupError."""
    try:
        return [
            Kept(
                str(each["label"]),
                datetime.datetime.fromtimestamp(int(each["timestamp"]["stop"]), datetime.UTC),
                str(each["type"]),
            )
            for stanza in json.loads(info)
            if stanza["name"] == STANZA
            for each in stanza["backup"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"pgbackrest info: not understood: {error}") from None


def _label(conf: Path, at: datetime.datetime | None) -> str:
    """The newest backup that ended before this moment."""
    found = kept(_backrest(conf, "info", "--output=json"))
    fitting = [each for each in found if at is None or each.ended <= at]
    if not fitting:
        what = "before that moment" if found else "yet: pgbackrest stanza-create, then backup"
        raise BackupError(f"there is no backup {what}")
    return fitting[-1].label


@contextlib.contextmanager
def _server(bin_dir: Path, data: Path, run: Path) -> Iterator[str]:
    """PostgreSQL over these files, on a socket alone, as soon as it is through its recovery."""
    hba = run / "hba.conf"
    hba.write_text("local all all trust\n")
    hba.chmod(0o644)  # its folder keeps others out
    settings = {
        "listen_addresses": "", "unix_socket_directories": run, "archive_mode": "off",
        "synchronous_standby_names": "", "ssl": "off", "logging_collector": "off",
        "hba_file": hba, "shared_buffers": "64MB",
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    url = f"host={run} dbname={APPLICATION} user=postgres"
    with (run / "log").open("wb") as log:
        try:
            process = subprocess.Popen(
                [bin_dir / "postgres", "-D", data, *options], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, cwd="/", **_other_user(),
            )  # fmt: skip
        except OSError as error:
            raise BackupError(f"{bin_dir}/postgres: {error.strerror}; --bin-dir") from None
    try:
        until = time.monotonic() + _OPEN_S
        while not _is_open(url):
            if process.poll() is not None or time.monotonic() > until:
                said = (run / "log").read_text(errors="replace")[-1500:]
                raise BackupError(f"the restored database does not open:\n{said}")
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGQUIT)  # it is thrown away
        process.wait(60)


def _is_open(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5) as db:
            row = db.execute("SELECT pg_is_in_recovery()").fetchone()
            return row is not None and not row[0]
    except psycopg.OperationalError:
        return False


def _look(
    url: str,
) -> tuple[int, int, datetime.datetime | None, datetime.datetime | None]:
    try:
        with psycopg.connect(url) as db:
            row = db.execute(
                "SELECT (SELECT max(number) FROM schema_step), (SELECT count(*) FROM summary), "
                "(SELECT max(start_at) FROM summary), (SELECT max(at) FROM event)"
            ).fetchone()
    except psycopg.Error as error:
        raise BackupError(f"the restored database is not HQ's: {error}") from None
    assert row is not None
    return row[0], row[1], row[2], row[3]
