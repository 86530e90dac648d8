"""From the bus into the lake and back, beside the store: the same rows, the same figures."""

import asyncio
import dataclasses
import datetime
import json
import os
import random
import sys
import time
from pathlib import Path

import numpy
import pytest
from rigs.courses import course, page, quantile, same_course, same_files
from rigs.hq import execute
from rigs.lake import found, tree
from rigs.lakeroad import DAY, NOW, TODAY, road_at, said, start_s, summaries

from pbal_hq import lake, reports, roles
from pbal_hq.auth import Grant, Role, Who
from pbal_hq.bus import topics
from pbal_hq.config import Config, DruidConfig, LakeConfig
from pbal_hq.database import connected
from pbal_hq.errors import ConfigError, LakeError
from pbal_hq.lake import EVENT, SUMMARY
from pbal_hq.store import GROUP
from pbal_hq.trends import COLUMNS, Elsewhere, months, placed
from pbal_sim.childprocess import die_with_parent
from pbal_uplink import Event, Summary


@pytest.fixture
async def road(tmp_path, database_url):
    (tmp_path / "lake").mkdir()
    async with road_at(tmp_path, database_url, str(tmp_path / "lake")) as made:
        yield made


async def test_the_lake_has_what_the_store_has(road):
    days = [TODAY - n * DAY for n in (2, 1)]
    for day in days:
        await road.say(*summaries(day, seed=day.day))
        await road.say(*(Event(site=7, event_id=2**63 + 9 * day.day + n, kind=8,
                               at_s=start_s(day) + n)
                         for n in range(5)))  # fmt: skip
    # What the store refuses: of another site, of nobody, too old, from the future.
    strange = Summary(site=9, start_s=start_s(days[0]), length_s=300)
    await road.say(said(strange, site=7), said(strange))
    for at in (start_s(TODAY - 200 * DAY), start_s(TODAY + 3 * DAY)):
        early = Summary(site=7, start_s=at, length_s=300)
        await road.say(said(early, received=int(time.time())))
    await road.stored()
    await road.kept()
    rows, different = await road.differ()
    assert different == []
    assert rows == 2 * (96 + 5)
    assert road.lake.days(SUMMARY) == sorted(days)
    parts = road.lake.parts(SUMMARY, min(days), TODAY)
    assert [part.region for part in parts] == ["goa", "kerala"] * 2
    assert execute(road.hq.url, "SELECT count(*) FROM dead_letter") == [(4,)]


async def test_verify_names_the_day_region_and_column_that_differ(road):
    day = TODAY - DAY
    await road.say(*summaries(day))
    await road.stored()
    await road.kept()
    execute(road.hq.url, "DELETE FROM summary WHERE site_id = 7 AND start_at >= %s AND start_at < "
            "%s", day, datetime.datetime.combine(day, datetime.time(1), datetime.UTC))  # fmt: skip
    rows, different = await road.differ()
    assert rows == 96 - 2
    assert different == [f"{day} kerala: summary: rows: 46 in the store, 48 in the lake"]
    # One figure of one row, by its last digit.
    execute(road.hq.url, "UPDATE summary SET ea_import_kwh = ea_import_kwh + 0.01 "
            "WHERE site_id = 8 AND start_at = (SELECT min(start_at) FROM summary)")  # fmt: skip
    (_, different) = await road.differ()
    assert different[0].split(":")[:3] == [
        f"{day} goa", " summary", " ea_import_kwh"
    ]  # fmt: skip


async def test_what_comes_again_changes_nothing(road):
    day = TODAY - DAY
    messages = list(summaries(day))
    await road.say(*messages)
    await road.kept()
    folder = Path(road.config.lake.url)
    before = tree(folder)
    await road.say(*messages)
    writer = await road.kept()
    assert writer.rows_total == 96
    assert writer.files_total == 0
    assert {n: d for n, d in tree(folder).items() if "day" in n} == before
    # A day that is over becomes one file, by the role itself.
    assert all("h" in name or "day.parquet" in name for name in before)


async def test_what_is_not_written_yet_comes_again_after_a_kill(road):
    day = TODAY - DAY
    slow = road.config.model_copy(
        update={"lake": road.config.lake.model_copy(update={"flush_s": 3600.0})}
    )
    road.config, quick = slow, road.config
    await road.say(*summaries(day))
    writer = await road.kept()
    assert writer.rows_held == 96
    assert await road.bus.committed("lake", topics.SUMMARY) == -1
    # And the bus keeps it as long: the lake is one of its readers.
    await road.stored()
    assert await road.bus.trim(roles.consumers(road.config), -60) == 0
    road.config = quick
    await road.kept()
    assert (await road.differ())[1] == []
    assert await road.bus.trim(roles.consumers(road.config), -60) > 0
    assert roles.consumers(Config())[topics.SUMMARY] == (GROUP,)


async def test_a_share_that_is_not_mounted_holds_the_lake_up_and_nothing_else(road, tmp_path):
    (tmp_path / "lake" / ".pbal-lake").rename(tmp_path / "marker")
    await road.say(*summaries(TODAY - DAY))
    with pytest.raises(LakeError, match="Is the share mounted"):
        await road.kept()
    await road.stored()
    assert [path.name for path in (tmp_path / "lake").iterdir()] == [".tmp"]
    (tmp_path / "marker").rename(tmp_path / "lake" / ".pbal-lake")
    await road.kept()
    assert (await road.differ())[1] == []


async def test_a_replay_gives_the_store_what_it_lost_and_nothing_double(road):
    days = [TODAY - 2 * DAY, TODAY - DAY]
    for day in days:
        await road.say(*summaries(day, seed=day.day))
    await road.say(Event(site=7, event_id=2**63 + 5, at_s=start_s(days[0]), kind=8, detail="x"))
    await road.stored()
    await road.kept()
    columns = (
        "start_at, site_id, received_at, historical, in_mean_a, pvur_percent, losses_avoided_wh"
    )
    whole = f"SELECT {columns} FROM summary ORDER BY 1, 2"
    before = execute(road.hq.url, whole)
    sums = (
        "SELECT start_at, sampled_s, windows, in_max_a, confirmed FROM summary_daily ORDER BY 1, 2"
    )
    daily = execute(road.hq.url, sums)
    told = len(await road.bus.read(topics.OUT, -1, 10_000))
    files = tree(Path(road.config.lake.url))
    execute(road.hq.url, "DELETE FROM summary WHERE start_at < %s", days[1])
    execute(road.hq.url, "DELETE FROM event")
    total = await lake.replay(road.lake, road.bus, days[0], TODAY, lambda part, rows: None)
    assert total == 2 * 96 + 1
    await road.stored()
    assert execute(road.hq.url, whole) == before
    assert execute(road.hq.url, sums) == daily
    assert execute(road.hq.url, "SELECT event_id, detail FROM event") == [(5 - 2**63, "x")]
    # No site is told once more, and the lake takes nothing of it.
    assert len(await road.bus.read(topics.OUT, -1, 10_000)) == told
    assert (await road.kept()).rows_total == 0
    assert tree(Path(road.config.lake.url)) == files


# -- questions ------------------------------------------------------------------------------------


def same(a, b):
    """PostgreSQL sums four-byte numbers in four bytes, DuckDB in eight."""
    return a is b is None or a == pytest.approx(b, rel=1e-5)


async def test_months_have_the_numbers_of_reports(road):
    days = [TODAY - n * DAY for n in range(1, 36, 4)]
    for day in days:
        await road.say(*summaries(day, seed=day.toordinal()))
    await road.stored()
    await road.kept(rounds=6)
    boss = Who(1, "boss", "", 1, (Grant(Role.OFFICIAL, whole=True),))
    ((state,),) = execute(road.hq.url, "SELECT id FROM area WHERE code = 'KL'")
    text = f"{days[-1]:%Y-%m}"
    since, until = reports.period(text)
    async with connected(road.config.database) as db:
        paper = await reports.make(db, boss, state, text, NOW)
        areas = await placed(db, "state")
    rows = months(road.lake, areas, since.date(), until.date(), NOW)
    (mine,) = [row for row in rows if row.area == "KL"]
    assert mine.transformers == len(paper.rows)
    named = dict(zip((c.name for c in COLUMNS), mine.values, strict=True))
    totals = dict(zip((c.name for c in reports.COLUMNS), paper.totals, strict=True))
    assert totals["energy"] > 0
    for name, value in totals.items():
        if name != "neutral":  # reports give no total of it
            assert same(named[name], value), name
    # And each transformer by itself, the neutral and the unbalance, too.
    for transformer, area in execute(
        road.hq.url, "SELECT id, code FROM transformer WHERE code LIKE 'TR-%%'"
    ):
        alone = [dataclasses.replace(areas[0], transformer=transformer, area="one")]
        (one,) = months(road.lake, alone, since.date(), until.date(), NOW)
        (figures,) = [values for code, _, values in paper.rows if code == area]
        for column, here, there in zip(reports.COLUMNS, one.values, figures, strict=False):
            assert same(here, there), column.name
        ((pvur,),) = execute(
            road.hq.url, "SELECT sum(pvur_mean_percent * sampled_s) / sum(sampled_s) FILTER (WHERE "
            "pvur_mean_percent IS NOT NULL) FROM summary_daily WHERE transformer_id = %s AND "
            "start_at >= %s AND start_at < %s", transformer, since, until,
        )  # fmt: skip
        assert one.values[-1] == pytest.approx(pvur, rel=1e-5)


async def test_hours_and_days_are_the_stores_over_gaps_too(road):
    days = [TODAY - n * DAY for n in (4, 3, 2)]
    given = [each for day in days for each in summaries(day, seed=day.toordinal())]
    # Site 8 was away for some hours of each day, and on one day altogether; site 7 for an hour.
    given = [
        each for each in given
        if not (each.site == 8 and (each.start_s // 3600 % 24 in range(5, 9)
                                    or each.start_s >= start_s(days[2])))
        and not (each.site == 7 and each.start_s // 3600 == start_s(days[1]) // 3600 + 12)
    ]  # fmt: skip
    await road.say(*given)
    await road.stored()
    await road.kept(rounds=6)
    lake_only = Elsewhere(DruidConfig(), lambda: road.lake)
    async with connected(road.config.database) as db:
        for level, step in (("state", "days"), ("transformer", "hours"), ("district", "hours"),
                            ("transformer", "days")):  # fmt: skip
            stored = await course(db, level, step, days[0], days[2], NOW)
            found = await course(db, level, step, days[0], days[2], NOW, lake_only)
            assert (stored.answered_by, found.answered_by) == ("the store", "the lake")
            assert (stored.quantiles, found.quantiles) == (False, True)
            same_course(found, stored)
        whole = await course(db, "state", "days", days[0], days[2], NOW, lake_only)
        loads = [
            [each.load_max_percent for each in given
             if start_s(day) <= each.start_s < start_s(day) + 86_400]
            for day in days
        ]  # fmt: skip
        for name, share in (("load max median", 0.5), ("load max 95 %", 0.95)):
            assert quantile(whole.points, name) == pytest.approx(
                [numpy.quantile(each, share) for each in loads], rel=1e-3
            )
        # The lake is some hours behind: yesterday is the store's.
        late = await course(db, "state", "days", TODAY - DAY, TODAY - DAY, NOW, lake_only)
        assert late.answered_by == "the store"
    query = f"by=transformer&step=hours&since={days[0]}&last={days[2]}"
    async with page(road.hq.url) as asked:
        shown, file = await asked(query, lake_only)
        assert "Answered by the lake." in shown
        median, _ = await asked(f"{query}&figure=load+max+median", lake_only)
        assert "<polyline" in median
        same_files(file, (await asked(query))[1], ("the lake", "the store"))


# -- commands -------------------------------------------------------------------------------------


def written(path, road_config, **lake_table):
    """The configuration as a file."""
    tables = {"database": {"url": road_config.database.url}, "lake": lake_table}
    lines = [f"data = {json.dumps(str(road_config.data))}"]
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    path.write_text("\n".join(lines))
    return path


async def test_commands_end_to_end(road, run, tmp_path):
    config = written(tmp_path / "hq.toml", road.config, url=road.config.lake.url)
    await road.say(*summaries(TODAY - DAY), *summaries(TODAY - 2 * DAY))
    await road.stored()
    await road.kept()

    def call(*words, code=0):
        return asyncio.to_thread(run, "lake", *words, "-c", config, code=code)

    assert "is a lake already" in (await call("init", code=6)).stderr
    out = await call("verify")
    assert "192 rows of the store compared, 0 differences" in out.stdout
    execute(road.hq.url, "DELETE FROM summary WHERE site_id = 7")
    out = await call("verify", "--json", code=14)
    wrong = json.loads(out.stdout)["differences"]
    assert [(each["region"], each["store"], each["lake"]) for each in wrong] == [
        ("kerala", 0, 48), ("kerala", 0, 48)
    ]  # fmt: skip
    assert "pbal-hq lake replay" in out.stderr
    since, until = str(TODAY - 2 * DAY), str(TODAY)
    out = await call("replay", "--from", since, "--to", until)
    assert "192 rows are on the bus" in out.stdout
    await road.stored()
    await call("verify")
    assert "days of regions are one file each" in (await call("compact")).stdout
    month = f"{TODAY - DAY:%Y-%m}"
    rows = json.loads((await call("trends", "--from", month, "--to", month, "--json")).stdout)
    assert rows[0]["area"] == "KL/ERN"
    assert rows[0]["energy"] > 0
    for words, said_ in (
        (("replay", "--from", "2020-01-01", "--to", until), "the store keeps summaries for"),
        (("verify", "--from", "yesterday"), "needs a day, as 2026-11-28"),
        (("trends", "--from", month, "--to", month, "--by", "street"), "needs one of state"),
        (("trends", "--from", "2026-13", "--to", month), "--from '2026-13': needs a month"),
        (("trends", "--from", month, "--to", "2026-11-05"), "needs a month, as 2026-11"),
        (("reseal",), "set lake.key_file"),
    ):  # fmt: skip
        assert said_ in (await call(*words, code=2)).stderr


def test_an_encrypted_lake_is_made_and_never_written_in_the_clear(run, tmp_path, database_url):
    (tmp_path / "lake").mkdir()
    base = Config.model_validate({"data": tmp_path, "database": {"url": database_url}})
    sealed = written(tmp_path / "hq.toml", base, url=str(tmp_path / "lake"), key_file="lake.keys")
    assert "pbal-hq lake key" in run("lake", "init", "-c", sealed, code=13).stderr
    assert "Keep a copy" in run("lake", "key", "-c", sealed).stdout
    assert (tmp_path / "lake.keys").stat().st_mode & 0o777 == 0o600
    assert "is a lake now, encrypted" in run("lake", "init", "-c", sealed).stdout
    names = [json.loads(run("lake", "key", "-c", sealed, "--json").stdout)["key"] for _ in "12"]
    assert len(set(names)) == 2
    clear = written(tmp_path / "clear.toml", base, url=str(tmp_path / "lake"))
    assert "no key is given" in run("lake", "compact", "-c", clear, code=13).stderr
    none = written(tmp_path / "none.toml", base)
    assert "set lake.url" in run("lake", "verify", "-c", none, code=2).stderr
    bad = written(tmp_path / "bad.toml", base, url="s3://bucket/lake")
    assert "`url` is a folder" in run("lake", "init", "-c", bad, code=2).stderr


async def test_the_role_runs_only_where_there_is_a_lake():
    assert "lake" not in roles.wanted(Config())
    assert "lake" in roles.wanted(Config(lake=LakeConfig(url="/srv/lake")))
    with pytest.raises(ConfigError, match=r"set lake\.url"):
        await roles.run(Config(), ["lake"])


# -- kills ----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_kills_of_the_role_lose_nothing_and_double_nothing(road, tmp_path):
    """`pbal-hq run store lake` is killed at random while summaries come."""
    seed = int(os.environ.get("PBAL_LAKE_SEED", str(time.time_ns() % 100_000)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    config = written(tmp_path / "hq.toml", road.config, url=road.config.lake.url, flush_s=0.05)
    words = [sys.executable, "-c", "from pbal_hq.cli import main; main()", "run", "store", "lake",
             "-c", config]  # fmt: skip
    days = [TODAY - n * DAY for n in (3, 2, 1)]
    waiting = [m for day in days for m in summaries(day, step=1, seed=day.day)]
    dice.shuffle(waiting)
    log = (tmp_path / "log").open("wb")
    kills = int(os.environ.get("PBAL_LAKE_KILLS", "3"))
    each = len(waiting) // (kills * 5) + 1

    async def done():
        at = [await road.bus.committed("lake", t) for t in (topics.SUMMARY, topics.EVENT)]
        return at[0]

    for _ in range(kills):
        child = await asyncio.create_subprocess_exec(
            *words, stdout=log, stderr=log, preexec_fn=die_with_parent
        )
        before = await done()
        for _ in range(5):
            await road.say(*waiting[:each])
            del waiting[:each]
            await asyncio.sleep(0.1)
        for _ in range(3000):
            if await done() != before:
                break
            await asyncio.sleep(0.03)
        await asyncio.sleep(dice.random() * 0.3)
        assert child.returncode is None, (tmp_path / "log").read_text()[-2000:]
        child.kill()
        await child.wait()
    log.close()
    await road.say(*waiting)
    await road.stored()
    for _ in range(2):
        await road.kept(rounds=6)
    rows, different = await road.differ()
    assert different == []
    assert rows == 3 * 288 * 2
    assert all(
        len(found(road.lake, SUMMARY, part)) == 288
        for part in road.lake.parts(SUMMARY, days[0], TODAY)
    )
    assert road.lake.days(EVENT) == []
