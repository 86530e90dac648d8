"""pbal as a wheel installs it, away from a checkout: its data files are found."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import setuptools
from rigs import needs


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages where setup.py puts them, in a folder that holds nothing else."""
    told: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", lambda **k: told.update(k))
        # Nothing is compiled: the packages and their places are wanted.
        patch.setitem(sys.modules, "Cython", ModuleType("Cython"))
        patch.setitem(sys.modules, "Cython.Build", SimpleNamespace(cythonize=lambda *a, **k: []))
        patch.chdir(needs.ROOT)
        runpy.run_path(str(needs.ROOT / "setup.py"))
    site = tmp_path_factory.mktemp("site")
    for name, source in told["package_dir"].items():
        if name.partition(".")[0] in {package.partition(".")[0] for package in told["packages"]}:
            shutil.copytree(needs.ROOT / source, site / name,
                            ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    return site


def pbal(installed: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command from there; PYTHONPATH goes before the checkout of this environment."""
    return subprocess.run(
        [sys.executable, "-c", "from pbal_tools.cli import main; main()", *args],
        capture_output=True, text=True, timeout=100, check=False, cwd=installed,
        env={**os.environ, "PYTHONPATH": str(installed), "PBAL_BOARDS": ""},
    )  # fmt: skip


def test_the_boards_are_found(installed: Path) -> None:
    done = pbal(installed, "board", "list")
    assert done.returncode == 0, done.stderr
    assert "esp32-devkitc" in done.stdout
    done = pbal(installed, "board", "check")
    assert done.returncode == 0, done.stderr
    done = pbal(installed, "flash", "--board", "esp32-devkitc", "-p", "/dev/ttyNOPE", "--app-only")
    assert done.returncode == 10, done.stderr


def test_the_firmware_is_found(installed: Path) -> None:
    done = pbal(installed, "release", "build", "--version", "9.9.9", "--out", "x.pbal")
    assert done.returncode == 0, done.stderr
    code = (
        "from pbal_build import build_files\nimport pbal_build.boards as b\n"
        f"assert b.__file__.startswith({str(installed)!r}), b.__file__\n"
        "f = build_files('esp32-s3')\nassert {'/boot.py', '/main.py', '/board.json'} <= set(f)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False,
        cwd=installed, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
