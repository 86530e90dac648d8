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

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import deb

NAME = "pbal-hq"
EXTRAS = ("hq", "kafka", "lake")
HOME = "/usr/lib/pbal-hq"
HQ = deb.ROOT / "hq"


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
        deb.ROOT / "pi_controller/monitoring/alerts.yml",
        shared / "monitoring" / "controllers.yml",
    )
    documents = root / "usr/share/doc" / NAME
    documents.mkdir(parents=True)
    shutil.copyfile(deb.ROOT / "LICENSE", documents / "copyright")
    shutil.copyfile(deb.ROOT / "CHANGELOG.md", documents / "CHANGELOG.md")
    deb.write_control(root, HQ / "debian", version)


def build(out: Path, version: str, cache: Path) -> Path:
    """Write the package; returns its path. Raises deb.BuildError."""
    cache.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        root = Path(work) / NAME
        made = deb.environment(cache, extras=EXTRAS, kind="environment_hq", home=HOME)
        shutil.copytree(made, root / HOME.lstrip("/"), symlinks=True)
        # The commands of a transformer's controller have no use here.
        for program in ("pbal", "pbal-controller"):
            (root / HOME.lstrip("/") / "bin" / program).unlink()
        lay_out(root, version)
        deb.modes(root)
        return deb.pack(root, out)


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="tools/deb_hq.py", description="HQ as a Debian package.")
    parser.add_argument("--out", type=Path, default=deb.ROOT / "dist", help="default: dist")
    parser.add_argument(
        "--version", default=deb.project_version(), help="default: pyproject.toml's"
    )
    args = parser.parse_args(words)
    try:
        deb.check(args.version)
        print(build(args.out, args.version, deb.ROOT / "build" / "deb"))
    except (deb.BuildError, OSError) as error:
        print(f"deb_hq: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
