"""What an installer leaves in a home: the node's identity, first phase, settings and wiring."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pbal_sim.chip import Wiring
from pbal_sim.hal import hwmap
from pbal_sim.streetconfig import WIFI, RadioSite, StreetConfig, building_of

# A little less than pbal_sim.hal uses (HEAP_HAL in a chip's page is the measured figure): a node
# never gets more than its heap.
_HAL_BYTES = 17 * 1024 + 512


@dataclass
class Identity:
    """What a controller must know of one node."""

    address: int
    name: str
    eui: str
    root: bytes
    group: bytes


def identity_of(config: StreetConfig, i: int) -> Identity:
    """The identity of home `i` (0..); the same for the same seed."""
    rng = random.Random(f"pbal street {config.seed} {i}")
    group = random.Random(f"pbal street {config.seed} group").randbytes(32)
    # As of a chip whose MAC address is 02:50, the seed, the home.
    eui = f"0250{config.seed >> 8 & 0xFF:02x}fffe{config.seed & 0xFF:02x}{i + 1:04x}"
    address = config.segment_no * 256 + i + 1
    return Identity(address, f"home {i + 1:02d}", eui, rng.randbytes(32), group)


def _first_phase(config: StreetConfig, i: int) -> int:
    """0..2, or -1 when a new node is to choose by itself."""
    how = config.start_phases
    if not isinstance(how, str):
        return how[i]
    if how == "even":
        return i % 3
    # As in a street that grew house by house, each on any phase: half of the homes on A.
    return random.Random(f"phase {config.seed} {i}").choices((0, 1, 2), (5, 3, 2))[0]


def first_files(config: StreetConfig, i: int, identity: Identity) -> dict[str, str]:
    """What is written to a new flash of home `i` beside the firmware."""
    files = dict(config.first_files)
    if config.provision:
        # Phases are 1..3 for a node; 0 lets a new one choose by itself.
        told: dict[str, object] = {
            "eui": identity.eui,
            "site": config.site_id,
            "address": identity.address,
            "root": identity.root.hex(),
            "group": identity.group.hex(),
            "name": identity.name,
            "phase": _first_phase(config, i) + 1,
            "fixed": i in config.fixed,
        }
        if i in config.wifi:
            told |= _on_wifi(config, i)
        if config.radio is not None:
            told |= _on_radio(config, i, config.radio)
        files["/cfg/identity.json"] = json.dumps(told)
    return files


def _on_radio(config: StreetConfig, i: int, radio: RadioSite) -> dict[str, Any]:
    if i in config.wifi or i in config.on_line:
        return {}
    building = building_of(config, i)
    if building and i != building[0]:
        return {}  # its bridge has the radio
    found: dict[str, Any] = {"radio": radio.identity() | {"wired": i in config.both}}
    if len(building) > 1:
        neighbours = [identity_of(config, n).address for n in building[1:]]
        found |= {"role": "bridge", "neighbours": neighbours}
    return found


def _on_wifi(config: StreetConfig, i: int) -> dict[str, Any]:
    host, port = config.controller
    found: dict[str, Any] = {"udp": {"host": host, "port": port, "wifi": [list(WIFI)]}}
    if i == config.bridge:
        wired = [n for n in range(config.homes) if n not in config.wifi]
        found |= {"role": "bridge", "neighbours": [identity_of(config, n).address for n in wired]}
    return found


def with_settings(config: StreetConfig, files: dict[str, bytes]) -> dict[str, bytes]:
    """Writes the installation's settings to where an installer puts them: the board file."""
    if not config.node_settings or "/board.json" not in files:
        return files
    board = json.loads(files["/board.json"])
    board["config"] = {**board.get("config", {}), **config.node_settings}
    return {**files, "/board.json": json.dumps(board, separators=(",", ":")).encode()}


def wiring_of(
    board: dict[str, Any], contact_pins: Iterable[int], eui: str, wifi: bool = False
) -> Wiring:
    """What the board joins to its chip, whose own id is the EUI without its middle."""
    rs485, meter = board["uart"]["rs485"], board["uart"].get("meter")
    watch = dict.fromkeys(contact_pins, hwmap.WATCH_CONTACT)
    watch[rs485["de"]] = hwmap.WATCH_DE
    radio = board.get("radio")
    if radio:
        watch |= dict.fromkeys((radio["cs"], radio["reset"]), hwmap.WATCH_RADIO)
    uart = {rs485["id"]: (hwmap.LINK_RS485, rs485["tx"], rs485["rx"])}
    if meter is not None:
        uart[meter["id"]] = (hwmap.LINK_METER, meter["tx"], meter["rx"])
    sense = board["sense"]
    return Wiring(
        uid=bytes.fromhex(eui[:6] + eui[10:]),
        watch=watch,
        adc={sense[k]: n for n, k in enumerate(hwmap.CHANNELS) if k in sense},
        uart=uart,
        kind=board["board"].get("chip", "esp32"),
        radio=(radio["sck"], radio["mosi"], radio["miso"]) if radio else None,
        wifi=WIFI if wifi else None,
    )


def interpreter_heap(heap: str) -> str:
    """The interpreter's heap for a node's: on a board the hardware's drivers are not in it."""
    size = int(heap[:-1]) << {"k": 10, "m": 20}[heap[-1]]
    return str(size + _HAL_BYTES)
