"""The phases of a home's inputs and the direction of its current transformer, by measurement.

Three independent witnesses, each of which may give no verdict:

- movement: mains voltages always vary. From second to second each of a home's channels a, b, c
  varies like one phase of the transformer; the best of the six pairings must be clearly better than
  the others, in every part of the record.
- load: when the home's power steps by dP, the transformer's power on the home's phase steps by as
  much and on the others it does not: b_k = sum(dP dP_k) / sum(dP^2) is 1 for its phase and 0 for
  the others; -1 means that the current transformer is the wrong way round.
- sag: without a meter at the transformer, the voltage of the home's own phase falls when its
  current steps up; a voltage that rises with more reported power means a reversed current
  transformer.

Powers in watts, voltages in volts, one row each round; NaN where a reading is missing.
"""

import itertools
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PHASES = "ABC"
PARTS = 4  # the record is cut into so many parts, none of which may contradict
MIN_MOVE_V = 0.05  # a reference phase that moves less (standard deviation) proves nothing
MIN_LEAD = 10.0  # of log-likelihood: odds of twenty thousand to one
MIN_LEAD_PART = 5.0  # a part that favours another pairing by more than this is a contradiction
MIN_EXPLAINED = 0.2  # of the movement; the rest is the node's noise
SLOPE = (0.3, 4.0)  # a home at the end of the cable moves more than the transformer's bars
MIN_STEP_W = 300.0  # a step is at least this large
MIN_STEPS = 2
OWN, OTHER = (0.6, 1.5), 0.4  # shares of a step: on the home's own phase, and on the others
MIN_SAG_LEAD = 2.0  # the own phase sags at least this many times more than any other


@dataclass(frozen=True)
class Verdict:
    """The verdict of one witness. `phase` "" where it has none; `reason` says why."""

    witness: str
    phase: str = ""
    pairing: str = ""  # transformer phases of the node's inputs a, b, c, e.g. "BAC"
    direction: int = 0  # current transformer: 1 right, -1 reversed, 0 unknown
    confidence: float = 0.0
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def _rows(*arrays: Floats) -> list[Floats]:
    """Only the rows in which nothing is missing."""
    good = np.ones(len(arrays[0]), dtype=bool)
    for array in arrays:
        finite = np.isfinite(array)
        good &= finite.all(axis=1) if array.ndim == 2 else finite
    return [array[good] for array in arrays]


def _likelihood(home: Floats, ref: Floats) -> dict[tuple[int, ...], tuple[float, float, float]]:
    """For each pairing: log-likelihood (up to a constant), slope, share of the movement explained.

    Model: home = slope ref + noise, one slope for all three; the noise's size is fitted too. What
    is left over by the best pairing must look like noise: the more one round resembles the one
    before (lag-1 correlation r), the fewer rounds count, n (1 - r) / (1 + r). Two supplies that
    vary independently would otherwise seem alike.
    """
    x = home - home.mean(axis=0)
    y = ref - ref.mean(axis=0)
    total, size = float((x**2).sum()), float((y**2).sum())
    if total <= 0 or size <= 0:
        return dict.fromkeys(PAIRINGS, (0.0, 0.0, 0.0))
    cross = {p: float((x * y[:, list(p)]).sum()) for p in PAIRINGS}
    best = max(PAIRINGS, key=lambda p: cross[p])
    left = x - cross[best] / size * y[:, list(best)]
    r = float((left[1:] * left[:-1]).sum() / max(float((left**2).sum()), 1e-12))
    r = min(max(r, 0.0), 0.99)
    count = x.size / 2 * (1 - r) / (1 + r)
    out = {}
    for pairing, c in cross.items():
        explained = c * abs(c) / size / total
        out[pairing] = (-count * math.log(max(1 - explained, 1e-9)), c / size, explained)
    return out


def by_movement(home_v: Floats, reference_v: Floats) -> Verdict:
    """Pairs the home's inputs with the reference's phases; both (rounds, 3) in volts.

    What is common to all three, the medium-voltage grid, is taken out first. The best of the six
    pairings must be MIN_LEAD better than the next (natural logarithm of the odds), and no part of
    the record may clearly favour another one.
    """
    home, ref = _rows(home_v, reference_v)
    if len(home) < 4 * PARTS:
        return Verdict("movement", reason=f"only {len(home)} rounds of readings")
    still = float(ref.std(axis=0).min())
    if still < MIN_MOVE_V:
        return Verdict(
            "movement", reason=f"a voltage stood still ({still:.2f} V); watch for longer",
        )  # fmt: skip
    home = home - home.mean(axis=1, keepdims=True)
    ref = ref - ref.mean(axis=1, keepdims=True)
    told = _likelihood(home, ref)
    best, second = sorted(told, key=lambda p: -told[p][0])[:2]
    lead = told[best][0] - told[second][0]
    _, slope, explained = told[best]
    against = 0
    for part in np.array_split(np.arange(len(home)), PARTS):
        small = _likelihood(home[part], ref[part])
        against += max(t[0] for t in small.values()) - small[best][0] > MIN_LEAD_PART
    figures = {
        "pairings": {"".join(PHASES[k] for k in p): round(t[0] - told[best][0], 1)
                     for p, t in told.items()},
        "lead": round(lead, 1), "explained": round(explained, 2), "slope": round(slope, 2),
        "parts_against": against,
        "rounds": len(home),
    }  # fmt: skip
    reason = ""
    if not SLOPE[0] <= slope <= SLOPE[1]:
        reason = f"the home's voltages move {slope:.2f} times as much as the reference's"
    elif explained < MIN_EXPLAINED:
        reason = f"the reference explains {100 * explained:.0f} % of how the home's voltages move"
    elif lead < MIN_LEAD:
        reason = f"the best pairing leads by {lead:.1f} only, {MIN_LEAD:g} are wanted"
    elif against:
        reason = f"{against} of {PARTS} parts of the record speak for another pairing"
    if reason:
        return Verdict("movement", figures=figures, reason=f"{reason}; watch for longer")
    return Verdict(
        "movement", pairing="".join(PHASES[k] for k in best), figures=figures,
        confidence=round(1 - math.exp(-lead), 4),
    )  # fmt: skip


PAIRINGS = list(itertools.permutations(range(3)))


def steps_of(power: Floats) -> Floats:
    """Changes from round to round; only those of a load that was switched, else NaN."""
    change = np.diff(power)
    return np.where(np.abs(change) >= MIN_STEP_W, change, np.nan)


def _few(steps: int) -> str:
    return (
        f"{steps} change{'' if steps == 1 else 's'} of load above {MIN_STEP_W:g} W; switch a "
        "kettle on and off twice while watching"
    )


def by_load(home_w: Floats, transformer_w: Floats, signed: bool) -> Verdict:
    """On which of the transformer's phases the power steps with the home's; (rounds,) and (rounds,
    3) in watts.

    `signed`: the node's meter distinguishes import from export.
    """
    home, total = _rows(home_w, transformer_w)
    step = steps_of(home) if len(home) > 1 else np.array([])
    at = np.flatnonzero(np.isfinite(step))
    if len(at) < MIN_STEPS:
        return Verdict(
            "load", figures={"steps": len(at)},
            reason=_few(len(at)),
        )  # fmt: skip
    x = step[at]
    # The two sides are not read at the same instant: a step may show one round later there.
    y = np.array(
        [
            [_near(total[:, k], int(i), float(d)) for k in range(3)]
            for i, d in zip(at, x, strict=True)
        ]
    )
    shares = (x[:, None] * y).sum(axis=0) / (x * x).sum()
    order = np.argsort(-np.abs(shares))
    own, other = float(shares[order[0]]), float(shares[order[1]])
    # A large step of another home at the same time must not speak for all: each step that counts
    # is found by itself.
    ratio = y[:, order[0]] / x
    found = int(((np.abs(ratio) >= OWN[0]) & (np.abs(ratio) <= OWN[1]) & (ratio * own > 0)).sum())
    figures = {
        "steps": len(at), "found": found, "shares": [round(float(s), 3) for s in shares],
    }  # fmt: skip
    if not OWN[0] <= abs(own) <= OWN[1] or abs(other) > OTHER:
        return Verdict(
            "load", figures=figures,
            reason="its steps are not found on one phase alone (shares "
            + ", ".join(f"{PHASES[k]} {shares[k]:.2f}" for k in range(3))
            + "); repeat at a quieter time or with a larger load",
        )  # fmt: skip
    if found < MIN_STEPS or 2 * found < len(at):
        return Verdict(
            "load", figures=figures,
            reason=f"{found} of its {len(at)} steps are found on phase {PHASES[int(order[0])]}; "
            "repeat at a quieter time or with a larger load",
        )  # fmt: skip
    return Verdict(
        "load", phase=PHASES[int(order[0])], figures=figures,
        direction=(1 if own > 0 else -1) if signed else 0,
        confidence=round(min(1.0, abs(own) - abs(other)), 3),
    )  # fmt: skip


def _near(series: Floats, i: int, step: float) -> float:
    """The change at or next to round i that is the largest in the sense of either sign."""
    first, last = max(0, i - 1), min(len(series) - 1, i + 2)
    before, after = float(series[first]), float(series[last])
    exact = float(series[i + 1] - series[i])
    wide = after - before
    return exact if abs(abs(exact) - abs(step)) <= abs(abs(wide) - abs(step)) else wide


def by_sag(home_w: Floats, home_v: Floats, signed: bool) -> Verdict:
    """Which of the node's own inputs sags when its load steps up; no transformer meter needed."""
    power, volts = _rows(home_w, home_v)
    step = steps_of(power) if len(power) > 1 else np.array([])
    at = np.flatnonzero(np.isfinite(step))
    if len(at) < MIN_STEPS:
        return Verdict(
            "sag", figures={"steps": len(at)},
            reason=_few(len(at)),
        )  # fmt: skip
    x = step[at]
    dv = np.diff(volts, axis=0)[at]
    slope = (x[:, None] * dv).sum(axis=0) / (x * x).sum() * 1000  # V per kW
    # How well each step was followed: noise on a quiet supply must not decide.
    spread = float(np.std(np.diff(volts, axis=0)[~np.isfinite(step)], axis=0).max(initial=0.0))
    noise = spread / math.sqrt(float((x * x).sum())) * 1000
    order = np.argsort(-np.abs(slope))
    own, other = float(slope[order[0]]), float(slope[order[1]])
    figures = {
        "steps": len(at), "volts_per_kw": [round(float(s), 3) for s in slope],
        "noise": round(noise, 3),
    }  # fmt: skip
    falls = [k for k in range(3) if slope[k] < 0]
    lead = abs(own) / max(abs(other), 1e-9)
    # The neutral lifts the other two phases by up to half of what the own one sags.
    if abs(own) < 4 * noise or lead < MIN_SAG_LEAD * 0.6:
        return Verdict(
            "sag", figures=figures,
            reason=f"the sag is not clear (own {own:.2f}, next {other:.2f} V/kW); switch a larger "
            "load, or read the transformer's meter",
        )  # fmt: skip
    reversed_ct = own > 0
    if not signed and (reversed_ct or len(falls) > 2):
        return Verdict(
            "sag", figures=figures, reason="a voltage rose with the load; look at the neutral",
        )  # fmt: skip
    return Verdict(
        "sag", phase=PHASES[int(order[0])], figures=figures,
        direction=(-1 if reversed_ct else 1) if signed else 0,
        confidence=round(min(1.0, 1 - abs(other) / abs(own)), 3),
    )  # fmt: skip


def follows(vout: Floats, volts: Floats, phase: int) -> Verdict:
    """Whether the output follows the input of the phase that is closed (1..3)."""
    out, inputs = _rows(vout, volts)
    if len(out) < 4 or not 1 <= phase <= 3:
        return Verdict("output", reason="the home is open, or was read too seldom")
    off = np.abs(out[:, None] - inputs).mean(axis=0)
    order = np.argsort(off)
    noise = float(np.std(out - inputs[:, phase - 1]))
    figures = {"off_v": [round(float(x), 2) for x in off]}
    if off[order[1]] - off[order[0]] < max(0.5, 3 * noise / math.sqrt(len(out))):
        return Verdict(
            "output", figures=figures,
            reason="two inputs have the same voltage; the transfer test will tell",
        )  # fmt: skip
    return Verdict("output", phase=PHASES[int(order[0])], figures=figures, confidence=1.0)
