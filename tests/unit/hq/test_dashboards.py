"""HQ's dashboards for Grafana: the files are those that the code makes, and every query works."""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rigs.figures import filled, second_district
from rigs.hq import execute
from rigs.needs import ROOT, require_module
from rigs.prometheus import Monitoring

from pbal_hq import roles
from pbal_hq.config import Config
from pbal_hq.grafana import area, user_of

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


# What nobody reads in Grafana.
CLOSED = ("person", "session", "service_token", "audit", "command", "certificate", "enrol_token")


def every_query(db):
    """The rows of each query of each panel, asked as this user: (panel, its type, heads, rows)."""
    import psycopg

    for where, kind, target in queries("grafana-postgresql-datasource"):
        now = datetime.now(UTC)
        sql = expanded(target["rawSql"], now - timedelta(days=30), now + timedelta(hours=1))
        try:
            cursor = db.execute(sql)
        except psycopg.Error as error:
            pytest.fail(f"{where}: {error}\n{sql}")
        if kind == "timeseries":
            assert target["format"] == "time_series"
        yield where, kind, [column.name for column in cursor.description], cursor.fetchall()


def reads_nothing_else(db, closed):
    import psycopg

    for table in closed:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(f"SELECT 1 FROM public.{table}")
    with pytest.raises(psycopg.Error):
        db.execute("SELECT payload FROM dead_letter")
    with pytest.raises(psycopg.Error):
        db.execute("DELETE FROM alarm")


async def test_every_query_to_postgresql_works_as_the_reader(database_url, run):
    import psycopg

    await filled(database_url)
    execute(database_url, run("grafana", "reader").stdout)
    reader = database_url.replace("user=postgres", "user=pbal_grafana")
    assert reader != database_url
    asked = 0
    with psycopg.connect(reader, autocommit=True) as db:
        for where, kind, heads, rows in every_query(db):
            asked += 1
            assert rows, f"{where} shows nothing"
            assert any(value is not None for value in rows[0]), where
            assert len(heads) == len(set(heads)), where
            if kind == "timeseries":
                assert heads[0] == "time", where
                assert all(isinstance(row[0], datetime) for row in rows)
                # A text would make a series of each row's own.
                assert not any(isinstance(value, str) for row in rows for value in row), where
                assert [row[0] for row in rows] == sorted(row[0] for row in rows), where
            if kind == "stat":
                assert len(rows) == len(heads) == 1, where
        variable = json.loads((GRAFANA / "dashboards" / "transformer.json").read_text())
        (choice,) = variable["templating"]["list"]
        assert ("T1",) in db.execute(choice["query"]).fetchall()
        reads_nothing_else(db, CLOSED)
    assert asked > 20


async def test_an_areas_user_asks_the_same_and_sees_its_rows(database_url, run, tmp_path):
    import psycopg

    await filled(database_url)
    # What the panels show while the fleet is this district alone.
    execute(database_url, run("grafana", "reader").stdout)
    whole = database_url.replace("user=postgres", "user=pbal_grafana")
    with psycopg.connect(whole, autocommit=True) as db:
        alone = {where: rows for where, _, _, rows in every_query(db)}
    await second_district(database_url)
    made = {}
    for path, org in (("KL/EKM", 2), ("KL/TSR", 3), ("KL/EKM/D1", 4), ("KL", 5)):
        said = run("grafana", "area", path, "--org", org, "--out", tmp_path).stdout
        user = said.split(":")[0]
        made[path] = database_url.replace("user=postgres", f"user={user}")
        for _ in range(2):  # again is harmless
            execute(database_url, (tmp_path / f"{user}.sql").read_text())
    seen = {}
    for path, url in made.items():
        with psycopg.connect(url, autocommit=True) as db:
            text = {where: rows for where, _, _, rows in every_query(db)}
            codes = {row[0] for row in db.execute("SELECT code FROM transformer").fetchall()}
            words = json.dumps(text, default=str)
            seen[path] = codes
            if path == "KL/EKM":
                # The dead letter there is of a source that no area has.
                other = {where for where, rows in text.items() if rows != alone[where]}
                assert other == {"quality: Dead letters"}
            (choices,) = json.loads((GRAFANA / "dashboards/transformer.json").read_text())[
                "templating"]["list"]  # fmt: skip
            assert {row[0] for row in db.execute(choices["query"]).fetchall()} == codes
            for code in {"T1", "T2", "T3"} - codes:
                assert f'"{code}"' not in words, (path, code)
            # A panel has the area's rows: each kind of row is there for what is seen, and no other.
            counts = {
                table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("site", "site_live", "summary", "summary_hourly", "summary_daily",
                              "alarm", "dead_letter")
            }  # fmt: skip
            ours = f"""transformer_id IN (SELECT id FROM transformer WHERE code IN ({
                ", ".join(f"'{code}'" for code in codes)
            }))"""
            for table in ("site", "summary", "summary_hourly", "summary_daily", "alarm"):
                ((rows,),) = execute(database_url, f"SELECT count(*) FROM {table} WHERE {ours}")
                assert counts[table] == rows, (path, table)
            assert counts["site_live"] == counts["site"]
            assert counts["dead_letter"] == ("T3" in codes)
            assert db.execute("SELECT 1 FROM area WHERE code = 'KL'").fetchall(), "its state's name"
            reads_nothing_else(db, (*CLOSED, "transformer", "summary", "alarm", "dead_letter"))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("SELECT * FROM grafana.reader")
            # Nobody becomes another by the way the tables are found.
            db.execute("SET search_path = public")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("SELECT 1 FROM transformer")
            if "T1" in codes:
                empty = [where for where, rows in text.items() if not rows]
                letters = [where for where in empty if where.startswith("quality: ")]
                assert len(empty) == len(letters) <= 2, empty
    assert seen == {"KL/EKM": {"T1", "T2"}, "KL/TSR": {"T3"}, "KL/EKM/D1": {"T1"},
                    "KL": {"T1", "T2", "T3"}}  # fmt: skip


def test_an_areas_files_for_grafana(run, tmp_path):
    require_module("yaml", "dev")
    import yaml

    run("grafana", "area", "KL/EKM", "--org", 2, "--out", tmp_path)
    whole = yaml.safe_load((GRAFANA / "provisioning/datasources/pbal.yml").read_text())
    own = yaml.safe_load((tmp_path / "datasources/pbal-kl_ekm.yml").read_text())
    # The same dashboards find it: the same uid, of another organisation and user.
    (source,) = own["datasources"]
    (first, *_) = whole["datasources"]
    assert source == first | {
        "orgId": 2, "user": "pbal_grafana_kl_ekm",
        "secureJsonData": {"password": "$PBAL_GRAFANA_KL_EKM_PASSWORD"},
    }  # fmt: skip
    boards = yaml.safe_load((tmp_path / "dashboards/pbal-kl_ekm.yml").read_text())
    assert boards["providers"][0]["orgId"] == 2
    for bad in ("", "KL/", "KL//X", "KL'; DROP ROLE x; --", "A/B/C/D/E", "KL/$$"):
        assert "no area" in run("grafana", "area", bad, "--org", 2, "--out", tmp_path,
                                code=2).stderr  # fmt: skip
    run("grafana", "area", "KL", "--org", 2, "--out", tmp_path / "pbal_grafana_kl_ekm.sql", code=2)
    long = "/".join(["a place with a long name"] * 4)
    assert len(user_of(long)) <= 63
    assert user_of(long) != user_of(f"{long[:-1]}f")


async def test_an_area_that_is_not_there_and_a_name_that_is_taken(database_url, run, tmp_path):
    import psycopg

    await filled(database_url)
    execute(database_url, "INSERT INTO area (level, code, name) VALUES ('state', 'A-B', ''),"
            " ('state', 'A_B', '')")  # fmt: skip
    execute(database_url, area("A-B"))
    with pytest.raises(psycopg.errors.RaiseException, match="of another area"):
        execute(database_url, area("A_B"))
    with pytest.raises(psycopg.errors.RaiseException, match="no area KL/XYZ"):
        execute(database_url, area("KL/XYZ"))


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
