"""The unit file: accepted by systemd, and hardened."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "pi_controller" / "systemd" / "pbal-controller.service"


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def test_verify(analyze: str, tmp_path: Path) -> None:
    """As installed, but with a program that exists here."""
    text = UNIT.read_text()
    text, count = re.subn(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text)
    assert count == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    done = subprocess.run(
        [analyze, "verify", str(copy)], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert not complaints
    assert done.returncode == 0


@pytest.mark.parametrize("unit", [UNIT, UNIT.with_name("pbal-trial.service")])
def test_exposure(analyze: str, unit: Path) -> None:
    """At most 2.0: serial ports, SPI and GPIO included, and going back to an older version."""
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at files")
    assert done.returncode == 0, done.stdout[-400:]


def test_what_the_code_relies_on() -> None:
    text = UNIT.read_text()
    for line in ("Type=notify", "LoadCredential=pbal-keys:", "WatchdogSec=", "LimitNOFILE=1024"):
        assert line in text


def test_the_devices_that_are_needed_are_allowed() -> None:
    lines = UNIT.read_text().splitlines()
    for device in ("ttyUSB", "ttyACM", "ttyAMA", "ttyS", "spi", "gpiochip"):
        assert f"DeviceAllow=char-{device} rw" in lines


def test_keys_stay_out_of_files() -> None:
    lines = UNIT.read_text().splitlines()
    for line in ("LimitCORE=0", "MemorySwapMax=0", "UMask=0077", "StateDirectoryMode=0700"):
        assert line in lines


def test_the_installation_page_is_about_this_unit() -> None:
    """Paths, user and credential of docs/install.md are those of the unit file."""
    unit = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line)
    page = (UNIT.parents[2] / "docs" / "install.md").read_text()
    program, *words = unit["ExecStart"].split()
    assert program == "/opt/pbal/bin/pbal-controller"
    assert f"sudo {program} check-config" in page
    assert words[-1] in page
    assert f"cat >{unit['LoadCredential'].partition(':')[2]}" in page
    assert f"adduser --system --group --home /var/lib/{unit['StateDirectory']}" in page
    assert f"-m 700 -o {unit['User']} -g {unit['Group']} /var/lib/{unit['StateDirectory']}" in page
    assert unit["SupplementaryGroups"] in page
    assert UNIT.name in page
    for title in ("From a checkout, without the package", "Upgrade, rollback", "Backup", "Remove"):
        assert f"### {title}\n" in page
