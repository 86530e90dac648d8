"""`pbal study`: what balancing would gain on a street, as a report."""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..context import app_context
from ..errors import InputError
from ..extras import require
from ..output import JsonFlag
from . import options as o
from .screen import finish, run_with_progress

if TYPE_CHECKING:
    from pbal_study.run.study import Options

app = typer.Typer(
    help="What balancing would gain on a street, as a report.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

_EPILOG = (
    "Examples:  pbal study --demo --out demo_study   |   pbal study --feeder Master.dss "
    "--profiles year.csv.gz --participation 0.5 --out my_study"
)


@app.command(epilog=_EPILOG)
def study(
    ctx: typer.Context,
    feeder: o.Feeder = None,
    profiles: o.Profiles = None,
    homes: o.Homes = None,
    demo: o.DemoFlag = False,
    transformer: o.Transformer = "",
    kva: o.Kva = 0.0,
    main_ohm: o.MainOhm = 0.0,
    days: o.Days = None,
    skip_days: o.SkipDays = 0.0,
    fill_gaps: o.FillGaps = False,
    repeat_profiles: o.RepeatProfiles = False,
    participation: o.Participation = 1.0,
    relay_homes: o.RelayHomes = "random",
    others: o.Others = "unseen",
    ev: o.EvShare = 0.0,
    ev_kw: o.EvKw = 7.4,
    ev_kwh: o.EvKwh = 9.0,
    ev_arrival: o.EvArrival = 18.0,
    ev_sessions: o.EvSessions = 0.7,
    pv: o.PvShare = 0.0,
    pv_kw: o.PvKw = 4.0,
    latitude: o.Latitude = 51.0,
    pf: o.PowerFactor = None,
    load_model: o.LoadModel = "feeder",
    period: o.Period = 60,
    delay: o.Delay = 0,
    failure_rate: o.FailureRate = 0.0,
    objective: o.Objective = "neutral",
    price: o.Price = None,
    budget: o.Budget = None,
    dwell: o.Dwell = None,
    daily_cap: o.DailyCap = None,
    controllers: o.Controllers = "best_static,pbal,hindsight",
    ambient: o.Ambient = 20.0,
    tariff: o.Tariff = 0.25,
    currency: o.Currency = "EUR",
    rank_days: o.RankDays = 3.0,
    seed: o.Seed = 1,
    out: o.Out = None,
    json_output: JsonFlag = False,
) -> None:
    """What would pbal do for my feeder?

    Simulates as built, best static, pbal and the hindsight optimum side by side with an exact
    unbalanced power flow, and writes a report (HTML), all figures (JSON) and tables (CSV).
    """
    # Before NumPy is loaded: on matrices of this size a second BLAS thread only spins, and doubles
    # the processor time of a power flow.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from pbal_study.run.controllers import Loop

    for name, value, allowed in (
        ("--others", others, ("unseen", "metered", "remainder")),
        ("--objective", objective, ("neutral", "losses")),
        ("--relay-homes", relay_homes, ("random", "heaviest")),
        ("--load-model", load_model, ("feeder", "power")),
    ):
        if value not in allowed:
            raise InputError(f"{name} is {value!r}.", f"Use one of: {', '.join(allowed)}.")
    losses = objective == "losses"
    chosen: dict[str, Any] = {"dwell_s": dwell, "daily_cap": daily_cap, "budget_per_day": budget}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    if price is not None:
        # A price that is given stays; only a budget given beside it may move it.
        chosen |= {"price": price, "budget_per_day": budget}
    loop = Loop(
        period_s=period,
        delay_s=delay,
        failure_rate=failure_rate,
        beta=0.07 if losses else 1.0,
        use_feeder=losses,
        others=others,
        # What is not chosen stays as the planner ships it.
        **chosen,
    )
    with ExitStack() as stack:
        if demo:
            feeder, profiles = _demo_files(stack, feeder, profiles, out, days or 7.0, seed)
        if profiles is None and feeder is None:
            raise InputError(
                "No profiles are given.",
                "Use --profiles P.csv with --feeder or --homes, or try:  pbal study --demo",
            )
        if feeder is not None:
            require("study", "dss")
        _check_folder(out, feeder, profiles, homes)
        options = _options(
            feeder=feeder,
            profiles=profiles,
            homes=homes,
            transformer=transformer,
            kva=kva,
            main_ohm=main_ohm,
            days=days,
            skip_days=skip_days,
            fill_gaps=fill_gaps,
            repeat_profiles=repeat_profiles,
            power_factor=pf,
            load_model=load_model,
            participation=participation,
            relay_choice=relay_homes,
            controllers=_names(controllers),
            loop=loop,
            ambient_c=ambient,
            tariff=tariff,
            currency=currency,
            rank_days=rank_days,
            seed=seed,
        )
        options = replace(
            options,
            ev=replace(
                options.ev,
                share=ev,
                charger_kw=ev_kw,
                energy_kwh=ev_kwh,
                arrival_h=ev_arrival,
                sessions_per_day=ev_sessions,
            ),
            pv=replace(options.pv, share=pv, peak_kw=pv_kw, latitude_deg=latitude),
        )
        quiet = json_output or app_context(ctx).quiet
        result = run_with_progress(options, quiet)
    finish(result, out, json_output)


def _options(**values: Any) -> "Options":
    # Imported late: SciPy and the planner take a second, `pbal study --help` should not.
    from pbal_study.run.study import Options

    return Options(**values)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().replace("-", "_") for name in text.split(",") if name.strip())
    return ("as_built", *(n for n in names if n != "as_built"))


def _demo_files(
    stack: ExitStack,
    feeder: Path | None,
    profiles: Path | None,
    out: Path | None,
    days: float,
    seed: int,
) -> tuple[Path, Path]:
    if feeder is not None or profiles is not None:
        raise InputError(
            "--demo brings its own feeder and profiles.", "Leave out --demo, or the files."
        )
    from .demo import write_demo

    _check_folder(out)
    folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pbal-study-")))
    return write_demo(folder, days, seed)


def _check_folder(out: Path | None, *inputs: Path | None) -> None:
    if out is None:
        return
    # Said now, not after an hour of simulation.
    require("study", "matplotlib")
    from pbal_study.report.files import check_folder

    check_folder(out, inputs)
