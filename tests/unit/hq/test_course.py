"""Figures by area over hours and days: the store's numbers, whose they are, and the page."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from rigs import people

from pbal_hq import reports
from pbal_hq.auth import NotAllowed
from pbal_hq.errors import BadInput, NothingToDo
from pbal_hq.portal.charts import lines
from pbal_hq.reports.course import day as read_day

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = TODAY - timedelta(days=11)
NOW = DAY + timedelta(days=2, hours=12, minutes=30)


async def sums(conn, fleet, where, table, at, **values):
    row = {
        "transformer_id": fleet.transformers[where], "start_at": at, "sampled_s": 3600,
        "windows": 12, "in_mean_a": 10, "in_max_a": 40, "ea_import_kwh": 1, "eb_import_kwh": 2,
        "ec_import_kwh": 3, "va_min_v": 212, "vb_min_v": 220, "losses_avoided_wh": 500,
        "pvur_mean_percent": 1.5, "confirmed": 2, "refused": 0, "failed": 1, "expired": 0,
        "disagreed": 0,
    } | values  # fmt: skip
    await conn.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f'%({n})s' for n in row)})", row
    )


@pytest.fixture
async def fleet(conn):
    made = await people.make(conn)
    for where, hour, amps in (("T1", 0, 10), ("T1", 2, 30), ("T2", 0, 20), ("T2", 1, 50)):
        await sums(conn, made, where, "summary_hourly", DAY + timedelta(hours=hour), in_mean_a=amps)
    await sums(conn, made, "T1", "summary_daily", DAY, in_mean_a=20, sampled_s=7200)
    await sums(conn, made, "T2", "summary_daily", DAY, in_mean_a=40, losses_avoided_wh=None)
    return made


def named(point):
    return dict(zip((f.name for f in reports.FIGURES), point.values, strict=True))


async def asked(conn, who, area=None, level="district", step="days", since=DAY, last=DAY, now=NOW):
    return await reports.make_course(conn, who, area, level, step, since.date(), last.date(), now)


async def whole(conn):
    return (await people.who(conn, "official-whole"))[0]


async def test_hours_and_days_of_the_store(conn, fleet):
    found = await asked(conn, await whole(conn), step="hours")
    assert (found.answered_by, found.quantiles) == ("the store", False)
    assert list(found.by_area()) == ["KL/EKM"]
    assert [point.at for point in found.points] == [DAY + timedelta(hours=n) for n in range(24)]
    first, second, third, fourth = (named(point) for point in found.points[:4])
    # The mean of transformers, the sum, the largest.
    assert [each["neutral"] for each in (first, second, third, fourth)] == [15, 50, 30, None]
    assert (first["energy"], second["energy"], fourth["energy"]) == (12, 6, None)
    assert (first["complete"], second["complete"], fourth["complete"]) == (100, 50, 0)
    assert (first["saved"], first["V min"], first["not moved"]) == (1.0, 212, 2)
    assert (first["load max median"], first["unbalance"]) == (None, 1.5)
    (whole_day,) = (await asked(conn, await whole(conn))).points
    assert (whole_day.at, whole_day.transformers) == (DAY, 2)
    assert named(whole_day)["neutral"] == 30
    assert named(whole_day)["saved"] == 0.5
    assert named(whole_day)["complete"] == pytest.approx(100 * (7200 + 3600) / 2 / 86_400)


async def test_what_has_not_begun_is_not_there_and_what_runs_counts_as_far_as_it_is(conn, fleet):
    await sums(conn, fleet, "T1", "summary_hourly", NOW.replace(minute=0), sampled_s=1800)
    found = await asked(conn, await whole(conn), area=fleet.areas["D1"], step="hours", since=NOW,
                        last=NOW + timedelta(days=3))  # fmt: skip
    assert len(found.points) == 13
    assert named(found.points[-1])["complete"] == 100
    assert (
        await asked(conn, await whole(conn), since=NOW, last=NOW, now=NOW.replace(hour=0, minute=0))
    ).points == []


@pytest.mark.parametrize(
    ("level", "areas"),
    [("state", ["KL"]), ("division", ["KL/EKM/D1", "KL/EKM/D2"]),
     ("feeder", ["KL/EKM/D1/F1", "KL/EKM/D2/F2"]), ("transformer", ["T1", "T2"])],
)  # fmt: skip
async def test_a_line_for_each(conn, fleet, level, areas):
    found = await asked(conn, await whole(conn), level=level)
    assert list(found.by_area()) == areas
    assert [point.transformers for point in found.points] == [2 // len(areas)] * len(areas)


async def test_only_what_the_reader_may_see(conn, fleet):
    (d1, _), (t2, _) = [await people.who(conn, f"official-{at}") for at in ("d1", "t2")]
    assert list((await asked(conn, d1, level="transformer")).by_area()) == ["T1"]
    (mine,) = (await asked(conn, t2, level="state")).points
    assert (mine.area, mine.transformers, named(mine)["neutral"]) == ("KL", 1, 40)
    of_district = await asked(conn, d1, area=fleet.areas["EKM"], level="transformer")
    assert list(of_district.by_area()) == ["T1"]
    with pytest.raises(NothingToDo):
        await asked(conn, d1, area=fleet.areas["D2"])
    with pytest.raises(NothingToDo):
        await asked(conn, await whole(conn), area=10**6)
    await people.person(conn, fleet, "nobody")
    with pytest.raises(NotAllowed):
        await asked(conn, (await people.who(conn, "nobody"))[0])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"level": "street"}, "By one of state"),
        ({"step": "minutes"}, "In one of hours, days"),
        ({"last": DAY - timedelta(days=1)}, "before the first"),
        ({"since": NOW + timedelta(days=1), "last": NOW + timedelta(days=1)}, "has not begun"),
        ({"since": DAY - timedelta(days=31), "step": "hours"}, "in hours at most 31"),
        ({"since": DAY - timedelta(days=366)}, "in days at most 366"),
    ],
)
async def test_questions_that_are_none(conn, fleet, given, words):
    with pytest.raises(BadInput, match=words):
        await asked(conn, await whole(conn), **given)


async def test_more_than_a_page_can_hold(conn, fleet, monkeypatch):
    monkeypatch.setattr("pbal_hq.reports.course.MOST_LINES", 1)
    with pytest.raises(BadInput, match="2 lines"):
        await asked(conn, await whole(conn), level="feeder")
    monkeypatch.setattr("pbal_hq.reports.course.MOST_VALUES", 47)
    with pytest.raises(BadInput, match="48 hours of transformers"):
        await asked(conn, await whole(conn), step="hours")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-31", "2026-13-01", "11/28/2026"])
def test_what_is_no_day(text):
    with pytest.raises(BadInput, match="The first day"):
        read_day(text, "The first day")
    assert read_day("2026-11-28", "x") == date(2026, 11, 28)


async def test_the_file(conn, fleet):
    await conn.execute("UPDATE transformer SET code = '=cmd()' WHERE code = 'T1'")
    found = await asked(conn, await whole(conn), level="transformer")
    head, one, two = csv.reader(io.StringIO(reports.table(found)))
    assert len(head) == len(one) == 3 + len(reports.FIGURES) + 1
    assert (one[0], one[1], two[0]) == ("'=cmd()", f"{DAY:%F}T00:00Z", "T2")
    assert one[head.index("neutral (A)")] == "20.0"
    assert two[head.index("saved (kWh)")] == ""
    assert {one[-1], two[-1]} == {"the store"}


async def test_the_page(conn, fleet, database_url):
    async with people.portal(database_url) as client:
        _, access = await people.who(conn, "official-whole")
        client.cookies.set("__Host-pbal", access)
        days = f"since={DAY:%F}&last={DAY:%F}"
        got = await client.get(f"/trends?by=transformer&step=hours&{days}")
        assert got.status_code == 200
        assert "Answered by the store." in got.text
        assert got.text.count("<polyline") == 5  # T1's two hours, T2's one line; two in the key
        assert re.search(r'data-h="Highest" class="num">50.0.A', got.text)
        # The form says what was asked, and the file is of the same.
        assert 'value="transformer" selected' in got.text
        link = re.search(r'href="(/trends/file\?[^"]*)"', got.text)[1].replace("&amp;", "&")
        sheet = (await client.get(link)).text
        assert sheet.count("\n") == 1 + 48
        assert f"T1,{DAY:%F}T02:00Z,1," in sheet
        none = await client.get(f"/trends?figure=load+max+median&{days}")
        assert "The store has no quantiles" in none.text
        empty = await client.get(
            f"/trends?since={DAY - timedelta(days=9):%F}&last={DAY - timedelta(days=8):%F}"
        )
        assert "Nothing came in this time." in empty.text
        # With nothing asked for: the week up to yesterday.
        before = datetime.now(UTC)
        week = await client.get("/trends")
        assert any(
            f'value="{today - timedelta(days=7):%F}"' in week.text
            and f'value="{today - timedelta(days=1):%F}"' in week.text
            for today in (before, datetime.now(UTC))
        )
        for query, words in (
            (f"by=street&{days}", "By one of"), (f"step=years&{days}", "In one of"),
            (f"since=x&last={DAY:%F}", "is no day"), ("last=x", "is no day"),
            ("last=2026-02-30", "is no day"), (f"figure=x&{days}", "Show one of neutral"),
            (f"area_id=x&{days}", "whole number"), (f"since={NOW:%F}&last={DAY:%F}", "before"),
        ):  # fmt: skip
            bad = await client.get(f"/trends?{query}")
            assert bad.status_code == 422, query
            assert words.replace("Show one of neutral", "Show one of") in bad.text, query
        assert (await client.get(f"/trends?area_id=99&{days}")).status_code == 404


async def test_the_page_of_a_fleet_that_began_today(conn, fleet, database_url):
    await sums(conn, fleet, "T1", "summary_hourly", TODAY)
    async with people.portal(database_url) as client:
        _, access = await people.who(conn, "official-whole")
        client.cookies.set("__Host-pbal", access)
        got = await client.get("/trends")
        assert 'value="hours" selected' in got.text
        assert "<polyline" in got.text
        # What was asked for is what is shown.
        asked_for = await client.get("/trends?step=days")
        assert 'value="days" selected' in asked_for.text
        assert "Nothing came in this time." in asked_for.text


async def test_the_page_where_nothing_was_asked_for_and_too_much_is_there(
    conn, fleet, database_url, monkeypatch
):
    monkeypatch.setattr("pbal_hq.reports.course.MOST_VALUES", 13)
    async with people.portal(database_url) as client:
        _, access = await people.who(conn, "official-whole")
        client.cookies.set("__Host-pbal", access)
        got = await client.get("/trends")
        assert got.status_code == 200
        assert "choose a smaller area" in got.text
        assert (await client.get("/trends?by=state")).status_code == 422


def test_lines_and_their_gaps():
    at = [DAY + timedelta(hours=n) for n in range(6)]
    drawn, bottom, top = lines(
        [[(at[0], 1.0), (at[1], 3.0), (at[2], None), (at[3], 2.0)], [(at[0], None)]],
        DAY, at[-1],
    )  # fmt: skip
    assert bottom == 0.0
    assert top == pytest.approx(3.15)
    shapes = re.findall(r'class="(\w+)" points="([^"]*)"', drawn)
    assert [(name, len(points.split())) for name, points in shapes] == [("l0", 2), ("l0", 2)]
    assert shapes[0][1].startswith("0.0,150.2 ")
    one, other = shapes[1][1].split()
    assert one == other, "a point alone is a dot"
    # Voltages are not drawn from 0, and what is negative is in the picture.
    assert lines([[(at[0], 228.0), (at[1], 232.0)]], DAY, at[-1])[1] == pytest.approx(227.8)
    assert lines([[(at[0], -4.0), (at[1], 4.0)]], DAY, at[-1])[1] == pytest.approx(-4.4)
