"""Long ranges from Druid: its rows make the figures that the lake's rows make, or the lake answers.

What Druid itself does with the records: tests/engines/test_druid.py.
"""

import collections
import datetime
import http.server
import json
import re
import threading

import pytest
from rigs.courses import SUMS, course, same_course
from rigs.lakeroad import DAY, TODAY, road_at, summaries
from rigs.months import report, same, same_report

from pbal_hq.config import Config, DruidConfig
from pbal_hq.database import connected
from pbal_hq.errors import TrendsError
from pbal_hq.lake import Part
from pbal_hq.trends import Elsewhere, ask, months, placed
from pbal_hq.trends.correct import correct
from pbal_hq.trends.druid import FIELDS, MEASURES, Druid, correction, schema
from pbal_uplink import Summary

DAYS = (TODAY - 3 * DAY, TODAY - 2 * DAY)
NOBODY = "http://127.0.0.1:1"  # listens there
FIRST, AFTER = DAYS[0].replace(day=1), TODAY.replace(day=1) + 32 * DAY


def known(values):
    return [value for value in values if value is not None]


def mean(pairs):
    """Of (value, weight); None where nothing has weight."""
    pairs = [(value, weight) for value, weight in pairs if value is not None]
    weight = sum(weight for _, weight in pairs)
    return sum(value * weight for value, weight in pairs) / weight if weight else None


def rolled(groups, sampled):
    """Sums of groups of rows, as Druid is asked for them."""
    for key, rows in groups.items():
        made = {"key": key, "sampled_s": sum(sampled(row) for row in rows)}
        for name in ("import_kwh", "export_kwh", "moved", "not_moved"):
            made[name] = sum(row[name] for row in rows)
        for name in ("neutral_max_a", "load_max_percent", "hotspot_max_c", "max_v"):
            made[name] = max(known(row[name] for row in rows), default=None)
        made["min_v"] = min(known(row["min_v"] for row in rows), default=None)
        saved = known(row["saved_wh"] for row in rows)
        made["saved_wh"] = sum(saved) if saved else None
        for name in ("neutral", "pvur"):
            made[name] = mean([(row[name], sampled(row)) for row in rows])
        yield made


def sums(given):
    """What Druid says of these summaries, computed plainly: months, hours, days."""
    rows = []
    for s in given:
        volts = [getattr(s, f"v{p}_{end}_v") for end in ("min", "max") for p in "abc"]
        rows.append({
            "at": (s.site, s.start_s), "s": s.length_s * s.complete_percent / 100,
            "import_kwh": s.ea_import_kwh + s.eb_import_kwh + s.ec_import_kwh,
            "export_kwh": s.ea_export_kwh + s.eb_export_kwh + s.ec_export_kwh,
            "moved": s.confirmed, "not_moved": s.refused + s.failed + s.expired + s.disagreed,
            "neutral_max_a": s.in_max_a, "load_max_percent": s.load_max_percent,
            "hotspot_max_c": s.hotspot_c, "min_v": min(known(volts[:3]), default=None),
            "max_v": max(known(volts[3:]), default=None), "saved_wh": s.losses_avoided_wh,
            "neutral": s.in_mean_a, "pvur": s.pvur_percent,
        })  # fmt: skip

    def grouped(rows, key):
        groups = collections.defaultdict(list)
        for row in rows:
            groups[key(row)].append(row)
        return groups

    def month(row):
        site, at = row["key"]
        return site, f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-01}"

    by_hour = grouped(rows, lambda row: (row["at"][0], row["at"][1] // 3600 * 3600))
    hours = list(rolled(by_hour, lambda row: row["s"]))
    by_day = grouped(hours, lambda row: (row["key"][0], row["key"][1] // 86400 * 86400))
    days = list(rolled(by_day, lambda row: row["sampled_s"]))
    found = rolled(grouped(days, month), lambda row: row["sampled_s"])
    return [row | {"site": row["key"][0], "month": row["key"][1]} for row in found], hours, days


def answer(given):
    """Each site's months."""
    return sums(given)[0]


def slots(given, step):
    """Each site's hours or days."""
    _, hours, days = sums(given)
    found = hours if step == "hours" else days
    return [row | {"site": row["key"][0], "slot": row["key"][1]} for row in found]


@pytest.fixture
def server():
    """Answers like Druid; `said` is what it was asked, `answers` by path what it says, or one
    after the other."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said.append((self.path, body))
            self.do_GET()

        def do_GET(self):
            found = answers.get(self.path, (404, "no such thing"))
            code, text = found.pop(0) if isinstance(found, list) else found
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(text).encode())

        def log_message(self, *_):
            pass

    said, answers = [], {}
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    made.said, made.answers = said, answers
    made.url = f"http://127.0.0.1:{made.server_port}"
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


async def test_the_figures_are_those_of_the_lake(tmp_path, database_url, server):
    given = [each for day in DAYS for each in summaries(day, seed=day.day)]
    (tmp_path / "lake").mkdir()
    now = datetime.datetime.now(datetime.UTC)
    server.answers["/druid/v2/sql"] = (200, [*answer(given), *answer(given[:1])])
    # One of a site that is not registered.
    server.answers["/druid/v2/sql"][1][-1]["site"] = 99
    config = DruidConfig(broker=server.url, coordinator=server.url)
    async with road_at(tmp_path, database_url, str(tmp_path / "lake")) as road:
        await road.say(*given)
        await road.stored()
        await road.kept()
        async with connected(road.config.database) as db:
            areas = await placed(db, "feeder")
            expected = months(road.lake, areas, FIRST, AFTER, now)

            async def asked():
                return await ask(db, config, lambda: road.lake, "feeder", FIRST, AFTER, now)

            found, source = await asked()
            assert source == "Druid"
            same(found, expected)
            assert any(known(month.values) for month in found)
            await reports_are_the_same(db, config, road, server, given, now)
            server.answers["/druid/v2/sql"] = (500, {"error": "away"})
            assert await asked() == (expected, "the lake")
        shared = tmp_path / "shared"
        shared.mkdir()
        _corrected(road.lake, Druid(server.url, server.url), server, shared)


async def test_hours_and_days_are_the_stores(tmp_path, database_url, server):
    given = [each for day in DAYS for each in summaries(day, seed=day.day)]
    (tmp_path / "lake").mkdir()
    now = datetime.datetime.now(datetime.UTC)
    source = Elsewhere(DruidConfig(broker=server.url, coordinator=server.url), None)
    async with road_at(tmp_path, database_url, str(tmp_path / "lake")) as road:
        await road.say(*given)
        await road.stored()
        async with connected(road.config.database) as db:
            for level, step in (("transformer", "hours"), ("state", "days")):
                # Quantiles are a query of their own; a sketch with nothing in it is NaN.
                begin = Part(DAYS[0], "").start_s
                server.answers["/druid/v2/sql"] = [
                    (200, [*slots(given, step), *({**slots(given[:1], step)[0], "site": 99},)]),
                    (200, [{"line": 0, "slot": begin,
                            **{f"q{n}": 1.5 * n for n in range(5)}, "q5": "NaN"}]),
                ]  # fmt: skip
                stored = await course(db, level, step, *DAYS, now)
                found = await course(db, level, step, *DAYS, now, source)
                assert (found.answered_by, found.quantiles) == ("Druid", True)
                same_course(found, stored)
                assert found.points[0].values[SUMS:] == (0.0, 1.5, 3.0, 4.5, 6.0, None)
                assert found.points[1].values[SUMS:] == (None,) * 6
                rows, spread = (body["query"] for _, body in server.said[-2:])
                assert "site IN (7, 8)" in rows
                sites = ("(7)", "(8)") if level == "transformer" else ("(7, 8)",)
                for n, each in enumerate(sites):
                    assert f"WHEN site IN {each} THEN {n}" in spread
            server.answers["/druid/v2/sql"] = (500, {"error": "away"})
            assert (
                await course(db, "state", "days", *DAYS, now, source)
            ).answered_by == "the store"


async def reports_are_the_same(db, config, road, server, given, now):
    """Of a day and of a month, from the store, from Druid, and from the lake."""
    everybody = Elsewhere(config, lambda: road.lake)
    lake_only = Elsewhere(DruidConfig(), lambda: road.lake)
    for text in (f"{DAYS[0]}", f"{DAYS[0]:%Y-%m}"):
        period = [each for each in given if f"{_day(each)}".startswith(text)]
        server.answers["/druid/v2/sql"] = (200, answer(period))
        stored = await report(db, text, now)
        assert stored.answered_by == "the store"
        found = await report(db, text, now, everybody)
        assert found.answered_by == "Druid"
        same_report(found, stored)
        asked = server.said[-1][1]["query"]
        assert f"TIMESTAMP '{stored.since.date()} 00:00:00'" in asked
        assert f"TIMESTAMP '{stored.until.date()} 00:00:00'" in asked
        # As if it were a month later: then the lake has it, too.
        later = now + datetime.timedelta(days=40)
        server.answers["/druid/v2/sql"] = (500, {"error": "away"})
        for source in (everybody, lake_only):
            found = await report(db, text, later, source)
            assert found.answered_by == "the lake"
            same_report(found, await report(db, text, later))
    # What is not over, and what Druid has dropped, is the store's to answer.
    assert (await report(db, f"{TODAY:%Y-%m-%d}", now, everybody)).answered_by == "the store"
    short = Elsewhere(DruidConfig(broker=server.url, coordinator=server.url, keep_days=1), None)
    server.answers["/druid/v2/sql"] = (200, [])
    assert (await report(db, f"{DAYS[0]}", now, short)).answered_by == "the store"


def _day(summary):
    return datetime.datetime.fromtimestamp(summary.start_s, datetime.UTC).date()


def _corrected(lake, druid, server, shared):
    """A day of the lake's goes to Druid, and no file of it stays."""
    task, status = "/druid/indexer/v1/task", "/druid/indexer/v1/task/t/status"
    server.answers[task] = (200, {"task": "t"})
    server.answers[status] = (200, {"status": {"status": "RUNNING"}})

    def wait():
        (file,) = shared.iterdir()
        assert server.said[-1][1]["spec"]["ioConfig"]["inputSource"]["filter"] == file.name
        server.answers[status] = (200, {"status": {"status": "SUCCESS"}})

    assert correct(lake, druid, "hq_summary", DAYS[0], shared, wait) == 96
    assert list(shared.iterdir()) == []
    server.answers[status] = (200, {"status": {"status": "FAILED", "errorMsg": "no room"}})
    with pytest.raises(TrendsError, match="no room"):
        correct(lake, druid, "hq_summary", DAYS[0], shared)
    with pytest.raises(TrendsError, match="has nothing of"):
        correct(lake, druid, "hq_summary", TODAY + DAY, shared)
    assert list(shared.iterdir()) == []
    with pytest.raises(TrendsError, match=r"druid\.folder"):
        correct(lake, druid, "hq_summary", DAYS[0], shared / "none")


def test_what_is_taken_in_is_in_a_summary():
    declared = {field.name for field in Summary.DECLARED}
    assert set(FIELDS) <= declared
    words = " ".join(each.expression for each in MEASURES)
    assert set(re.findall('"(.*?)"', words)) <= set(FIELDS)
    assert {each["name"] for each in schema("x")["metricsSpec"]} >= {m.name for m in MEASURES}
    spec = correction("x", DAYS[0], "/srv/druid", "f.gz")["spec"]
    (interval,) = spec["dataSchema"]["granularitySpec"]["intervals"]
    assert interval == f"{DAYS[0]}/{DAYS[0] + DAY}"


def test_who_answers_badly_is_named(server):
    druid = Druid(server.url, server.url)
    with pytest.raises(TrendsError, match="404"):
        druid.sql("SELECT 1")
    gone = Druid(NOBODY, NOBODY)
    with pytest.raises(TrendsError, match="is it up"):
        gone.sql("SELECT 1")
    with pytest.raises(ValueError, match="both or neither"):
        Config.model_validate({"druid": {"broker": "http://h:1"}})


def test_without_the_packages_of_long_ranges_they_are_named(run, tmp_path, monkeypatch):
    file = tmp_path / "hq.toml"
    druid = f'broker = "{NOBODY}"\ncoordinator = "{NOBODY}"\n'
    file.write_text(f'data = "{tmp_path}"\n[druid]\n{druid}')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    asked = ("lake", "trends", "--from", "2026-10", "--to", "2026-11", "-c", file)
    assert "pip install pbal[hq,lake]" in run(*asked, code=2).stderr
