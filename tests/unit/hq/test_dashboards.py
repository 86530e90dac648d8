"""HQ's dashboards for Grafana: the files are those that the code makes, and every query works."""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rigs.figures import filled
from rigs.hq import execute
from rigs.needs import ROOT, require_module
from rigs.prometheus import Monitoring

from pbal_hq import roles
from pbal_hq.config import Config

GRAFANA = ROOT / "hq" / "monitoring" / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
# What has no sample while nothing of its kind has happened.
_QUIET = ("pbal_hq_messages_total", "pbal_hq_http_request_seconds_bucket")


def made():
    require_module("grafana_foundation_sdk", "dev")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import dashboards
    finally:
        sys.path.pop(0)
    return dashboards.files()


def queries(kind):
    """(dashboard and panel, type of panel, query) of this data source."""
    for path in BOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                if target["datasource"]["type"] == kind:
                    yield f"{path.stem}: {panel['title']}", panel["type"], target


def test_the_files_are_those_that_the_code_makes():
    assert {path.name: path.read_text() for path in BOARDS} == made(), "run tools/dashboards.py"
    assert len(BOARDS) == 5


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_a_dashboard_reads_back_and_is_whole(path):
    require_module("grafana_foundation_sdk", "dev")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    said = json.loads(path.read_text())
    again = json.loads(JSONEncoder().encode(Dashboard.from_json(said)))
    assert again == said
    assert said["uid"] == f"pbal-hq-{path.stem}"
    sources = re.findall(r"uid: (\S+)", (GRAFANA / "provisioning/datasources/pbal.yml").read_text())
    taken = set()
    for panel in said["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"]
            assert target["datasource"]["uid"] in sources


def expanded(sql, since, until):
    """The query as Grafana sends it: its macros and variables replaced."""

    def between(match):
        return f"{match[1]} BETWEEN '{since.isoformat()}' AND '{until.isoformat()}'"

    sql = re.sub(r"\$__timeFilter\(([\w.]+)\)", between, sql).replace(
        "${transformer:sqlstring}", "'T1'"
    )
    assert "$" not in sql, f"a macro that this test does not know: {sql}"
    return sql


async def test_every_query_to_postgresql_works_as_the_reader(database_url):
    import psycopg

    await filled(database_url)
    execute(database_url, (GRAFANA / "reader.sql").read_text())
    now = datetime.now(UTC)
    reader = database_url.replace("user=postgres", "user=pbal_grafana")
    assert reader != database_url
    asked = 0
    with psycopg.connect(reader, autocommit=True) as db:
        for where, kind, target in queries("grafana-postgresql-datasource"):
            sql = expanded(target["rawSql"], now - timedelta(days=30), now + timedelta(hours=1))
            try:
                cursor = db.execute(sql)
            except psycopg.Error as error:
                pytest.fail(f"{where}: {error}\n{sql}")
            rows, heads = cursor.fetchall(), [column.name for column in cursor.description]
            asked += 1
            assert rows, f"{where} shows nothing"
            assert any(value is not None for value in rows[0]), where
            assert len(heads) == len(set(heads)), where
            if kind == "timeseries":
                assert heads[0] == "time", where
                assert target["format"] == "time_series"
                assert all(isinstance(row[0], datetime) for row in rows)
                # A text would make a series of each row's own.
                assert not any(isinstance(value, str) for row in rows for value in row), where
                assert [row[0] for row in rows] == sorted(row[0] for row in rows), where
            if kind == "stat":
                assert len(rows) == len(heads) == 1, where
        variable = json.loads((GRAFANA / "dashboards" / "transformer.json").read_text())
        (choice,) = variable["templating"]["list"]
        assert ("T1",) in db.execute(choice["query"]).fetchall()
        # And the reader reads nothing else, and writes nothing.
        for table in ("person", "session", "service_token", "audit", "command", "certificate",
                      "enrol_token"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(f"SELECT 1 FROM {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT payload FROM dead_letter")
        with pytest.raises(psycopg.Error):
            db.execute("DELETE FROM alarm")
    assert asked > 20


@pytest.mark.timeout(600)
async def test_every_query_to_prometheus_works(hq, tmp_path):
    tables = hq.config.model_dump(mode="json", exclude_unset=True)
    tables |= {"portal": {"port": 0}, "metrics": {"port": 0}}
    config = Config.model_validate(tables)
    running = asyncio.create_task(roles.run(config, roles.wanted(config)))
    monitoring = None
    try:
        monitoring = await asyncio.to_thread(
            Monitoring, tmp_path / "monitoring", config.data / "metrics"
        )
        await asyncio.to_thread(monitoring.wait_until, 'up{job="pbal-hq", instance="all"} == 1')
        await asyncio.to_thread(monitoring.wait_until, "pbal_hq_certificate_left_seconds")
        # A rate needs two samples.
        await asyncio.to_thread(monitoring.wait_until, "rate(pbal_hq_rows_written_total[5m]) >= 0")
        asked = 0
        for where, _, target in queries("prometheus"):
            found = await asyncio.to_thread(monitoring.query, target["expr"])
            asked += 1
            # An age needs a window that is stored; the database here has none.
            quiet = (*_QUIET, "pbal_hq_newest_window_age_seconds")
            if not any(name in target["expr"] for name in quiet):
                assert found, f"{where}: {target['expr']} finds nothing"
        assert asked > 12
    finally:
        if monitoring is not None:
            await asyncio.to_thread(monitoring.stop)
        running.cancel()
        await asyncio.wait([running])
