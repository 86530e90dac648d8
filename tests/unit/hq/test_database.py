"""The schema's steps on a real PostgreSQL."""

import dataclasses
import datetime

import pytest
from rigs.hq import execute
from rigs.hq_past import ROWS, START, WINDOWS

from pbal_hq import audit
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import Step, connected, migrate, pending, pool, steps
from pbal_hq.errors import DatabaseError
from pbal_hq.store import series, sum_due
from pbal_hq.store.sums import sum_up
from pbal_uplink import Event, Summary


def names(found):
    return [step.number for step in found]


async def test_every_step_is_applied_once(empty_url):
    async with connected(DatabaseConfig(url=empty_url)) as db:
        assert names(await pending(db)) == names(steps())
        assert names(await migrate(db)) == names(steps())
        assert await migrate(db) == []
        assert await pending(db) == []


async def held(db):
    """Every row of every table but the schema's own, as JSON, by table."""
    cursor = await db.execute(
        "SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'schema_step'"
    )
    tables = [name for (name,) in await cursor.fetchall()]
    out = {}
    for name in tables:
        cursor = await db.execute(f"SELECT to_jsonb(t) FROM {name} t ORDER BY to_jsonb(t)::text")
        out[name] = [row for (row,) in await cursor.fetchall()]
    return out


@pytest.mark.parametrize("upto", range(1, len(steps())), ids=lambda n: f"{steps()[n - 1].number}")
async def test_every_earlier_schema_comes_up_with_what_it_holds(empty_url, upto):
    """Row by row: what was in a table is there after the steps that follow."""
    async with connected(DatabaseConfig(url=empty_url)) as db:
        for n, step in enumerate(steps()[:upto], 1):
            await migrate(db, known=steps()[:n])
            if step.number in ROWS:
                await db.execute(ROWS[step.number])
                await db.commit()
        before = await held(db)
        assert before["site"]
        assert not [name for name, rows in before.items() if not rows], "a table without rows"
        assert names(await migrate(db)) == names(steps()[upto:])
        after = await held(db)
        for name, rows in before.items():
            assert len(after[name]) == len(rows), name
            for row in rows:
                assert any(row.items() <= found.items() for found in map(dict, after[name])), name
        await at_work(db, WINDOWS if "summary" in before else 1)


async def at_work(db, windows):
    """The program goes on with what it found. `windows`: of the hour of START."""
    keys = await db.execute("SELECT site_key(s), site_trusted(s) FROM site s WHERE id < 9")
    assert sorted(await keys.fetchall()) == [("north/T1", True), ("north/T2", False)]
    found = await db.execute("SELECT status, needs_second, approved_at FROM command ORDER BY id")
    assert await found.fetchall() == [("sent", False, None), ("asked", False, None)]
    # The window that is there comes again, fuller, and its hour is summed up.
    cursor = await db.execute("SELECT id FROM transformer WHERE code = 'T1'")
    (transformer,) = await cursor.fetchone()
    at = datetime.datetime.fromisoformat(START)
    made = Summary(site=7, start_s=int(at.timestamp()), length_s=300, complete_percent=100)
    async with db.transaction():
        await series.insert(db, [series.Row(transformer, at, 7, False, at, made.as_dict())])
    while await sum_up(db):
        await db.commit()
    found = await db.execute(
        "SELECT windows FROM summary_hourly WHERE transformer_id = %s AND start_at = %s",
        (transformer, at),
    )
    assert await found.fetchone() == (windows,)
    async with db.transaction():
        await audit.append(db, "ana", "login", "user ana", {})
    assert (await audit.verify(db, None)).ok
    await db.execute(
        "INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at)"
        " VALUES (%s, 'thermal overload', 1, now(), now())",
        (transformer,),
    )
    await db.commit()


async def test_a_step_that_lands_late_is_applied(empty_url):
    known = [Step(2, "b", "CREATE TABLE b ()"), Step(4, "d", "CREATE TABLE d ()")]
    async with connected(DatabaseConfig(url=empty_url)) as db:
        await migrate(db, known=known)
        late = Step(3, "c", "CREATE TABLE c ()")
        assert names(await migrate(db, known=sorted([*known, late], key=lambda s: s.number))) == [3]


async def test_an_edited_step_is_refused(empty_url):
    known = [Step(1, "a", "CREATE TABLE a ()")]
    async with connected(DatabaseConfig(url=empty_url)) as db:
        await migrate(db, known=known)
        edited = [dataclasses.replace(known[0], sql="CREATE TABLE a (x int)")]
        with pytest.raises(DatabaseError, match="0001_a is not the one"):
            await migrate(db, known=edited)


async def test_a_newer_schema_is_refused_where_it_took_something_away(empty_url):
    one, two = Step(1, "a", "SELECT 1"), Step(2, "b", "SELECT 2")
    less = Step(3, "less", "SELECT 3;\n-- oldest: 2\n")
    async with connected(DatabaseConfig(url=empty_url)) as db:
        await migrate(db, known=[one, two])
        assert await pending(db, [one]) == []  # step 2 only added something
        assert await migrate(db, known=[one]) == []
        await migrate(db, known=[one, two, less])
        assert await pending(db, [one, two]) == []
        with pytest.raises(DatabaseError, match="0003, which this program does not know"):
            await pending(db, [one])


async def test_a_schema_of_which_nobody_said_whom_it_suits_is_refused(empty_url):
    one, two = Step(1, "a", "SELECT 1"), Step(2, "b", "SELECT 2")
    async with connected(DatabaseConfig(url=empty_url)) as db:
        await migrate(db, known=[one, two])
        # As programs made the table that did not say it yet.
        await db.execute("ALTER TABLE schema_step DROP COLUMN oldest")
        await db.commit()
        with pytest.raises(DatabaseError, match="0002, which this program does not know"):
            await pending(db, [one])
        await migrate(db, known=[one, two])
        with pytest.raises(DatabaseError, match="0002"):
            await pending(db, [one])


async def test_a_step_that_fails_leaves_nothing(empty_url):
    known = [Step(1, "a", "CREATE TABLE a (); SELECT 1/0")]
    async with connected(DatabaseConfig(url=empty_url)) as db:
        with pytest.raises(DatabaseError, match="step 0001_a"):
            await migrate(db, known=known)
    assert execute(empty_url, "SELECT to_regclass('a') IS NULL") == [(True,)]
    assert execute(empty_url, "SELECT count(*) FROM schema_step") == [(0,)]


async def test_no_server_is_told(tmp_path):
    with pytest.raises(DatabaseError, match="cannot be reached"):
        async with connected(DatabaseConfig(url=f"host={tmp_path} dbname=x")):
            pass


async def test_no_database_is_told(postgres):
    with pytest.raises(DatabaseError, match="pbal-hq init"):
        async with connected(DatabaseConfig(url=f"host={postgres.folder} user=postgres dbname=x")):
            pass


@pytest.mark.parametrize(
    ("table", "message", "other"),
    [
        ("summary", Summary, {"site": "site_id", "start_s": "start_at"}),
        ("event", Event, {"site": "site_id", "at_s": "at"}),
    ],
)
def test_every_field_of_a_message_has_its_column(database_url, table, message, other):
    found = execute(
        database_url,
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s",
        table,
    )
    columns = {name for (name,) in found}
    assert {other.get(field.name, field.name) for field in message.DECLARED} <= columns


def tree(url):
    above = None
    for level in ("state", "district", "division", "feeder"):
        ((above,),) = execute(
            url,
            "INSERT INTO area (parent_id, level, code, name) VALUES (%s, %s, %s, %s) RETURNING id",
            above, level, level[:2], level,
        )  # fmt: skip
    return above


def test_areas_know_what_they_lie_within(database_url):
    feeder = tree(database_url)
    rows = execute(
        database_url,
        "SELECT a.level FROM area_within w JOIN area a ON a.id = w.ancestor_id "
        "WHERE w.area_id = %s ORDER BY area_level(a.level)",
        feeder,
    )
    assert [level for (level,) in rows] == ["state", "district", "division", "feeder"]


def test_an_area_of_the_wrong_level_is_refused(database_url):
    import psycopg

    feeder = tree(database_url)
    with pytest.raises(psycopg.Error, match="cannot stand below a feeder"):
        execute(
            database_url,
            "INSERT INTO area (parent_id, level, code, name) VALUES (%s, 'state', 'x', '')",
            feeder,
        )


async def test_hours_and_days_are_utcs_whatever_the_servers_zone(database_url):
    name = database_url.rpartition("dbname=")[2].split()[0]
    execute(database_url, f"ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'")
    at = datetime.datetime(2026, 3, 1, 22, 40, tzinfo=datetime.UTC)
    columns = [f.name for f in Summary.DECLARED if f.name not in ("site", "start_s")]
    made = Summary(site=7, start_s=int(at.timestamp()), length_s=300, complete_percent=100)
    async with pool(DatabaseConfig(url=database_url)) as database:
        async with database.connection() as db, db.transaction():
            fields = {name: getattr(made, name) for name in columns}
            await series.insert(db, [series.Row(1, at, 7, False, at, fields)])
        await sum_due(database, lambda: None)
    for table, step in (("hourly", 22), ("daily", 0)):
        found = execute(database_url, f"SELECT start_at AT TIME ZONE 'UTC' FROM summary_{table}")
        assert found == [(datetime.datetime(2026, 3, 1, step),)]


async def test_a_statement_is_planned_for_its_values_however_often_it_was_seen(database_url):
    """Else the server makes one plan for all users from the eleventh time on."""
    settings = DatabaseConfig(url=database_url, pool_max=1)
    async with pool(settings) as database, database.connection() as conn:
        for most in (1, 2) * 10:
            await conn.execute("SELECT * FROM transformer LIMIT %s", (most,), prepare=True)
        found = await conn.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
            " WHERE statement LIKE '%LIMIT $1'"
        )
        assert await found.fetchone() == (0, 20)


async def test_alarms_of_nodes_get_their_word(empty_url):
    upto = next(n for n, step in enumerate(steps()) if step.number == 64)
    async with connected(DatabaseConfig(url=empty_url)) as db:
        for n, step in enumerate(steps()[:upto], 1):
            await migrate(db, known=steps()[:n])
            if step.number in ROWS:
                await db.execute(ROWS[step.number])
                await db.commit()
        await db.execute(
            "INSERT INTO alarm (transformer_id, kind, address, severity, raised_at, last_at)"
            " SELECT min(id), kind, 4, 1, now(), now() FROM transformer,"
            " unnest(array['node 6', 'node 25', 'node 200']) kind GROUP BY kind"
        )
        await db.commit()
        await migrate(db)
        found = await db.execute("SELECT kind FROM alarm WHERE address = 4 ORDER BY kind")
        assert await found.fetchall() == [("meter fault",), ("node 200",), ("writes refused",)]
