"""The test files of tests/unit/node/mp, by the clock they run on."""

from .needs import ROOT

FILES = sorted(path.name for path in (ROOT / "tests" / "unit" / "node" / "mp").glob("mp_*.py"))
# Drivers and the loops around them, on the computer's own clock.
IN_REAL_TIME = ("mp_adc.py", "mp_discovery.py", "mp_meter.py", "mp_update.py")
# The whole application: it would wait a lot.
IN_VIRTUAL_TIME = (
    "mp_app.py",
    "mp_bearers.py",
    "mp_bridge.py",
    "mp_console.py",
    "mp_defects.py",
    "mp_faults.py",
    "mp_udp.py",
    "mp_wiring.py",
)
