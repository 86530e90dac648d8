"""What is known about every home, and how fresh it is."""

from __future__ import annotations

import cmath
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pbal_controller.config import HomeConfig
from pbal_controller.homes.path import Path
from pbal_controller.homes.session import Session
from pbal_controller.standing import Signs
from pbal_protocol import flags
from pbal_protocol import records as r
from pbal_protocol.codec import Record

# Rotation by a third of a turn: phase B lags A, C lags B.
_A = cmath.exp(-2j * math.pi / 3)
ROTATION = (0j, 1 + 0j, _A, _A * _A)
PHASE_NAMES = ("open", "A", "B", "C")
# Ages are sampled once a second; this many are kept for the percentiles (5 minutes).
AGE_SAMPLES = 300
# A node's clock further ahead of ours than this: our commands reach it near or past their end.
CLOCK_AHEAD_S = 20.0
# So many answers in a row with counters heard before are more than a frame that came twice.
REPLAYS = 5
# Requests to a node that wait for their turn.
REQUEST_LIMIT = 16
# Asking again for a Hello that did not come yet.
ASK_AGAIN_S = 2.0


@dataclass(slots=True)
class LinkStats:
    """Of one home's link, counts since start."""

    polls: int = 0
    answers: int = 0
    lost: int = 0
    auth_failed: int = 0
    replayed: int = 0
    malformed: int = 0
    delayed: int = 0


@dataclass
class Home:
    """One home: its conversation, its latest reading, and what waits to be sent to it."""

    config: HomeConfig
    session: Session | None
    no_key: str = ""  # why there is no session

    telemetry: r.Telemetry | None = None
    sampled_at: float = -math.inf  # monotonic time at which the latest reading was measured
    heard_at: float = -math.inf  # monotonic time of the latest authentic frame
    hello: r.Hello | None = None
    health: r.Health | None = None
    settings: dict[int, int] = field(default_factory=dict)
    boots: int = 0
    group_proof: r.GroupProof | None = None  # its latest answer to a GroupKey
    clock_ahead_s: float = 0.0  # of ours, by the latest reading of a synced node
    # How long its latest frame was on the way, s, as far as its own clock says; None: not known.
    held_s: float | None = 0.0
    alive: bool = False  # answers, as far as the polling knows
    quarantined: str = ""
    doubted: str = ""  # why its reports are not plausible; it then takes no part in plans
    hold_until: float = -math.inf  # no commands before this monotonic time
    hold_reason: str = ""
    paths: tuple[Path, ...] = ()  # paths to it, the preferred one first
    link: LinkStats = field(default_factory=LinkStats)
    ages: deque[float] = field(default_factory=lambda: deque(maxlen=AGE_SAMPLES))
    readings: int = 0
    signs: Signs = field(default_factory=Signs)
    replays_in_a_row: int = 0  # answers with counters heard before, since the last good one
    shared_until: float = -math.inf  # another controller was seen to poll it: check until then
    # While a second controller is present: when the next claim is due (host.instead).
    claim_due: float = -math.inf
    claiming: bool = False  # it has not said yet that it has taken the latest
    # While homes are asked whether they confirm one home's report.
    hello_request_due: float = -math.inf

    watched: bool = False  # the dispatcher wants every reading: a command is open

    # What the next frame to the node carries.
    time_nonce: int | None = None
    event_ack: int | None = None
    result_ack: int | None = None
    switch: r.Switch | None = None
    group_key: r.GroupKey | None = None  # in a frame of its own
    requests: deque[Record] = field(default_factory=lambda: deque(maxlen=REQUEST_LIMIT))
    asked_hello_at: float = -math.inf
    asked_health_at: float = -math.inf

    def ask(self, record: Record) -> None:
        """Put a question into the next frame, once however often it is asked."""
        if record not in self.requests:
            self.requests.append(record)

    def not_heard(self) -> None:
        """Nothing came in its turn; lost, where it was heard since the controller's start."""
        if not math.isinf(self.heard_at):
            self.link.lost += 1

    def may_ask_hello(self, now: float) -> bool:
        """Whether to ask for a Hello; not again while the answer may still come."""
        if now - self.asked_hello_at < ASK_AGAIN_S:
            return False
        self.asked_hello_at = now
        return True

    def ask_hello(self, now: float) -> None:
        """Ask the node for a Hello, with a new nonce."""
        if self.may_ask_hello(now):
            self.ask(r.StatusGet(what=r.WHAT_HELLO))

    @property
    def address(self) -> int:
        """Site address; on RS-485: segment * 256 + unit."""
        return self.config.address

    @property
    def can_be_sealed_for(self) -> bool:
        """Whether a frame can be sealed for it now: its floor is known, counters are reserved."""
        return (
            self.session is not None and self.hello is not None and self.session.counters.left > 0
        )

    @property
    def phase(self) -> int:
        """As the node reports it: 0 open or unknown, 1..3."""
        return int(self.telemetry.phase) if self.telemetry is not None else 0

    @property
    def round_s(self) -> float:
        """Length of a round of the radio that it answers over, s; 0 on other media."""
        found = (path.quality.get("round_s", 0.0) for path in self.paths if path.alive)
        return max(found, default=0.0)

    def reached_over(self, bearer: str) -> bool:
        """Whether it answers over this bearer."""
        return any(path.alive and path.bearer == bearer for path in self.paths)

    def age_s(self, now: float) -> float:
        """Age of the latest reading, seconds; infinite when there is none."""
        return now - self.sampled_at

    @property
    def flags(self) -> int:
        """FLAG_* of the latest reading."""
        return int(self.telemetry.flags) if self.telemetry is not None else 0

    def current_a(self) -> complex:
        """Phasor of the home's current, A, referred to the voltage of its own phase.

        conj(S / V) with S = P + jQ; NaN when the output is dead or nothing is known.
        """
        t = self.telemetry
        if t is None or t.vout_v < 50:
            return complex(math.nan, math.nan)
        return complex(t.p_w, -t.q_var) / t.vout_v

    def counted_a(self) -> complex:
        """What plans take for its current: `current_a`, at most its fuse's; NaN in doubt."""
        current = self.current_a()
        size = abs(current)
        if self.doubted:
            return complex(math.nan, math.nan)
        return current * (self.config.fuse_a / size) if size > self.config.fuse_a else current

    def immovable(self, now: float) -> str:
        """Why this home may not be moved now; empty when it may."""
        if self.config.fixed:
            return "fixed by the configuration"
        if self.quarantined:
            return f"quarantined: {self.quarantined}"
        if self.doubted:
            return f"in doubt: {self.doubted}"
        if self.session is None:
            return self.no_key
        if self.replays_in_a_row >= REPLAYS:
            return (
                "answers with counters that were used before: its flash was set back, a second "
                "board holds its keys, or somebody replays it; if it lasts, give it new keys "
                "(pbal provision)"
            )
        if self.telemetry is None or not self.alive:
            return "not heard"
        told = flags.not_moved(self.flags)
        if told:
            return told
        if self.clock_ahead_s > CLOCK_AHEAD_S:
            return (
                f"its clock is {self.clock_ahead_s:.0f} s ahead of ours: commands would reach it "
                "expired; it is being set"
            )
        if self.telemetry.state != r.STATE_CLOSED:
            return "not at rest on a phase"
        if self.telemetry.dwell_left_s > 0:
            return f"dwell, {self.telemetry.dwell_left_s} s left"
        if now < self.hold_until:
            return self.hold_reason
        return ""


class Fleet:
    """All homes of the site."""

    def __init__(self, homes: Iterable[Home]) -> None:
        self._homes = {home.address: home for home in homes}
        self._samplings = 0
        self._age_p95 = (0.0, 0.0)

    def __len__(self) -> int:
        return len(self._homes)

    def __iter__(self) -> Iterator[Home]:
        return iter(self._homes.values())

    def get(self, address: int) -> Home | None:
        """The home at an address, or None."""
        return self._homes.get(address)

    def sample_ages(self, now: float) -> None:
        """Note the age of every living home's reading; called once a second. A home that was heard
        and not read yet has none.
        """
        for home in self:
            if home.alive and math.isfinite(age := home.age_s(now)):
                home.ages.append(age)
        self._samplings += 1
        # Sorting every sample of a large site takes as long as a poll: not every second.
        if self._samplings < 10 or self._samplings % 5 == 0:
            self._age_p95 = self._percentiles()

    def age_p95_s(self) -> tuple[float, float]:
        """(over all samples, of the worst home): 95th percentiles of age, last 5 minutes."""
        return self._age_p95

    def _percentiles(self) -> tuple[float, float]:
        everything: list[float] = []
        worst = 0.0
        for home in self:
            if home.alive and home.ages:
                ages = sorted(home.ages)
                worst = max(worst, percentile(ages, 0.95))
                everything += ages
        everything.sort()
        return percentile(everything, 0.95), worst

    def phase_sums(self, now: float, max_age_s: float) -> tuple[complex, complex, complex]:
        """Sum of the homes' currents on each phase, A, each in its own phase's frame.

        Of each home what counts: at most its fuse's current, nothing of a home in doubt.
        """
        sums = [0j, 0j, 0j, 0j]
        for home in self:
            if home.phase and home.age_s(now) <= max_age_s:
                current = home.counted_a()
                if not cmath.isnan(current):
                    sums[home.phase] += current
        return sums[1], sums[2], sums[3]

    def neutral_a(self, now: float, max_age_s: float) -> float:
        """Magnitude of the neutral current as a phasor sum of fresh homes, A."""
        sums = self.phase_sums(now, max_age_s)
        return abs(sum(s * ROTATION[k + 1] for k, s in enumerate(sums)))


def percentile(ordered: list[float], share: float) -> float:
    """Percentile by linear interpolation of ascending values; 0 for none."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    if ordered[high] == ordered[low]:
        return ordered[low]
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
