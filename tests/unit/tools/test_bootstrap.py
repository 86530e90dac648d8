"""tools/bootstrap.sh: what is there already is not installed again."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from rigs import needs

# In place of an environment's Python: notes what it is called for, and installs nothing.
PYTHON = """#!/bin/sh
[ "$1" = -c ] && exec {python} "$@"
echo "$@" >>{log}
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what bootstrap.sh looks at, and an environment."""
    needs.require_tool("gcc")
    needs.require_file(Path(sysconfig.get_path("include")) / "Python.h", "python3-dev")
    for name in ("tools/bootstrap.sh", "pyproject.toml", "requirements.lock", "setup.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(needs.ROOT / name, tmp_path / name)
    (tmp_path / "pi_controller").mkdir()
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / ".venv" / "pyvenv.cfg").touch()
    python.write_text(PYTHON.format(python=sys.executable, log=tmp_path / "log"))
    python.chmod(0o755)
    return tmp_path


def installs(checkout: Path, *extras: str) -> bool:
    """Whether this call installs something."""
    log = checkout / "log"
    log.write_text("")
    subprocess.run(
        [checkout / "tools" / "bootstrap.sh", *extras], check=True, capture_output=True,
        timeout=needs.PATIENCE_S, env={**os.environ, "PBAL_NO_APT": "1"},
    )  # fmt: skip
    return "pip install" in log.read_text()


def test_what_another_extra_brought_is_there(checkout: Path) -> None:
    """`./demo.sh` after `./test.sh` compiles nothing."""
    assert installs(checkout, "dev")
    assert not installs(checkout, "dev")
    assert not installs(checkout, "sim")
    assert not installs(checkout, "flash", "sim")
    # No part of dev: AGPL.
    assert installs(checkout, "pylora")
    assert not installs(checkout, "sim", "pylora")


def test_what_is_compiled_is_compiled_again_when_it_changed(checkout: Path) -> None:
    assert installs(checkout, "sim")
    (checkout / "pi_controller" / "new.pyx").write_text("x = 1\n")
    assert installs(checkout, "sim")
    assert installs(checkout, "hq")
    assert not installs(checkout, "sim")
