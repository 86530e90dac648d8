"""Detectors: what raises, what does not, what ends; and alarms from events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs import people

from pbal_hq import alarms
from pbal_hq.alarms import detect
from pbal_hq.alarms.detect import ALARM, WARNING, Window

T = datetime(2026, 11, 20, 12, tzinfo=UTC)
WELL = Window(T, 100, (40.0, 35.0, 30.0), (50.0, 45.0, 40.0), 50.0, 80.0, (221.0, 222.0, 223.0),
              (228.0, 229.0, 230.0), (233.0, 234.0, 235.0), 50, 49)  # fmt: skip


def row(*windows):
    return [replace(w, start_at=T + timedelta(minutes=5 * n)) for n, w in enumerate(windows)]


def with_(**values):
    return replace(WELL, **values)


# (kind, what is wrong, how many windows it takes, what is nearly well, what is well, how many)
CASES = [
    ("thermal overload", with_(hotspot_c=125.0), 1, with_(hotspot_c=115.0), 1),
    ("phase overload", with_(load_max_percent=140.0), 6, with_(load_max_percent=122.0), 3),
    ("voltage", with_(lows_v=(205.0, 222.0, 222.0)), 3, with_(lows_v=(208.0, 222.0, 222.0)), 3),
    ("voltage", with_(highs_v=(254.0, 240.0, 240.0)), 3, with_(highs_v=(252.0, 240.0, 240.0)), 3),
    ("neutral", with_(means_v=(215.0, 230.0, 240.0)), 2, with_(means_v=(223.0, 230.0, 238.0)), 2),
    ("stale homes", with_(homes_fresh=35), 6, with_(homes_fresh=42), 3),
]


@pytest.mark.parametrize(("kind", "wrong", "raises", "nearly", "ends"), CASES)
def test_it_raises_late_and_ends_later(kind, wrong, raises, nearly, ends):
    look = detect.DETECTORS[kind]
    assert look(row(*[WELL] * 8), False) is None
    assert look([], False) is None
    if raises > 1:
        assert look(row(*[WELL] * 8, *[wrong] * (raises - 1)), False) is None
    assert look(row(*[WELL] * 8, *[wrong] * raises), False) is not None
    # Not raised, and not ended, by what is between the two limits.
    assert look(row(*[WELL] * 8, *[nearly] * 8), False) is None
    assert look(row(*[wrong] * 8, *[nearly] * 8), True) is not None
    if ends > 1:
        assert look(row(*[wrong] * 8, *[WELL] * (ends - 1)), True) is not None
    assert look(row(*[wrong] * 8, *[WELL] * ends), True) is None


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("thermal overload", with_(hotspot_c=141.0)),
     ("phase overload", with_(load_max_percent=170.0)),
     ("voltage", with_(lows_v=(190.0, 222.0, 222.0)))],
)  # fmt: skip
def test_the_worst_is_an_alarm(kind, wrong):
    assert detect.DETECTORS[kind](row(*[wrong] * 8), False).severity == ALARM


@pytest.mark.parametrize(("kind", "wrong", "raises", "nearly", "ends"), CASES)
def test_a_half_sampled_window_tells_nothing(kind, wrong, raises, nearly, ends):
    if kind != "stale homes":  # fresh homes are counted at the window's end
        thin = replace(wrong, complete_percent=49)
        assert detect.DETECTORS[kind](row(*[WELL] * 3, *[thin] * 8), False) is None
        assert detect.DETECTORS[kind](row(*[replace(WELL, complete_percent=49)] * 8), True)


def test_what_is_not_known_raises_nothing():
    none = (None, None, None)
    unknown = with_(load_max_percent=None, hotspot_c=None, lows_v=none, means_v=none, highs_v=none,
                    homes=0, homes_fresh=0)  # fmt: skip
    for look in detect.DETECTORS.values():
        assert look(row(*[unknown] * 8), False) is None


amperes = st.tuples(*[st.floats(0, 300)] * 3)
volts = st.tuples(*[st.none() | st.floats(150, 280)] * 3)
any_window = st.builds(
    Window, st.just(T), st.integers(0, 100), amperes, amperes, st.none() | st.floats(0, 200),
    st.none() | st.floats(20, 160), volts, volts, volts, st.integers(0, 60), st.integers(0, 60),
)  # fmt: skip


@given(st.lists(any_window, max_size=detect.LOOK), st.booleans())
def test_what_raises_an_alarm_keeps_it_open(windows, alike):
    """Who asks first whether an alarm would stay open need not ask then whether one is raised."""
    seen = windows[:1] * detect.LOOK if alike else windows
    for look in detect.DETECTORS.values():
        if look(seen, False) is not None:
            assert look(seen, True) is not None


def test_silence():
    def silent(minutes, window_s=300, newest=0.0):
        at = None if newest is None else T - timedelta(minutes=newest)
        return detect.silence(T - timedelta(minutes=minutes), T, window_s, at)

    assert silent(19) is None
    assert silent(21).severity == WARNING
    assert silent(181).severity == ALARM
    assert silent(21, window_s=900) is None
    assert silent(300, newest=6) is None, "HQ hears nobody"
    assert detect.silence(None, T, 300, T) is None, "it was never heard"


async def listed(conn, state=""):
    who, _ = await people.who(conn, "operator-whole")
    return [(a.transformer_code, a.kind, a.state, a.times)
            for a in await alarms.listed(conn, who, state=state)]  # fmt: skip


async def test_alarms_from_windows_and_silence(conn):
    fleet = await people.make(conn)
    now = datetime.now(UTC)
    await people.summaries(conn, fleet, "T1", windows=8)
    await people.summaries(conn, fleet, "T2", windows=8)
    assert await alarms.watch(conn, now) == 0
    await conn.execute("UPDATE summary SET homes_fresh = 5 WHERE site_id = 7")
    await conn.execute("UPDATE site_live SET seen_at = now() - interval '1 hour' WHERE site_id = 8")
    assert await alarms.watch(conn, now) == 2
    assert await alarms.watch(conn, now) == 0, "still so: the same alarms"
    assert sorted(await listed(conn)) == [
        ("T1", "stale homes", "open", 1), ("T2", "silence", "open", 1),
    ]  # fmt: skip
    # A day later nothing closes as quiet what the detectors keep open.
    await conn.execute("UPDATE alarm SET last_at = now() - interval '2 days'")
    assert await alarms.close_quiet(conn, alarms.KINDS) == 0
    await conn.execute("UPDATE summary SET homes_fresh = homes WHERE site_id = 7")
    await conn.execute("UPDATE site_live SET seen_at = now()")
    assert await alarms.watch(conn, now) == 2
    assert await listed(conn) == []
    # What came from a backlog raises nothing now.
    await conn.execute("UPDATE summary SET homes_fresh = 0, start_at = start_at - interval '1 day'")
    await conn.execute("UPDATE site_live SET summary_at = summary_at - interval '1 day'")
    assert await alarms.watch(conn, now) == 0


async def test_a_nodes_trouble_has_a_word(conn):
    fleet = await people.make(conn)
    for code in (6, 15, 200):
        await people.event(conn, fleet, "T1", kind=1, code=code, severity=1, address=code)
    await alarms.take_events(conn)
    assert sorted(kind for _, kind, _, _ in await listed(conn)) == [
        "meter fault", "node 200", "sense fault",
    ]  # fmt: skip


async def test_alarms_from_events(conn):
    fleet = await people.make(conn)
    for _ in range(3):
        await people.event(conn, fleet, "T1", kind=3, severity=1, address=4, detail="no answer")
    await people.event(conn, fleet, "T1", kind=2, severity=0, address=4)
    await people.event(conn, fleet, "T2", kind=3, severity=1, address=4)
    assert await alarms.take_events(conn) == 4
    assert await alarms.take_events(conn) == 0, "an event is taken once"
    assert sorted(await listed(conn)) == [
        ("T1", "quarantine", "open", 3), ("T2", "quarantine", "open", 1),
    ]  # fmt: skip
    await people.event(conn, fleet, "T1", kind=4, severity=0, address=4)
    await alarms.take_events(conn)
    assert await listed(conn) == [("T2", "quarantine", "open", 1)]
    await people.event(conn, fleet, "T1", kind=3, severity=1, address=4)
    await alarms.take_events(conn)
    assert ("T1", "quarantine", "open", 1) in await listed(conn), "the next trouble is another"
    await conn.execute("UPDATE alarm SET last_at = now() - interval '25 hours'")
    assert await alarms.close_quiet(conn, alarms.KINDS) == 2
