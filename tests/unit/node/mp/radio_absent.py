"""The application without a radio: no module of the radio is loaded, none of its records known."""

import sys

from pbal_node import app, build, link  # noqa: F401
from pbal_protocol import records

loaded = [name for name in sys.modules if "radio" in name and name != "radio_absent"]
if loaded or 40 in records.RECORDS:
    raise AssertionError(loaded)
print("ok")
