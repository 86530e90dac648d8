"""What a fleet needs, from what a summary costs."""

import dataclasses
import json

import pytest

from pbal_hq.config import StoreConfig
from pbal_hq.errors import ConfigError
from pbal_hq.sizing import Assumed, Costs, size

PARTS = ("bridge", "mosquitto", "decode", "store", "sums", "detect", "lake", "kafka", "postgres")
EVEN = Costs(
    **{f"{name}_us": 100.0 for name in PARTS}, raw_bytes=400, summary_bytes=600, row_bytes=250,
    compressed_bytes=50, hour_bytes=200, day_bytes=200, lake_bytes=100, page_ms=20,
    page_transformer_us=0,
)  # fmt: skip


def test_the_formula_by_hand():
    # 300,000 transformers, 1,000 summaries a second, 9 parts of 0.1 ms each: 0.9 cores.
    found = size(300_000, 300, EVEN, Assumed(headroom=10, busy=0.5, machine_cores=4))
    assert found.summaries_per_s == pytest.approx(1000)
    assert {name: found.cores[name] for name in PARTS} == pytest.approx(dict.fromkeys(PARTS, 0.1))
    assert found.cores["portal"] == pytest.approx(0.1)  # 5 pages a second of 20 ms
    assert found.cores_for_headroom == pytest.approx((10 * 0.9 + 0.1) / 0.5)
    assert found.database_cores_for_headroom == pytest.approx(2.0)
    assert found.machines == 5
    assert not found.fits_one
    # 86.4 million rows a day, for 90 days; 24 hours of each transformer for 1830 days; days for 10
    # years; and the standby has all of it, too.
    rows, hours, days = 86.4e6 * 250 * 90, 300_000 * 24 * 200 * 1830, 300_000 * 200 * 3650
    assert found.terabytes == pytest.approx({
        "database": 2 * (rows + hours + days) / 1e12,
        "kafka": 86.4e6 * 1000 * 7 * 3 / 1e12,
        "lake": 86.4e6 * 100 * 3650 / 1e12,
    })  # fmt: skip
    assert found.price_month == pytest.approx(5 * 500 + 40 * sum(found.terabytes.values()))


def test_it_is_linear_but_for_people():
    one, ten = (size(n, 300, EVEN) for n in (100_000, 1_000_000))
    for name in PARTS:
        assert ten.cores[name] == pytest.approx(10 * one.cores[name])
    assert ten.cores["portal"] == one.cores["portal"]
    for name, terabytes in one.terabytes.items():
        assert ten.terabytes[name] == pytest.approx(10 * terabytes)
    grows = dataclasses.replace(EVEN, page_transformer_us=0.5)
    # Five pages a second of 20 ms, and of 50 ms more with 100,000 transformers.
    assert size(100_000, 300, grows).cores["portal"] == pytest.approx(5 * 0.070)
    fast = size(100_000, 300, EVEN, Assumed(core_speed=2.0))
    assert fast.cores_for_headroom == pytest.approx(one.cores_for_headroom / 2)
    less = size(100_000, 300, EVEN, store=StoreConfig(raw_days=30))
    assert less.terabytes["database"] < one.terabytes["database"]


def test_timescale_compresses_days_that_are_over():
    found = size(300_000, 300, EVEN, Assumed(timescale=True))
    plain = size(300_000, 300, EVEN)
    # 86 of 90 days have 50 bytes for 250, in two copies.
    assert plain.terabytes["database"] - found.terabytes["database"] == pytest.approx(
        2 * 86.4e6 * 86 * 200 / 1e12
    )
    short = size(300_000, 300, EVEN, Assumed(timescale=True), StoreConfig(raw_days=2))
    assert short.terabytes == size(300_000, 300, EVEN, store=StoreConfig(raw_days=2)).terabytes


def test_the_aim_of_a_state_holds_by_the_figures_in_use():
    """100,000 transformers at five minutes, ten times headroom, one machine of 16 cores."""
    found = size(100_000)
    assert found.summaries_per_s == pytest.approx(333.3, abs=0.1)
    assert found.fits_one
    assert found.cores_for_headroom < 16


def measured():
    one = {"us": 100.0, "kafka_us": 10.0, "postgres_us": 5.0}
    roles = {name: {"one": dict(one), "two": dict(one)} for name in
             ("bridge", "decode", "store", "sums", "detect", "lake")}  # fmt: skip
    roles["bridge"]["one"]["mosquitto_us"] = 7.0
    fleet = {"summary_daily_bytes": 3, "page_ms": 9, "transformers": 500}
    return {"roles": roles, "fleets": [fleet], "raw_bytes": 8, "summary_bytes": 9, "lake_bytes": 10,
            "row_bytes": 1, "row_hourly_bytes": 2}  # fmt: skip


def test_figures_of_the_bench_take_the_place_of_those_here(run, tmp_path):
    costs = Costs.of(measured())
    assert (costs.bridge_us, costs.mosquitto_us, costs.kafka_us, costs.postgres_us) == (
        100, 7, 60, 30)  # fmt: skip
    assert (costs.row_bytes, costs.hour_bytes, costs.day_bytes, costs.page_ms) == (1, 2, 3, 9)
    assert costs.page_transformer_us == 0
    two = measured()
    two["fleets"].append({"summary_daily_bytes": 3, "page_ms": 29, "transformers": 10_500})
    # 20 ms more with 10,000 more: 2 us each, and 8 ms without any.
    assert Costs.of(two).page_transformer_us == pytest.approx(2)
    assert Costs.of(two).page_ms == pytest.approx(8)
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(measured()))
    (said,) = json.loads(
        run("size", "--transformers", 3000, "--costs", file, "--json").stdout
    )  # fmt: skip
    assert said == json.loads(json.dumps(dataclasses.asdict(size(3000, costs=costs)))) | {
        "fits_one": True
    }
    file.write_text('{"roles": {}}')
    assert "no figures of" in run("size", "--costs", file, code=2).stderr
    assert str(tmp_path / "none") in run("size", "--costs", tmp_path / "none", code=2).stderr


def test_the_table_has_a_district_a_state_and_a_country(run):
    said = run("size").stdout
    assert all(words in said for words in ("1,500", "100,000", "10,000,000", "TB: lake"))
    assert "cores with 3 times" in run("size", "--transformers", 9, "--headroom", 3).stdout


@pytest.mark.parametrize(("transformers", "window_s"), [(0, 300), (5, 0), (5, 4000)])
def test_what_is_no_fleet_is_refused(transformers, window_s):
    with pytest.raises(ConfigError, match="a fleet has"):
        size(transformers, window_s)
