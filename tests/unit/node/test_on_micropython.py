"""Every test file of mp/, on the MicroPython interpreter that runs the firmware in the twin."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(400)
FILES = sorted(p.name for p in (Path(__file__).parent / "mp").glob("mp_*.py"))
# The whole application waits a lot; these need no real clock.
IN_VIRTUAL_TIME = {
    "mp_app.py",
    "mp_bearers.py",
    "mp_console.py",
    "mp_defects.py",
    "mp_faults.py",
    "mp_udp.py",
    "mp_wiring.py",
}


@pytest.mark.parametrize("name", FILES)
def test_file(name: str, run_mp: Callable[..., str]) -> None:
    run_mp(name, virtual=name in IN_VIRTUAL_TIME, timeout_s=350)
