"""Fleet health, homes as numbers, hours, and where next."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from rigs import people

from pbal_hq import fleet
from pbal_hq.auth import NotAllowed
from pbal_hq.errors import BadInput, NothingToDo
from pbal_hq.fleet import HourSum
from pbal_hq.portal import charts

STUDY = """rank,station,status,reason,homes,neutral_cut,net_present_value,violations_gone,notes
1,T2,done,,40,0.62,1200.5,3,
2,T1,done,,55,0.4,-10,,odd
3,T9,done,,12,0.2,nan,0,
,T3,failed,no homes,,,,,
"""


@pytest.fixture
async def conn(peopled):
    return peopled


async def test_where_next(conn):
    engineer, _ = await people.who(conn, "engineer-whole")
    assert await fleet.take_study(conn, engineer, STUDY) == 3
    # T1 and T2 have sites; T9 is not registered, so only who sees the whole tree is shown it.
    assert [p.code for p in await fleet.prospects(conn, engineer)] == ["T9"]
    await conn.execute("UPDATE site SET removed_at = now()")
    found = await fleet.prospects(conn, engineer)
    assert [(p.code, p.rank, p.has_site) for p in found] == [
        ("T2", 1, False), ("T1", 2, False), ("T9", 3, False),
    ]  # fmt: skip
    assert found[0].figures == {
        "homes": 40, "neutral_cut": 0.62, "net_present_value": 1200.5, "violations_gone": 3,
    }  # fmt: skip
    assert "net_present_value" not in found[2].figures, "what is no number is not known"
    local, _ = await people.who(conn, "operator-d1")
    assert [p.code for p in await fleet.prospects(conn, local)] == ["T1"]
    with pytest.raises(NotAllowed):
        await fleet.take_study(conn, local, STUDY)
    assert await fleet.take_study(conn, engineer, STUDY.replace("T9", "T8")) == 3
    assert {p.code for p in await fleet.prospects(conn, engineer)} == {"T1", "T2", "T8"}


@pytest.mark.parametrize(
    ("text", "words"),
    [("a,b\n1,2\n", "no column station"), (STUDY + "9,T1,done,,,,,,\n", "T1 is there twice"),
     (STUDY.replace("55", "many"), "line 3: homes: 'many' is no number"),
     ("rank,station,status\n,x,failed\n", "No station"), ("", "no column station")],
)  # fmt: skip
async def test_a_study_that_is_none_is_refused(conn, text, words):
    engineer, _ = await people.who(conn, "engineer-whole")
    await fleet.take_study(conn, engineer, STUDY)
    with pytest.raises(BadInput, match=re.escape(words)):
        await fleet.take_study(conn, engineer, text)
    [(many,)] = await (await conn.execute("SELECT count(*) FROM prospect")).fetchall()
    assert many == 3, "the one before stays"


async def test_health(conn):
    await people.summaries(conn, conn.fleet, "T1", windows=30)
    await people.summaries(conn, conn.fleet, "T2", windows=30)
    one = conn.fleet.transformers["T1"]
    await conn.execute(
        'UPDATE site_live SET online = false, state = state || \'{"version": 131329,'
        ' "backlog": 40, "mode": 2}\' WHERE site_id = 7'
    )
    await conn.execute(
        "INSERT INTO summary_hourly (transformer_id, start_at, sampled_s, windows,"
        " rs485_min_percent, lora_min_percent) SELECT %s, date_trunc('hour', summary_at, 'UTC')"
        " - interval '1 hour', 3600, 12, 99, 71 FROM site_live WHERE site_id = 7",
        (one,),
    )
    await conn.execute(
        "INSERT INTO certificate (serial, name, site_id, not_before, not_after)"
        " VALUES ('a', '7', 7, now() - interval '85 days', now() + interval '5 days'),"
        " ('b', '8', 8, now() - interval '85 days', now() + interval '5 days'),"
        " ('c', '8', 8, now(), now() + interval '90 days')"
    )
    who, _ = await people.who(conn, "operator-whole")
    found = await fleet.health(conn, who)
    assert (found.sites, found.online) == (2, 1)
    assert found.versions == [("2.1.1", 1, 0), ("0.1.0", 1, 1)]
    assert sorted(found.modes) == [("hold", 1), ("run", 1)]
    assert (found.homes, found.homes_fresh) == (24, 20)
    for notes, value in ((found.links, 71), (found.backlogs, 40), (found.certificates, 5)):
        [note] = notes
        assert (note.code, round(note.value)) == ("T1", value)
    assert [note.code for note in found.offline] == ["T1"]
    local, _ = await people.who(conn, "official-t2")
    seen = await fleet.health(conn, local)
    assert (seen.sites, seen.offline, seen.links, seen.certificates) == (1, [], [], [])
    assert seen.rollouts == []


async def test_homes_are_numbers(conn):
    for outcome in (1, 1, 3):
        await people.event(conn, conn.fleet, "T1", kind=2, severity=0, address=4, outcome=outcome)
    await people.event(conn, conn.fleet, "T1", kind=3, severity=2, address=9, detail="no answer")
    await people.event(conn, conn.fleet, "T1", kind=2, address=3, outcome=1,
                       at=datetime.now(UTC) - timedelta(days=31))  # fmt: skip
    who, _ = await people.who(conn, "official-d1")
    found = await fleet.homes(conn, who, conn.fleet.transformers["T1"])
    assert [(h.address, h.moved, h.not_moved, h.quarantines) for h in found] == [
        (4, 2, 1, 0), (9, 0, 0, 1),
    ]  # fmt: skip
    for look in (fleet.homes, fleet.hours):
        with pytest.raises(NothingToDo):
            await look(conn, who, conn.fleet.transformers["T2"])


async def test_on_the_map_an_alarm_lies_above_what_is_near(conn):
    who, _ = await people.who(conn, "official-whole")
    await people.summaries(conn, conn.fleet, "T2")
    await people.alarm(conn, conn.fleet, "T1")
    worst_first = await fleet.transformers(conn, who, sort="alarms")
    assert [row.code for row in worst_first] == ["T1", "T2"]
    (x2, y2, below), (x1, y1, above) = charts.fleet_map(worst_first)
    assert (below.code, above.code) == ("T2", "T1")
    # T1 stands south-west of T2.
    assert x1 < x2
    assert y1 > y2
    await conn.execute("UPDATE alarm SET closed_at = now()")
    silent, heard = (row.code for *_, row in charts.fleet_map(await fleet.transformers(conn, who)))
    assert (silent, heard) == ("T1", "T2")


def test_the_arrows_sum_up_to_the_neutral():
    for a, b, c, total in ((30, 30, 30, 0), (60, 30, 30, 30), (50, 0, 0, 50), (0, 40, 40, 40)):
        assert charts.phasors(a, b, c)[1] == pytest.approx(total, abs=1e-9)
    picture = charts.phasors(60, 30, 30)[0]
    # N lies on A, which is the longest and points up.
    assert '<line class="ia" x1="0" y1="0" x2="0.0" y2="-90.0"/>' in picture
    assert '<line class="in" x1="0" y1="0" x2="0.0" y2="-45.0"/>' in picture


def test_the_heat_map_puts_hours_where_they_belong():
    now = datetime(2026, 11, 28, 15, tzinfo=UTC)
    rows = [HourSum(now.replace(hour=7), 20.0, 60.0), HourSum(now - timedelta(days=27), 10.0, 60.0),
            HourSum(now - timedelta(days=28), 99.0, 60.0), HourSum(now, None, None)]  # fmt: skip
    cells, top = charts.heat(rows, now)
    assert top == 99.0
    assert re.findall(r'x="(\d+)" y="(\d+)"', cells) == [("27", "7"), ("0", "15")]
