"""The firmware against the type stubs of the ESP32 port: an API the port lacks fails here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rigs import needs

ROOT = Path(__file__).resolve().parents[3]
STUBS = Path(sys.executable).parent.parent / "esp32-stubs"
CONFIG = """
[mypy]
mypy_path = {stubs}:{root}/protocol
custom_typeshed_dir = {stubs}
python_version = 3.11
explicit_package_bases = True
namespace_packages = True
check_untyped_defs = True
allow_redefinition = True
[mypy-pbal_protocol.*]
ignore_errors = True
"""


def check(folder: Path, tmp_path: Path) -> list[str]:
    """The complaints of mypy about boot.py, main.py and pbal_node in `folder`."""
    if not (STUBS / "machine.pyi").exists():
        needs.missing(
            "the folder of the ESP32 type stubs",
            f"pip install --target {STUBS} micropython-esp32-stubs",
        )
    config = tmp_path / "mypy.ini"
    config.write_text(CONFIG.format(stubs=STUBS, root=ROOT))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", str(config), "--no-error-summary"),
            *("--cache-dir", str(tmp_path / "cache"), "boot.py", "main.py", "pbal_node"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    # The stubs have flaws of their own; only what is said about our files counts.
    return [
        line
        for line in done.stdout.splitlines()
        if ": error:" in line and line.startswith(("boot.py", "main.py", "pbal_node"))
    ]


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    copy = tmp_path / "firmware"
    shutil.copytree(ROOT / "firmware", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_only_what_the_esp32_port_has(firmware: Path, tmp_path: Path) -> None:
    complaints = check(firmware, tmp_path)
    assert not complaints, "\n".join(complaints)


def test_a_call_the_port_lacks_is_found(firmware: Path, tmp_path: Path) -> None:
    path = firmware / "pbal_node" / "board.py"
    path.write_text(path.read_text() + "\n\ndef broken() -> None:\n    machine.Servo(1)\n")
    path = firmware / "pbal_node" / "bearers" / "driver.py"
    path.write_text(path.read_text().replace("uart.txdone()", "os.fsync(0)"))
    path.write_text(path.read_text().replace("import time\n", "import os\nimport time\n"))
    complaints = check(firmware, tmp_path)
    assert any("Servo" in line for line in complaints), complaints
    assert any("fsync" in line for line in complaints), complaints
