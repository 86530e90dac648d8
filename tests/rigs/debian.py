"""A small Debian in a folder, as debootstrap makes it, with systemd; kept for the next time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import deb
import debtarget

from rigs import needs

CACHE = deb.CACHE
_ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive"}  # fmt: skip
_INSTALL = """\
set -e
root=$1
shift
mount -t proc proc "$root/proc"
# What is installed here is not started here.
printf '#!/bin/sh\\nexit 101\\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
chroot "$root" apt-get -qq update
chroot "$root" apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io \\
    install "$@"
rm "$root/usr/sbin/policy-rc.d"
rm -f "$root"/var/cache/apt/archives/*.deb
"""


def ran(*words: str | Path, code: int = 0, **more: object) -> str:
    """What a program says; it ends with this code."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=False, timeout=1200,
        **more,  # type: ignore[call-overload]
    )  # fmt: skip
    said: str = done.stdout + done.stderr
    assert done.returncode == code, f"{words}: {done.returncode}\n{said[-3000:]}"
    return said


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Two workers that need the same under CACHE make it once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def bare() -> Path:
    """With systemd and Python. Skips where this computer cannot make one."""
    if os.geteuid() != 0:
        needs.missing("root", "A Debian of its own needs chroot: run as root.")
    program = needs.require_tool("debootstrap")
    kept = CACHE / f"booting-{debtarget.here()[1]}"
    with alone():
        if not kept.is_dir():
            began = time.monotonic()
            work = kept.with_name(f"{kept.name}.new")
            shutil.rmtree(work, ignore_errors=True)
            ran(program, "--variant=minbase", "--include=python3,adduser,systemd,systemd-sysv,dbus",
                debtarget.here()[1], work)  # fmt: skip
            work.rename(kept)
            print(f"debootstrap: {time.monotonic() - began:.0f} s")
    return kept


def with_packages(name: str, *packages: str) -> Path:
    """The same with more packages, kept as `name`."""
    base = bare()
    kept = CACHE / f"{name}-{debtarget.here()[1]}"
    stamp = kept / "root" / "packages"
    with alone():
        if not stamp.exists() or stamp.read_text() != " ".join(packages):
            began = time.monotonic()
            work = kept.with_name(f"{kept.name}.new")
            for old in (work, kept):
                shutil.rmtree(old, ignore_errors=True)
            ran("cp", "-a", "--reflink=auto", base, work)
            ran("unshare", "--mount", "sh", "-c", _INSTALL, "sh", work, *packages, env=_ENV)
            (work / "root" / "packages").write_text(" ".join(packages))
            work.rename(kept)
            print(f"packages of {name}: {time.monotonic() - began:.0f} s")
    return kept


_LAYER = """\
set -e
root=$1
mount -t overlay overlay -o "lowerdir=$2,upperdir=$1.upper,workdir=$1.work" "$root"
mount -t proc proc "$root/proc"
cp "$3" "$root/var/cache/"
chroot "$root" dpkg -i "/var/cache/${3##*/}"
shift 3
chroot "$root" systemctl disable "$@"
"""


def with_deb(folder: Path, base: Path, package: Path, *off: str) -> list[Path]:
    """The Debian in `base` and a layer with this package over it, for rigs.booted.

    off : services of the base that do not start there by themselves.
    """
    root = folder / "root"
    for path in (root, folder / "root.upper", folder / "root.work"):
        path.mkdir(parents=True)
    ran("unshare", "--mount", "--propagation", "private", "sh", "-c", _LAYER, "sh", root, base,
        package, *off, env=_ENV)  # fmt: skip
    return [folder / "root.upper", base]
