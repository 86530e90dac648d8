"""The node writes wire numbers down again, as constants that take no room: they must agree."""

import re
from pathlib import Path

from pbal_protocol import names

NODE = Path(__file__).resolve().parents[2] / "firmware" / "pbal_node"
PREFIXES = {"EV": "EVENT", "REASON": "REASON", "FLAG": "FLAG", "WHAT": "WHAT"}
LINE = re.compile(r"^_?(EV|REASON|FLAG|WHAT)_([A-Z_]+) = const\((\d+)\)", re.MULTILINE)


def test_constants_of_the_node_are_those_of_the_wire() -> None:
    found = set()
    for path in NODE.rglob("*.py"):
        for prefix, name, value in LINE.findall(path.read_text(encoding="utf-8")):
            full = f"{PREFIXES[prefix]}_{name}"
            assert getattr(names, full, None) == int(value), f"{path.name}: {full} = {value}"
            found.add(full)
    # Every flag and every reason of a refusal comes from the node: none may be missing there.
    for name in vars(names):
        if name.startswith(("FLAG_", "REASON_", "WHAT_")):
            assert name in found, name
