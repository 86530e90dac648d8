"""The difference between the transformer's meter and the homes, and what it means.

The two are compared window by window, as means of phasors: a load that changed between the two
readings then hardly counts. A window's finding becomes an alarm when it has been the same for
`lasts_s`, and ends when it has not been there for as long; while an alarm stands, its limit is
lower, so that an alarm near the limit is not raised and ended again and again. Pure: no clock, no
meter, no homes.

A finding is the simplest explanation that leaves nothing unexplained: a current transformer the
wrong way round, the meter's phases or its current transformers in another order, a wrong ratio, one
home whose phase label is wrong. Where none fits, it is load that no home reports, or homes that
report more than there is.
"""

from __future__ import annotations

import cmath
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pbal_controller.config import ResidualConfig

Array = np.ndarray[Any, np.dtype[Any]]
#: One window; a load switched between a home's reading and the meter's is a small part of it.
WINDOW_S = 60.0
#: Samples that a window needs.
_SAMPLES = 5
#: While an alarm stands its limit is this much lower.
_STANDING = 0.7
#: An explanation leaves at most this share of the difference.
_EXPLAINS = 0.35
#: A wrong ratio of current transformers is at least so far from 1.
_RATIO = 0.2
#: One home's wrong label: the memory over windows, how much it must explain, how much better than
#: the next home it must be.
_KEEP, _LABEL_EXPLAINS, _LABEL_BETTER = 0.9, 0.2, 2.0
#: Phase B's voltage lags A's by a third of a turn, C's lags B's.
_TURN = np.exp(-2j * math.pi / 3 * np.arange(3))
_NAMES = "ABC"
#: Every kind of finding; docs/meters.md says what each means.
RESIDUAL_KINDS = (
    "reversed_ct", "phase_labels", "swapped_cts", "ct_ratio", "home_label", "unmetered",
    "overreported",
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One sample of both sides; currents in A, each referred to its own phase's voltage.

    meter : complex[3].
    homes : complex[n], 0 where a home is not heard.
    phases : int[n], 0..2 as the home reports it, -1 where it is not known.
    unheard_a : what each phase may carry of homes that are not heard, A.
    """

    meter: Array
    homes: Array
    phases: Array
    unheard_a: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Finding:
    """The finding of one window. `key` identifies the alarm: its kind, and where."""

    kind: str
    phases: str  # of A, B, C
    words: str
    home: int | None = None  # its place in `Sample.homes`

    @property
    def key(self) -> tuple[str, str, int | None]:
        """The same finding in two windows has the same key."""
        return self.kind, self.phases, self.home


@dataclass
class Alarm:
    """A finding that lasts."""

    finding: Finding
    since_s: float


@dataclass
class _Window:
    began: float
    count: int = 0
    meter: Array = field(default_factory=lambda: np.zeros(3, complex))
    homes: Array | None = None  # complex[n, 3]
    unheard_a: Array = field(default_factory=lambda: np.zeros(3))

    def take(self, sample: Sample) -> None:
        n = len(sample.homes)
        if self.homes is None:
            self.homes = np.zeros((n, 3), complex)
        known = np.flatnonzero(sample.phases >= 0)
        self.homes[known, sample.phases[known]] += sample.homes[known]
        self.meter += sample.meter
        self.unheard_a = np.maximum(self.unheard_a, sample.unheard_a)
        self.count += 1


class Residual:
    """The comparison over time. Times are seconds of any clock that only grows."""

    def __init__(self, config: ResidualConfig, *, directed: bool = True) -> None:
        self._config = config
        self._directed = directed
        self._window: _Window | None = None
        self._seen: dict[tuple[str, str, int | None], float] = {}  # since when it was found
        self._gone: dict[tuple[str, str, int | None], float] = {}  # since when it was not
        self._errors: Array | None = None  # [n, 3]: what is left when a home is on another phase
        self._error = 0.0
        self.residual_a: Array = np.full(3, complex(math.nan, math.nan))
        self.limit_a: Array = np.full(3, math.nan)
        self.alarms: dict[tuple[str, str, int | None], Alarm] = {}

    def take(self, now: float, sample: Sample) -> list[tuple[Alarm, bool]]:
        """One more sample; returns alarms that began (True) or ended (False) with it."""
        if not np.isfinite(sample.meter).all():
            return []
        window = self._window
        if window is None or (window.homes is not None and len(window.homes) != len(sample.homes)):
            window = self._window = _Window(now)
        window.take(sample)
        if now - window.began < WINDOW_S or window.count < _SAMPLES:
            return []
        self._window = None
        return self._judge(now, window)

    def forget(self) -> None:
        """The meter is silent: an unfinished window is dropped. Alarms stay."""
        self._window = None

    def as_dict(self, addresses: Sequence[int]) -> dict[str, Any]:
        """For the status: what is left on each phase, A, and the alarms.

        addresses : of the homes, in the order of `Sample.homes`.
        """

        def clean(values: Array) -> list[float | None]:
            return [round(float(x), 2) if math.isfinite(x) else None for x in values]

        return {
            "residual_a": clean(np.abs(self.residual_a)),
            "active_a": clean(self.residual_a.real),
            "limit_a": clean(self.limit_a),
            "alarms": [
                {"kind": alarm.finding.kind, "phases": alarm.finding.phases,
                 "home": None if alarm.finding.home is None else addresses[alarm.finding.home],
                 "why": alarm.finding.words}
                for alarm in self.alarms.values()
            ],
        }  # fmt: skip

    def _judge(self, now: float, window: _Window) -> list[tuple[Alarm, bool]]:
        assert window.homes is not None
        meter, homes = window.meter / window.count, window.homes / window.count
        known = np.asarray(self._config.known_a)
        told = homes.sum(axis=0) + known
        left = meter - told
        limit = np.maximum(
            self._config.limit_a, self._config.limit_share * np.maximum(abs(meter), abs(told))
        ) + window.unheard_a  # fmt: skip
        self.residual_a, self.limit_a = left, limit
        if self.alarms:
            limit = limit * _STANDING
        self._remember_labels(left, homes)
        found = {finding.key: finding for finding in self._explain(meter, told, left, limit, homes)}
        return self._hold(now, found)

    def _hold(
        self, now: float, found: Mapping[tuple[str, str, int | None], Finding]
    ) -> list[tuple[Alarm, bool]]:
        changes: list[tuple[Alarm, bool]] = []
        lasts = self._config.lasts_s
        self._seen = {key: self._seen.get(key, now) for key in found}
        for key, finding in found.items():
            self._gone.pop(key, None)
            if key in self.alarms:
                self.alarms[key].finding = finding
            elif now - self._seen[key] >= lasts:
                self.alarms[key] = Alarm(finding, now)
                changes.append((self.alarms[key], True))
        for key in [key for key in self.alarms if key not in found]:
            if now - self._gone.setdefault(key, now) >= lasts:
                del self._gone[key]
                changes.append((self.alarms.pop(key), False))
        return changes

    # -- explanations ---------------------------------------------------------------------

    def _explain(
        self, meter: Array, told: Array, left: Array, limit: Array, homes: Array
    ) -> list[Finding]:
        if (abs(left) <= limit).all():
            return []
        size = float(abs(left).sum())
        for finding, rest in self._installed_wrong(meter, told):
            if (abs(rest) <= limit).all() and abs(rest).sum() <= _EXPLAINS * size:
                return [finding]
        label = self._label(left, limit, homes)
        return [label] if label is not None else list(_unexplained(left, limit))

    def _installed_wrong(self, meter: Array, told: Array) -> Iterator[tuple[Finding, Array]]:
        """What may be wrong at the meter itself, and what would then be left, A."""
        if self._directed:
            for count in (1, 2, 3):
                for turned in itertools.combinations(range(3), count):
                    sign = np.ones(3)
                    sign[list(turned)] = -1
                    names = "".join(_NAMES[k] for k in turned)
                    words = (
                        f"the meter's current at {' and '.join(names)} is the reverse of the "
                        f"homes': turn the current transformer at {' and '.join(names)} round"
                    )
                    yield Finding("reversed_ct", names, words), sign * meter - told
        for order in itertools.permutations(range(3)):
            if order == (0, 1, 2):
                continue
            names = "".join(_NAMES[k] for k in order)
            moved = [k for k in range(3) if order[k] != k]
            where = "".join(_NAMES[k] for k in moved)
            right = np.empty(3, complex)
            right[list(order)] = meter
            words = (
                f"what the meter shows as A, B, C are the homes' {', '.join(names)}: the labels of "
                "its phases are wrong; correct its wiring or transformer.meter.phases"
            )
            yield Finding("phase_labels", names, words), right - told
            # Only the current transformers: each current was taken against another voltage.
            turned_back = np.empty(3, complex)
            turned_back[list(order)] = meter * _TURN / _TURN[list(order)]
            words = (
                f"the current transformers at {' and '.join(where)} are on each other's "
                f"conductors: at A, B, C stand those of {', '.join(names)}"
            )
            if self._directed:
                yield Finding("swapped_cts", names, words), turned_back - told
        power = float((abs(told) ** 2).sum())
        if power > 0:
            ratio = float((told.conj() * meter).sum().real) / power
            if ratio > 0 and abs(math.log(ratio)) > math.log(1 + _RATIO):
                words = (
                    f"the meter shows {ratio:.2f} times what the homes tell, on all phases: look "
                    "at the ratio of its current transformers"
                )
                yield Finding("ct_ratio", "ABC", words), meter / ratio - told

    def _remember_labels(self, left: Array, homes: Array) -> None:
        """How well each home on another phase would explain what was left lately."""
        n = len(homes)
        if self._errors is None or len(self._errors) != n:
            self._errors, self._error = np.zeros((n, 3)), 0.0
        rows = np.arange(n)
        here = abs(homes).argmax(axis=1)
        current = homes[rows, here]
        square = abs(left) ** 2
        self._error = _KEEP * self._error + float(square.sum())
        without = abs(left[here] + current) ** 2 - square[here]
        with_it = abs(left[None, :] - current[:, None]) ** 2 - square[None, :]
        error = square.sum() + without[:, None] + with_it
        error[rows, here] = math.inf
        self._errors = _KEEP * self._errors + error

    def _label(self, left: Array, limit: Array, homes: Array) -> Finding | None:
        """One home whose label is wrong, when it alone explains what is left."""
        errors = self._errors
        if errors is None or not errors.size:
            return None
        best = int(errors.argmin())
        home, to = divmod(best, 3)
        others = np.delete(errors, home, axis=0)
        second = float(others.min()) if others.size else math.inf
        if errors[home, to] > _LABEL_EXPLAINS * self._error:
            return None
        if second < _LABEL_BETTER * max(errors[home, to], 1e-9):
            return None
        at = int(abs(homes[home]).argmax())
        rest = left.copy()
        rest[at] += homes[home, at]
        rest[to] -= homes[home, at]
        if (abs(rest) > limit).any():
            return None
        words = (
            f"counts as {_NAMES[at]} and its current flows at {_NAMES[to]}: the labels of its "
            "phases are wrong; check its wiring (pbal commission)"
        )
        return Finding("home_label", _NAMES[at] + _NAMES[to], words, home)


def _unexplained(left: Array, limit: Array) -> Iterator[Finding]:
    for k, name in enumerate(_NAMES):
        if abs(left[k]) <= limit[k]:
            continue
        angle = math.degrees(cmath.phase(left[k]))
        amps = f"{abs(left[k]):.0f} A at {name}"
        if left[k].real >= 0:
            words = (
                f"{amps} that no home reports: load without a node, a tap before the meter of a "
                "home, or a home that tells less than it draws; known load: "
                "transformer.residual.known_a"
            )
            yield Finding("unmetered", name, words)
        else:
            words = (
                f"the homes tell {amps} more than the meter sees (angle {angle:.0f} degrees): a "
                "home that tells more than it draws, a supply without a node, or the meter's "
                "current transformer"
            )
            yield Finding("overreported", name, words)


def sample_of(
    meter: Sequence[complex],
    homes: Sequence[tuple[int, complex, bool, float]],
) -> Sample:
    """A sample from plain numbers.

    meter : phasors of A, B, C, A.
    homes : of each home its phase (0: not known, 1..3), its current, whether it is heard and not in
        doubt, and what its fuse lets through, A.
    """
    n = len(homes)
    currents, phases, unheard = np.zeros(n, complex), np.full(n, -1), np.zeros(3)
    for index, (phase, current, heard, fuse_a) in enumerate(homes):
        if heard and phase and not cmath.isnan(current):
            currents[index], phases[index] = current, phase - 1
        elif phase and not heard:
            unheard[phase - 1] += fuse_a
        elif not heard:
            unheard += fuse_a
    a, b, c = unheard.tolist()
    return Sample(np.asarray(meter), currents, phases, (a, b, c))
