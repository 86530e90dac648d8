"""PostgreSQL (the Debian package) in a folder, on a socket of its own.

PostgreSQL refuses to run as root: then it runs as the user `postgres`, which the package creates.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from pbal_sim.childprocess import die_with_parent
from pbal_sim.errors import DatabaseError

_START_S = 60.0


def program(name: str) -> Path | None:
    """Where a program of PostgreSQL is, the newest; None where it is not installed."""
    found = [
        (int(path.name), path / "bin" / name)
        for path in Path("/usr/lib/postgresql").glob("[0-9]*")
        if (path / "bin" / name).exists()
    ]
    if found:
        return max(found)[1]
    other = shutil.which(name)
    return None if other is None else Path(other)


class Postgres:
    """One server. `url` is what clients need; `folder`, where given, is kept.

    Raises DatabaseError when it does not start.
    """

    def __init__(self, folder: Path | None = None, *, safe: bool = False) -> None:
        """`safe`: commits reach the disk; without it a crash of the computer may lose some."""
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="pbal-pg-"))
        self._safe = safe
        self._as: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                raise DatabaseError(
                    "PostgreSQL needs the user postgres when root starts it"
                ) from None
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._data = self.folder / "data"
        if not (self._data / "PG_VERSION").exists():
            self._make()
        self.start()

    @property
    def url(self) -> str:
        """For clients: database postgres, user postgres."""
        return f"host={self.folder} user=postgres dbname=postgres"

    def _make(self) -> None:
        made = subprocess.run(
            [self._program("initdb"), "-D", self._data, "-U", "postgres", "-A", "trust", "-N",
             "-E", "UTF8", "--locale", "C"],
            capture_output=True, text=True, timeout=120, cwd=self.folder, **self._as,
        )  # fmt: skip
        if made.returncode:
            raise DatabaseError(f"initdb: {made.stderr.strip() or made.stdout.strip()}")

    @staticmethod
    def _program(name: str) -> Path:
        found = program(name)
        if found is None:
            raise DatabaseError("PostgreSQL is not installed (Debian package postgresql)")
        return found

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = [] if self._safe else ["-F"]
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(self.folder),
            "shared_buffers": "32MB", "max_connections": "60", "timezone": "UTC",
        }  # fmt: skip
        for name, value in settings.items():
            options += ["-c", f"{name}={value}"]
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", self._data, *options], stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=self.folder,
                preexec_fn=die_with_parent, **self._as,
            )  # fmt: skip
        finally:
            os.close(log)
        ready = [str(self._program("pg_isready")), "-q", "-h", str(self.folder)]
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            if subprocess.run(ready, timeout=30).returncode == 0:
                return
            time.sleep(0.05)
        self.kill()
        raise DatabaseError(f"PostgreSQL did not start: {self.log()}")

    def log(self) -> str:
        """The end of what it logged."""
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """End it at once, as a crash would; the next start recovers."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """End it; a folder of its own is removed."""
        self._end(signal.SIGINT)
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait(10)
        self._process = None
