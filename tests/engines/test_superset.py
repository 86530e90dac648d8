"""A real Superset: our dashboards imported, every query run, rows by area, pages in a browser."""

import asyncio
import json
import time

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from rigs import browser
from rigs.figures import filled, second_district
from rigs.hq import database_url, execute, postgres, run  # noqa: F401
from rigs.needs import missing, require_module

from pbal_engines import Missing, Superset, environment
from pbal_hq.errors import SupersetError
from pbal_hq.superset import BOARDS, DATASETS, Limits, role_of
from pbal_hq.superset.limits import VIEWER

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(900)]

PASSWORD = "a password of tests"
# Who has which roles besides Superset's own Gamma.
PEOPLE = {
    "ekm": (VIEWER, role_of("KL/EKM")),
    "tsr": (VIEWER, role_of("KL/TSR")),
    "state": (VIEWER, role_of("KL")),
    "nowhere": (VIEWER,),
    "outside": (role_of("KL"),),
}
SEEN = {"ekm": {"T1", "T2"}, "tsr": {"T3"}, "state": {"T1", "T2", "T3"}, "nowhere": set()}


# Of Superset's own pages: a picture of its makers' that our settings block, what the first page had
# not loaded when the next was opened, and what it asks for that Gamma may not have.
FORGIVEN = ("scarf.sh", "net::ERR_ABORTED", "status of 403", "script: Response")


@pytest.fixture
def engine(tmp_path):
    require_module("httpx", "hq")
    started = time.monotonic()
    try:
        environment("superset")
    except Missing as error:
        missing("Superset", str(error))
    print(f"environment {time.monotonic() - started:.0f} s")
    made = Superset(tmp_path / "superset", PASSWORD)
    made.start()
    print(f"up {time.monotonic() - started:.0f} s", made.services[0].weigh())
    yield made
    print(made.services[0].weigh())
    made.stop()


def reader(url):
    """The same database as Superset's user of it: for SQLAlchemy, and for psycopg."""
    parts = conninfo_to_dict(url)
    uri = f"postgresql+psycopg2://pbal_superset@/{parts['dbname']}?host={parts['host']}"
    return uri, url.replace("user=postgres", "user=pbal_superset")


def charts(server):
    """Each chart's id and title."""
    return {each["id"]: each["slice_name"] for each in server.listed("chart")}


def people(server):
    """Make PEOPLE."""
    roles = server.roles()
    for name, theirs in PEOPLE.items():
        server.call("POST", "security/users/", {
            "username": name, "first_name": name, "last_name": name, "active": True,
            "email": f"{name}@example.org", "password": PASSWORD,
            "roles": [roles[each] for each in ("Gamma", *theirs)],
        })  # fmt: skip


def asked(server, dataset, **query):
    """Rows of a query of one's own."""
    body = {
        "datasource": {"id": server.dataset_ids[dataset], "type": "table"},
        "queries": [{"columns": ["transformer"], "metrics": [], "row_limit": 100, **query}],
    }
    return server.call("POST", "chart/data", body)["result"][0]["data"]


def test_superset(tmp_path, engine, database_url, run):  # noqa: F811
    asyncio.run(filled(database_url))
    asyncio.run(second_district(database_url))
    execute(database_url, run("superset", "views").stdout)
    uri, own = reader(database_url)
    the_reader_reads_figures_and_nothing_else(own)

    file, config = tmp_path / "pbal.zip", tmp_path / "hq.toml"
    run("superset", "bundle", file, "--uri", uri)
    config.write_text(f'data = "{tmp_path}"\n[database]\nurl = "{database_url}"\n')
    (tmp_path / "password").write_text(PASSWORD + "\n")
    words = ("superset", "limit", "--url", engine.url, "--password-file", tmp_path / "password",
             "-c", config)  # fmt: skip
    assert "no dataset" in run(*words, code=18).stderr
    engine.command("import-dashboards", "-p", str(file), "-u", "admin")
    assert "pbal KL/EKM, pbal KL/TSR" in run(*words).stdout
    assert "none, all were there" in run(*words).stdout
    (tmp_path / "password").write_text("another")
    assert "do user and password fit" in run(*words, code=18).stderr

    with Limits(engine.url, "admin", PASSWORD) as admin:
        names = charts(admin)
        assert len(names) == sum(len(board.charts) for board in BOARDS)
        for number, title in names.items():
            (result,) = admin.call("GET", f"chart/{number}/data/")["result"]
            assert result["error"] is None, f"{title}: {result}"
            assert result["rowcount"], f"{title} shows nothing: {result['query']}"
        people(admin)
        datasets = admin.datasets()
        roles = admin.roles()
    assert {each.name for each in DATASETS} == set(datasets)
    assert role_of("KL/EKM/D1") not in roles, "districts are the default"
    rows_are_limited(engine, datasets, names)
    asyncio.run(pages_are_whole(engine, tmp_path))


def the_reader_reads_figures_and_nothing_else(url):
    with psycopg.connect(url, autocommit=True) as db:
        for data in DATASETS:
            found = db.execute(f"SELECT * FROM figures.{data.name}")
            assert {column.name for column in found.description} == set(data.columns), data.name
            assert found.fetchall(), data.name
        for table in ("person", "session", "audit", "command", "transformer", "summary", "alarm",
                      "site_live", "dead_letter", "certificate"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(f"SELECT 1 FROM {table}")
        with pytest.raises(psycopg.Error):
            db.execute("CREATE TABLE figures.mine (n int)")
        # What people wrote, their names, and homes: in no view.
        columns = db.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'figures'"
        ).fetchall()
        told = {name for (name,) in columns}
        assert not told & {"detail", "address", "acknowledged_by", "asked_by", "approved_by",
                           "customers", "latitude", "payload", "state_at"}  # fmt: skip


def rows_are_limited(engine, datasets, names):
    for who, expected in SEEN.items():
        with Limits(engine.url, who, PASSWORD) as server:
            server.dataset_ids = datasets
            for data in DATASETS:
                rows = {row["transformer"] for row in asked(server, data.name)}
                # Letters of nobody's site, and alarms and orders of some transformers only.
                assert rows <= expected, (who, data.name)
                if data.name in ("hours", "days", "windows", "sites"):
                    assert rows == expected, (who, data.name)
            # What they ask for themselves is limited, too.
            clause = {"where": "transformer = 'T3' OR 1 = 1", "having": ""}
            rows = {row["transformer"] for row in asked(server, "hours", extras=clause)}
            assert rows == expected, who
            seen = charts(server)
            assert set(seen) == set(names), "the dashboards are open to them"
            with pytest.raises(SupersetError, match="403"):
                server.call("POST", "sqllab/execute/",
                            {"database_id": 1, "sql": "SELECT * FROM figures.hours"})  # fmt: skip
            with pytest.raises(SupersetError, match=r"40[34]"):
                server.call("GET", "rowlevelsecurity/")
    with Limits(engine.url, "outside", PASSWORD) as server:
        server.dataset_ids = datasets
        with pytest.raises(SupersetError, match="403"):
            asked(server, "hours")


async def pages_are_whole(engine, folder):
    """Each dashboard in Chromium: every chart asks, is answered, and is drawn."""
    began = time.monotonic()
    how = {"within": engine.url, "width": 1400, "forgiven": FORGIVEN}
    async with browser.opened(f"{engine.url}/login/", **how) as page:
        page.set_default_timeout(180_000)
        await page.fill("#username", "ekm")
        await page.fill("#password", PASSWORD)
        answers = []
        page.on("response", lambda it: answers.append(it) if "/chart/data" in it.url else None)
        await page.keyboard.press("Enter")
        await page.wait_for_url(lambda url: "login" not in url)
        for board in BOARDS:
            answers.clear()
            await page.goto(f"{engine.url}/superset/dashboard/pbal-{board.name}/?standalone=2")
            drawn = page.locator(".dashboard-chart")
            await page.wait_for_function(
                "n => document.querySelectorAll('.slice_container canvas, .slice_container table,"
                " .slice_container .header-line').length >= n", arg=len(board.charts),
            )  # fmt: skip
            assert await drawn.count() == len(board.charts)
            bad = [it.url for it in answers if not it.ok]
            assert not bad, (board.name, bad)
            told = [result for it in answers for result in json.loads(await it.text())["result"]]
            assert len(told) >= len(board.charts), board.name
            assert all(result.get("error") is None for result in told), board.name
            await page.screenshot(path=folder / f"{board.name}.png", full_page=True)
            print(f"{board.name}: {time.monotonic() - began:.0f} s")
