"""A Debian in a folder, booted: its own systemd as process 1, in namespaces of its own.

Nothing of this computer is touched: mounts, processes, network, host name and control groups are
its own, kernel settings are read-only, and all of it ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rigs import needs

_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_numbers = itertools.count()
# As process 1 to be: root folder, console, folders below (or none). systemd wants the mounts that a
# container gets, and writes to its console for ever.
_BEGIN = """\
set -e
root=$1
if [ -n "$3" ]; then
    mkdir "$root.upper" "$root.work"
    mount -t overlay overlay -o "lowerdir=$3,upperdir=$root.upper,workdir=$root.work" "$root"
else
    mount --bind "$root" "$root"
fi
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
touch "$root/dev/console"
mount --bind "$2" "$root/dev/console"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
# As nspawn does: the mount of a unit's credentials is made in a namespace, and must come back.
mount --make-rshared /
exec env -i container=pbal PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system \\
    --log-target=console --unit=multi-user.target
"""


class Booted:
    """A running Debian."""

    def __init__(self, init: int, root: Path, group: Path) -> None:
        #: The process that is its systemd, as this computer counts processes.
        self.init = init
        self.root = root
        self._group = group
        self.console = bytearray()

    def run(self, *words: str, code: int | None = 0, limit_s: float = 120.0) -> str:
        """A program in it; returns what it says. `code`: how it must end; None: as it likes."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.init), "-m", "-p", "-n", "-u", "-i", "-C", *words],
            capture_output=True, text=True, check=False, timeout=limit_s, env=_ENV,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{said}"
        return said

    @property
    def cpu_s(self) -> float:
        """What all that ran on it has used of the processors, s."""
        told = dict(line.split() for line in (self._group / "cpu.stat").read_text().splitlines())
        return int(told["usage_usec"]) / 1e6

    def shown(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, as systemd has them."""
        said = self.run("systemctl", "show", f"--property={','.join(names)}", unit, code=None)
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def log(self, unit: str) -> str:
        """What a unit and systemd said of it."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit, code=None)

    def until(self, unit: str, found: Callable[[dict[str, str]], bool], limit_s: float) -> float:
        """Wait until a unit's properties are so; returns how long it took, s. Else fails."""
        began = time.monotonic()
        names = ("ActiveState", "SubState", "MainPID", "NRestarts", "Result")
        while not found(have := self.shown(unit, *names)):
            if time.monotonic() - began > limit_s:
                raise AssertionError(f"{unit}: {have}\n{self.log(unit)[-4000:]}")
            time.sleep(0.25)
        return time.monotonic() - began


def _groups() -> Path:
    """Where this computer's control groups (version 2) are."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options = line.split(" ")[:4]
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    # A limit of the kernel, or of the container that the tests run in: nothing to install.
    pytest.skip("systemd needs control groups of version 2 that may be written")


def _ended(group: Path) -> None:
    """Remove the control groups of processes that are gone."""
    for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    group.rmdir()


@contextlib.contextmanager
def booted(root: Path, over: Sequence[Path] = ()) -> Iterator[Booted]:
    """The Debian in `root`, up; ended at the end.

    over : folders that several machines share and none changes, the uppermost first. What is in
        them is seen by the machine alone; what it writes is beside the empty folder `root`.
    """
    for program in ("unshare", "nsenter", "setpriv"):
        needs.require_tool(program, "util-linux")
    group = _groups() / f"pbal-test-{os.getpid()}-{next(_numbers)}"
    group.mkdir()
    reader, console = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"', "sh", str(group),
         "setpriv", "--pdeathsig", "KILL",
         "unshare", "--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--net", "--uts",
         "--ipc", "--propagation", "private", "sh", "-c", _BEGIN, "sh", str(root),
         os.ttyname(console), ":".join(map(str, over))],
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    drain: threading.Thread | None = None
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        end = time.monotonic() + 3 * needs.PATIENCE_S
        while not (found := children.read_text().split()):
            assert process.poll() is None, "it ended before it began"
            assert time.monotonic() < end
            time.sleep(0.05)
        made = Booted(int(found[0]), root, group)

        def read() -> None:
            with contextlib.suppress(OSError):
                while piece := os.read(reader, 4096):
                    made.console += piece

        drain = threading.Thread(target=read, daemon=True)
        drain.start()
        state = ""
        while state not in ("running", "degraded"):
            assert process.poll() is None, made.console.decode(errors="replace")[-4000:]
            assert time.monotonic() < end, made.console.decode(errors="replace")[-4000:]
            time.sleep(0.25)
            # Before the console's system is there, the program is this computer's own.
            if (Path(f"/proc/{made.init}/exe")).resolve().name == "systemd":
                state = made.run("systemctl", "is-system-running", code=None).strip()
        yield made
    finally:
        process.kill()
        process.wait(30)
        os.close(console)
        if drain is not None:
            drain.join(10)
        os.close(reader)
        end = time.monotonic() + 30
        while True:
            try:
                _ended(group)
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.1)
