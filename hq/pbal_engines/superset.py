"""Apache Superset: dashboards in a browser, in an environment of Python of its own.

Its own database is a file of SQLite, which is for one computer; it listens there alone.
"""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path

from pbal_engines.engine import Services, kept_ports, run_once
from pbal_engines.environments import environment
from pbal_engines.service import Service, http_answers

_HERE = "127.0.0.1"
_START_S = 240.0
_COMMAND_S = 400.0
ADMIN = "admin"
_FILES = Path(__file__).parent


class Superset(Services):
    """A server with its database. `folder` is its own; data in it are kept over restarts.

    Parameters
    ----------
    password : of the user `admin`, when the database is made.
    """

    def __init__(self, folder: Path, password: str, *, lasting: bool = False) -> None:
        super().__init__(folder, lasting=lasting)
        self._password = password
        self._port = 0

    @property
    def url(self) -> str:
        """Where the pages are."""
        return f"http://{_HERE}:{self._port}"

    @property
    def program(self) -> Path:
        """Superset's command line, with this server's settings."""
        return self.folder / "superset"

    def told(self) -> dict[str, str]:
        """What a client needs, in words."""
        return {"url": self.url, "user": ADMIN, "command line": str(self.program)}

    def command(self, *words: str) -> str:
        """Run Superset's command line; what it said. Raises NotStarted with its last words."""
        return run_once([str(self.program), *words], f"superset {words[0]}", _COMMAND_S)

    def start(self) -> None:
        """Start it and wait until it answers; at first its database is made. Raises EngineError."""
        python = environment("superset") / "bin" / "python"
        (self._port,) = kept_ports(self.folder, 1)
        variables = self._configure(python)
        prepared = self.folder / "prepared"
        if not prepared.exists():
            self._prepare(python, variables)
            prepared.touch()
        words: list[str | Path] = [
            python, "-m", "gunicorn", "--workers", "1", "--threads", "8", "--worker-class",
            "gthread", "--timeout", "120", "--no-control-socket", "--bind", f"{_HERE}:{self._port}",
            "superset.app:create_app()",
        ]  # fmt: skip
        server = Service("server", words, self.folder / "server", env=variables,
                         lasting=self.lasting)  # fmt: skip
        self.services = [server]
        ready = http_answers(f"{self.url}/health")
        self.start_all(lambda: server.wait(ready, "health", _START_S))

    def _configure(self, python: Path) -> dict[str, str]:
        secret = self.folder / "secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(42))
        variables = {
            "SUPERSET_HOME": str(self.folder),
            "SUPERSET_CONFIG_PATH": str(_FILES / "superset_config.py"),
            "PBAL_SUPERSET_SECRET": str(secret),
            "PBAL_SUPERSET_METADATA":
                f"sqlite:///{self.folder.absolute()}/metadata.db?check_same_thread=false",
            "FLASK_APP": "superset.app:create_app()",
        }  # fmt: skip
        exports = "".join(f"export {key}={shlex.quote(v)}\n" for key, v in variables.items())
        program = shlex.quote(str(python.parent / "superset"))
        self.program.write_text(f'#!/bin/sh\n{exports}exec {program} "$@"\n')
        self.program.chmod(0o700)
        return variables

    def _prepare(self, python: Path, variables: dict[str, str]) -> None:
        # One that was made half is no database: it is made again.
        (self.folder / "metadata.db").unlink(missing_ok=True)
        password = self.folder / "first.password"
        password.unlink(missing_ok=True)
        password.touch(mode=0o600)
        password.write_text(self._password)
        try:
            run_once(
                [str(python), "-P", str(_FILES / "superset_prepare.py"), ADMIN, str(password)],
                "Superset's database could not be made", _COMMAND_S, variables,
            )  # fmt: skip
        finally:
            password.unlink()
