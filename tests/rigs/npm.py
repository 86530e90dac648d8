"""Packages of npm that tests use: a folder of tests/rigs says which, its lock which bytes."""

import shutil
import subprocess
from pathlib import Path

from rigs.needs import ROOT, missing, require_tool


def fetched(name: str) -> Path:
    """Where the packages of tests/rigs/NAME are, with the programs of that folder beside them.

    npm fetches them once. The test skips (in CI it fails) without npm or a network.
    """
    here, place = ROOT / "tests" / "rigs" / name, ROOT / ".venv" / f"npm-{name}"
    npm = require_tool("npm")
    lock = (here / "package-lock.json").read_text()
    done = place / "installed.json"
    if not done.exists() or done.read_text() != lock:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _copy(here, place)
        # Peers are what package.json names: npm would bring others of the same name besides.
        how = [
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
            "--legacy-peer-deps",
        ]
        try:
            subprocess.run([npm, *how], cwd=place, check=True, capture_output=True, timeout=300)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            missing(f"npm's packages of {name}", "They are fetched once, with a network.")
        done.write_text(lock)
    _copy(here, place)
    return place


def _copy(here: Path, place: Path) -> None:
    for path in here.iterdir():
        shutil.copy(path, place / path.name)
