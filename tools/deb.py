#!/usr/bin/env python3
"""The controller as a Debian package: one command, for this computer or for a Raspberry Pi.

    tools/deb.py [--arch ARCHITECTURE] [--release RELEASE] [--out FOLDER] [--version VERSION]

tools/deb_hq.py makes HQ's, by the same code; debenv.py makes the environment in both.

Writes FOLDER/pbal-controller_VERSION_ARCHITECTURE.deb (default folder: dist; default version: that
of pyproject.toml). The package brings an environment of its own with the versions of
requirements.lock: their hashes are checked, nothing else is taken. Its Python is Debian's, of the
release (default: this computer's).

For arm64 and armhf the core is cross-compiled, and the wheels are those of the package index for
that architecture. Of numpy and cffi there are none for armhf: they are Debian's there, of trixie
or later. Bytecode for a Python that differs from this computer's is made by the target's own
Python in QEMU.

What was downloaded and compiled is kept under build/deb and used again, also without a network,
until the lock or the source changes.

Needs Debian packages: python3 python3-venv python3-dev gcc dpkg-dev; for another architecture
gcc-aarch64-linux-gnu libc6-dev-arm64-cross, or gcc-arm-linux-gnueabihf libc6-dev-armhf-cross, and
for another Python qemu-user-static.
Exit codes: 0 written, 2 wrong use, 4 something is missing or failed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import tomllib
import zipapp
from collections.abc import Callable
from pathlib import Path

from debenv import PYTHON, ROOT, environment, short_python
from debtarget import KINDS, BuildError, Target, fetched, here, run

DEBIAN = ROOT / "pi_controller" / "debian"
UNITS = ROOT / "pi_controller" / "systemd"
CACHE = ROOT / "build" / "deb"
NAME = "pbal-controller"
PAYLOAD = Path("usr/lib/pbal/dist")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~]*(-[A-Za-z0-9.+~]+)?")


def project_version() -> str:
    """The version of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def lay_out(root: Path, version: str, to: Target | None = None) -> None:
    """Everything beside the environment: units, slots, configuration, documents."""
    lib = root / "usr/lib/pbal"
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(
            ROOT / "pi_controller" / "pbal_slots", Path(work) / "pbal_slots",
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
        zipapp.create_archive(
            work, lib / "pbal-slots", f"{PYTHON} -I", main="pbal_slots.cli:main", compressed=True
        )
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in sorted(UNITS.glob("*.service")):
        shutil.copy(unit, units)
    for source, target in (
        (DEBIAN / "50-site.toml", root / "etc/pbal/conf.d"),
        (DEBIAN / "default", root / "etc/default"),
    ):
        target.mkdir(parents=True)
        name = NAME if source.name == "default" else source.name
        shutil.copyfile(source, target / name)
    documents = root / "usr/share/doc" / NAME
    shutil.copytree(DEBIAN / "examples", documents / "examples")
    shutil.copyfile(ROOT / "LICENSE", documents / "copyright")
    shutil.copyfile(ROOT / "CHANGELOG.md", documents / "CHANGELOG.md")
    programs = root / "usr/bin"
    programs.mkdir(parents=True)
    for name in ("pbal", "pbal-controller"):
        (programs / name).symlink_to(f"/opt/pbal/bin/{name}")
    sbin = root / "usr/sbin"
    sbin.mkdir(parents=True)
    (sbin / "pbal-slots").symlink_to("../lib/pbal/pbal-slots")
    write_control(root, DEBIAN, version, to)


def write_control(root: Path, source: Path, version: str, to: Target | None = None) -> None:
    """DEBIAN/ of a laid out tree, from the files in `source` with their @FIELDS@ filled in."""
    control = root / "DEBIAN"
    control.mkdir()
    own = run("dpkg", "--print-architecture").strip()
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir()) // 1024
    fields = {
        "VERSION": version, "ARCHITECTURE": own if to is None else to.architecture,
        "PYTHON": short_python() if to is None else to.short, "SIZE": str(size),
        "MORE": "" if to is None else "".join(f", {name}" for name in to.kind.debian.values()),
    }  # fmt: skip
    for path in sorted(source.iterdir()):
        if path.name in ("control", "conffiles", "preinst", "postinst", "prerm", "postrm"):
            text = path.read_text(encoding="utf-8")
            for key, value in fields.items():
                text = text.replace(f"@{key}@", value)
            (control / path.name).write_text(text, encoding="utf-8")
            (control / path.name).chmod(0o644 if path.name.startswith("con") else 0o755)


def modes(root: Path) -> None:
    """Readable by all and writable by root alone, whatever the umask of this shell."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            keep = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if keep else 0o644)


def check(version: str) -> None:
    """Whether a package can be made at all. Raises BuildError."""
    if not _VERSION.fullmatch(version):
        raise BuildError(f"{version!r} is no version of a Debian package, such as 0.2.0 or 0.2.0~1")
    for needed in ("dpkg-deb", "dpkg", PYTHON):
        if shutil.which(needed) is None:
            raise BuildError(f"{needed} is missing: apt install python3 dpkg")


def build(out: Path, version: str, cache: Path, architecture: str = "", release: str = "") -> Path:
    """Write the package; returns its path. Raises BuildError.

    Empty: this computer's architecture, this computer's release.
    """
    own = here()
    wanted = architecture or own[0], release or own[1]
    if wanted != own and wanted[0] not in KINDS:
        raise BuildError(
            f"for {' of '.join(wanted)} there is no cross build: run it on such a computer"
        )

    def fill(root: Path) -> None:
        to = None if wanted == own else fetched(*wanted, cache)
        shutil.copytree(environment(cache, to), root / PAYLOAD, symlinks=True)
        lay_out(root, version, to)

    return package(NAME, out, version, cache, fill)


def package(name: str, out: Path, version: str, cache: Path, fill: Callable[[Path], None]) -> Path:
    """Write the package of the tree that `fill` lays out. Raises BuildError."""
    check(version)
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        root = Path(work) / name
        fill(root)
        modes(root)
        return pack(root, out)


def pack(root: Path, out: Path) -> Path:
    """A laid out tree as a package in `out`; returns its path. Raises BuildError."""
    said = run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z3", "--build", root, out)
    found = re.search(r"in '([^']+\.deb)'", said)
    if found is None:
        raise BuildError(f"dpkg-deb did not say what it wrote:\n{said}")
    return Path(found[1])


def parser(prog: str, what: str) -> argparse.ArgumentParser:
    """What every package's command takes."""
    made = argparse.ArgumentParser(
        prog=f"tools/{prog}.py", description=f"{what} as a Debian package."
    )
    made.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    made.add_argument("--version", default=project_version(), help="default: pyproject.toml's")
    return made


def ended(prog: str, make: Callable[[], Path]) -> int:
    """Make the package and say where it is; the command's exit code."""
    try:
        print(make())
    except (BuildError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 4
    return 0


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    options = parser("deb", "The controller")
    options.add_argument("--arch", default="", help="arm64 or armhf; default: this computer's")
    options.add_argument("--release", default="", help="of Debian; default: this computer's")
    args = options.parse_args(words)
    return ended("deb", lambda: build(args.out, args.version, CACHE, args.arch, args.release))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
