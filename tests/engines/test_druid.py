"""A real Druid: hours from Kafka, the same figures as from the lake, a day corrected, retention."""

import datetime
import json

import pytest
from rigs.courses import course, page, quantile, same_course, same_files
from rigs.hq import database_url, postgres, run  # noqa: F401
from rigs.lakeroad import DAY, TODAY, road_at, said, summaries
from rigs.months import report, same, same_report
from rigs.needs import missing, require_module
from rigs.waiting import until

from pbal_engines import Missing, druid, fetched
from pbal_hq.config import DruidConfig, load
from pbal_hq.database import connected
from pbal_hq.errors import TrendsError
from pbal_hq.trends import Elsewhere, months, placed
from pbal_hq.trends.ask import ask
from pbal_hq.trends.druid import Druid, retention

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(600)]

DAYS = (TODAY - 3 * DAY, TODAY - 2 * DAY)
SOURCE = "hq_summary"


@pytest.fixture
def engine(tmp_path):
    try:
        for name in ("zookeeper", *druid.LISTS):
            fetched(name)
    except Missing as error:
        missing("Druid", str(error))
    require_module("duckdb", "lake")
    made = druid.Druid(tmp_path / "druid")
    made.start()
    for service in made.services:
        print(service.name, service.weigh())
    yield made
    made.stop()


def written(path, kafka, engine, road, shared):
    """HQ's configuration with Kafka, Druid and the lake."""
    user = "pbal-hq-druid"
    settings = kafka.settings(user)
    password = path.parent / "druid.password"
    password.write_text(settings["sasl.password"])
    path.write_text(
        f'data = "{path.parent}"\n[database]\nurl = "{road.config.database.url}"\n'
        f'[lake]\nurl = "{road.config.lake.url}"\n[druid]\nbroker = "{engine.broker}"\n'
        f'coordinator = "{engine.coordinator}"\nfolder = "{shared}"\nkeep_days = 100\n'
        '[bus]\nkind = "kafka"\n[bus.kafka]\n'
        f'servers = {json.dumps(kafka.engine.servers)}\nuser = "{user}"\n'
        f'password_file = "{password}"\nca = "{settings["ssl.ca.location"]}"\n'
        f'certificate = "{settings["ssl.certificate.location"]}"\n'
        f'key = "{settings["ssl.key.location"]}"\n'
    )
    return path


async def test_druid_and_the_lake_have_the_same_figures(
    tmp_path,
    kafka,
    engine,
    database_url,  # noqa: F811
    run,  # noqa: F811
):
    from pbal_hq.bus import rights
    from pbal_hq.bus.kafka import KafkaBus

    rights.set_up(kafka.settings(), kafka.config())
    given = [each for day in DAYS for each in summaries(day, seed=day.day)]
    lake_folder, shared = tmp_path / "lake", tmp_path / "shared"
    for each in (lake_folder, shared):
        each.mkdir()
    server = Druid(engine.broker, engine.coordinator)
    first, after = DAYS[0].replace(day=1), TODAY.replace(day=1) + 32 * DAY
    now = datetime.datetime.now(datetime.UTC)

    def windows():
        try:
            (row,) = server.sql(f'SELECT SUM("windows") AS n, COUNT(*) AS hours FROM {SOURCE}')
        except TrendsError:  # it is not known yet
            return 0
        return row["n"] or 0

    try:
        async with road_at(tmp_path, database_url, str(lake_folder)) as road:
            await road.say(*given)
            await road.stored()
            await road.kept()
            file = written(tmp_path / "druid.toml", kafka, engine, road, shared)
            config = load(file)
            async with KafkaBus(kafka.settings()) as bus:
                await bus.append([said(each) for each in given])
            run("druid", "set-up", "-c", file)
            for rule, asked in zip(server.rules(SOURCE), retention(100), strict=True):
                assert rule | asked == rule  # with Druid's defaults besides
            await until(lambda: windows() == len(given), 150)
            async with connected(config.database) as db:
                areas = await placed(db, "feeder")

                async def answered():
                    return await ask(db, config.druid, lambda: road.lake, "feeder", first, after,
                                     now)  # fmt: skip

                expected = months(road.lake, areas, first, after, now)
                found, source = await answered()
                assert source == "Druid"
                assert any(value for month in found for value in month.values)
                same(found, expected)
                # A report has the store's numbers, whoever answers.
                for text in (f"{DAYS[0]}", f"{DAYS[0]:%Y-%m}"):
                    made = await report(db, text, now, Elsewhere(config.druid, None))
                    assert made.answered_by == "Druid"
                    same_report(made, await report(db, text, now))
                # Hours and days of areas, too, and the portal's page of them.
                source_of = Elsewhere(config.druid, None)
                for level, step in (("transformer", "hours"), ("state", "days")):
                    hours = await course(db, level, step, *DAYS, now, source_of)
                    assert (hours.answered_by, hours.quantiles) == ("Druid", True)
                    same_course(hours, await course(db, level, step, *DAYS, now))
                exact = await course(db, "state", "days", *DAYS, now,
                                     Elsewhere(DruidConfig(), lambda: road.lake))  # fmt: skip
                for name in ("load max median", "neutral max 95 %", "unbalance median"):
                    assert quantile(hours.points, name) == pytest.approx(
                        quantile(exact.points, name), rel=0.1
                    ), name
                query = f"by=transformer&step=hours&since={DAYS[0]}&last={DAYS[1]}"
                async with page(database_url) as reader:
                    shown, sheet = await reader(query, source_of)
                    assert "Answered by Druid." in shown
                    same_files(sheet, (await reader(query))[1], ("Druid", "the store"))
                # Quantiles over all, of what was in the windows.
                (row,) = server.sql(
                    f"SELECT APPROX_QUANTILE_DS(load_quantiles, 0.5) AS middle FROM {SOURCE}"
                )
                loads = sorted(each.load_max_percent for each in given)
                assert row["middle"] == pytest.approx(loads[len(loads) // 2], rel=0.1)
                # What comes twice is counted twice, until the lake corrects the day.
                async with KafkaBus(kafka.settings()) as bus:
                    await bus.append([said(each) for each in given[:40]])
                await until(lambda: windows() == len(given) + 40, 60)
                server.suspend(SOURCE)
                await until(lambda: not server.running(SOURCE), 90)
                day = f"{DAYS[0]}"
                told = run("druid", "correct", "--from", day, "--to", day, "-c", file).stdout
                assert told == f"{day}: {len(given) // 2} windows\n"
                await until(lambda: windows() == len(given), 60)
                same((await answered())[0], expected)
                assert list(shared.iterdir()) == []
                # Without it the lake answers.
                engine.stop()
                found, source = await answered()
                assert (source, found) == ("the lake", expected)
    finally:
        kafka.forget_hq()
