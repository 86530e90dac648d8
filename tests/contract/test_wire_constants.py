"""The node writes wire numbers down again, as constants that take no room: they must agree.

A number of the wire is `_NAME = const(n)` in firmware/pbal_node, with the name that it has in
pbal_protocol (and _EV_ for EVENT_). No second names, no bare numbers.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pbal_protocol import config, discovery, modbus, names, ota

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / "firmware" / "pbal_node"
FILES = sorted(NODE.rglob("*.py"))
REMEDY = "give it the name that pbal_protocol has for this number, with _ before it"

GROUPS = ("EVENT_", "REASON_", "FLAG_", "WHAT_", "STATE_", "STAGE_", "WHY_", "OP_", "RESULT_")
# Any other update order asks for the status; a node tells nobody that an update was aborted.
UNUSED = {"OP_STATUS", "WHY_ABORTED"}

# Variables, attributes and arguments that hold a number of the wire.
HOLDERS = {"state", "outcome", "reason", "severity", "code", "stage", "why", "op", "result", "what"}
# Functions that take numbers of the wire, and which arguments these are.
TAKERS = {
    "emit": (0, 1),
    "_emit": (0, 1),
    "Refused": (0,),
    "_give_up": (0,),
    "_abandon": (1, 2),
    "_conclude": (0, 1),
    "_answer_config": (2,),
}
# Functions that return one.
GIVES = re.compile(r"order|_offer|_act|_group_key|_update|_switch|_refusal|.*_reason")
# The `stage` of journal.py is the journal's. In discovery.py 0 is no order.
NOT_THE_WIRE = {"journal.py", "discovery.py"}
# It has functions of its own for this, as it loads nothing of ours.
STARTS = {"start.py": {"_give_up": (1,), "_fail": (1,)}}


def wire() -> dict[str, int]:
    """Every number of the wire that has a name."""
    return {
        name: value
        for module in (ota, discovery, modbus, config, names)  # what two of them have, records win
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int)
    }


def full_name(constant: str) -> str:
    """The wire's name for a constant of the node."""
    name = constant.lstrip("_")
    return "EVENT_" + name.removeprefix("EV_") if name.startswith("EV_") else name


def constants(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every `NAME = const(number)` of a module."""
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "const"
        ):
            value = ast.literal_eval(node.value.args[0])
            if isinstance(value, int):
                yield node.targets[0].id, value


def false_constants(text: str) -> list[str]:
    """The constants that have a name of the wire and another number, or a name of a group of the
    wire's that is not in it.
    """
    known = wire()
    wrong = []
    for constant, value in constants(ast.parse(text)):
        name = full_name(constant)
        if name in known and known[name] != value:
            wrong.append(f"{constant} is {value}, on the wire {known[name]}: {REMEDY}")
        elif name.startswith(GROUPS) and name not in known:
            wrong.append(f"{constant}: the wire has no {name}: {REMEDY}")
        elif name in known and not constant.startswith("_"):
            wrong.append(f"{constant} takes room on the node: put _ before it")
    return wrong


def _is_number(node: ast.AST | None) -> bool:
    """A bare number, also as one of two choices or among others."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int) and not isinstance(node.value, bool)
    if isinstance(node, ast.IfExp):
        return _is_number(node.body) or _is_number(node.orelse)
    if isinstance(node, ast.BoolOp):
        return any(map(_is_number, node.values))
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(map(_is_number, node.elts))
    return False


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _holds(node: ast.AST) -> bool:
    return _name(node).lstrip("_") in HOLDERS


def bare_numbers(text: str, takers: dict[str, tuple[int, ...]]) -> list[int]:
    """The lines with a number of the wire that has no name."""
    lines = set()
    for node in ast.walk(ast.parse(text)):
        bad = False
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            bad = any(map(_holds, sides)) and any(map(_is_number, sides))
        elif isinstance(node, ast.Assign):
            bad = any(map(_holds, node.targets)) and _is_number(node.value)
        elif isinstance(node, ast.keyword):
            bad = node.arg in HOLDERS and _is_number(node.value)
        elif isinstance(node, ast.Call):
            places = takers.get(_name(node.func), ())
            bad = any(_is_number(node.args[i]) for i in places if i < len(node.args))
        elif isinstance(node, ast.FunctionDef) and GIVES.fullmatch(node.name):
            found = (n for n in ast.walk(node) if isinstance(n, ast.Return))
            lines |= {n.lineno for n in found if _is_number(n.value)}
        if bad:
            lines.add(getattr(node, "lineno", 0))
    return sorted(lines)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(NODE)))
def test_constants_of_the_node_are_those_of_the_wire(path: Path) -> None:
    assert false_constants(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(NODE)))
def test_no_number_of_the_wire_is_bare(path: Path) -> None:
    if path.name in NOT_THE_WIRE:
        return
    takers = TAKERS | STARTS.get(path.name, {})
    lines = bare_numbers(path.read_text(encoding="utf-8"), takers)
    assert lines == [], f"{path.name}: a bare number in lines {lines}: {REMEDY}"


def test_the_node_knows_every_number_of_a_group() -> None:
    """Every flag, reason, event ... comes from the node: none may be missing there."""
    found = {
        full_name(constant)
        for path in FILES
        for constant, _ in constants(ast.parse(path.read_text(encoding="utf-8")))
    }
    missing = {n for n in vars(names) if n.startswith(GROUPS)} - found - UNUSED
    assert missing == set()


def test_places_in_the_state_of_the_slots_agree() -> None:
    """start.py loads nothing of ours, so it has them again."""
    places: dict[str, set[int]] = {}
    for name in ("slots.py", "start.py", "update.py"):
        for constant, value in constants(ast.parse((NODE / name).read_text(encoding="utf-8"))):
            if constant.startswith("_AT_"):
                places.setdefault(constant, set()).add(value)
    assert {name: len(values) for name, values in places.items()} == dict.fromkeys(places, 1)
    assert sorted(min(values) for values in places.values()) == list(range(8))


@pytest.mark.parametrize(
    "line",
    [
        "_EV_BOOT = const(2)",
        "_STAGE_GOOD = const(5)",
        "_EXPIRED = const(4)",
        "_OPEN = const(1)",  # the phase 0, not STATE_OPEN
        "_STAGE_PROVEN = const(6)",
        "STATE_OPEN = const(1)",
        "_PLAIN_REGISTERS = const(19)",
    ],
)
def test_a_false_constant_is_seen(line: str) -> None:
    assert false_constants(line)


@pytest.mark.parametrize(
    "line",
    [
        "if result.outcome == 5: pass",
        "self.state = 2",
        "ok = self._stage in (3, _STAGE_TRIAL)",
        "log.emit(_EV_BOOT, 0, 1, 2)",
        "log.emit(_EV_BOOT, _INFO if x else 1, 1, 2)",
        "raise Refused(4)",
        "def order(self):\n    return 0",
        "def fixed_reason(f):\n    return _REASON_FIXED if f else 0",
        "tell(reason=3)",
    ],
)
def test_a_bare_number_is_seen(line: str) -> None:
    assert bare_numbers(line, TAKERS)
