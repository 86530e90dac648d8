"""The objects that every step uses: the site, the line, the keys, the record, and the meter."""

import asyncio
import contextlib
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pbal_build import BuildError, load_board
from pbal_controller.config import MeterConfig
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.homes import BEACONS as END_OF_BEACONS
from pbal_controller.journal import Journal, time_base
from pbal_controller.keys import KeyStore
from pbal_controller.meters import FileMeter, TransformerReading, checked, line_of, profile_of
from pbal_protocol import frames

from ..errors import InputError, RefusedError
from ..sitefile import Bus, Home, Radio, Site
from .air import BEACONS, Air
from .line import Line
from .questions import Asker
from .state import State
from .talk import PATIENCE_S, Talk

_GROUP = "group"  # the controller's own name for its beacons' sequence


class Meter:
    """The transformer's three-phase meter, read without an event loop of ours.

    Raises InputError: the site file names a profile that is not there.
    """

    def __init__(self, config: MeterConfig, shared: Line | None) -> None:
        self._config = config
        self._shared = shared
        try:
            self._profile = profile_of(config)
        except ConfigError as exc:
            raise InputError(f"transformer.meter: {exc}.", "Correct the site file.") from exc
        self._own: Line | None = None
        self.failed = ""
        self.at_s = 0.0  # when the last reading was measured

    @contextlib.contextmanager
    def open(self) -> Iterator["Meter"]:
        """Holds the meter's own port, where it has one."""
        c = self._config
        if self._profile is None or self._shared is not None:
            yield self
            return
        own = line_of(c, self._profile)
        bus = Bus(port=c.port, baud=own.baud, parity=own.parity, stop_bits=own.stop_bits)
        with Line(bus, answer_s=0.3) as line:
            self._own = line
            yield self

    def read(self) -> TransformerReading | None:
        """A reading, or None (then `failed` says why)."""
        try:
            if self._config.kind == "file":
                path = self._config.path
                assert path is not None
                file = FileMeter(path, self._config.max_age_s)
                told = asyncio.run(file.read())
                self.at_s = file.taken_s
                return told
            begun = time.time()
            read = self._asked()
            self.at_s = (begun + time.time()) / 2
            return read
        except (BearerError, OSError) as exc:
            self.failed = str(exc)
            return None

    def _asked(self) -> TransformerReading | None:
        line, profile = self._own or self._shared, self._profile
        assert line is not None
        assert profile is not None
        blocks = []
        for ask in profile.asks(self._config.unit):
            pdu = struct.pack(">BHH", ask.function, ask.first, ask.count)
            answer = line.request(ask.unit, pdu, 3)
            if answer is None or len(answer) != 2 + 2 * ask.count:
                self.failed = f"the meter at unit {ask.unit} does not answer"
                return None
            blocks.append([answer[k] << 8 | answer[k + 1] for k in range(2, len(answer), 2)])
        return checked(profile, profile.decode(blocks, self._config.phases))


@dataclass
class Job:
    """The commissioning of one bus or radio."""

    site: Site
    bus_name: str
    medium: Line | Air
    store: KeyStore
    state: State
    ask: Asker
    journal: Journal | None = None
    meter: Meter | None = None
    quiet: bool = False
    talks: dict[int, Talk] = field(default_factory=dict)
    _contacted: set[int] = field(default_factory=set)
    _reserving: threading.Lock = field(default_factory=threading.Lock)

    @property
    def homes(self) -> list[Home]:
        """The homes of this bus or radio, in the order of the site file."""
        return [home for home in self.site.home if home.bus == self.bus_name]

    @property
    def line(self) -> Line:
        """The bus, for what only a bus has."""
        assert isinstance(self.medium, Line)
        return self.medium

    @property
    def air(self) -> Air:
        """The radio, for what only a radio has."""
        assert isinstance(self.medium, Air)
        return self.medium

    @classmethod
    def on_air(
        cls, site: Site, name: str, radio: Radio, store: KeyStore, state: State, ask: Asker,
        quiet: bool = False,
    ) -> "Job":  # fmt: skip
        """Of a radio of this computer."""

        def beacons(count: int) -> int:
            return job.reserve_beacons(count)

        air = Air(name, radio, store.site_id, store.active, beacons)
        job = cls(site, name, air, store, state, ask, quiet=quiet)
        return job

    def begin(self) -> None:
        """All homes that have a key may join, and the radio is opened. Raises as `Air.open`."""
        for home in self.homes:
            if self.has_key(home.address):
                self.opened(home.address)
        self.air.open()

    def home(self, address: int) -> Home:
        """A home by address. Raises InputError."""
        for home in self.homes:
            if home.address == address:
                return home
        raise InputError(
            f"There is no home {address} on bus {self.bus_name}.", "See:  pbal site show"
        )

    def note(self, words: str) -> None:
        """Progress, for a person who waits."""
        if not self.quiet and sys.stderr.isatty():
            print(f"\r{words[:78]:<78}", end="", file=sys.stderr, flush=True)

    def talk(self, address: int) -> Talk:
        """The sealed conversation with a home, in contact. Raises as Talk.contact."""
        talk = self.opened(address)
        if address not in self._contacted:
            # Over a radio it would have been heard by now.
            late = isinstance(self.medium, Air) and talk.hello is None
            talk.contact(0.0 if late else PATIENCE_S)
            self._contacted.add(address)
        return talk

    def opened(self, address: int) -> Talk:
        """The same, which may not have begun yet."""
        if address not in self.talks:
            self.talks[address] = Talk(
                self.medium, self.store.site_id, self.store.node(address), self._reserve,
                self.home(address).name,
            )  # fmt: skip
        return self.talks[address]

    def contacted(self) -> list[Talk]:
        """The conversations that were begun."""
        return [self.talks[address] for address in sorted(self._contacted)]

    def has_key(self, address: int) -> bool:
        """Whether the key store has this home."""
        return address in self.store.addresses()

    def reserve_beacons(self, count: int) -> int:
        """Counters of beacons; the first of so many. Raises RefusedError at their end."""
        if self.journal is not None:
            with self._reserving:
                first = self.journal.reserve(1, frames.GROUP, _GROUP, 1, count)
        else:
            first = self.state.reserve(BEACONS, _GROUP, time_base(time.time()), count)
        if first + count > END_OF_BEACONS:
            # One more would have the counter, so the nonce, of an old one.
            raise RefusedError(
                "No counters are left for beacons: the radio stays silent.",
                "Is this computer's clock right? Counters follow it, and end in 2042.",
            )
        return first

    def _reserve(self, address: int, key: str, at_least: int, count: int) -> int:
        if self.journal is not None:
            with self._reserving:
                return self.journal.reserve(address, frames.DOWN, key, at_least, count)
        return self.state.reserve(address, key, at_least, count)

    def reached(self) -> list[int]:
        """The addresses with which the step `contact` ended well."""
        return [
            home.address for home in self.homes
            if self.state.home(home.address).get("contact", {}).get("ok")
        ]  # fmt: skip


def signed_meter(board: str) -> bool:
    """Whether the meter of a board distinguishes import from export: a PZEM does not."""
    try:
        return str(load_board(board).get("meter", {}).get("kind", "pzem")) == "adc"
    except (BuildError, OSError, ValueError):
        return False


def rel(path: Path) -> str:
    """A path as a person would type it from here."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)
