"""The options that a study of one street and one of a fleet share."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbal_study.errors import InputError

if TYPE_CHECKING:
    from pbal_study import Loop, Options, Quantity

_YEAR_S = 366 * 86400

# One function makes the options of each panel of the help text.
files = partial(typer.Option, rich_help_panel="What to study")
street = partial(typer.Option, rich_help_panel="The street")
control = partial(typer.Option, rich_help_panel="How pbal runs")
money = partial(typer.Option, rich_help_panel="Money")
report = partial(typer.Option, rich_help_panel="The report")


def share(value: float) -> float:
    if not 0 <= value <= 1:
        raise typer.BadParameter("must be between 0 and 1 (0.3 means 30 %).")
    return value


def number(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("must be a number.")
    return value


@dataclass(frozen=True)
class CommonOptions:
    """How a street is read, controlled and counted in money. Units and limits stand in the help
    texts."""

    kva: Annotated[
        float,
        files("--kva", callback=number, min=0, max=1e6, help="Transformer rating, kVA."),
    ] = 0.0
    main_ohm: Annotated[
        float,
        files(
            "--main-ohm",
            callback=number,
            min=0,
            max=10,
            help="Without a feeder: resistance of one shared main, ohm per conductor.",
        ),
    ] = 0.0
    days: Annotated[
        float | None,
        files("--days", callback=number, min=0.01, help="Study only so many days."),
    ] = None
    skip_days: Annotated[
        float,
        files("--skip-days", callback=number, min=0, help="Skip the first days."),
    ] = 0.0
    fill_gaps: Annotated[
        bool,
        files("--fill-gaps", help="Fill missing values instead of refusing."),
    ] = False
    unit: Annotated[
        str,
        files("--unit", help="Of the values: W, kW, or Wh or kWh per interval; else as named."),
    ] = ""
    cumulative: Annotated[
        bool, files("--cumulative", help="The values are a meter's count, in --unit Wh or kWh.")
    ] = False
    per_interval: Annotated[
        bool,
        files("--per-interval", help="Values that only grow are energy per interval all the same."),
    ] = False
    start: Annotated[
        str,
        files("--start", help="Time of the first row, where the first column is a number."),
    ] = ""
    step: Annotated[
        int | None, files("--step", min=1, max=3600, help="Seconds between rows, with --start.")
    ] = None
    participation: Annotated[
        float,
        street("--participation", callback=share, help="Share of homes with a relay."),
    ] = 1.0
    relay_homes: Annotated[
        str,
        street("--relay-homes", help="random or heaviest."),
    ] = "random"
    others: Annotated[
        str,
        street(
            "--others",
            help="What pbal knows of homes without a relay: remainder (a transformer meter), "
            "metered, or unseen.",
        ),
    ] = "remainder"
    ev: Annotated[
        float,
        street("--ev", callback=share, help="Share of homes that get an electric car."),
    ] = 0.0
    ev_kw: Annotated[
        float,
        street("--ev-kw", callback=number, min=0.5, max=1000, help="Charger, kW."),
    ] = 7.4
    ev_kwh: Annotated[
        float,
        street("--ev-kwh", callback=number, min=0.1, max=1000, help="Mean kWh a session."),
    ] = 9.0
    ev_arrival: Annotated[
        float,
        street("--ev-arrival", callback=number, min=0, max=24, help="Mean hour of arrival."),
    ] = 18.0
    ev_sessions: Annotated[
        float,
        street("--ev-sessions", callback=share, help="Sessions a day."),
    ] = 0.7
    pv: Annotated[
        float,
        street("--pv", callback=share, help="Share of homes that get a solar roof."),
    ] = 0.0
    pv_kw: Annotated[
        float,
        street("--pv-kw", callback=number, min=0.1, max=1000, help="Mean peak kW."),
    ] = 4.0
    latitude: Annotated[
        float,
        street("--latitude", callback=number, min=-66, max=66, help="For the sun, degrees."),
    ] = 51.0
    pf: Annotated[
        float | None,
        street(
            "--pf",
            callback=number,
            min=0.1,
            max=1,
            help="Power factor of all homes; else the feeder's, else 0.95.",
        ),
    ] = None
    load_model: Annotated[
        str,
        street(
            "--load-model",
            help="feeder: loads follow voltage as the .dss says; power: the profile's watts.",
        ),
    ] = "feeder"
    period: Annotated[
        int,
        control("--period", min=1, max=_YEAR_S, help="Seconds between decisions."),
    ] = 60
    delay: Annotated[
        int,
        control(
            "--delay",
            min=0,
            max=_YEAR_S,
            help="Age of the newest reading at a decision, s, beyond the step it averages.",
        ),
    ] = 0
    failure_rate: Annotated[
        float,
        control(
            "--failure-rate",
            callback=share,
            help="Share of readings lost and of commands not carried out.",
        ),
    ] = 0.0
    objective: Annotated[
        str,
        control("--objective", help="neutral, or losses (uses the feeder's impedance)."),
    ] = "auto"
    price: Annotated[
        float | None,
        control(
            "--price",
            callback=number,
            min=0,
            help="What a switching must save, fixed: A², or W with --objective losses; "
            "else as shipped.",
        ),
    ] = None
    budget: Annotated[
        float | None,
        control(
            "--budget", callback=number, min=0.01, help="Switchings per home per day to keep to."
        ),
    ] = None
    dwell: Annotated[
        int | None,
        control(
            "--dwell",
            min=0,
            max=_YEAR_S,
            help="Seconds a home rests between switchings; else as shipped.",
        ),
    ] = None
    daily_cap: Annotated[
        int | None,
        control("--daily-cap", min=1, max=1440, help="Most switchings of a home in 24 h."),
    ] = None
    phase_limit: Annotated[
        float | None,
        control(
            "--phase-limit",
            callback=number,
            min=1,
            help="What a phase may carry at the transformer, A; else its rated current.",
        ),
    ] = None
    ambient: Annotated[
        float,
        report(
            "--ambient",
            callback=number,
            min=-50,
            max=60,
            help="Air temperature at the transformer, °C.",
        ),
    ] = 20.0
    tariff: Annotated[
        float,
        money("--tariff", callback=number, min=0, help="Price of a kWh lost."),
    ] = 0.25
    currency: Annotated[str, money("--currency", help="Of all prices.")] = "EUR"
    relay_cost: Annotated[
        float,
        money("--relay-cost", callback=number, min=0, help="One home's node, installed."),
    ] = 60.0
    controller_cost: Annotated[
        float,
        money("--controller-cost", callback=number, min=0, help="One transformer's, installed."),
    ] = 250.0
    relay_life: Annotated[
        float,
        money("--relay-life", callback=number, min=1, help="Switchings that a relay lasts."),
    ] = 100_000.0
    years: Annotated[
        float,
        money("--years", callback=number, min=1, max=100, help="Of the net present value."),
    ] = 15.0
    discount: Annotated[
        float, money("--discount", callback=share, help="Rate a year, 0.05 is 5 %.")
    ] = 0.05
    carbon: Annotated[
        float,
        money("--carbon", callback=number, min=0, help="kg of CO2 per kWh lost."),
    ] = 0.2
    carbon_price: Annotated[
        float,
        money("--carbon-price", callback=number, min=0, help="Price of a tonne of CO2."),
    ] = 0.0
    capacity_value: Annotated[
        float,
        money(
            "--capacity-value",
            callback=number,
            min=0,
            help="What a released kW is worth, once: a reinforcement put off.",
        ),
    ] = 0.0
    seed: Annotated[
        int,
        report("--seed", min=0, max=2**31 - 1, help="Of all random numbers."),
    ] = 1

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
        if self.cumulative and self.per_interval:
            raise InputError(
                "--cumulative and --per-interval exclude each other.", "Say what the values are."
            )
        count = True if self.cumulative else False if self.per_interval else None
        return Quantity(self.unit, count, start, self.step)

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

    def shared(self) -> "Options":
        """What the study takes of these options."""
        from pbal_study import MoneyOptions, Options

        plain = Options()
        return Options(
            kva=self.kva,
            main_ohm=self.main_ohm,
            days=self.days,
            skip_days=self.skip_days,
            fill_gaps=self.fill_gaps,
            quantity=self.quantity(),
            power_factor=self.pf,
            load_model=self.load_model,
            participation=self.participation,
            relay_choice=self.relay_homes,
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
