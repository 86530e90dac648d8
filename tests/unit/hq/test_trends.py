"""Detectors of slow changes: what raises, what does not, what ends; and their alarms."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.rows import dict_row
from rigs import people

from pbal_hq import alarms
from pbal_hq.alarms import Band
from pbal_hq.alarms.detect import ALARM, WARNING
from pbal_hq.alarms.trends import TRENDS, Day, Hour, Past, homes_share, loss_ratio

WELL_HOUR = Hour(3600, (30.0, 28.0, 26.0), 5.0, 99.0)
SKEW_HOUR = replace(WELL_HOUR, means_a=(60.0, 20.0, 16.0), neutral_a=42.0)
OTHER_HOUR = replace(WELL_HOUR, means_a=(25.0, 38.0, 30.0), neutral_a=12.0)
WELL_DAY = Day(86_400, (30.0, 29.0, 28.0), 5.0, (230.0, 230.0, 230.0), 460.0, 0.0)
SKEW_DAY = replace(WELL_DAY, means_a=(50.0, 20.0, 17.0), neutral_a=31.0)
STOLEN_DAY = replace(WELL_DAY, import_kwh=380.0)


def hours(*parts):
    return tuple(hour for hour, many in parts for _ in range(many))


def past(**values):
    good = {"hours": hours((WELL_HOUR, 24)), "week_before": hours((WELL_HOUR, 24)),
            "days": (WELL_DAY,) * 35, "runs": True, "metered": True,
            "worst_home": (4, 90), "plan_per_day": 3.0}  # fmt: skip
    return Past(**good | values)


def linked(percent):
    return hours((replace(WELL_HOUR, link_percent=percent), 24))


# kind -> (wrong, between the limits, well)
CASES = {
    "lasting imbalance": (
        {"hours": hours((SKEW_HOUR, 19), (OTHER_HOUR, 5))},
        {"hours": hours((SKEW_HOUR, 14), (OTHER_HOUR, 10))},
        {"hours": hours((SKEW_HOUR, 11), (OTHER_HOUR, 13))},
    ),
    "link quality": (
        {"hours": linked(93.0)}, {"hours": linked(95.5)}, {"hours": linked(98.0)},
    ),
    "relay wear": (
        {"worst_home": (4, 164)}, {"worst_home": (4, 120)}, {"worst_home": (4, 108)},
    ),
    "rising losses": (
        {"days": (WELL_DAY,) * 28 + (SKEW_DAY,) * 7},
        {"days": (WELL_DAY,) * 28 + (replace(WELL_DAY, neutral_a=13.0),) * 7},
        {},
    ),
    "residual energy": (
        {"days": (WELL_DAY,) * 32 + (STOLEN_DAY,) * 3},
        {"days": (WELL_DAY,) * 32 + (replace(WELL_DAY, import_kwh=430.0),) * 3},
        {},
    ),
    "voltage of a week": (
        {"band": Band(1, 1000, 800, 51, 0)}, {"band": Band(1, 1000, 800, 45, 0)},
        {"band": Band(1, 1000, 800, 39, 0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_it_raises_and_ends_by_different_limits(kind):
    look = TRENDS[kind]
    wrong, between, well = (past(**values) for values in CASES[kind])
    assert look(past(), False) is None
    assert look(wrong, False) is not None
    assert look(between, False) is None, "not raised between the limits"
    assert look(between, True) is not None, "not ended between the limits"
    assert look(well, True) is None
    assert look(Past(), False) is None, "nothing is known"


def test_the_words_say_what_to_do():
    found = TRENDS["lasting imbalance"](past(**CASES["lasting imbalance"][0]), False)
    assert "19 of 24 h" in found.words
    assert "from A to C" in found.words
    assert (
        TRENDS["lasting imbalance"](past(hours=hours((SKEW_HOUR, 24)), runs=False), False) is None
    )
    words = TRENDS["relay wear"](past(worst_home=(7, 280)), False)
    assert (words.severity, "home 7" in words.words) == (ALARM, True)
    assert TRENDS["link quality"](past(hours=linked(40.0)), False).severity == ALARM
    assert TRENDS["link quality"](past(hours=linked(75.0), week_before=linked(75.0)), False)
    assert TRENDS["residual energy"](past(**CASES["residual energy"][0]), False).severity == WARNING
    gone = past(days=(WELL_DAY,) * 32 + (replace(WELL_DAY, import_kwh=250.0),) * 3)
    assert TRENDS["residual energy"](gone, False).severity == ALARM
    assert TRENDS["residual energy"](replace(gone, metered=False), False) is None


def test_one_odd_day_or_little_data_raises_nothing():
    for kind, odd in (("rising losses", SKEW_DAY), ("residual energy", STOLEN_DAY)):
        look = TRENDS[kind]
        assert look(past(days=(WELL_DAY,) * 34 + (odd,)), False) is None, kind
        assert look(past(days=(None,) * 20 + (WELL_DAY,) * 8 + (odd,) * 7), False) is None, kind
        # What is open stays open while nothing comes.
        assert look(past(days=(WELL_DAY,) * 28 + (None,) * 7), True) is not None, kind


def test_the_figures():
    assert loss_ratio(replace(WELL_DAY, means_a=(10.0, 10.0, 10.0), neutral_a=0.0)) == 1.0
    # 30 A on one phase and the neutral: 2 * 900 against 3 * 100.
    assert loss_ratio(replace(WELL_DAY, means_a=(30.0, 0.0, 0.0), neutral_a=30.0)) == 6.0
    assert loss_ratio(replace(WELL_DAY, sampled_s=4e4)) is None
    # 87 A at 230 V for a day: 480 kVAh.
    assert homes_share(WELL_DAY) == pytest.approx(460 / (87 * 230 * 24 / 1000))
    assert homes_share(replace(WELL_DAY, export_kwh=30.0)) is None
    assert homes_share(replace(WELL_DAY, means_v=(None, 230.0, 230.0))) is None


async def windows(conn, fleet, where, *given, length_s=300):
    """Windows back to back up to now: (lowest, phase A's mean, highest), or None for none sampled.
    The other phases' means are 230 V."""
    await people.summaries(conn, fleet, where, windows=1)
    one = fleet.transformers[where]
    last_s = int(datetime.now(UTC).timestamp()) // 600 * 600 - length_s
    made = "SELECT * FROM summary WHERE transformer_id = %s LIMIT 1"
    async with conn.cursor(row_factory=dict_row) as cursor:
        row = await (await cursor.execute(made, (one,))).fetchone()
    await conn.execute("DELETE FROM summary WHERE transformer_id = %s", (one,))
    for n, volts in enumerate(reversed(given)):
        low, mean, high = volts or (100, 100, 100)
        row |= {"start_at": datetime.fromtimestamp(last_s - n * length_s, UTC),
                "length_s": length_s, "complete_percent": 100 if volts else 0}  # fmt: skip
        row |= {"va_min_v": low, "va_mean_v": mean, "va_max_v": high, "vb_mean_v": 230,
                "vc_mean_v": 230, "vb_min_v": 230, "vc_min_v": 230, "vb_max_v": 230,
                "vc_max_v": 230}  # fmt: skip
        names = ", ".join(row)
        places = ", ".join(["%s"] * len(row))
        await conn.execute(f"INSERT INTO summary ({names}) VALUES ({places})", [*row.values()])


WELL, LOW_FOR_A_MOMENT, LOW = (220, 230, 240), (200, 230, 240), (195, 204, 210)


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ((WELL,) * 4, (2, 2, 0, 0)),
        # A moment out of the band: nobody knows how a home's ten minutes were.
        ((WELL, LOW_FOR_A_MOMENT, WELL, WELL), (2, 1, 0, 0)),
        ((LOW, LOW, WELL, WELL), (2, 1, 1, 0)),
        # Five minutes low and five well: the mean of ten is within.
        ((LOW, WELL), (1, 0, 0, 0)),
        (((190, 194, 199),) * 2, (1, 0, 1, 1)),
        (((250, 254, 260),) * 2, (1, 0, 1, 1)),
        # What was not sampled has no weight, and alone does not count.
        ((LOW, None, None, None), (1, 0, 1, 0)),
    ],
)  # fmt: skip
async def test_ten_minutes_from_windows_of_five(conn, given, counts):
    fleet = await people.make(conn)
    await windows(conn, fleet, "T1", *given)
    one = fleet.transformers["T1"]
    assert await alarms.bands(conn, [one], datetime.now(UTC)) == {one: Band(one, *counts)}


async def test_windows_longer_than_ten_minutes_tell_nothing_of_them(conn):
    fleet = await people.make(conn)
    await windows(conn, fleet, "T1", WELL, WELL, length_s=900)
    assert await alarms.bands(conn, [fleet.transformers["T1"]], datetime.now(UTC)) == {}


async def test_a_week_below_the_band_is_an_alarm(conn):
    fleet = await people.make(conn)
    await windows(conn, fleet, "T1", *(WELL,) * 940, *(LOW,) * 68)
    now, one = datetime.now(UTC), fleet.transformers["T1"]
    assert await alarms.watch_trends(conn, now, 3.0) == 0, "the days say that nobody left the band"
    await conn.execute(
        "INSERT INTO summary_daily (transformer_id, start_at, sampled_s, windows, va_min_v)"
        " VALUES (%s, date_trunc('day', now(), 'UTC') - interval '1 day', 86400, 288, 195)",
        (one,),
    )
    assert await alarms.watch_trends(conn, now, 3.0) == 1
    who, _ = await people.who(conn, "operator-whole")
    [found] = await alarms.listed(conn, who)
    assert found.kind == "voltage of a week"
    assert "at least 6.7 % of 7 days" in found.detail


async def test_alarms_from_hours_and_days(conn):
    fleet = await people.make(conn)
    now = datetime.now(UTC)
    one = fleet.transformers["T1"]
    await people.summaries(conn, fleet, "T1", windows=2)
    await people.summaries(conn, fleet, "T2", windows=2)
    hour = now.replace(minute=0, second=0, microsecond=0)
    skew = "ia_mean_a, ib_mean_a, ic_mean_a, in_mean_a"
    for n in range(1, 25):
        for which, amps in ((one, (60, 20, 16, 42)), (fleet.transformers["T2"], (30, 30, 30, 3))):
            await conn.execute(
                f"INSERT INTO summary_hourly (transformer_id, start_at, sampled_s, windows, {skew},"
                " rs485_min_percent) VALUES (%s, %s, 3600, 12, %s, %s, %s, %s, 70)",
                (which, hour - timedelta(hours=n), *amps),
            )
    for _ in range(140):
        await people.event(conn, fleet, "T2", kind=2, severity=0, address=9, outcome=1)
    now = datetime.now(UTC)
    assert await alarms.watch_trends(conn, now, 3.0) == 3
    assert await alarms.watch_trends(conn, now, 3.0) == 0, "still so: the same alarms"
    who, _ = await people.who(conn, "operator-whole")
    seen = {(a.transformer_code, a.kind) for a in await alarms.listed(conn, who)}
    assert seen == {("T1", "lasting imbalance"), ("T1", "link quality"), ("T2", "link quality")}
    await conn.execute("UPDATE summary_hourly SET rs485_min_percent = 99, ia_mean_a = 22")
    assert await alarms.watch_trends(conn, now, 2.0) == 4, "three are over; home 9 wears too fast"
    [left] = await alarms.listed(conn, who)
    assert (left.kind, "home 9" in left.detail) == ("relay wear", True)
    assert left.kind in alarms.KINDS, "it is not closed as quiet while the detector keeps it"
