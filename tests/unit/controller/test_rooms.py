"""A room of the controller is entered by its door: what its `__init__` exports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONTROLLER = ROOT / "pi_controller" / "pbal_controller"
ROOMS = {path.name for path in CONTROLLER.iterdir() if (path / "__init__.py").exists()}
# A bearer's kind is a room of its own within `bearers`.
INNER = {f"bearers.{path.parent.name}" for path in (CONTROLLER / "bearers").glob("*/__init__.py")}
# The engine is used whole by the study and the benches: all of its files are public.
OPEN = {"balancing"}
USERS = [
    path
    for folder in ("pi_controller", "tools", "sim", "bench")
    for path in (ROOT / folder).rglob("*.py")
]


def door(room: str) -> set[str]:
    """The names that a room exports."""
    tree = ast.parse((CONTROLLER / room.replace(".", "/") / "__init__.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return {ast.literal_eval(item) for item in node.value.elts}  # type: ignore[attr-defined]
    return set()


def room_of(path: Path) -> str:
    """The room a file is in, empty for none."""
    if not path.is_relative_to(CONTROLLER):
        return ""
    parts = path.relative_to(CONTROLLER).parts[:-1]
    return ".".join(parts)


def through_walls(path: Path, text: str) -> list[str]:
    """Imports of a file that reach past a door."""
    mine = room_of(path)
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ImportFrom) or not node.module or node.level:
            continue
        package, _, inner = node.module.partition(".")
        if package != "pbal_controller" or not inner or inner.split(".")[0] not in ROOMS:
            continue
        if inner.split(".")[0] in OPEN or inner.split(".")[0] == mine.split(".")[0]:
            continue
        names = {alias.name for alias in node.names}
        if inner in ROOMS | INNER:
            names -= door(inner)
        found += [f"{path.name}:{node.lineno}: {node.module}.{name}" for name in sorted(names)]
    return found


def test_rooms_are_entered_by_their_doors() -> None:
    assert USERS
    assert not [line for path in USERS for line in through_walls(path, path.read_text("utf-8"))]


@pytest.mark.parametrize(
    "line",
    [
        "from pbal_controller.journal.numbers import Numbers",
        "from pbal_controller.journal import Numbers",
        "from pbal_controller.bearers.rs485.line import LineClient",
    ],
)
def test_a_way_past_a_door_is_seen(line: str) -> None:
    assert through_walls(CONTROLLER / "moves" / "x.py", line)
    assert through_walls(ROOT / "tools" / "x.py", line)


def test_a_room_knows_its_own_files() -> None:
    line = "from pbal_controller.journal.numbers import Numbers"
    assert not through_walls(CONTROLLER / "journal" / "x.py", line)


def test_pymodbus_is_known_to_the_rs485_bearer_only() -> None:
    """What a wire is made of stays behind its bearer."""
    users = [
        path
        for path in CONTROLLER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pymodbus"))
        or (isinstance(node, ast.Import) and any(a.name.startswith("pymodbus") for a in node.names))
    ]
    assert users
    assert {path.parent for path in users} == {CONTROLLER / "bearers" / "rs485"}


def test_every_file_stands_in_the_table() -> None:
    """docs/architecture.md names each file of a room, but of the rooms with a page of their own."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    files = [
        path
        for path in CONTROLLER.rglob("*.py")
        if path.name != "__init__.py" and path.parent.name not in ("balancing", "plausibility")
    ]
    assert [str(path) for path in files if f"`{path.name}`" not in text] == []
