"""One process of an engine and all that it starts: started, awaited, weighed, stopped.

A service has a session of its own (setsid): stopping ends every process of that session, and none
else. It is known by its process id together with the time at which that process began, so that a
number which the kernel gave to another process is never taken for it, also by a later command.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import pwd
import queue
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pbal_engines.errors import Missing, NotStarted

_PR_SET_PDEATHSIG = 1
_TICK_S = 0.1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Weight:
    """What a service costs now: memory (proportional share), processor time since its start."""

    memory_mb: float
    cpu_s: float
    processes: int


@dataclass(frozen=True)
class _Process:
    pid: int
    session: int
    state: str
    born: int  # clock ticks after the computer's start
    cpu_ticks: int


def _look(pid: int) -> _Process | None:
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may hold anything. Fields as in proc(5), from the third on.
    rest = stat.rpartition(")")[2].split()
    return _Process(pid, int(rest[3]), rest[0], int(rest[19]), int(rest[11]) + int(rest[12]))


def _memory_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


class _Starter:
    """A thread that lives as long as we do, and starts all processes.

    The kernel ends a child when the *thread* ends that started it, if it was asked to.
    """

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def _run(self) -> None:
        while True:
            self._work.get()()

    def start(self, words: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """A process. Raises OSError."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():  # also after a fork
                self._thread = threading.Thread(target=self._run, name="engines", daemon=True)
                self._thread.start()
        made: Future[subprocess.Popen[bytes]] = Future()

        def work() -> None:
            try:
                made.set_result(subprocess.Popen(words, **how))
            except BaseException as error:
                made.set_exception(error)

        self._work.put(work)
        return made.result()


_starter = _Starter()


def die_with_parent() -> None:
    """In a child before its program: it is killed when the process that made it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Service:
    """A program with its folder: `out.log`, and `service.json`, by which others find it.

    Parameters
    ----------
    name : for people.
    argv : the program and its arguments.
    folder : made where it is missing; also the working folder.
    env : variables besides ours.
    user : who runs it, where root starts it and it will not run as root.
    lasting : whether it goes on when this process ends (`pbal-hq lab up`). Otherwise it ends with
        us, however we end.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        lasting: bool = False,
    ) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / "out.log"
        self._argv = [str(word) for word in argv]
        self._env = dict(env or {})
        self._user = user
        self._lasting = lasting
        self._child: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._born = 0
        self._since = 0.0
        self._log_start = 0  # what was logged before belongs to an earlier life

    @classmethod
    def found(cls, name: str, folder: Path) -> Self:
        """The service that an earlier command left in this folder, running or not."""
        made = cls(name, (), folder, lasting=True)
        with contextlib.suppress(OSError, ValueError, KeyError):
            kept = json.loads((folder / "service.json").read_text())
            made._pid, made._born = int(kept["pid"]), int(kept["born"])
        return made

    # -- life -------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it; `wait` says when it is ready. Raises Missing."""
        if self.is_running():
            return self
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        how: dict[str, Any] = {}
        if self._user is not None and os.geteuid() == 0:
            try:
                user = pwd.getpwnam(self._user)
            except KeyError:
                raise Missing(
                    f"{self.name} runs as the user {self._user}, whom nobody made"
                ) from None
            how = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        if not self._lasting:
            how["preexec_fn"] = die_with_parent
        self._since = time.monotonic()
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            try:
                self._child = _starter.start(
                    self._argv, cwd=self.folder, env={**os.environ, **self._env}, stdout=log,
                    stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **how,
                )  # fmt: skip
            except OSError as error:
                raise Missing(f"{self.name}: {self._argv[0]}: {error.strerror}") from None
        self._pid = self._child.pid
        seen = _look(self._pid)
        self._born = 0 if seen is None else seen.born
        kept = {"pid": self._pid, "born": self._born}
        (self.folder / "service.json").write_text(json.dumps(kept))
        if not self._lasting:
            atexit.register(self.stop, 5.0)
        return self

    @property
    def pid(self) -> int:
        """Its first process; 0 before its start."""
        return self._pid

    def is_running(self) -> bool:
        """Whether its first process lives."""
        if self._child is not None and self._child.poll() is not None:
            return False
        seen = _look(self._pid) if self._pid else None
        return seen is not None and seen.born == self._born and seen.state not in "ZX"

    def stop(self, grace_s: float = 20.0) -> None:
        """Ask it to end, then end every process of its session."""
        if self.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            self._until_gone(grace_s)
        self.kill()
        (self.folder / "service.json").unlink(missing_ok=True)

    def kill(self) -> None:
        """End every process of its session at once, as a crash would."""
        for _ in range(100):
            left = self._signal(signal.SIGKILL)
            if self._child is not None:
                self._child.poll()
            if not left:
                break
            time.sleep(0.05)
        atexit.unregister(self.stop)
        self._pid = 0

    def pause(self) -> None:
        """Stop its processes where they are, as a hung machine would; `resume` ends that."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let paused processes go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> bool:
        """Send it to all; whether there was anybody."""
        members = self._members()
        for each in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, number)
        return bool(members)

    def _until_gone(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.is_running():
            time.sleep(0.05)

    def _members(self) -> list[_Process]:
        """Living processes of its session. The kernel gives the number of a session that has
        members to no other process.
        """
        if not self._pid:
            return []
        leader = _look(self._pid)
        if leader is not None and leader.born != self._born:
            return []
        all_ = (_look(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())
        return [
            each
            for each in all_
            if each is not None
            and each.born >= self._born
            and each.session == self._pid
            and each.state not in "ZX"
        ]

    # -- looking at it ----------------------------------------------------------------------

    def weigh(self) -> Weight:
        """What all of its processes cost."""
        ticks = os.sysconf("SC_CLK_TCK")
        seen = self._members()
        memory = sum(_memory_kb(each.pid) for each in seen)
        return Weight(memory / 1024, sum(each.cpu_ticks for each in seen) / ticks, len(seen))

    def tail(self, size: int = 3000) -> str:
        """The end of its log, since its latest start."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - size))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def logged(self, text: str) -> Callable[[], bool]:
        """Whether the end of its log holds this text; for `wait`."""
        return lambda: text in self.tail(200_000)

    def wait(self, ready: Callable[[], bool], what: str, seconds: float = 120.0) -> float:
        """Wait until it is ready; how long that took since the start, in seconds.

        Raises NotStarted, with the end of its log; then it is stopped.
        """
        until = time.monotonic() + seconds
        while True:
            if not self.is_running():
                why = f"{self.name} ended before it was ready ({what})"
                break
            if ready():
                return time.monotonic() - self._since
            if time.monotonic() > until:
                why = f"{self.name}: no {what} within {seconds:.0f} s"
                break
            time.sleep(_TICK_S)
        self.stop(5.0)
        raise NotStarted(f"{why}; the end of {self.log}:\n{self.tail()}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def port_open(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """Whether somebody listens there; for `Service.wait`."""

    def ready() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), 1.0).close()
            return True
        return False

    return ready


def http_answers(
    url: str, status: int = 200, context: ssl.SSLContext | None = None
) -> Callable[[], bool]:
    """Whether a URL answers with this status; for `Service.wait`."""

    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=3.0, context=context) as answer:
                return bool(answer.status == status)
        except urllib.error.HTTPError as error:
            return error.code == status
        except OSError:
            return False

    return ready


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
