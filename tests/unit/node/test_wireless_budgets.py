"""The heap of nodes behind a radio or a network, by the same budget as that of nodes on a line
(rigs/node_heap.py): every board that has a radio, by LoRa; every board, as all have Wi-Fi.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs import node_heap

from pbal_build import board_names, compile_file, load_board
from pbal_protocol import kdf

from .test_budgets import HERE, check_share, compiled, own_heap

__all__ = ["compiled"]

NAMES = 1250  # with the test's own; at the 1261st their table doubles
ROUNDS = 60
RADIO = [name for name in board_names() if "radio" in load_board(name)]
FAKES = (
    "fake/machine",
    "fake/network",
    "fake/socket",
    "virtual/clockwork",
    "support",
    "counters_end",
)


@pytest.fixture(scope="session")
def wireless(compiled: Path) -> Path:
    """protocol and node as they are flashed, the fake hardware, and the hub."""
    for inside in (*FAKES, "wireless_app"):
        source = HERE / "mp" / f"{inside}.py"
        (compiled / source.stem).with_suffix(".mpy").write_bytes(compile_file(source, source.stem))
    (compiled / "begin.py").write_text("import wireless_app\n")
    return compiled


@pytest.fixture
def measured(
    wireless: Path, run_mp: Callable[..., str], tmp_path: Path
) -> Callable[..., dict[str, Any]]:
    """Runs a node under the heap limit; what was measured."""
    root, group, site, address = bytes(32), bytes(range(32)), 3, 0x0105
    keys = (*kdf.node_keys(root, site, address), kdf.group_key(group, site))

    def run(board: str, chip: int = node_heap.HEAP_BYTES, **told: Any) -> dict[str, Any]:
        def one(mode: str, heap: str) -> str:
            flash = tmp_path / mode
            (flash / "cfg").mkdir(parents=True)
            identity = {
                "eui": "010203fffe040506", "site": site, "address": address,
                "root": root.hex(), "group": group.hex(), "phase": 1,
            }  # fmt: skip
            (flash / "cfg" / "identity.json").write_text(json.dumps(identity | told))
            return run_mp(
                "begin.py", str(flash), mode, str(wireless), board, *(key.hex() for key in keys),
                heap=heap, path=(wireless, wireless), virtual=True,
            )  # fmt: skip

        text, share = own_heap(one, chip)
        found: dict[str, Any] = json.loads(text.splitlines()[-2])
        check_share(found, share, chip)
        found["names"] = int(text.rpartition("n_qstr=")[2].split(",")[0])
        print(found)
        return found

    return run


def check(found: dict[str, Any]) -> None:
    """Within the budget, in use and steady."""
    assert found["bearers"] == 1, "the bearer did not fit"
    assert found["synced"]
    assert max(found["live"]) <= node_heap.USED_BYTES, found
    assert found["heap_used_max"] <= node_heap.USED_BYTES, found
    assert found["live"][-1] - found["live"][2] <= 512, f"the heap grows: {found['live']}"
    assert found["names"] <= NAMES, found


# The first has no limit on airtime, the second a duty cycle, the third a longest frame as well.
@pytest.mark.parametrize(
    "region",
    [
        pytest.param("IN865", marks=pytest.mark.long),
        pytest.param("EU868", marks=pytest.mark.long),
        "AS923",
    ],
)
@pytest.mark.parametrize("board", RADIO)
def test_a_node_on_lora_fits_the_heap(
    measured: Callable[..., dict[str, Any]], board: str, region: str
) -> None:
    found = measured(board, radio={"region": region, "channel": 0, "sf": 7, "power_dbm": 12})
    assert found["bearer"] == "Lora"
    assert found["answers"] > 1.5 * ROUNDS, "slots and exchanges"
    assert found["phase"] == 1
    check(found)


@pytest.mark.parametrize(
    "board",
    [
        board if board == "esp32-devkitc" else pytest.param(board, marks=pytest.mark.long)
        for board in board_names()
    ],
)
def test_a_node_on_a_network_fits_the_heap(
    measured: Callable[..., dict[str, Any]], board: str
) -> None:
    wifi = [["mill lane", "correct horse"]]
    found = measured(board, udp={"host": "192.168.7.1", "wifi": wifi})
    assert found["bearer"] == "Udp"
    assert found["answers"] == ROUNDS
    check(found)


@pytest.mark.parametrize("board", RADIO)
def test_a_bridge_over_lora_needs_more_than_a_chip_has(
    measured: Callable[..., dict[str, Any]], board: str
) -> None:
    """Its neighbours are silent here: what it carries for them comes on top (node_heap.BRIDGE)."""
    found = measured(
        board,
        node_heap.BRIDGE_BYTES,
        radio={"region": "IN865", "channel": 0, "sf": 7, "power_dbm": 12},
        role="bridge",
        neighbours=list(range(0x0106, 0x0106 + 30)),
    )
    assert found["synced"]
    assert found["phase"] == 1
    print("a bridge: used at most", found["heap_used_max"], "live", max(found["live"]))
    assert node_heap.USED_BYTES < found["heap_used_max"] <= node_heap.BRIDGE_BYTES, found
