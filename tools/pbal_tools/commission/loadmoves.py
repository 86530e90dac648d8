"""Where a home's load went with each transfer, by the transformer's meter: the transfer test's
witness.

Other homes switch meanwhile, and over a radio the result of a transfer comes minutes after its
order. So the meter is read during the whole test, and looked at around the time that the node
itself gives for the end of its transfer. The moment is not known to better than its clock: each is
tried, as a step between a time before and a time after, in which nothing of this home changes.

Each contact of the node may be wired to any phase, which makes 27 maps. One map has to explain all
transfers: from contact p to q the load leaves phase map(p) and comes onto map(q). A map is judged
by the likelihood of what it leaves unexplained, phase by phase: noise, or, as often as seen in the
rest of the test, steps of other homes. That the wiring is right takes RIGHT_LEAD of log-likelihood
over every other map; that it is wrong takes WRONG_LEAD of another one over it, as most are right,
and it must follow without any one of the transfers, too: a contact that is on another phase shows
in two of them, and chance rarely comes twice. Where others step about once in a transfer's span, no
verdict is given: the likelihoods are of single steps.

Powers in watts, times in unix seconds.
"""

import bisect
import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from .evidence import PHASES, Floats

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "not decided"

MIN_LOAD_W = 150.0
RIGHT_LEAD, WRONG_LEAD = 5.0, 15.0
LAG_S = 1.0  # until the meter shows what is
WRONG_LEAD_EACH = 5.0  # without any one transfer
_AGAIN_S = 0.05  # readings nearer than this are one
_CLOCK_S = 2.5  # a node's clock, and its whole seconds
_STALE_S = 10.0  # a reading further from the span than this says nothing about it
_NOISE_W = 20.0  # at least
_SHARE = 0.06  # of the load: its measurement, and another voltage on another phase
_STEP_W = 1000.0  # mean size of another home's step
_STEP_LEAST_W = 60.0
# Where others step more often than this in one transfer's span, or are never quiet, the model of
# single steps does not hold: no verdict.
_STEPS_MOST = 1.0
_NOISE_MOST_W = 100.0
_KNOWN_S = 20.0  # of silence that is not seen, beside one step that is not seen
_TRY_S = 0.5  # from one moment that is tried to the next
_CALM_S = 60.0
SPAN_S = 2.0
_ROOT_2PI = math.sqrt(2 * math.pi)
_MAPS = tuple(itertools.product(range(3), repeat=3))
_RIGHT = (0, 1, 2)

ThreePhases = tuple[float, float, float]


@dataclass(frozen=True)
class Change:
    """One transfer between contacts, 1..3: the home's load before and after it, W, and by how much
    the transformer's phases changed from `from_s` to `to_s`.

    `parts_w` (moments, 3, phases): the same in three parts, before, at and after each moment at
    which it may have been; `parts_s` (moments, 3): how long these are.
    """

    present: int
    target: int
    before_w: float
    after_w: float
    phases_w: ThreePhases
    from_s: float
    to_s: float
    parts_w: Floats
    parts_s: Floats


@dataclass(frozen=True)
class Others:
    """Of each phase: `noise_w`, and `steps` of other homes in `seconds`, in some of `spans`."""

    noise_w: Floats
    steps: Floats
    seconds: float
    spans: int

    @classmethod
    def of(cls, changes_w: Floats, seconds: float) -> "Others":
        """From changes (spans, 3)."""
        noise = np.full(3, _NOISE_W)
        if len(changes_w):
            noise = np.maximum(noise, 1.48 * np.median(np.abs(changes_w), axis=0))
        steps = (np.abs(changes_w) > np.maximum(_STEP_LEAST_W, 4 * noise)).sum(axis=0)
        return cls(noise, steps, seconds, len(changes_w))

    def restless(self, span_s: float) -> bool:
        """Whether a transfer is not told from what others do in such a span."""
        often = float(self.steps.max()) / max(self.seconds, 1.0) * span_s
        return often > _STEPS_MOST or float(self.noise_w.max()) > _NOISE_MOST_W

    def likelihood(self, left_w: Floats, spans_s: Floats, load_w: float) -> Floats:
        """Log of it, of changes (..., 3) that this home does not explain, in spans (...)."""
        rate = (self.steps + 1) / (self.seconds + _KNOWN_S)
        often = 1 - np.exp(-rate * (spans_s[..., None] + 0.1))
        sigma = np.hypot(self.noise_w, _SHARE * load_w)
        calm = np.exp(-0.5 * np.minimum(np.abs(left_w) / sigma, 30.0) ** 2) / (sigma * _ROOT_2PI)
        step = np.exp(-np.abs(left_w) / _STEP_W) / (2 * _STEP_W)
        logs: Floats = np.log((1 - often) * calm + often * step).sum(axis=-1)
        return logs


@dataclass
class Record:
    """What the transformer's meter and the node told during one test, oldest first. `idle`: when
    the node told neither current nor power.
    """

    meter: list[tuple[float, ThreePhases]] = field(default_factory=list)
    home: list[tuple[float, float]] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)

    def note_meter(self, at_s: float, p_w: ThreePhases) -> None:
        """A reading; one that is not newer than the last is left out."""
        if not self.meter or at_s > self.meter[-1][0]:
            self.meter.append((at_s, p_w))

    def note_home(self, at_s: float, p_w: float, current_a: float) -> None:
        """A reading of the node, in its own time.

        A meter behind the contacts is dark with them and takes a while to start: until then the
        node tells 0 A and 0 W, which is no load that went anywhere.
        """
        if p_w == 0 and current_a == 0:
            self.idle.append(at_s)
        elif math.isfinite(p_w) and (not self.home or at_s > self.home[-1][0] + _AGAIN_S):
            self.home.append((at_s, p_w))

    def change(
        self, present: int, target: int, ordered_s: float, told_s: float, node_s: float,
        dark_s: float,
    ) -> Change | str:  # fmt: skip
        """The transfer that was ordered at `ordered_s` and whose result came at `told_s`; by the
        node it ended at `node_s` (0: it does not know) after `dark_s`. Or why nothing can be said.
        """
        begin, end = ordered_s, told_s
        if node_s:
            begin = max(begin, node_s - _CLOCK_S - dark_s)
            end = min(end, node_s + 1 + _CLOCK_S)
        if end < begin:
            return "the node's clock is wrong"
        if not self.meter:
            return "the transformer has no meter that was read"
        first, last = self._last(begin), self._next(end + LAG_S)
        if first < 0 or last == len(self.meter):
            return "the meter was not read before and after it"
        from_s, to_s = self.meter[first][0], self.meter[last][0]
        if begin - from_s > _STALE_S or to_s - end > _STALE_S:
            return f"the meter was not read within {_STALE_S:g} s of it"
        before = [w for at, w in self.home if at <= begin]
        after = [w for at, w in self.home if at >= end]
        idle = [at for at in self.idle if (at <= begin and not before) or (at >= end and not after)]
        if idle:
            return (
                f"its load was below {MIN_LOAD_W:g} W: switch something on (its meter told 0 A for "
                "as long as it was waited for)"
            )
        if not before or not after:
            return "the node was not read before and after it"
        if max(abs(before[-1]), abs(after[0])) < MIN_LOAD_W:
            return f"its load was below {MIN_LOAD_W:g} W: switch something on"
        cuts = sorted({
            (self._last(at), min(last, self._next(at + dark_s + LAG_S)))
            for at in np.arange(begin, end + _TRY_S, _TRY_S).tolist()
        })  # fmt: skip
        marks = np.array([(first, i, j, last) for i, j in cuts])
        watts, at_s = np.array([w for _, w in self.meter]), np.array([at for at, _ in self.meter])
        return Change(
            present, target, before[-1], after[0],
            _less(self.meter[last][1], self.meter[first][1]), from_s, to_s,
            np.diff(watts[marks], axis=1), np.diff(at_s[marks], axis=1),
        )  # fmt: skip

    def _last(self, at_s: float) -> int:
        """The last reading before this time, -1 for none."""
        return bisect.bisect_right(self.meter, at_s, key=_time) - 1

    def _next(self, at_s: float) -> int:
        """The first one after it, the number of readings for none."""
        return bisect.bisect_left(self.meter, at_s, key=_time)

    def others(self, changes: list[Change]) -> Others:
        """What the phases do without a transfer of this home, in spans of SPAN_S."""
        rows: list[ThreePhases] = []
        total_s = 0.0
        at = 0
        while at < len(self.meter):
            begin_s = self.meter[at][0]
            end = self._next(begin_s + SPAN_S)
            if end >= len(self.meter):
                break
            end_s = self.meter[end][0]
            if any(c.from_s < end_s and begin_s < c.to_s for c in changes):
                at += 1
                continue
            if end_s - begin_s <= _STALE_S:
                rows.append(_less(self.meter[end][1], self.meter[at][1]))
                total_s += end_s - begin_s
            at = end
        return Others.of(np.array(rows, dtype=float).reshape(-1, 3), total_s)


def _time(reading: tuple[float, ThreePhases]) -> float:
    return reading[0]


def _less(a: ThreePhases, b: ThreePhases) -> ThreePhases:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@dataclass(frozen=True)
class Landed:
    """`verdict`: CONFIRMED, CONTRADICTED or UNDECIDED; `words` say of the latter two what was seen
    or what is missing. `lead`: log-likelihood of the best map over the next that says otherwise.
    """

    verdict: str
    words: str = ""
    lead: float = 0.0

    def as_dict(self) -> dict[str, str | float]:
        """For JSON."""
        return {"verdict": self.verdict, "words": self.words, "lead": round(self.lead, 1)}


def by_transfers(changes: list[Change], others: Others) -> Landed:
    """Whether each contact is on the phase of its name.

    A meter without a sign may take export for import: a map also explains changes of the other
    sign, as long as all of them are.
    """
    if not changes:
        return Landed(UNDECIDED, "no transfer was seen at the transformer")
    long_s = max(c.to_s - c.from_s for c in changes)
    if others.restless(long_s):
        return Landed(UNDECIDED, _why(len(changes), others))
    told = {
        wiring: max(
            ([_likelihood(c, wiring, sign, others) for c in changes] for sign in (1, -1)), key=sum
        )
        for wiring in _MAPS
    }
    most = max(sum(each) for wiring, each in told.items() if wiring != _RIGHT)
    rivals = [m for m in _MAPS if m != _RIGHT and sum(told[m]) > most - 1e-6]
    leads = [o - right for o, right in zip(told[rivals[0]], told[_RIGHT], strict=True)]
    lead = sum(leads)
    if -lead >= RIGHT_LEAD:
        return Landed(CONFIRMED, lead=-lead)
    if lead >= WRONG_LEAD and all(lead - each >= WRONG_LEAD_EACH for each in leads):
        return Landed(CONTRADICTED, _wired(rivals), lead)
    return Landed(UNDECIDED, _why(len(changes), others), abs(lead))


def _wired(rivals: list[tuple[int, ...]]) -> str:
    wiring = rivals[0]
    if len(set(wiring)) == 1:
        return "its load stays on one phase whichever contact is closed"
    if len(rivals) > 1:
        return "its load does not go where its contacts send it"
    return "its contacts A, B, C put the load on phases " + ", ".join(PHASES[k] for k in wiring)


def _likelihood(c: Change, wiring: tuple[int, ...], sign: int, others: Others) -> float:
    expected = np.zeros(3)
    expected[wiring[c.present - 1]] -= sign * c.before_w
    expected[wiring[c.target - 1]] += sign * c.after_w
    load_w = max(abs(c.before_w), abs(c.after_w))
    still = others.likelihood(c.parts_w[:, (0, 2)], c.parts_s[:, (0, 2)], 0.0).sum(axis=-1)
    logs = still + others.likelihood(c.parts_w[:, 1] - expected, c.parts_s[:, 1], load_w)
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))


def _why(transfers: int, others: Others) -> str:
    if transfers < 3:
        return f"the meter tells of {transfers} of 3 transfers only"
    every_s = others.seconds / max(1, int(others.steps.max()))
    if not others.spans:
        return "the meter was read too seldom to tell what other homes do"
    if float(others.noise_w.max()) > _NOISE_MOST_W:
        return "other homes change their loads all the time"
    if every_s < _CALM_S:
        return f"other homes switch every {every_s:.0f} s on one phase"
    return "what the meter shows fits no wiring: something else changed at the same time"
