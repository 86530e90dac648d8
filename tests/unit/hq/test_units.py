"""HQ's units: accepted by systemd, and closed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from rigs import needs

UNITS = needs.ROOT / "hq" / "systemd"


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_a_unit_is_accepted_and_closed(unit: Path, tmp_path: Path) -> None:
    """But for programs that are not here, systemd takes it as it is; exposure at most 2.0."""
    analyze = needs.require_tool("systemd-analyze", "systemd")
    lines = [
        "ExecStart=/bin/true" if line.startswith("ExecStart=") else line
        for line in unit.read_text().splitlines()
    ]
    copy = tmp_path / unit.name.replace("@", "@decode")
    copy.write_text("\n".join(lines))
    done = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, timeout=60)
    assert unit.name.split("@")[0] not in done.stderr, done.stderr
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot look at files")
    assert done.returncode == 0, done.stdout[-400:]
