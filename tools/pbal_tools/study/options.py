"""The words of `pbal study`'s command line: each option's name, type, limits, help and panel."""

import math
from pathlib import Path
from typing import Annotated

import typer

_YEAR_S = 366 * 86400
_FILES, _STREET, _CONTROL, _REPORT = "What to study", "The street", "How pbal runs", "The report"


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise typer.BadParameter("must be between 0 and 1 (0.3 means 30 %).")
    return value


def _number(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a number.")
    return value


Feeder = Annotated[
    Path | None,
    typer.Option("--feeder", help="OpenDSS master file.", rich_help_panel=_FILES),
]
Profiles = Annotated[
    Path | None,
    typer.Option(
        "--profiles",
        help="CSV or CSV.gz: time,home_01,home_02,... in watts, negative feeds in; "
        "else the feeder's load shapes.",
        rich_help_panel=_FILES,
    ),
]
Homes = Annotated[
    Path | None,
    typer.Option(
        "--homes",
        help="CSV: home,phase[,profile,pf,relay,ev,pv]; with a feeder, home is the load name.",
        rich_help_panel=_FILES,
    ),
]
DemoFlag = Annotated[
    bool,
    typer.Option("--demo", help="Study a built-in street.", rich_help_panel=_FILES),
]
Transformer = Annotated[
    str,
    typer.Option("--transformer", help="Which transformer, if several.", rich_help_panel=_FILES),
]
Kva = Annotated[
    float,
    typer.Option(
        "--kva",
        callback=_number,
        min=0,
        max=1e6,
        help="Transformer rating, kVA.",
        rich_help_panel=_FILES,
    ),
]
MainOhm = Annotated[
    float,
    typer.Option(
        "--main-ohm",
        callback=_number,
        min=0,
        max=10,
        help="Without a feeder: resistance of one shared main, ohm per conductor.",
        rich_help_panel=_FILES,
    ),
]
Days = Annotated[
    float | None,
    typer.Option(
        "--days",
        callback=_number,
        min=0.01,
        help="Study only so many days.",
        rich_help_panel=_FILES,
    ),
]
SkipDays = Annotated[
    float,
    typer.Option(
        "--skip-days", callback=_number, min=0, help="Skip the first days.", rich_help_panel=_FILES
    ),
]
FillGaps = Annotated[
    bool,
    typer.Option(
        "--fill-gaps", help="Fill missing values instead of refusing.", rich_help_panel=_FILES
    ),
]
RepeatProfiles = Annotated[
    bool,
    typer.Option(
        "--repeat-profiles",
        help="Use columns again if there are more homes, shifted by days.",
        rich_help_panel=_FILES,
    ),
]
Participation = Annotated[
    float,
    typer.Option(
        "--participation",
        callback=_share,
        help="Share of homes with a relay.",
        rich_help_panel=_STREET,
    ),
]
RelayHomes = Annotated[
    str,
    typer.Option("--relay-homes", help="random or heaviest.", rich_help_panel=_STREET),
]
Others = Annotated[
    str,
    typer.Option(
        "--others",
        help="What pbal knows of homes without a relay: unseen, metered, or remainder "
        "(a transformer meter).",
        rich_help_panel=_STREET,
    ),
]
EvShare = Annotated[
    float,
    typer.Option(
        "--ev",
        callback=_share,
        help="Share of homes that get an electric car.",
        rich_help_panel=_STREET,
    ),
]
EvKw = Annotated[
    float,
    typer.Option(
        "--ev-kw", callback=_number, min=0.5, max=1000, help="Charger, kW.", rich_help_panel=_STREET
    ),
]
EvKwh = Annotated[
    float,
    typer.Option(
        "--ev-kwh",
        callback=_number,
        min=0.1,
        max=1000,
        help="Mean kWh a session.",
        rich_help_panel=_STREET,
    ),
]
EvArrival = Annotated[
    float,
    typer.Option(
        "--ev-arrival",
        callback=_number,
        min=0,
        max=24,
        help="Mean hour of arrival.",
        rich_help_panel=_STREET,
    ),
]
EvSessions = Annotated[
    float,
    typer.Option("--ev-sessions", callback=_share, help="Sessions a day.", rich_help_panel=_STREET),
]
PvShare = Annotated[
    float,
    typer.Option(
        "--pv",
        callback=_share,
        help="Share of homes that get a solar roof.",
        rich_help_panel=_STREET,
    ),
]
PvKw = Annotated[
    float,
    typer.Option(
        "--pv-kw",
        callback=_number,
        min=0.1,
        max=1000,
        help="Mean peak kW.",
        rich_help_panel=_STREET,
    ),
]
Latitude = Annotated[
    float,
    typer.Option(
        "--latitude",
        callback=_number,
        min=-66,
        max=66,
        help="For the sun, degrees.",
        rich_help_panel=_STREET,
    ),
]
PowerFactor = Annotated[
    float | None,
    typer.Option(
        "--pf",
        callback=_number,
        min=0.1,
        max=1,
        help="Power factor of all homes; else the feeder's, else 0.95.",
        rich_help_panel=_STREET,
    ),
]
LoadModel = Annotated[
    str,
    typer.Option(
        "--load-model",
        help="feeder: loads follow voltage as the .dss says; power: the profile's watts.",
        rich_help_panel=_STREET,
    ),
]
Period = Annotated[
    int,
    typer.Option(
        "--period", min=1, max=_YEAR_S, help="Seconds between decisions.", rich_help_panel=_CONTROL
    ),
]
Delay = Annotated[
    int,
    typer.Option(
        "--delay",
        min=0,
        max=_YEAR_S,
        help="Age of the newest reading at a decision, s, beyond the step it averages.",
        rich_help_panel=_CONTROL,
    ),
]
FailureRate = Annotated[
    float,
    typer.Option(
        "--failure-rate",
        callback=_share,
        help="Share of readings lost and of commands not carried out.",
        rich_help_panel=_CONTROL,
    ),
]
Objective = Annotated[
    str,
    typer.Option(
        "--objective",
        help="neutral, or losses (uses the feeder's impedance).",
        rich_help_panel=_CONTROL,
    ),
]
Price = Annotated[
    float | None,
    typer.Option(
        "--price",
        callback=_number,
        min=0,
        help="What a switching must save, fixed: A², or W with --objective losses; "
        "else as shipped.",
        rich_help_panel=_CONTROL,
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        callback=_number,
        min=0.01,
        help="Switchings per home per day to keep to.",
        rich_help_panel=_CONTROL,
    ),
]
Dwell = Annotated[
    int | None,
    typer.Option(
        "--dwell",
        min=0,
        max=_YEAR_S,
        help="Seconds a home rests between switchings; else as shipped.",
        rich_help_panel=_CONTROL,
    ),
]
DailyCap = Annotated[
    int | None,
    typer.Option(
        "--daily-cap",
        min=1,
        max=1440,
        help="Most switchings of a home in 24 h.",
        rich_help_panel=_CONTROL,
    ),
]
Controllers = Annotated[
    str,
    typer.Option(
        "--controllers",
        help="Comma-separated: best_static,pbal,hindsight (as_built is always there).",
        rich_help_panel=_CONTROL,
    ),
]
Ambient = Annotated[
    float,
    typer.Option(
        "--ambient",
        callback=_number,
        min=-50,
        max=60,
        help="Air at the transformer, °C.",
        rich_help_panel=_REPORT,
    ),
]
Tariff = Annotated[
    float,
    typer.Option(
        "--tariff", callback=_number, min=0, help="Price of a kWh lost.", rich_help_panel=_REPORT
    ),
]
Currency = Annotated[
    str, typer.Option("--currency", help="Of the tariff.", rich_help_panel=_REPORT)
]
RankDays = Annotated[
    float,
    typer.Option(
        "--rank-days",
        callback=_number,
        min=0,
        help="Days on which 'which homes first' is measured; 0 skips it.",
        rich_help_panel=_REPORT,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", min=0, max=2**31 - 1, help="For all chance.", rich_help_panel=_REPORT),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for report.html, JSON and CSV.", rich_help_panel=_REPORT),
]
