"""The service that runs a slot: systemd's, or what a test puts in its place."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_CALL_S = 30.0
_RESTART_S = 120.0


@dataclass(frozen=True)
class Running:
    """How a service stands.

    state : `active` (it reported that it is ready), `starting`, `stopped` (by a person), or
        `failed` (it ended and is not started again).
    slot : the version whose program runs; empty without one.
    """

    state: str
    slot: str = ""
    detail: str = ""


class Service(Protocol):
    """The part of a service manager that a trial needs."""

    def running(self) -> Running:
        """How it stands."""

    def restart(self) -> None:
        """End it where it runs, and start it. Returns once asked for, not once it is up."""


def slot_of(pid: int, link: Path) -> str:
    """The version whose program a process runs, by its command line; empty when it is none."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = f"{link}-"
    for word in words[:3]:
        text = word.decode(errors="replace")
        if text.startswith(prefix):
            return text.removeprefix(prefix).split("/", 1)[0]
    return ""


class Systemd:
    """A unit of systemd."""

    def __init__(self, unit: str, link: Path) -> None:
        self._unit = unit
        self._link = link

    def _call(self, *words: str, limit_s: float = _CALL_S) -> str:
        try:
            done = subprocess.run(
                ["systemctl", *words], capture_output=True, text=True, timeout=limit_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout

    def running(self) -> Running:
        """How it stands; `starting` where systemd does not answer."""
        names = "ActiveState,SubState,MainPID,Result"
        said = self._call("show", f"--property={names}", self._unit)
        found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        pid = int(found.get("MainPID", "0") or 0)
        state = {"active": "active", "failed": "failed", "inactive": "stopped"}.get(
            found.get("ActiveState", ""), "starting"
        )
        slot = slot_of(pid, self._link) if pid else ""
        return Running(state, slot, found.get("Result", ""))

    def restart(self) -> None:
        """Ask for it; a unit that failed too often is started all the same."""
        self._call("reset-failed", self._unit)
        self._call("restart", "--no-block", self._unit, limit_s=_RESTART_S)


def ask_health(program: list[str], limit_s: float = _CALL_S) -> dict[str, Any] | None:
    """The report of the controller's own command on the one that runs; None: no report."""
    try:
        done = subprocess.run(program, capture_output=True, text=True, timeout=limit_s, check=False)
        said = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
    return said if isinstance(said, dict) else None
