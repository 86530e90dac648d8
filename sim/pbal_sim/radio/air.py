"""The shared medium: the transmissions, and what each receiver gets of them.

Time comes from outside: `clock()` gives microseconds, of a virtual or a real clock. Due
events happen in `catch_up`, in order; `next_us` says when to call it again.

A receiver locks on a frame when it has listened, undisturbed and tuned alike, to the last five
symbols of its preamble; a locked receiver hears nothing else. A signal that overlaps from there on
damages the frame if it is too strong: same spreading factor, 6 dB (the capture effect); another
one, by the table of imperfect orthogonality. Interference in preamble or header leaves nothing to
report; interference in the payload alone leaves a frame with a wrong CRC.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pbal_sim.radio import propagation as p

_NEEDED_SYMBOLS = 5
_LEAK_DB = 25.0
_LEAK_HZ = 500_000
_AHEAD_US = 1_000_000  # no frame is announced longer before its start


@dataclass(frozen=True)
class Tuning:
    """What transmitter and receiver must have in common. `inverted`: the I and Q signals."""

    hz: int
    bw_hz: int
    sf: int
    sync: int = 0x12
    inverted: bool = False
    slow: bool = False  # LowDataRateOptimize

    @property
    def symbol_us(self) -> float:
        """Length of a symbol."""
        return float(2**self.sf * 1e6 / self.bw_hz)


@dataclass(eq=False)
class Transmission:
    """One frame on the air."""

    source: str
    at: tuple[float, float]
    tuning: Tuning
    payload: bytes
    power_dbm: float
    start_us: int
    us: int
    preamble: int = 8
    header_us: int = 0  # from the start to the end of the header
    cr: int = 5
    explicit: bool = True
    crc: bool = True
    ppm: float = 0.0

    @property
    def end_us(self) -> int:
        """When the frame ends."""
        return self.start_us + self.us

    @property
    def preamble_end_us(self) -> int:
        """When a receiver has heard all of the preamble."""
        return self.start_us + round(self.preamble * self.tuning.symbol_us)

    @property
    def critical_us(self) -> int:
        """The time from which a receiver must listen to get the frame."""
        spare = max(0, self.preamble - _NEEDED_SYMBOLS)
        return self.start_us + round(spare * self.tuning.symbol_us)


@dataclass
class Heard:
    """What a receiver measured of a frame."""

    rssi_dbm: float
    snr_db: float
    good: bool  # it can be demodulated


class Station(Protocol):
    """A receiver on the air."""

    name: str
    at: tuple[float, float]
    ppm: float
    # Frames of other stations are nothing to it, and it follows none of them; "": it follows all.
    only_from: str

    @property
    def loss_db(self) -> float:
        """What this receiver loses by its own settings."""

    @property
    def leaks(self) -> bool:
        """Whether it receives its neighbour channels, _LEAK_DB down."""

    def listening(self) -> Tuning | None:
        """How it is tuned, None while it does not listen or is locked on a frame."""

    def listening_since_us(self) -> int:
        """Since when, without a break."""

    def lock(self, sent: Transmission) -> None:
        """It follows this frame from now on."""

    def header(self, sent: Transmission) -> None:
        """The header of the frame it follows is over."""

    def finished(self, sent: Transmission) -> None:
        """The frame is over."""


@dataclass
class Jammer:
    """Noise from one place: `hz` +- half of `bw_hz`, on between the given times (microseconds)."""

    at: tuple[float, float]
    hz: int
    bw_hz: int
    power_dbm: float
    on: list[tuple[int, int]] = field(default_factory=list)
    name: str = "jammer"

    def during(self, start_us: int, end_us: int) -> bool:
        """Whether it is on at any time of a span."""
        return any(begin < end_us and start_us < end for begin, end in self.on)


class Air:
    """All stations and transmissions of one place."""

    def __init__(
        self, clock: Callable[[], int], *, loss: p.PathLoss | None = None, seed: int = 0
    ) -> None:
        self.clock = clock
        self.now_us = clock()
        self.stations: list[Station] = []
        self.jammers: list[Jammer] = []
        self.sent: list[Transmission] = []  # of the last seconds
        self.total = 0
        self._longest_us = 0
        self._loss = loss or p.PathLoss()
        self._seed = seed
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._shadows: dict[tuple[str, str], float] = {}

    # -- time -------------------------------------------------------------------------------------

    def call_at(self, us: int, what: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._due, (us, next(self._order), what))

    def next_us(self) -> int | None:
        """The time of the next event."""
        return self._due[0][0] if self._due else None

    def catch_up(self) -> None:
        """Run the events that are due."""
        now_us = self.clock()
        while self._due and self._due[0][0] <= now_us:
            us, _, what = heapq.heappop(self._due)
            self.now_us = max(self.now_us, us)
            what()
        self.now_us = max(self.now_us, now_us)

    # -- transmissions ----------------------------------------------------------------------------

    def send(self, sent: Transmission) -> None:
        """A frame begins; `start_us` may be a little ahead, less than _AHEAD_US."""
        self.total += 1
        oldest = sent.start_us - 20_000_000
        if self.sent and self.sent[0].end_us < oldest:
            self.sent = [t for t in self.sent if t.end_us >= oldest]
        self.sent.append(sent)
        self._longest_us = max(self._longest_us, sent.us)
        self.call_at(sent.preamble_end_us, lambda: self._offer(sent))
        if sent.explicit:
            self.call_at(sent.start_us + sent.header_us, lambda: self._header(sent))
        self.call_at(sent.end_us, lambda: self._finish(sent))

    def stop(self, sent: Transmission, at_us: int) -> None:
        """The transmitter stopped in the middle: the rest arrives as noise."""
        sent.us = max(0, at_us - sent.start_us)
        sent.payload = b""

    def _offer(self, sent: Transmission) -> None:
        for station in self.stations:
            if station.name == sent.source or station.only_from not in ("", sent.source):
                continue
            if not self._alike(station, sent):
                continue
            if station.listening_since_us() > sent.critical_us:
                continue
            heard = self.heard(station, sent, sent.critical_us, sent.preamble_end_us)
            if heard.good:
                station.lock(sent)

    def _header(self, sent: Transmission) -> None:
        for station in self.stations:
            station.header(sent)

    def _finish(self, sent: Transmission) -> None:
        for station in self.stations:
            station.finished(sent)

    def _alike(self, station: Station, sent: Transmission) -> bool:
        tuned = station.listening()
        if tuned is None:
            return False
        mine, other = tuned, sent.tuning
        if (mine.bw_hz, mine.sf, mine.sync, mine.inverted, mine.slow) != (
            other.bw_hz,
            other.sf,
            other.sync,
            other.inverted,
            other.slow,
        ):
            return False
        off_hz = mine.hz * (1 + station.ppm * 1e-6) - other.hz * (1 + sent.ppm * 1e-6)
        return abs(off_hz) <= mine.bw_hz / 4  # data sheet, table 10: frequency error of 25 %

    # -- power ------------------------------------------------------------------------------------

    def arrives_dbm(
        self, name: str, at: tuple[float, float], to: Station, power_dbm: float
    ) -> float:
        """Power of a transmitter at a receiver."""
        pair = (name, to.name)
        shadow = self._shadows.get(pair)
        if shadow is None:
            shadow = self._shadows[pair] = self._loss.shadow_db(self._seed, name, to.name)
        return power_dbm - self._loss.mean_db(math.dist(at, to.at)) - shadow - to.loss_db

    def heard(self, to: Station, sent: Transmission, start_us: int, end_us: int) -> Heard:
        """What a receiver measures in a span of a frame."""
        tuned = sent.tuning
        signal = self.arrives_dbm(sent.source, sent.at, to, sent.power_dbm)
        noise = p.milliwatt(p.noise_dbm(tuned.bw_hz))
        for jammer in self.jammers:
            apart = abs(jammer.hz - tuned.hz)
            if apart < (jammer.bw_hz + tuned.bw_hz) / 2 and jammer.during(start_us, end_us):
                share = min(1.0, tuned.bw_hz / jammer.bw_hz)
                strength = self.arrives_dbm(jammer.name, jammer.at, to, jammer.power_dbm)
                noise += p.milliwatt(strength) * share
        others: dict[int, float] = {}
        before_us = start_us - self._longest_us - _AHEAD_US
        for other in reversed(self.sent):
            if other.start_us < before_us:
                break  # those that were sent before it are over as well
            if other is sent or other.source == to.name:
                continue
            if other.start_us >= end_us or other.end_us <= start_us:
                continue
            apart = abs(other.tuning.hz - tuned.hz)
            arrives = self.arrives_dbm(other.source, other.at, to, other.power_dbm)
            if apart >= (other.tuning.bw_hz + tuned.bw_hz) / 2:
                if not to.leaks or apart > _LEAK_HZ:
                    continue
                arrives -= _LEAK_DB
            strength = p.milliwatt(arrives)
            if other.tuning.bw_hz != tuned.bw_hz:
                noise += strength  # another chirp rate: plain noise
            else:
                sf = other.tuning.sf
                others[sf] = others.get(sf, 0.0) + strength
        snr = signal - p.dbm(noise)
        good = signal >= p.sensitivity_dbm(tuned.sf, tuned.bw_hz)
        good = good and snr >= p.SNR_LIMIT_DB[tuned.sf]
        for sf, strength in others.items():
            good = good and signal - p.dbm(strength) >= p.rejection_db(tuned.sf, sf)
        return Heard(signal, snr, good)

    def busy_dbm(self, to: Station, hz: int, bw_hz: int) -> float:
        """All power in a channel now."""
        total = p.milliwatt(p.noise_dbm(bw_hz))
        now_us = self.now_us
        for sent in self.sent:
            apart = abs(sent.tuning.hz - hz)
            if sent.source == to.name or apart >= (sent.tuning.bw_hz + bw_hz) / 2:
                continue
            if sent.start_us <= now_us < sent.end_us:
                total += p.milliwatt(self.arrives_dbm(sent.source, sent.at, to, sent.power_dbm))
        for jammer in self.jammers:
            if abs(jammer.hz - hz) >= (jammer.bw_hz + bw_hz) / 2:
                continue
            if jammer.during(now_us, now_us + 1):
                arrives = self.arrives_dbm(jammer.name, jammer.at, to, jammer.power_dbm)
                total += p.milliwatt(arrives) * min(1.0, bw_hz / jammer.bw_hz)
        return p.dbm(total)

    def preamble_now(self, station: Station, tuned: Tuning, start_us: int, end_us: int) -> bool:
        """Whether channel activity detection finds a preamble in a span."""
        for sent in self.sent:
            if sent.source == station.name or sent.tuning != tuned:
                continue
            if min(end_us, sent.preamble_end_us) - max(start_us, sent.start_us) >= tuned.symbol_us:
                strength = self.arrives_dbm(sent.source, sent.at, station, sent.power_dbm)
                if strength >= p.sensitivity_dbm(tuned.sf, tuned.bw_hz):
                    return True
        return False
