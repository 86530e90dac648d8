"""The options of a run of a street, and in what it differs from a real street."""

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbal_controller.documents import read_json
from pbal_sim.streetconfig import RadioSite, StreetConfig

from .errors import InputError
from .extras import require
from .streetfaults import FAULTS
from .streetuplink import require_broker

# What the demo changes so that a minute shows what takes hours on a real street. The screen says
# so.
DECISION_S = 5.0
USUAL_PORT = 8480
DWELL_S = 20
# A dozen homes draw a tenth of a full street's current, and a hundredth of it squared.
SWITCHING_PRICE_A2 = 25.0
NODE_SETTINGS = {"dwell_s": DWELL_S, "daily_cap": 200, "return_spread_ms": 1000}
CONTROLLER_OPTIONS: dict[str, dict[str, Any]] = {
    "planner": {
        "every_s": DECISION_S,
        "settle_s": 6.0,
        "observe_every_s": 1.0,
        "max_moving_share": 0.2,
        "core": {
            "dwell_s": float(DWELL_S),
            "daily_cap": 200,
            # The duration of loads and the price of the wear budget are learned in hours; here the
            # price is fixed and applies to what is measured now.
            "predict": False,
            "window_s": 20.0,
            "price": SWITCHING_PRICE_A2,
            "price_floor": SWITCHING_PRICE_A2,
            "wear_budget_per_day": 10000.0,
        },
    },
    "log": {"level": "info", "format": "text"},
}


# What differs where homes are read in rounds of some seconds, not ten times a second.
RADIO_OPTIONS: dict[str, dict[str, Any]] = {
    # Node and controller share this computer with each other: both may be late.
    "radio": {"village": {"region": "IN865", "guard_ms": 60.0, "answer_timeout_ms": 700.0}},
    "planner": {"max_age_s": 30.0, "settle_s": 12.0},
    "dispatch": {"confirm_s": 40.0},
}


# A bridge with a radio needs a board with external RAM (docs/node.md).
BRIDGE_HEAP = "264k"
# Bridges are few and stand well: a fast channel.
CAMPUS_OPTIONS: dict[str, dict[str, Any]] = {
    "radio": {"campus": {"region": "IN865", "guard_ms": 60.0, "answer_timeout_ms": 700.0}},
    "planner": {"max_age_s": 30.0, "settle_s": 12.0},
    "dispatch": {"confirm_s": 40.0},
}


@dataclass(frozen=True)
class Scenario:
    """What the homes are reached over: board, radio, and tables of the controller's.

    `wifi_each`: every so many homes one is on the Wi-Fi; 0: none, 1: all. `building`: so many homes
    share an RS-485 line, whose first home is their bridge to the radio; 0: none do. `last_third`:
    only the last third of the homes does, in one building; the others are on the street's line or
    the Wi-Fi. `two_paths`: homes with a radio are on the line, too. `most_sf`: the site's spreading
    factor becomes no higher for homes that are far. `join_s`: within this of the controller's
    start all homes are read, on a busy computer; a run without end and screen lasts twice as long.
    """

    board: str
    paths: tuple[str, ...]
    options: dict[str, dict[str, Any]]
    radio: RadioSite | None = None
    wifi_each: int = 0
    building: int = 0
    last_third: bool = False
    bridge_heap: str = ""
    two_paths: bool = False
    heap: str = StreetConfig.heap
    most_sf: int = 7
    join_s: float = 15.0

    @property
    def headless_s(self) -> float:
        """How long a run lasts that nobody watches, where nothing else is said."""
        return max(60.0, 2 * self.join_s)

    def on_wifi(self, homes: int) -> frozenset[int]:
        """The homes on the Wi-Fi, 0..."""
        each = self.wifi_each
        return frozenset(range(each - 1, self._first_behind(homes), each) if each else ())

    def on_line(self, homes: int) -> frozenset[int]:
        """Where some homes have a radio: those that are on the street's line without one."""
        if not self.last_third:
            return frozenset()
        return frozenset(range(self._first_behind(homes))) - self.on_wifi(homes)

    def _first_behind(self, homes: int) -> int:
        return homes - min(self.building, homes // 3) if self.last_third else homes

    def buildings(self, homes: int) -> tuple[tuple[int, ...], ...]:
        """The buildings of a campus, the bridge first in each."""
        if not self.building:
            return ()
        begin = self._first_behind(homes) if self.last_third else 0
        firsts = range(begin, homes, self.building)
        return tuple(tuple(range(i, min(i + self.building, homes))) for i in firsts)


SCENARIOS = {
    "urban": Scenario("esp32-devkitc", ("street",), {}),
    "rural": Scenario(
        "lilygo-t3", ("village",), RADIO_OPTIONS, RadioSite(), most_sf=8, join_s=150.0
    ),
    "campus": Scenario(
        "lilygo-t3",
        ("campus",),
        CAMPUS_OPTIONS,
        RadioSite(sf=7),
        building=6,
        bridge_heap=BRIDGE_HEAP,
        join_s=45.0,
    ),
    # Both bearers at once take more heap than a chip without external RAM has (docs/node.md).
    "two-paths": Scenario(
        "lilygo-t3",
        ("street", "village"),
        RADIO_OPTIONS,
        RadioSite(),
        two_paths=True,
        heap="300k",
        most_sf=8,
        join_s=150.0,
    ),
    "wifi": Scenario("esp32-devkitc", ("wifi",), {}, wifi_each=1),
    "mixed": Scenario(
        "lilygo-t3",
        ("campus",),
        CAMPUS_OPTIONS,
        RadioSite(sf=7),
        wifi_each=2,
        building=6,
        last_third=True,
        bridge_heap=BRIDGE_HEAP,
        join_s=45.0,
    ),
}


@dataclass
class RunOptions:
    """The options of the command line. `seconds` None means until Ctrl-C."""

    homes: int = 12
    seconds: float | None = None
    profiles: Path | None = None
    speed: float = 4.0
    hour: float = 19.0
    seed: int = 42
    faults: tuple[str, ...] = ()
    keep: Path | None = None
    port: int = 0
    uplink: bool = False
    link: Path | None = None
    scenario: str = "urban"
    core: dict[str, Any] = field(default_factory=dict)


def _free(port: int) -> str:
    """Why a port of the loopback address cannot be used; empty when it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            return exc.strerror or str(exc)
    return ""


def free_udp_port() -> int:
    """A port of the loopback address that no program has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def default_port() -> int:
    """The port that `pbal monitor` reads by default, or 0, any, where another program has it."""
    return 0 if _free(USUAL_PORT) else USUAL_PORT


@dataclass(frozen=True)
class Link:
    """A street's site number and its tables `uplink` and `transformer`."""

    site: int
    tables: dict[str, dict[str, Any]]


def read_link(path: Path) -> Link:
    """The file of --link. Raises InputError."""
    try:
        found = read_json(path)
        site = int(found.pop("site"))
        tables = {name: dict(table) for name, table in found.items()}
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror}.", "Name the file of a link to HQ.") from None
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{path} is no link to HQ.",
            'It holds JSON: {"site": 7, "uplink": {...}}, the tables as in pbal.toml.',
        ) from None
    return Link(site, tables)


def scenario_of(name: str) -> Scenario:
    """A scenario by name. Raises InputError."""
    if name not in SCENARIOS:
        raise InputError(f"There is no scenario {name!r}.", f"There are: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def check(options: RunOptions) -> None:
    """Raises InputError for what cannot work, before anything is started."""
    for name in options.faults:
        if name not in FAULTS:
            raise InputError(
                f"There is no fault {name!r}.", f"There are: {', '.join(sorted(FAULTS))}."
            )
    if scenario_of(options.scenario).radio is not None:
        require("pi")
    if options.uplink:
        require_broker()
    if options.link is not None:
        read_link(options.link)
    if options.profiles is not None and not options.profiles.is_file():
        raise InputError(f"There is no file {options.profiles}.", "Give a CSV of watts per home.")
    if options.port:
        why = _free(options.port)
        if why:
            raise InputError(
                f"Port {options.port} cannot be used for the status page ({why}).",
                "Choose another one with --port, or leave it out: a free one is taken.",
            )
    if options.keep is not None and options.keep.exists() and any(options.keep.iterdir()):
        raise InputError(f"The folder {options.keep} is not empty.", "Name a new one.")
