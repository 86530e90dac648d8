"""`pbal sim run --scenario`: which homes are reached over what, as node and controller are told."""

import json
import socket
from pathlib import Path

import pytest

from pbal_controller.config import load
from pbal_sim.installation import first_files, identity_of
from pbal_sim.streetconfig import StreetConfig
from pbal_tools import topology
from pbal_tools.controllersetup import ControllerSetup, NodeIdentity, create_keys, write_config
from pbal_tools.errors import InputError
from pbal_tools.streetoptions import SCENARIOS, RunOptions, check, free_udp_port


def test_who_is_on_the_wifi() -> None:
    assert SCENARIOS["urban"].on_wifi(6) == frozenset()
    assert SCENARIOS["wifi"].on_wifi(3) == {0, 1, 2}
    assert SCENARIOS["mixed"].on_wifi(5) == {1, 3}
    assert SCENARIOS["mixed"].on_wifi(1) == frozenset()


def test_the_controller_is_told_the_same(tmp_path: Path) -> None:
    on_wifi = SCENARIOS["mixed"].on_wifi(2)
    nodes = [
        NodeIdentity(i + 1, f"home {i + 1}", f"{i:016x}", bytes(32), ("wifi",) * (i in on_wifi))
        for i in range(2)
    ]
    create_keys(tmp_path, 1, bytes(32), nodes)
    wifi = {"kind": "udp", "host": "127.0.0.1", "port": free_udp_port()}
    setup = ControllerSetup(tmp_path, 1, "/dev/null", 115200, nodes, {"bearer": {"wifi": wifi}})
    config = load(write_config(setup), {})
    assert [config.ways(home) for home in config.home] == [[("street", 1)], [("wifi", 2)]]


def test_a_campus_is_told_to_nodes_and_controller_alike(tmp_path: Path) -> None:
    campus = SCENARIOS["campus"]
    assert campus.buildings(13) == (tuple(range(6)), tuple(range(6, 12)), (12,))
    assert len(topology.told(campus, 13)) == 3
    assert "home 07, a bridge -RS-485- homes 08, 09, 10, 11, 12" in topology.told(campus, 13)[1]
    config = StreetConfig(
        homes=13, board=campus.board, radio=campus.radio, buildings=campus.buildings(13)
    )
    told = [
        json.loads(first_files(config, i, identity_of(config, i))["/cfg/identity.json"])
        for i in range(13)
    ]
    assert [("radio" in one, one.get("role")) for one in told] == [
        *[(True, "bridge"), *[(False, None)] * 5] * 2, (True, None)
    ]  # fmt: skip
    assert told[6]["neighbours"] == [8, 9, 10, 11, 12]
    nodes = [
        NodeIdentity(i + 1, f"home {i + 1}", f"{i:016x}", bytes(32), (), None if i % 6 == 0 else
                     i // 6 * 6 + 1)
        for i in range(13)
    ]  # fmt: skip
    create_keys(tmp_path, 1, bytes(32), nodes)
    setup = ControllerSetup(
        tmp_path, 1, "/dev/null", 115200, nodes, dict(campus.options), paths=campus.paths
    )
    found = load(write_config(setup), {})
    assert found.ways(found.home[0]) == [("campus", 1)]
    assert found.ways(found.home[8]) == [("campus", (9, 7))]


def test_mixed_has_homes_on_wires_on_the_network_and_behind_a_bridge(tmp_path: Path) -> None:
    mixed = SCENARIOS["mixed"]
    assert mixed.buildings(12) == ((8, 9, 10, 11),)
    assert (mixed.on_line(12), mixed.on_wifi(12)) == ({0, 2, 4, 6}, {1, 3, 5, 7})
    assert topology.told(mixed, 12) == [
        "controller ~LoRa~ home 09, a bridge -RS-485- homes 10, 11, 12",
        "controller -RS-485- 4 homes",
        "controller ~Wi-Fi~ 4 homes",
    ]
    assert mixed.buildings(60) == (tuple(range(54, 60)),)
    assert topology.told(SCENARIOS["urban"], 4) == ["controller -RS-485- 4 homes"]
    config = StreetConfig(
        homes=12, board=mixed.board, radio=mixed.radio, buildings=mixed.buildings(12),
        on_line=mixed.on_line(12), wifi=mixed.on_wifi(12),
    )  # fmt: skip
    told = [
        json.loads(first_files(config, i, identity_of(config, i))["/cfg/identity.json"])
        for i in range(12)
    ]
    assert [("radio" in one, "udp" in one) for one in told] == [
        *[(False, False), (False, True)] * 4, (True, False), *[(False, False)] * 3
    ]  # fmt: skip
    ways = [("street",), ("wifi",)] * 4 + [()] * 4
    nodes = [
        NodeIdentity(i + 1, f"home {i + 1}", f"{i:016x}", bytes(32), ways[i], 9 if i > 8 else None)
        for i in range(12)
    ]
    create_keys(tmp_path, 1, bytes(32), nodes)
    wifi = {"kind": "udp", "host": "127.0.0.1", "port": free_udp_port()}
    options = {**mixed.options, "bearer": {"wifi": wifi}}
    setup = ControllerSetup(tmp_path, 1, "/dev/null", 115200, nodes, options, paths=mixed.paths)
    found = load(write_config(setup), {})
    assert [found.ways(home)[0][0] for home in found.home] == [
        *["street", "wifi"] * 4, *["campus"] * 4
    ]  # fmt: skip


def test_a_free_port_is_free() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", free_udp_port()))


def test_a_scenario_that_is_none() -> None:
    with pytest.raises(InputError, match="no scenario") as error:
        check(RunOptions(scenario="lunar"))
    assert "mixed" in str(error.value.remedy)
