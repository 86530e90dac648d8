"""What nodes in the field have does not change: the released declarations of the wire."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs.needs import ROOT

from pbal_tools import wirereleased


def test_the_wire_is_as_released() -> None:
    found = wirereleased.problems(ROOT)
    assert found == [], "\n".join(found)


def _swap(wire: dict[str, Any]) -> None:
    fields = wire["records"]["Telemetry"]["fields"]
    fields[1], fields[2] = fields[2], fields[1]


def _longer(wire: dict[str, Any]) -> None:
    wire["records"]["Health"]["fields"].append(["more", "I", 1, "", 0, 9])
    wire["records"]["Health"]["size"] += 4


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change of the one value at the path, the last element."""

    def change(wire: dict[str, Any]) -> None:
        *way, last, value = path
        place: Any = wire
        for key in way:
            place = place[key]
        place[last] = value

    return change


BREAKS = {
    "id": _set("records", "Hello", "id", 90),
    "order": _swap,
    "length": _longer,
    "code": _set("records", "Telemetry", "fields", 1, 1, "I"),
    "step": _set("records", "Telemetry", "fields", 1, 2, 10),
    "unit": _set("records", "Telemetry", "fields", 1, 3, "kV"),
    "range": _set("records", "Telemetry", "fields", 1, 5, 500),
    "direction": _set("records", "TimeSync", "direction", ["down"]),
    "number": _set("numbers", "state", "OPEN", 2),
    "flag": _set("numbers", "flags", "LOCKOUT", 4),
    "setting": _set("settings", "dwell_s", 0, 99),
    "gone": lambda wire: wire["records"].pop("GroupProof"),
    "id taken": lambda wire: wire["records"].update(
        New={**wire["records"].pop("Ack"), "meaning": ""}
    ),
    "register": lambda wire: wire["registers"].pop(),
}
ADDS = {
    "record": lambda wire: wire["records"].update(New={**wire["records"]["Ack"], "id": 90}),
    "number": _set("numbers", "why", "NEW", 16),
    "wider": _set("records", "UpdateStatus", "fields", 2, 5, 16),
    "words": _set("records", "Hello", "meaning", "Who it is."),
    "setting": _set("settings", "new_s", [99, "s", 0, 1]),
}


@pytest.mark.parametrize("change", [*BREAKS.values()], ids=[*BREAKS])
def test_a_change_is_refused_and_the_remedy_is_named(
    change: Callable[[dict[str, Any]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _after(change, tmp_path, monkeypatch)
    assert found
    assert "new record" in " ".join(found)
    with pytest.raises(ValueError, match="CONTRIBUTING"):
        wirereleased.release(tmp_path)


@pytest.mark.parametrize("change", [*ADDS.values()], ids=[*ADDS])
def test_an_addition_is_released_on_purpose(
    change: Callable[[dict[str, Any]], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _after(change, tmp_path, monkeypatch)
    assert found
    assert all("--write" in line for line in found), found
    before = wirereleased.load(tmp_path)
    assert wirereleased.main(["--write", "--root", str(tmp_path)]) == 0
    after = wirereleased.load(tmp_path)
    assert wirereleased.problems(tmp_path) == []
    assert after["edition"] == before["edition"] + 1
    assert all(after["since"][name] == since for name, since in before["since"].items())
    assert set(after["since"]) == set(after["wire"]["records"])
    if "New" in after["since"]:
        assert after["since"]["New"] == "9.8.7"


def test_a_snapshot_edited_by_hand_is_noticed(tmp_path: Path) -> None:
    found = wirereleased.load(ROOT)
    found["wire"]["records"]["Hello"]["id"] = 90
    (tmp_path / wirereleased.FILE).parent.mkdir(parents=True)
    (tmp_path / wirereleased.FILE).write_text(json.dumps(found))
    assert "by hand" in wirereleased.problems(tmp_path)[0]
    (tmp_path / wirereleased.FILE).unlink()
    assert "missing" in wirereleased.problems(tmp_path)[0]


def _after(
    change: Callable[[dict[str, Any]], None], root: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The problems once the code declares something else than the snapshot in `root`."""
    (root / wirereleased.FILE).parent.mkdir(parents=True)
    (root / wirereleased.FILE).write_bytes((ROOT / wirereleased.FILE).read_bytes())
    (root / "firmware" / "pbal_node").mkdir(parents=True)
    (root / "firmware" / "pbal_node" / "version.py").write_text('VERSION = "9.8.7"\n')
    wire = copy.deepcopy(wirereleased.declared())
    change(wire)
    monkeypatch.setattr(wirereleased, "declared", lambda: wire)
    return wirereleased.problems(root)
