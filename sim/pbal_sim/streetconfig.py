"""The description of a street; every field has a default that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pbal_sim.errors import TwinError
from pbal_sim.loads import Loads, read_csv
from pbal_sim.mains import MainsConfig
from pbal_sim.radio import OPEN_COUNTRY, PathLoss


@dataclass(frozen=True)
class RadioSite:
    """Homes over LoRa: the channel, and where they stand. The controller is at the beginning of the
    road, one home after the other along it, but for those in `at_m` (see placing.py).
    """

    region: str = "IN865"
    channel: int = 0
    sf: int = 8  # of the beacons
    apart_m: float = 150.0
    road_m: float = 1800.0  # one transformer feeds no longer a road; for placing.py
    at_m: Mapping[int, float] = field(default_factory=dict)  # home 0...: its distance
    loss: PathLoss = OPEN_COUNTRY

    def identity(self) -> dict[str, object]:
        """What a node is provisioned with."""
        return {"region": self.region, "channel": self.channel, "sf": self.sf}

    def distance_m(self, i: int) -> float:
        """From the controller to home `i` (0...)."""
        return self.at_m.get(i, self.apart_m * (i + 1))


WIFI = ("pbal street", "only on this computer")  # name and key of the street's network


@dataclass
class StreetConfig:
    """A street's description; every field has a default that works."""

    homes: int = 12
    board: str = "esp32-devkitc"
    profiles: Path | None = None  # loads CSV; default: the household generator
    loads: Loads | None = None  # or any object of this kind
    pv_share: float = 0.0  # share of generated homes with PV
    load_start_s: float = 18.0 * 3600  # time of day at which the loads begin
    speed: float = 60.0  # seconds of load time per second
    seed: int = 1
    site_id: int = 1
    segment_no: int = 0  # addresses are segment_no * 256 + 1, 2, ...
    baud: int = 115200
    start_phases: str | list[int] = "uneven"  # "uneven", "even", or 0..2 per home (-1 unknown)
    heap: str = "232k"  # of each node; the simulated hardware's own objects come on top
    bridge_heap: str = ""  # of a bridge with a radio, where its board has more
    nice: int = 2
    node_settings: dict[str, int] = field(default_factory=dict)  # pbal_protocol.config names
    first_files: dict[str, str] = field(default_factory=dict)  # written to every new flash
    files: dict[str, bytes] | None = None  # firmware files; default: built from the source
    power_factor: float = 0.97
    adc_noise_mv: float = 0.0  # peak noise of the chips' converters
    adc_curve_mv: float = 0.0  # and the curvature that their factory calibration leaves, peak
    mains: MainsConfig = field(default_factory=MainsConfig)
    fixed: frozenset[int] = frozenset()  # homes that must never be moved
    provision: bool = True
    wifi: frozenset[int] = frozenset()  # homes on the Wi-Fi, which do not use the RS-485 line, ...
    # ... one of them the bridge of all homes that are not, ...
    bridge: int | None = None
    controller: tuple[str, int] = ("127.0.0.1", 7225)  # ... and the address to which they send
    radio: RadioSite | None = None  # needs a board with a radio
    # Buildings of a campus: homes on an RS-485 line of their own, the first one its bridge to the
    # radio. Homes in none of them have a radio of their own, but for those on the Wi-Fi ...
    buildings: tuple[tuple[int, ...], ...] = ()
    # ... and these, which are on the street's RS-485 line alone.
    on_line: frozenset[int] = frozenset()
    # Homes with a radio that the street's RS-485 line reaches as well: two paths.
    both: frozenset[int] = frozenset()
    boot_parallel: int = 4
    pair_frames: bool | None = None  # see pbal_sim.receivers; default: above 16 homes


def building_of(config: StreetConfig, i: int) -> tuple[int, ...]:
    """The building that home `i` is in, its bridge first; empty for a home of its own."""
    return next((homes for homes in config.buildings if i in homes), ())


def loads_of(config: StreetConfig) -> Loads:
    """The street's loads. Raises TwinError when they have too few homes, or are no loads."""
    if config.loads is not None:
        loads = config.loads
    elif config.profiles is not None:
        loads = read_csv(config.profiles, config.homes)
    else:
        from pbal_sim.households import GeneratedLoads

        loads = GeneratedLoads(config.homes, seed=config.seed, pv_share=config.pv_share)
    if loads.homes < config.homes:
        raise TwinError(f"the loads have {loads.homes} homes, the street {config.homes}")
    return loads
