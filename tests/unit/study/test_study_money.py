"""Money: worked out by hand, and never a success where it is none."""

import pytest

from pbal_study.run.money import MoneyOptions, annuity, balance, released_kw, verdict


def figures(saved_kwh: float, switched: int, peak_a: float) -> dict[str, object]:
    return {
        "switchings": {"total": switched},
        "peak_10min": {"phase_a": peak_a},
        "losses": {"saved_kwh_per_year": saved_kwh},
    }


AS_BUILT = figures(0.0, 0, 100.0)
PRICES = MoneyOptions(
    relay_cost=50.0, controller_cost=150.0, relay_life=50_000.0, years=10.0, discount=0.0,
    energy_price=0.30, carbon_kg_per_kwh=0.4, carbon_price=100.0,
)  # fmt: skip


def test_the_present_value_of_a_year() -> None:
    assert annuity(3, 0.0) == pytest.approx(3.0)
    assert annuity(2, 0.1) == pytest.approx(1 / 1.1 + 1 / 1.21)
    assert annuity(1.5, 0.1) == pytest.approx(1 / 1.1 + 0.5 / 1.21)


def test_every_figure_by_hand() -> None:
    # 10 days: 100 switchings are 3650 a year, at 50 / 50 000 each: 3.65 a year.
    money = balance(PRICES, 10, 10.0, figures(1000.0, 100, 90.0), AS_BUILT, 120.0, 7.0)
    assert money["invested"] == pytest.approx(650.0)
    assert money["wear_per_year"] == pytest.approx(3.65)
    # 1000 kWh at 0.30, and 400 kg at 100 a tonne.
    assert money["saved_per_year"] == pytest.approx(340.0)
    assert money["carbon_kg_per_year"] == pytest.approx(400.0)
    assert money["pay_back_years"] == pytest.approx(650 / 336.35)
    assert money["net_present_value"] == pytest.approx(3363.5 - 650)
    # 10 A on three phases at 230 V; 30 A are left, for two chargers of 7 kW.
    assert money["capacity_released_kw"] == pytest.approx(6.9)
    assert money["room_kw"] == pytest.approx(20.7)
    assert money["room_cars"] == 2


def test_little_money_does_not_look_like_a_success() -> None:
    """24 a year for 37 relays."""
    money = balance(MoneyOptions(), 37, 7.0, figures(96.0, 400, 90.0), AS_BUILT)
    text = verdict(MoneyOptions(), 7.0, money)
    assert "does not pay" in text
    assert "7.0 days taken for a year of 365" in text
    assert "It pays" not in text
    assert "--capacity-value" in text
    assert money["net_present_value"] < 0


@pytest.mark.parametrize(
    ("saved_kwh", "words"),
    [
        (1000.0, "it saves 300 EUR a year in losses"),
        (-1000.0, "it loses 300 EUR a year more in the network"),
        (-1.0, "it changes the losses by nothing worth a figure"),
    ],
)
def test_losses_that_rise_are_no_saving(saved_kwh: float, words: str) -> None:
    options = MoneyOptions(energy_price=0.30)
    money = balance(options, 37, 7.0, figures(saved_kwh, 0, 90.0), AS_BUILT)
    assert words in verdict(options, 7.0, money)


def test_the_price_of_carbon_is_named_where_it_is_in_the_figure() -> None:
    money = balance(PRICES, 10, 10.0, figures(1000.0, 100, 90.0), AS_BUILT)
    assert "it saves 340 EUR a year in losses and their carbon" in verdict(PRICES, 10.0, money)


def test_capacity_that_is_worth_something_can_pay() -> None:
    options = MoneyOptions(capacity_value=1000.0)
    money = balance(options, 37, 7.0, figures(96.0, 0, 90.0), AS_BUILT)
    assert money["capacity_value"] == pytest.approx(6900.0)
    assert money["pay_back_years"] == 0.0
    assert verdict(options, 7.0, money).startswith("It pays:")


def test_a_peak_that_rose_releases_nothing() -> None:
    money = balance(MoneyOptions(), 5, 365.0, figures(-10.0, 10, 108.0), AS_BUILT)
    assert money["capacity_released_kw"] == pytest.approx(released_kw(108.0, 100.0))
    assert money["capacity_value"] == 0.0
    assert money["pay_back_years"] is None
    text = verdict(MoneyOptions(), 365.0, money)
    assert "never" in text
    assert "no capacity is released" in text
    assert "from 365 days" in text


def test_without_losses_there_is_no_verdict_on_money() -> None:
    own = {k: v for k, v in figures(0, 9, 95.0).items() if k != "losses"}
    money = balance(MoneyOptions(), 5, 7.0, own, AS_BUILT)
    assert money["net_present_value"] is None
    assert "not known without a feeder" in verdict(MoneyOptions(), 7.0, money)
