"""The radio's arithmetic: time on air, plans, the airtime budget, slot maps, compact readings."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.needs import ROOT

from pbal_protocol import frames, records
from pbal_protocol.errors import ForbiddenError, RangeError
from pbal_protocol.radio import airtime, budget, compact, plans, readings, tdma
from pbal_protocol.radio.records import CompactTelemetry

# -- time on air ----------------------------------------------------------------------------------


def by_the_data_sheet(size: int, sf: int, bw: int, cr: int, pre: int, ih: int, crc: int) -> float:
    """Section 4.1.1.7 of the SX1276's data sheet, term by term, in microseconds."""
    t_sym = 2**sf / bw * 1e6
    de = 1 if t_sym > 16000 else 0
    part = (8 * size - 4 * sf + 28 + 16 * crc - 20 * ih) / (4 * (sf - 2 * de))
    n_payload = 8 + max(-(-part // 1) * cr, 0)
    return (pre + 4.25) * t_sym + n_payload * t_sym


@given(
    st.integers(0, 255),
    st.integers(7, 12),
    st.sampled_from(airtime.BANDWIDTHS),
    st.integers(5, 8),
    st.integers(6, 1000),
    st.booleans(),
    st.booleans(),
)
def test_time_on_air_is_the_formulas(size, sf, bw, cr, pre, header, crc):
    want = by_the_data_sheet(size, sf, bw, cr, pre, not header, crc)
    got = airtime.time_on_air_us(size, sf, bw, cr, pre, header=header, crc=crc)
    assert isinstance(got, int)
    if bw in (125000, 250000, 500000):
        assert got == want
    else:
        assert want - 1e-3 <= got < want + 1


def test_low_data_rate_is_on_above_16_ms():
    on = {(sf, bw) for sf in range(7, 13) for bw in (125000, 250000, 500000)}
    on = {pair for pair in on if airtime.low_data_rate(*pair)}
    assert on == {(11, 125000), (12, 125000), (12, 250000)}


# -- plans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", plans.NAMES)
def test_a_plans_own_channels_are_legal(name):
    plan = plans.Plan(name)
    for channels in (plan.up, plan.down):
        assert channels
        budget.Budget(plan, channels)
        for hz, bw in channels:
            assert plan.band(hz, bw).eirp_cdbm >= 1600


@pytest.mark.parametrize("name", plans.NAMES)
def test_every_number_of_a_plan_has_its_source(name):
    """docs/radio-plans.md has a section for each plan, with each band's numbers in it."""
    section = (
        (ROOT / "docs" / "radio-plans.md").read_text().split(f"## {name}\n")[1].split("\n## ")[0]
    )
    assert "Source" in section
    for band in plans.Plan(name).bands:
        row = next(
            line
            for line in section.splitlines()
            if line.startswith(f"| {band.low_hz / 1e6:g}..{band.high_hz / 1e6:g} ")
            and f"| {band.bw_min_hz // 1000}..{band.bw_max_hz // 1000} " in line
        )
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        duty = f"{band.duty_permille / 10:g} % of {band.duty_s} s" if band.duty_s else "-"
        busy = f"{band.occupancy_us / 1e6:g} s of {band.occupancy_s} s" if band.occupancy_s else "-"
        assert cells[2:7] == [
            f"{band.eirp_cdbm / 100:g}",
            duty,
            f"{band.dwell_us // 1000} ms" if band.dwell_us else "-",
            str(band.hops) if band.hops else "-",
            busy,
        ]


def test_more_power_than_a_band_allows_is_refused():
    plan = plans.Plan("EU868")
    plan.check_power(868100000, 125000, 1615)
    plan.check_power(869525000, 125000, 2915)
    with pytest.raises(ForbiddenError, match=r"EU868 allows 16\.15 dBm"):
        plan.check_power(868100000, 125000, 1616)


# -- the airtime budget ---------------------------------------------------------------------------


def most_in_a_window(sent: list[tuple[int, int]], window_us: int) -> int:
    """The most airtime in any window: it then begins or ends with a transmission."""
    most = 0
    for begin in {b for b, _ in sent} | {e - window_us for _, e in sent}:
        end = begin + window_us
        most = max(most, sum(max(0, min(e, end) - max(b, begin)) for b, e in sent))
    return most


STEPS = st.lists(
    st.tuples(
        st.integers(0, 40_000),  # ms until somebody asks again
        st.integers(1, 2_500_000),  # us on the air
        st.integers(0, 999),  # us that it really starts later, within the millisecond
        st.booleans(),  # does it wait as it is told, or ask again whenever it likes
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=150, deadline=None)
@given(
    STEPS,
    st.sampled_from([(10_000_000, 1000), (400_000, 20), (400_000, 10), (600_000, 60), (90_001, 7)]),
)
def test_no_sliding_window_ever_exceeds_the_limit(steps, rule):
    limit_us, window_s = rule
    window = budget.Window(limit_us, window_s)
    now_us, sent = 0, []
    for pause_ms, us, late_us, obeys in steps:
        us = min(us, limit_us)
        now_us += 1000 * pause_ms
        wait = window.wait_ms(now_us // 1000, us)
        if wait and obeys:
            now_us = now_us // 1000 * 1000 + 1000 * wait
            # Over the edge of a counter it may be a little longer, but it comes to an end.
            for _ in range(3):
                wait = window.wait_ms(now_us // 1000, us)
                now_us += 1000 * wait
            assert wait == 0
        if wait:
            with pytest.raises(ForbiddenError):
                window.spend(now_us // 1000, us)
            continue
        window.spend(now_us // 1000, us)
        begin = now_us // 1000 * 1000 + late_us
        sent.append((begin, begin + us))
        now_us = begin + us
    assert most_in_a_window(sent, 1_000_000 * window_s) <= limit_us
    assert sent


def test_a_steady_sender_gets_nearly_all_of_its_airtime():
    window = budget.Window(36_000_000, 3600)
    now_ms, sent = 0, 0
    while now_ms < 36_000_000:
        wait = window.wait_ms(now_ms, 82_176)
        if wait:
            now_ms += wait
            continue
        window.spend(now_ms, 82_176)
        sent += 82_176
        now_ms += 83
    assert 0.98 * 360_000_000 < sent <= 360_000_000 + 36_000_000


def test_a_clock_that_goes_back_gives_no_airtime_back():
    window = budget.Window(400_000, 20)
    window.spend(1_000_000, 400_000)
    assert window.wait_ms(10_000, 1) > 19_000
    assert window.used_us(10_000) >= 400_000


def test_what_was_sent_before_a_restart_counts():
    plan = plans.Plan("EU868")
    fresh = budget.Budget(plan, plan.up, used_us=36_000_000)
    assert fresh.wait_ms(5, 0, 82_176) > 3_590_000
    with pytest.raises(ForbiddenError):
        fresh.spend(5, 0, 82_176)
    assert fresh.refused == 2


def test_dwell_time_is_refused_for_good_and_says_what_to_do():
    plan = plans.Plan("AS923")
    mine = budget.Budget(plan, plan.up)
    mine.spend(0, 0, airtime.time_on_air_us(39, 9))
    with pytest.raises(ForbiddenError, match="lower spreading factor"):
        mine.spend(1000, 0, airtime.time_on_air_us(39, 10))


# -- compact readings -----------------------------------------------------------------------------


def test_a_compact_reading_is_as_short_as_it_was_meant_to_be():
    assert CompactTelemetry.SIZE <= 24
    sealed = CompactTelemetry.SIZE + frames.HEADER_LEN + frames.TAG_LEN
    assert sealed <= tdma.UP_BYTES == 39
    assert airtime.time_on_air_us(sealed, 7) == 82_176  # against 112 ms of a Telemetry


NOW = 1_700_000_000
READINGS = st.builds(
    records.Telemetry,
    time_s=st.integers(NOW - 30_000, NOW + 2000),
    va_v=st.floats(0, 600),
    vb_v=st.floats(0, 600),
    vc_v=st.floats(0, 600),
    vout_v=st.floats(0, 600),
    current_a=st.floats(0, 1000),
    p_w=st.floats(-200000, 200000),
    phase=st.integers(0, 3),
    state=st.integers(0, 9),
    flags=st.integers(0, 0x1FF).map(lambda f: f & ~records.FLAG_UNSYNCED),
    age_ms=st.integers(0, 0xFFFF),
    dwell_left_s=st.integers(0, 0xFFFF),
    switches_today=st.integers(0, 255),
)


@given(READINGS, st.floats(allow_nan=False), st.integers(0, 1000))
def test_any_reading_comes_back_within_its_steps(reading, snr, missed):
    sent = CompactTelemetry.decode(compact.compact(reading, snr, missed).encode())
    back = records.Telemetry.decode(readings.whole(sent, NOW).encode())
    for name in ("va_v", "vb_v", "vc_v", "vout_v"):
        assert abs(getattr(back, name) - getattr(reading, name)) <= 0.0501
    assert abs(back.current_a - reading.current_a) <= 0.0101
    assert abs(back.p_w - reading.p_w) <= 5.01
    for name in ("time_s", "phase", "state", "flags", "switches_today"):
        assert getattr(back, name) == getattr(reading, name)
    # Never fresher, never freer than it was, as far as the fields reach.
    assert back.age_ms >= min(reading.age_ms, 25_000)
    assert back.dwell_left_s >= min(reading.dwell_left_s, 255 * 60)


def test_a_whole_reading_comes_first_every_nth_time_and_when_asked():
    turns = readings.Turns(4)
    assert [turns.whole() for _ in range(9)] == [True, *[False] * 3, True, *[False] * 3, True]
    turns.ask()
    assert [turns.whole() for _ in range(3)] == [True, False, False]
    turns.lost()
    assert turns.whole()
    turns.ask(1)
    assert [turns.whole() for _ in range(3)] == [True] * 3
    with pytest.raises(RangeError):
        readings.Turns(256)
