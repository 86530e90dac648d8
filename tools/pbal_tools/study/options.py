"""The options of `pbal study` as one object: each one's name, type, limits, help and panel."""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbal_study.errors import InputError

from ..output import JsonFlag

if TYPE_CHECKING:
    from pbal_study import Loop, Options, Quantity

_YEAR_S = 366 * 86400

# Each panel of the help text makes its options.
_files = partial(typer.Option, rich_help_panel="What to study")
_street = partial(typer.Option, rich_help_panel="The street")
_control = partial(typer.Option, rich_help_panel="How pbal runs")
_money = partial(typer.Option, rich_help_panel="Money")
_report = partial(typer.Option, rich_help_panel="The report")


def _share(value: float) -> float:
    if not 0 <= value <= 1:
        raise typer.BadParameter("must be between 0 and 1 (0.3 means 30 %).")
    return value


def _number(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a number.")
    return value


@dataclass(frozen=True)
class StudyOptions:
    """Everything that `pbal study` can be told. Units and limits stand in the help texts."""

    feeder: Annotated[
        Path | None,
        _files("--feeder", help="OpenDSS master file."),
    ] = None
    profiles: Annotated[
        Path | None,
        _files(
            "--profiles",
            help="CSV or CSV.gz: time,home_01,home_02,... in watts, negative feeds in; "
            "else the feeder's load shapes.",
        ),
    ] = None
    homes: Annotated[
        Path | None,
        _files(
            "--homes",
            help="CSV: home,phase[,profile,pf,relay,ev,pv]; with a feeder, home is the load name.",
        ),
    ] = None
    demo: Annotated[
        bool,
        _files("--demo", help="Study a built-in street."),
    ] = False
    transformer: Annotated[
        str,
        _files("--transformer", help="Which transformer, if several."),
    ] = ""
    kva: Annotated[
        float,
        _files("--kva", callback=_number, min=0, max=1e6, help="Transformer rating, kVA."),
    ] = 0.0
    main_ohm: Annotated[
        float,
        _files(
            "--main-ohm",
            callback=_number,
            min=0,
            max=10,
            help="Without a feeder: resistance of one shared main, ohm per conductor.",
        ),
    ] = 0.0
    days: Annotated[
        float | None,
        _files("--days", callback=_number, min=0.01, help="Study only so many days."),
    ] = None
    skip_days: Annotated[
        float,
        _files("--skip-days", callback=_number, min=0, help="Skip the first days."),
    ] = 0.0
    fill_gaps: Annotated[
        bool,
        _files("--fill-gaps", help="Fill missing values instead of refusing."),
    ] = False
    repeat_profiles: Annotated[
        bool,
        _files(
            "--repeat-profiles", help="Use columns again if there are more homes, shifted by days."
        ),
    ] = False
    unit: Annotated[
        str,
        _files("--unit", help="Of the values: W, kW, or Wh or kWh per interval; else as named."),
    ] = ""
    cumulative: Annotated[
        bool, _files("--cumulative", help="The values are a meter's count, in --unit Wh or kWh.")
    ] = False
    start: Annotated[
        str,
        _files("--start", help="Time of the first row, where the first column is a number."),
    ] = ""
    step: Annotated[
        int | None, _files("--step", min=1, max=3600, help="Seconds between rows, with --start.")
    ] = None
    participation: Annotated[
        float,
        _street("--participation", callback=_share, help="Share of homes with a relay."),
    ] = 1.0
    relay_homes: Annotated[
        str,
        _street("--relay-homes", help="random or heaviest."),
    ] = "random"
    others: Annotated[
        str,
        _street(
            "--others",
            help="What pbal knows of homes without a relay: remainder (a transformer meter), "
            "metered, or unseen.",
        ),
    ] = "remainder"
    ev: Annotated[
        float,
        _street("--ev", callback=_share, help="Share of homes that get an electric car."),
    ] = 0.0
    ev_kw: Annotated[
        float,
        _street("--ev-kw", callback=_number, min=0.5, max=1000, help="Charger, kW."),
    ] = 7.4
    ev_kwh: Annotated[
        float,
        _street("--ev-kwh", callback=_number, min=0.1, max=1000, help="Mean kWh a session."),
    ] = 9.0
    ev_arrival: Annotated[
        float,
        _street("--ev-arrival", callback=_number, min=0, max=24, help="Mean hour of arrival."),
    ] = 18.0
    ev_sessions: Annotated[
        float,
        _street("--ev-sessions", callback=_share, help="Sessions a day."),
    ] = 0.7
    pv: Annotated[
        float,
        _street("--pv", callback=_share, help="Share of homes that get a solar roof."),
    ] = 0.0
    pv_kw: Annotated[
        float,
        _street("--pv-kw", callback=_number, min=0.1, max=1000, help="Mean peak kW."),
    ] = 4.0
    latitude: Annotated[
        float,
        _street("--latitude", callback=_number, min=-66, max=66, help="For the sun, degrees."),
    ] = 51.0
    pf: Annotated[
        float | None,
        _street(
            "--pf",
            callback=_number,
            min=0.1,
            max=1,
            help="Power factor of all homes; else the feeder's, else 0.95.",
        ),
    ] = None
    load_model: Annotated[
        str,
        _street(
            "--load-model",
            help="feeder: loads follow voltage as the .dss says; power: the profile's watts.",
        ),
    ] = "feeder"
    period: Annotated[
        int,
        _control("--period", min=1, max=_YEAR_S, help="Seconds between decisions."),
    ] = 60
    delay: Annotated[
        int,
        _control(
            "--delay",
            min=0,
            max=_YEAR_S,
            help="Age of the newest reading at a decision, s, beyond the step it averages.",
        ),
    ] = 0
    failure_rate: Annotated[
        float,
        _control(
            "--failure-rate",
            callback=_share,
            help="Share of readings lost and of commands not carried out.",
        ),
    ] = 0.0
    objective: Annotated[
        str,
        _control("--objective", help="neutral, or losses (uses the feeder's impedance)."),
    ] = "auto"
    price: Annotated[
        float | None,
        _control(
            "--price",
            callback=_number,
            min=0,
            help="What a switching must save, fixed: A², or W with --objective losses; "
            "else as shipped.",
        ),
    ] = None
    budget: Annotated[
        float | None,
        _control(
            "--budget", callback=_number, min=0.01, help="Switchings per home per day to keep to."
        ),
    ] = None
    dwell: Annotated[
        int | None,
        _control(
            "--dwell",
            min=0,
            max=_YEAR_S,
            help="Seconds a home rests between switchings; else as shipped.",
        ),
    ] = None
    daily_cap: Annotated[
        int | None,
        _control("--daily-cap", min=1, max=1440, help="Most switchings of a home in 24 h."),
    ] = None
    phase_limit: Annotated[
        float | None,
        _control(
            "--phase-limit",
            callback=_number,
            min=1,
            help="What a phase may carry at the transformer, A; else its rated current.",
        ),
    ] = None
    controllers: Annotated[
        str,
        _control(
            "--controllers",
            help="Comma-separated: best_static,pbal,hindsight (as_built is always there).",
        ),
    ] = "best_static,pbal,hindsight"
    ambient: Annotated[
        float,
        _report("--ambient", callback=_number, min=-50, max=60, help="Air at the transformer, °C."),
    ] = 20.0
    tariff: Annotated[
        float,
        _money("--tariff", callback=_number, min=0, help="Price of a kWh lost."),
    ] = 0.25
    currency: Annotated[str, _money("--currency", help="Of all prices.")] = "EUR"
    relay_cost: Annotated[
        float,
        _money("--relay-cost", callback=_number, min=0, help="One home's node, installed."),
    ] = 60.0
    controller_cost: Annotated[
        float,
        _money("--controller-cost", callback=_number, min=0, help="One transformer's, installed."),
    ] = 250.0
    relay_life: Annotated[
        float,
        _money("--relay-life", callback=_number, min=1, help="Switchings that a relay lasts."),
    ] = 100_000.0
    years: Annotated[
        float,
        _money("--years", callback=_number, min=1, max=100, help="Of the net present value."),
    ] = 15.0
    discount: Annotated[
        float, _money("--discount", callback=_share, help="Rate a year, 0.05 is 5 %.")
    ] = 0.05
    carbon: Annotated[
        float,
        _money("--carbon", callback=_number, min=0, help="kg of CO2 per kWh lost."),
    ] = 0.2
    carbon_price: Annotated[
        float,
        _money("--carbon-price", callback=_number, min=0, help="Price of a tonne of CO2."),
    ] = 0.0
    capacity_value: Annotated[
        float,
        _money(
            "--capacity-value",
            callback=_number,
            min=0,
            help="What a released kW is worth, once: a reinforcement put off.",
        ),
    ] = 0.0
    hosting: Annotated[
        str,
        _report("--hosting", help="Sweep the share of homes with cars or roofs: ev, pv or ev,pv."),
    ] = ""
    rank_days: Annotated[
        float,
        _report(
            "--rank-days",
            callback=_number,
            min=0,
            help="Days on which 'which homes first' is measured; 0 skips it.",
        ),
    ] = 3.0
    seed: Annotated[
        int,
        _report("--seed", min=0, max=2**31 - 1, help="For all chance."),
    ] = 1
    out: Annotated[
        Path | None,
        _report("--out", help="Folder for report.html, JSON and CSV."),
    ] = None
    json_output: JsonFlag = False

    def check(self) -> None:
        """Raises InputError for a word that is none of those allowed."""
        for name, value, allowed in (
            ("--others", self.others, ("unseen", "metered", "remainder")),
            ("--objective", self.objective, ("auto", "neutral", "losses")),
            ("--relay-homes", self.relay_homes, ("random", "heaviest")),
            ("--load-model", self.load_model, ("feeder", "power")),
        ):
            if value not in allowed:
                raise InputError(f"{name} is {value!r}.", f"Use one of: {', '.join(allowed)}.")

    def quantity(self) -> "Quantity":
        """What the values of the profiles are. Raises InputError."""
        import numpy as np

        from pbal_study import Quantity

        try:
            start = np.datetime64(self.start, "s") if self.start else None
        except ValueError:
            raise InputError(
                f"--start is {self.start!r}, not a time.", "Write it as 2026-01-31T18:05."
            ) from None
        return Quantity(self.unit, self.cumulative, start, self.step)

    def loop(self) -> "Loop":
        """How pbal runs. What is not chosen stays as the planner ships it."""
        # Imported late: the planner takes a second, `pbal study --help` should not.
        from pbal_study import Loop

        chosen: dict[str, Any] = {
            "dwell_s": self.dwell,
            "daily_cap": self.daily_cap,
            "budget_per_day": self.budget,
        }
        chosen = {name: value for name, value in chosen.items() if value is not None}
        if self.price is not None:
            # A price that is given stays; only a budget given beside it may move it.
            chosen |= {"price": self.price, "budget_per_day": self.budget}
        losses: bool | None = self.objective == "losses"
        if self.objective == "auto":
            # A price in A^2 asks for the neutral current.
            losses = None if self.price is None else False
        return Loop(
            period_s=self.period,
            delay_s=self.delay,
            failure_rate=self.failure_rate,
            beta=0.07 if losses else 1.0,
            use_feeder=losses,
            others=self.others,
            **chosen,
        )

    def study(self) -> "Options":
        """What the study itself takes."""
        from pbal_study import MoneyOptions, Options

        plain = Options()
        return Options(
            feeder=self.feeder,
            profiles=self.profiles,
            homes=self.homes,
            transformer=self.transformer,
            kva=self.kva,
            main_ohm=self.main_ohm,
            days=self.days,
            skip_days=self.skip_days,
            fill_gaps=self.fill_gaps,
            repeat_profiles=self.repeat_profiles,
            quantity=self.quantity(),
            power_factor=self.pf,
            load_model=self.load_model,
            participation=self.participation,
            relay_choice=self.relay_homes,
            controllers=_names(self.controllers),
            loop=self.loop(),
            ambient_c=self.ambient,
            money=MoneyOptions(
                relay_cost=self.relay_cost,
                controller_cost=self.controller_cost,
                relay_life=self.relay_life,
                years=self.years,
                discount=self.discount,
                energy_price=self.tariff,
                carbon_kg_per_kwh=self.carbon,
                carbon_price=self.carbon_price,
                capacity_value=self.capacity_value,
                currency=self.currency,
            ),
            phase_limit_a=self.phase_limit,
            rank_days=self.rank_days,
            hosting=tuple(word.strip() for word in self.hosting.split(",") if word.strip()),
            seed=self.seed,
            ev=replace(
                plain.ev,
                share=self.ev,
                charger_kw=self.ev_kw,
                energy_kwh=self.ev_kwh,
                arrival_h=self.ev_arrival,
                sessions_per_day=self.ev_sessions,
            ),
            pv=replace(plain.pv, share=self.pv, peak_kw=self.pv_kw, latitude_deg=self.latitude),
        )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().replace("-", "_") for name in text.split(",") if name.strip())
    return ("as_built", *(n for n in names if n != "as_built"))
