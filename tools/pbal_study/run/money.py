"""What a controller costs and saves: pay-back, net present value, and when it does not pay.

Savings are the losses avoided, in money and carbon, and what was studied is assumed to continue for
years: a day or a week is turned into a year by its length, which the report says beside every such
figure. Costs are the relays, the controller, and the wear of the contacts by every switching.
Released capacity is stated in kilowatts and cars; it has a value only where the owner gives
one (`capacity_value`), for a reinforcement that is put off or avoided.
"""

from dataclasses import dataclass
from typing import Any

YEAR_DAYS = 365.0
_VOLTS = 230.0


@dataclass(frozen=True)
class MoneyOptions:
    """Prices in the study's currency.

    relay_cost: one home's node with its relay, installed. controller_cost: what one transformer
    needs, installed. relay_life: switchings that a relay lasts. years, discount: over which and at
    which rate (0..1 a year) the net present value is taken. carbon_kg_per_kwh, carbon_price (per
    tonne). capacity_value: of one kW of released capacity, once.
    """

    relay_cost: float = 60.0
    controller_cost: float = 250.0
    relay_life: float = 100_000.0
    years: float = 15.0
    discount: float = 0.05
    energy_price: float = 0.25
    carbon_kg_per_kwh: float = 0.2
    carbon_price: float = 0.0
    capacity_value: float = 0.0
    currency: str = "EUR"


def annuity(years: float, discount: float) -> float:
    """What one unit a year is worth today: sum of (1 + discount)^-k, k = 1..years.

    A last part of a year counts in proportion.
    """
    whole = int(years)
    factors = [(1 + discount) ** -k for k in range(1, whole + 1)]
    return float(sum(factors) + (years - whole) * (1 + discount) ** -(whole + 1))


def released_kw(own_peak_a: float, built_peak_a: float) -> float:
    """Load, kW, spread evenly over three phases, that fits under the same highest phase current
    besides: 3 x 230 V x the fall of the highest 10-minute phase current. Negative where it rose."""
    return 3 * _VOLTS * (built_peak_a - own_peak_a) / 1000


def balance(
    options: MoneyOptions,
    relays: int,
    days: float,
    own: dict[str, Any],
    base: dict[str, Any],
    limit_a: float = 0.0,
    charger_kw: float = 7.4,
) -> dict[str, Any]:
    """The money of one controller from its `summarise` figures and those of as built.

    limit_a: what a phase may carry (0: not known); room_kw is the load that still fits below it at
    the highest 10 minutes, spread evenly, room_cars the same in chargers that all charge then.

    pay_back_years and saved figures are None where losses are not known; pay_back_years is None
    also where it never pays.
    """
    invested = relays * options.relay_cost + (options.controller_cost if relays else 0.0)
    per_year = YEAR_DAYS / days
    switched = own["switchings"]["total"] * per_year
    wear = switched * options.relay_cost / options.relay_life
    peaks = own["peak_10min"]["phase_a"], base["peak_10min"]["phase_a"]
    kw = released_kw(*peaks)
    worth = max(kw, 0.0) * options.capacity_value
    out: dict[str, Any] = {
        "invested": invested,
        "wear_per_year": wear,
        "switchings_per_year": switched,
        "capacity_released_kw": kw,
        "capacity_value": worth,
        "saved_per_year": None,
        "carbon_kg_per_year": None,
        "net_per_year": None,
        "pay_back_years": None,
        "net_present_value": None,
    }
    if limit_a > 0:
        out["room_kw"] = released_kw(peaks[0], limit_a)
        out["room_cars"] = max(0, int(out["room_kw"] // charger_kw))
    if "losses" not in own:
        return out
    kwh = own["losses"]["saved_kwh_per_year"]
    carbon_kg = kwh * options.carbon_kg_per_kwh
    saved = kwh * options.energy_price + carbon_kg / 1000 * options.carbon_price
    net = saved - wear
    left = invested - worth
    out |= {
        "saved_per_year": saved,
        "carbon_kg_per_year": carbon_kg,
        "net_per_year": net,
        "net_present_value": net * annuity(options.years, options.discount) - left,
        "pay_back_years": 0.0 if left <= 0 else left / net if net > 0 else None,
    }
    return out


def verdict(options: MoneyOptions, days: float, money: dict[str, Any]) -> str:
    """Whether it pays, in one or two plain sentences."""
    net, value = money["net_per_year"], money["net_present_value"]
    unit = options.currency
    kw = money["capacity_released_kw"]
    told = (
        f"The highest 10-minute phase current falls by as much as {kw:.1f} kW of load spread "
        "over the phases draws; "
        if kw > 0.05
        else "The highest 10-minute phase current does not fall, so no capacity is released; "
    )
    if net is None:
        return (
            told + f"the relays and the controller cost {money['invested']:,.0f} {unit}. "
            "What the losses are worth is not known without a feeder."
        )
    how = as_a_year(days)
    saves = _saves(money["saved_per_year"], unit, options.carbon_price > 0)
    text = (
        f"it {saves} ({how}), wears relays "
        f"for {money['wear_per_year']:,.0f} {unit} a year and costs {money['invested']:,.0f} "
        f"{unit}."
    )
    back = money["pay_back_years"]
    if value > 0:
        when = "at once" if not back else f"after {back:.1f} years"
        return (
            f"It pays: {text} The cost is paid back {when}; over {options.years:g} years at "
            f"{options.discount:.0%} the net present value is {value:,.0f} {unit}. {told[:-2]}."
        )
    never = "never" if back is None else f"only after {back:,.0f} years"
    text = (
        f"By its losses alone it does not pay: {text} The cost is paid back {never}; over "
        f"{options.years:g} years at {options.discount:.0%} the net present value is "
        f"{value:,.0f} {unit}. {told[:-2]}."
    )
    if kw > 0.05 and options.capacity_value == 0:
        need = -value / kw
        text += (
            f" It would pay where a kW of capacity is worth {need:,.0f} {unit} or more "
            "(--capacity-value)."
        )
    return text


def _saves(per_year: float, unit: str, carbon: bool) -> str:
    """What the losses give in a year, with a verb that fits the sign of the rounded figure.
    carbon: whether the price of their carbon is in it."""
    rounded = round(per_year)
    if rounded > 0:
        return f"saves {rounded:,} {unit} a year in losses{' and their carbon' if carbon else ''}"
    if rounded < 0:
        return f"loses {-rounded:,} {unit} a year more in the network"
    return "changes the losses by nothing worth a figure"


def as_a_year(days: float) -> str:
    """How a figure a year was made from what was studied, to stand beside it."""
    if days >= 360:
        return f"from {days:.0f} days"
    return f"{days:.{0 if days >= 10 else 1}f} days taken for a year of 365"
