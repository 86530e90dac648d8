"""One study from beginning to end: read, simulate, judge, summarise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..feeder.model import Feeder, ideal_feeder
from ..feeder.opendss import load_feeder
from ..input.additions import add_cars, add_roofs, pick
from ..input.homes import (
    Listed,
    apply_list,
    assign_columns,
    n_relays,
    points_of,
    read_homes,
    relays_by_joint,
)
from ..input.profiles import Profiles, read_profiles
from ..input.shapes import feeder_profiles
from . import controllers as c
from .comparison import Stage, run_controllers
from .hosting import Hosted, hosted
from .metrics import Outcome, summarise
from .money import balance
from .objectives import LOSSES_BETA, Weighed, both_objectives
from .options import CONTROLLERS, Options
from .ranking import RUNS, Benefit, measured_benefit, rank_homes
from .street import Street, Watts, shared_cable_doubts

ENGINE_TOLERANCE_A = 0.01
"""Our power flow and the engine agree to this, or the report says so."""


@dataclass(frozen=True)
class Study:
    """What came out."""

    options: Options
    feeder: Feeder
    profiles: Profiles
    relays: NDArray[np.bool_]
    cars: list[int]
    roofs: list[int]
    outcomes: dict[str, Outcome]
    summary: dict[str, dict[str, Any]]
    relay_choice: str
    relay_order: list[int]
    """The homes in that order, the first one of each joint (`Feeder.joint_of`)."""
    relay_curve: list[float]
    benefits: list[Benefit]
    less_known: list[Benefit]
    """The first third of relays where the other homes are not all metered."""
    objectives: list[Weighed]
    hosting: list[Hosted]
    mean_w: NDArray[np.float64]
    notes: list[str]
    engine_difference_a: float | None
    """Largest current difference against the OpenDSS engine on sampled moments; None: no engine."""

    @property
    def days(self) -> float:
        """Length of the study in days."""
        return self.profiles.days


def run_study(options: Options, stage: Stage) -> Study:
    """Does it all. Raises InputError for everything that is wrong with the input."""
    _check(options)
    profiles = _profiles(options, stage("Reading the profiles", None))
    feeder, rows = read_feeder(options, read_homes(options.homes) if options.homes else [])
    return study_of(options, profiles, feeder, rows, stage)


def study_of(
    options: Options, profiles: Profiles, feeder: Feeder, rows: list[Listed], stage: Stage
) -> Study:
    """The same for profiles and a feeder that have been read.

    rows: of `read_feeder`. Raises InputError for what does not fit together.
    """
    if profiles.days < 1 / 24:
        raise InputError(
            f"The profiles cover {profiles.days * 1440:.0f} minutes; the study needs an hour.",
            "Give longer profiles; a week shows a street's habits, a year its seasons.",
        )
    watts, notes = assign_columns(feeder, rows, profiles, options.repeat_profiles)
    notes = [*feeder.notes, *profiles.notes, *notes]
    rows = rows[: feeder.n_homes]
    bare = replace(profiles, watts=watts.copy()) if options.hosting else None
    watts, cars, roofs = _add(options, profiles, rows, watts)
    # Only the homes' own columns are kept: a year's are a hundred megabytes.
    profiles = replace(profiles, watts=watts)
    street = Street(feeder, watts, profiles.step_s, options.load_model)
    mean_w = watts[:, : feeder.n_homes].mean(axis=0, dtype=np.float64)
    relays = relays_by_joint(
        feeder, rows, mean_w, options.participation, options.relay_choice, options.seed
    )
    notes += shared_cable_doubts(street)
    loop = _loop(options, profiles, feeder, notes)
    options = replace(options, loop=loop)  # with what the feeder decides
    outcomes, first = run_controllers(
        options.controllers,
        street,
        relays,
        loop,
        options.ambient_c,
        stage,
        lambda watched: _relays_first(options, street, mean_w, relays, loop, watched),
        not options.brief,
    )
    rated = np.array([home.v_base for home in feeder.homes])
    deep = [o.trajectory.title for o in outcomes.values() if (o.volts_low < 0.7 * rated).any()]
    if deep:
        notes.append(
            f"Beware: voltages below 70 % of rated occur ({', '.join(deep)}): nothing works there, "
            "and the figures of those moments are formal. The feeder is overloaded, or the "
            "profiles are not in watts."
        )
    difference = None
    if not options.brief:
        difference = _second_opinion(options, street, outcomes, stage, notes)
    if difference is not None and difference > ENGINE_TOLERANCE_A:
        notes.append(
            f"Beware: our power flow and OpenDSS differ by {difference:.2g} A, more than the "
            f"{ENGINE_TOLERANCE_A:g} A they should; the feeder holds something this study does "
            "not treat as OpenDSS does."
        )
    hosts = [] if bare is None else _hosting(options, bare, feeder, rows, relays, stage)
    base = outcomes["as_built"]
    summary = {
        name: summarise(outcome, base, street, relays, options.money.energy_price)
        for name, outcome in outcomes.items()
    }
    gained = [o.trajectory.title for o in outcomes.values() if np.mean(o.losses_w) < 0]
    if gained:
        notes.append(
            f"Beware: losses are below zero ({', '.join(gained)}): an element of the feeder has a "
            "negative resistance or length, and figures of losses and money mean nothing."
        )
    limit_a = loop.phase_limit_a or 0.0
    for name, own in summary.items():
        with_relay = n_relays(feeder, relays) if name in ("pbal", "hindsight") else 0
        own["money"] = balance(
            options.money,
            with_relay,
            street.days,
            own,
            summary["as_built"],
            limit_a,
            options.ev.charger_kw,
        )
    notes += _peaks(summary)
    return Study(
        options,
        feeder,
        profiles,
        relays,
        cars,
        roofs,
        outcomes,
        summary,
        *first,
        hosts,
        mean_w,
        notes,
        difference,
    )


def _peaks(summary: dict[str, dict[str, Any]]) -> list[str]:
    """A note where pbal raises the highest 10-minute phase current."""
    if "pbal" not in summary:
        return []
    own, built = (summary[k]["peak_10min"]["phase_a"] for k in ("pbal", "as_built"))
    if own <= 1.005 * built:
        return []
    digits = 0 if own - built >= 2 else 2
    return [
        f"Beware: with pbal the highest 10-minute phase current is {own:.{digits}f} A, as built "
        f"{built:.{digits}f} A. --phase-limit sets what a phase may carry."
    ]


def _second_opinion(
    options: Options,
    street: Street,
    outcomes: dict[str, Outcome],
    stage: Stage,
    notes: list[str],
) -> float | None:
    """Compares a few moments of the last controller that moves homes with the OpenDSS engine."""
    if options.feeder is None or options.load_model != "feeder":
        return None
    from .enginecheck import check_minutes

    stage("Second opinion: OpenDSS", None)
    chosen = outcomes.get("pbal", outcomes["as_built"]).trajectory
    try:
        return check_minutes(options.feeder, street, chosen, 12, options.seed)
    except ArithmeticError as exc:
        notes.append(
            f"Beware: {exc} for one of twelve moments that were asked of it too; the feeder is at "
            "its limits there."
        )
        return None


def _relays_first(
    options: Options,
    street: Street,
    mean_w: NDArray[np.float64],
    relays: NDArray[np.bool_],
    loop: c.Loop,
    stage: Stage,
) -> tuple[str, list[int], list[float], list[Benefit], list[Benefit], list[Weighed]]:
    """The recommended order of homes, its expected curve, what was measured of it, and both
    objectives."""
    if options.brief:
        return "ranked", [], [], [], [], []
    stage("Ranking the homes", None)
    order, curve = rank_homes(street, seed=options.seed)
    feeder = street.feeder

    def homes_of(joints: list[int]) -> list[int]:
        return [int(feeder.first_at[joint]) for joint in joints]

    if options.rank_days == 0 or "pbal" not in options.controllers:
        return "ranked", homes_of(order), curve, [], [], []
    drawn = np.bincount(feeder.joint_of, mean_w)
    orders = {"ranked": order, "heaviest": np.argsort(-drawn, kind="stable").tolist()}
    steps = min(len(street), round(options.rank_days * 86400 / street.step_s))
    done = stage("Which homes first", RUNS * steps)
    best, benefits, known = measured_benefit(
        street, orders, loop, days=options.rank_days, progress=done
    )
    if best != "ranked":
        order, curve = rank_homes(street, seed=options.seed, order=orders[best])
    done = stage("Both objectives", 2 * steps if street.feeder.exact else 0)
    weighed = both_objectives(street, relays, loop, days=options.rank_days, progress=done)
    return best, homes_of(order), curve, benefits, known, weighed


def _hosting(
    options: Options,
    bare: Profiles,
    feeder: Feeder,
    rows: list[Listed],
    relays: NDArray[np.bool_],
    stage: Stage,
) -> list[Hosted]:
    """Hosting capacity as built and with pbal, over `rank_days` about the highest load."""
    steps = min(len(bare.watts), max(2, round((options.rank_days or 3.0) * 86400 / bare.step_s)))
    peak = int(np.argmax(np.abs(bare.watts).sum(axis=1)))
    first = min(max(0, peak - steps // 2), len(bare.watts) - steps)
    begin = bare.start + np.timedelta64(first * bare.step_s, "s")
    part = replace(bare, start=begin, watts=bare.watts[first : first + steps])
    loop = options.loop

    def street_at(what: str, share: float) -> Street:
        asked = {what: replace(getattr(options, what), share=share)}
        watts, _, _ = _add(replace(options, **asked), part, rows, part.watts.copy())
        return Street(feeder, watts, part.step_s, options.load_model)

    follow: dict[str, Callable[[Street], c.Trajectory]] = {"as_built": c.as_built}
    if "pbal" in options.controllers:
        follow["pbal"] = lambda street: c.pbal(street, relays, loop)
    found = []
    for what in options.hosting:
        stage(f"Hosting capacity: {what}", None)
        found += [
            hosted(what, name, partial(street_at, what), how, loop.phase_limit_a or 0.0)
            for name, how in follow.items()
        ]
    return found


def _check(options: Options) -> None:
    wrong = [what for what in options.hosting if what not in ("ev", "pv")]
    if wrong:
        raise InputError(f"--hosting is {wrong[0]!r}.", "Use ev, pv, or ev,pv.")
    odd = [name for name in options.controllers if name not in CONTROLLERS]
    if odd:
        raise InputError(
            f"Unknown controller {odd[0]!r}.", f"Choose from: {', '.join(CONTROLLERS)}."
        )
    if options.feeder is None and options.homes is None:
        raise InputError(
            "Neither a feeder nor a list of homes is given.",
            "Use --feeder Master.dss, or --homes homes.csv with each home's phase, or --demo.",
        )


def _profiles(options: Options, progress: Callable[[int], None]) -> Profiles:
    if options.profiles is not None:
        return read_profiles(
            options.profiles,
            days=options.days,
            skip_days=options.skip_days,
            fill_gaps=options.fill_gaps,
            progress=progress,
            quantity=options.quantity,
        )
    if options.feeder is None:
        raise InputError("No profiles are given.", "Use --profiles P.csv, or --feeder, or --demo.")
    return feeder_profiles(options.feeder, days=options.days, skip_days=options.skip_days)


def read_feeder(options: Options, listed: list[Listed]) -> tuple[Feeder, list[Listed]]:
    """The feeder that the options name, joined with a list of homes; without one, the homes of the
    list behind one main. Returns a row per load."""
    if options.feeder is not None:
        feeder = load_feeder(options.feeder, options.transformer)
        if options.kva:
            feeder = replace(feeder, transformer=replace(feeder.transformer, rated_kva=options.kva))
        return apply_list(feeder, listed, options.power_factor)
    points = points_of(listed, options.power_factor or 0.95, 230.0)
    neutral = options.main_ohm if options.neutral_ohm is None else options.neutral_ohm
    feeder = ideal_feeder(
        points, phase_ohm=options.main_ohm, neutral_ohm=neutral, rated_kva=options.kva
    )
    return feeder, listed


def _add(
    options: Options, profiles: Profiles, rows: list[Listed], watts: Watts
) -> tuple[Watts, list[int], list[int]]:
    """Cars and roofs added to the profiles; the homes list may fix which homes have them."""
    rng = np.random.default_rng([options.seed, 8])
    chosen = []
    for share, said in (
        (options.ev.share, [row.ev for row in rows]),
        (options.pv.share, [row.pv for row in rows]),
    ):
        sure = [k for k, yes in enumerate(said) if yes]
        among = np.array([yes is None for yes in said])
        # The list's own homes count towards the share.
        rest = max(0.0, share - len(sure) / len(rows))
        chosen.append(sorted({*sure, *pick(len(rows), rest, rng, among)}))
    cars, roofs = chosen
    if cars:
        watts[:, cars] += add_cars(profiles, cars, options.ev, options.seed)
    if roofs:
        watts[:, roofs] -= add_roofs(profiles, roofs, options.pv, options.seed)
    return watts, cars, roofs


def _loop(options: Options, profiles: Profiles, feeder: Feeder, notes: list[str]) -> c.Loop:
    loop = replace(options.loop, seed=options.seed)
    step = profiles.step_s
    if loop.period_s < step:
        notes.append(
            f"The profiles have a value every {step} s, so pbal decides every {step} s, not "
            f"every {loop.period_s} s; what happens in between is not seen."
        )
        loop = replace(loop, period_s=step)
    elif loop.period_s % step:
        notes.append(
            f"pbal decides every {loop.period_s} s, each time on the next whole step of {step} s."
        )
    if loop.delay_s >= profiles.days * 86400:
        raise InputError(
            f"A delay of {loop.delay_s} s is longer than the profiles.", "Lower --delay."
        )
    limit_a = options.phase_limit_a or feeder.transformer.rated_current_a
    loop = replace(loop, phase_limit_a=limit_a if limit_a > 0 else None)
    if loop.use_feeder is None:
        loop = replace(loop, use_feeder=feeder.exact, beta=LOSSES_BETA if feeder.exact else 1.0)
    if loop.use_feeder and not feeder.exact:
        raise InputError(
            "--objective losses needs the feeder's impedance.",
            "Give --feeder, or --main-ohm, or use --objective neutral.",
        )
    return loop
