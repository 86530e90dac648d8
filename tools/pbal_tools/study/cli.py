"""`pbal study`: what balancing would gain on a street, as a report."""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..context import app_context
from ..errors import InputError
from ..output import JsonFlag
from .screen import finish, run_with_progress

if TYPE_CHECKING:
    from .run import Options

app = typer.Typer(
    help="What balancing would gain on a street, as a report.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

_EPILOG = (
    "Examples:  pbal study --demo --out demo_study   |   pbal study --feeder Master.dss "
    "--profiles year.csv.gz --participation 0.5 --out my_study"
)

_FILES, _STREET, _CONTROL, _REPORT = "What to study", "The street", "How pbal runs", "The report"


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise typer.BadParameter("must be between 0 and 1 (0.3 means 30 %).")
    return value


@app.command(epilog=_EPILOG)
def study(
    ctx: typer.Context,
    feeder: Annotated[
        Path | None,
        typer.Option("--feeder", help="OpenDSS master file.", rich_help_panel=_FILES),
    ] = None,
    profiles: Annotated[
        Path | None,
        typer.Option(
            "--profiles",
            help="CSV or CSV.gz: time,home_01,home_02,... in watts, negative feeds in; "
            "else the feeder's load shapes.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    homes: Annotated[
        Path | None,
        typer.Option(
            "--homes",
            help="CSV: home,phase[,profile,pf,relay,ev,pv]; with a feeder, home is the load name.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Study a built-in street.", rich_help_panel=_FILES),
    ] = False,
    transformer: Annotated[
        str,
        typer.Option(
            "--transformer", help="Which transformer, if several.", rich_help_panel=_FILES
        ),
    ] = "",
    kva: Annotated[
        float,
        typer.Option("--kva", min=0, help="Transformer rating, kVA.", rich_help_panel=_FILES),
    ] = 0.0,
    main_ohm: Annotated[
        float,
        typer.Option(
            "--main-ohm",
            min=0,
            help="Without a feeder: resistance of one shared main, ohm per conductor.",
            rich_help_panel=_FILES,
        ),
    ] = 0.0,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0.01, help="Study only so many days.", rich_help_panel=_FILES),
    ] = None,
    skip_days: Annotated[
        float,
        typer.Option("--skip-days", min=0, help="Skip the first days.", rich_help_panel=_FILES),
    ] = 0.0,
    fill_gaps: Annotated[
        bool,
        typer.Option(
            "--fill-gaps", help="Fill missing values instead of refusing.", rich_help_panel=_FILES
        ),
    ] = False,
    repeat_profiles: Annotated[
        bool,
        typer.Option(
            "--repeat-profiles",
            help="Use columns again if there are more homes, shifted by days.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    participation: Annotated[
        float,
        typer.Option(
            "--participation",
            callback=_share,
            help="Share of homes with a relay.",
            rich_help_panel=_STREET,
        ),
    ] = 1.0,
    relay_homes: Annotated[
        str,
        typer.Option("--relay-homes", help="random or heaviest.", rich_help_panel=_STREET),
    ] = "random",
    others: Annotated[
        str,
        typer.Option(
            "--others",
            help="What pbal knows of homes without a relay: unseen, metered, or remainder "
            "(a transformer meter).",
            rich_help_panel=_STREET,
        ),
    ] = "unseen",
    ev: Annotated[
        float,
        typer.Option(
            "--ev",
            callback=_share,
            help="Share of homes that get an electric car.",
            rich_help_panel=_STREET,
        ),
    ] = 0.0,
    ev_kw: Annotated[
        float, typer.Option("--ev-kw", min=0.5, help="Charger, kW.", rich_help_panel=_STREET)
    ] = 7.4,
    ev_kwh: Annotated[
        float,
        typer.Option("--ev-kwh", min=0.1, help="Mean kWh a session.", rich_help_panel=_STREET),
    ] = 9.0,
    ev_arrival: Annotated[
        float,
        typer.Option(
            "--ev-arrival", min=0, max=24, help="Mean hour of arrival.", rich_help_panel=_STREET
        ),
    ] = 18.0,
    ev_sessions: Annotated[
        float,
        typer.Option(
            "--ev-sessions", callback=_share, help="Sessions a day.", rich_help_panel=_STREET
        ),
    ] = 0.7,
    pv: Annotated[
        float,
        typer.Option(
            "--pv",
            callback=_share,
            help="Share of homes that get a solar roof.",
            rich_help_panel=_STREET,
        ),
    ] = 0.0,
    pv_kw: Annotated[
        float, typer.Option("--pv-kw", min=0.1, help="Mean peak kW.", rich_help_panel=_STREET)
    ] = 4.0,
    latitude: Annotated[
        float,
        typer.Option(
            "--latitude", min=-66, max=66, help="For the sun, degrees.", rich_help_panel=_STREET
        ),
    ] = 51.0,
    pf: Annotated[
        float | None,
        typer.Option(
            "--pf",
            min=0.1,
            max=1,
            help="Power factor of all homes; else the feeder's, else 0.95.",
            rich_help_panel=_STREET,
        ),
    ] = None,
    load_model: Annotated[
        str,
        typer.Option(
            "--load-model",
            help="feeder: loads follow voltage as the .dss says; power: the profile's watts.",
            rich_help_panel=_STREET,
        ),
    ] = "feeder",
    period: Annotated[
        int,
        typer.Option(
            "--period", min=1, help="Seconds between decisions.", rich_help_panel=_CONTROL
        ),
    ] = 60,
    delay: Annotated[
        int,
        typer.Option(
            "--delay",
            min=0,
            help="Age of the newest reading at a decision, s, beyond the step it averages.",
            rich_help_panel=_CONTROL,
        ),
    ] = 0,
    failure_rate: Annotated[
        float,
        typer.Option(
            "--failure-rate",
            callback=_share,
            help="Share of readings lost and of commands not carried out.",
            rich_help_panel=_CONTROL,
        ),
    ] = 0.0,
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            help="neutral, or losses (uses the feeder's impedance).",
            rich_help_panel=_CONTROL,
        ),
    ] = "neutral",
    price: Annotated[
        float | None,
        typer.Option(
            "--price",
            min=0,
            help="What a switching must save, fixed: A², or W with --objective losses; "
            "else as shipped.",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            min=0.01,
            help="Switchings per home per day to keep to.",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    dwell: Annotated[
        int | None,
        typer.Option(
            "--dwell",
            min=0,
            help="Seconds a home rests between switchings; else as shipped.",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    daily_cap: Annotated[
        int | None,
        typer.Option(
            "--daily-cap",
            min=1,
            help="Most switchings of a home in 24 h.",
            rich_help_panel=_CONTROL,
        ),
    ] = None,
    controllers: Annotated[
        str,
        typer.Option(
            "--controllers",
            help="Comma-separated: best_static,pbal,hindsight (as_built is always there).",
            rich_help_panel=_CONTROL,
        ),
    ] = "best_static,pbal,hindsight",
    ambient: Annotated[
        float,
        typer.Option(
            "--ambient",
            min=-50,
            max=60,
            help="Air at the transformer, °C.",
            rich_help_panel=_REPORT,
        ),
    ] = 20.0,
    tariff: Annotated[
        float,
        typer.Option("--tariff", min=0, help="Price of a kWh lost.", rich_help_panel=_REPORT),
    ] = 0.25,
    currency: Annotated[
        str, typer.Option("--currency", help="Of the tariff.", rich_help_panel=_REPORT)
    ] = "EUR",
    rank_days: Annotated[
        float,
        typer.Option(
            "--rank-days",
            min=0,
            help="Days on which 'which homes first' is measured; 0 skips it.",
            rich_help_panel=_REPORT,
        ),
    ] = 3.0,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="For all chance.", rich_help_panel=_REPORT)
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for report.html, JSON and CSV.", rich_help_panel=_REPORT
        ),
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """What would pbal do for my feeder?

    Simulates as built, best static, pbal and the hindsight optimum side by side with an exact
    unbalanced power flow, and writes a report (HTML), all figures (JSON) and tables (CSV).
    """
    # Before NumPy is loaded: on matrices of this size a second BLAS thread only spins, and doubles
    # the processor time of a power flow.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from .controllers import Loop

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
        _check_folder(out)
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
    from .run import Options

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


def _check_folder(out: Path | None) -> None:
    if out is None:
        return
    # The pictures need an optional extra: say so now, not after an hour of simulation.
    from . import report  # noqa: F401

    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out} is not a folder.", "Give --out a folder.") from None
