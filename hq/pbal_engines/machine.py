"""A machine of its own as far as processes go: all that runs on it can be lost in one moment.

Its programs live in a PID namespace. When its first process ends, by `kill` or with the process
that made it, the kernel ends every other at once, also daemons that left their session (PostgreSQL
below Patroni): as when the power fails. Disk, network and clock are this computer's. Needs root.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import stat
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pbal_engines.errors import Missing
from pbal_engines.service import Service


class Machine:
    """Programs that live and die together.

    Parameters
    ----------
    name, folder : as of a Service; each program logs into NAME.log there.
    programs : the words of each program, by name.
    user : who runs them.
    """

    def __init__(
        self, name: str, folder: Path, programs: Mapping[str, Sequence[str | Path]], user: str
    ) -> None:
        if os.geteuid() or shutil.which("unshare") is None or shutil.which("setpriv") is None:
            raise Missing("a machine of its own needs root, and the package util-linux")
        self.name, self.folder = name, folder
        starts = [
            f"{shlex.join(map(str, words))} >>{shlex.quote(str(folder / name))}.log 2>&1 &"
            for name, words in programs.items()
        ]
        body = "\n".join(
            ["trap 'kill -- -1; exit' TERM", *starts, "while :; do wait; sleep 1; done"]
        )
        # --mount-proc: programs look themselves up in /proc by the numbers they know.
        words = [
            "unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
            "setpriv", "--reuid", user, "--regid", user, "--clear-groups",
            "bash", "-c", body,
        ]  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, user, user)
        self.service = Service(name, words, folder)

    def start(self) -> None:
        """Start it with all of its programs."""
        self.service.start()

    def kill(self) -> None:
        """Everything on it ends at once."""
        self.service.kill()

    def log(self, program: str, size: int = 2000) -> str:
        """The end of what a program logged."""
        with contextlib.suppress(OSError):
            return (self.folder / f"{program}.log").read_text(errors="replace")[-size:]
        return ""

    def pause(self, words: str) -> int:
        """Stop the oldest program on it whose command line has `words`, as one that hangs.

        Gives its process id here. Raises ProcessLookupError.
        """
        for pid in self._processes():
            line = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in line and "unshare" not in line and not line.startswith("bash"):
                os.kill(pid, signal.SIGSTOP)
                return pid
        raise ProcessLookupError(f"{self.name}: nothing runs there as {words}")

    def _processes(self) -> list[int]:
        """Those in its namespace, oldest first."""
        parents: dict[int, int] = {}
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                text = Path("/proc", entry, "stat").read_text()
                parents[int(entry)] = int(text.rpartition(")")[2].split()[1])
        found, todo = [], [self.service.pid]
        while todo:
            here = todo.pop(0)
            below = sorted(pid for pid, parent in parents.items() if parent == here)
            found += below
            todo += below
        return found


class PipeWatchdog:
    """A watchdog in place of the kernel's: resets a machine that stops feeding it.

    A named pipe at `device`, with what Patroni's driver "testing" writes there: `Ctimeout=SECONDS`,
    `1` to feed it, `V` to switch it off.
    """

    def __init__(self, machine: Machine, device: Path) -> None:
        if not device.exists():
            os.mkfifo(device)
        if not stat.S_ISFIFO(device.stat().st_mode):
            raise Missing(f"{device} is something else than a named pipe")
        device.chmod(0o666)
        self._machine, self._device = machine, device
        self._timeout_s = 60.0
        self.resets: list[float] = []  # when, by time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"watchdog {machine.name}")

    def __enter__(self) -> PipeWatchdog:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join(10.0)

    def _watch(self) -> None:
        # Also open for writing: so it is no end of the file when the writer goes.
        pipe = os.open(self._device, os.O_RDWR | os.O_NONBLOCK)
        due: float | None = None
        try:
            while not self._end.is_set():
                if select.select([pipe], [], [], 0.2)[0]:
                    due = self._told(os.read(pipe, 4096).decode(errors="replace"))
                elif not self._machine.service.is_running():
                    due = None
                elif due is not None and time.monotonic() > due:
                    due = None
                    self.resets.append(time.monotonic())
                    self._machine.kill()
        finally:
            os.close(pipe)

    def _told(self, text: str) -> float | None:
        """When it is due next."""
        for part in text.split("C")[1:]:
            with contextlib.suppress(ValueError):
                self._timeout_s = float(part.partition("\n")[0].partition("=")[2])
        return None if text.rstrip("\n").endswith("V") else time.monotonic() + self._timeout_s
