#!/usr/bin/env python3
"""HQ as a Debian package: one command, for computers like the one it runs on.

    tools/deb_hq.py [--out FOLDER] [--version VERSION]

Writes FOLDER/pbal-hq_VERSION_ARCHITECTURE.deb (default folder: dist; default version: that of
pyproject.toml). Like the controller's (tools/deb.py) it brings an environment of its own with the
versions of requirements.lock, for Kafka and the data lake too. hq/deploy/ installs it.

Needs Debian packages: python3 python3-venv python3-dev gcc dpkg-dev.
Exit codes: 0 written, 2 wrong use, 4 something is missing or failed.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import deb
from debenv import ROOT, environment

NAME = "pbal-hq"
EXTRAS = ("hq", "kafka", "lake")
HOME = "/usr/lib/pbal-hq"
HQ = ROOT / "hq"


def lay_out(root: Path, version: str) -> None:
    """Everything beside the environment: units, command, monitoring, licence."""
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in sorted((HQ / "systemd").glob("*.service")):
        shutil.copy(unit, units)
    programs = root / "usr/bin"
    programs.mkdir(parents=True)
    (programs / NAME).symlink_to(f"{HOME}/bin/{NAME}")
    shared = root / "usr/share" / NAME
    shutil.copytree(HQ / "monitoring", shared / "monitoring")
    shutil.copyfile(
        ROOT / "pi_controller/monitoring/alerts.yml",
        shared / "monitoring" / "controllers.yml",
    )
    documents = root / "usr/share/doc" / NAME
    documents.mkdir(parents=True)
    shutil.copyfile(ROOT / "LICENSE", documents / "copyright")
    shutil.copyfile(ROOT / "CHANGELOG.md", documents / "CHANGELOG.md")
    deb.write_control(root, HQ / "debian", version)


def build(out: Path, version: str, cache: Path) -> Path:
    """Write the package; returns its path. Raises deb.BuildError."""

    def fill(root: Path) -> None:
        home = root / HOME.lstrip("/")
        made = environment(cache, extras=EXTRAS, kind="environment_hq", home=HOME)
        shutil.copytree(made, home, symlinks=True)
        # The commands of a transformer's controller have no use here.
        for program in ("pbal", "pbal-controller"):
            (home / "bin" / program).unlink()
        lay_out(root, version)

    return deb.package(NAME, out, version, cache, fill)


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    args = deb.parser("deb_hq", "HQ").parse_args(words)
    return deb.ended("deb_hq", lambda: build(args.out, args.version, deb.CACHE))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
