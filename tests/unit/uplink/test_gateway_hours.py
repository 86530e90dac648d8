"""Sites behind one gateway, in virtual time on the emulated air (bench/_gateway_hours.py)."""

from __future__ import annotations

import pytest

from bench._gateway_hours import Case, Spans, hours


def test_the_longest_time_within_any_span_is_found() -> None:
    spans = Spans([(0.0, 1_000_000), (1800.0, 2_000_000), (3599.0, 500_000), (5400.0, 4_000_000)])
    assert spans.most_in_s(3600.0) == 4.5
    assert spans.most_in_s(1.0) == 4.0


@pytest.mark.timeout(600)
def test_twenty_sites_and_an_order_for_each() -> None:
    row = hours(Case(sf=9, sites=20, hours=0.25, events=200))
    print(row)
    assert row["devices_born"] == 20
    assert row["at_hq"] == row["said"] >= 20 * 3
    assert row["orders_done"] == 20
    assert 0 < row["site_hour_s"] <= row["site_limit_s"] == 36.0
    assert 0 < row["gateway_hour_s"] <= row["gateway_limit_s"] == 360.0


@pytest.mark.timeout(600)
def test_after_an_outage_what_is_new_does_not_wait_for_what_had_waited() -> None:
    """Slow frames and 400 summaries of each site: the plan's airtime is not enough for all."""
    row = hours(Case(sf=11, sites=6, hours=0.6, events=100, backlog=400))
    print(row)
    assert row["orders_done"] == 6
    assert row["order_most_s"] < 1200
    assert row["age_s"] < 300
    assert row["left"] > 1500
    assert 18.0 < row["site_hour_s"] <= 36.0
    assert row["gateway_hour_s"] <= 360.0
