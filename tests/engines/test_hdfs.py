"""The lake on a real HDFS, by its own protocol and over HTTP."""

import datetime

import pytest
from rigs.hq import database_url, postgres  # noqa: F401
from rigs.lake import PART, event, found, key_file, summary, table
from rigs.lakeroad import TODAY, road_at, summaries
from rigs.needs import missing, require_module

from pbal_engines import Hdfs, Missing, fetched, find_java
from pbal_hq import lake as lakes
from pbal_hq.errors import LakeError
from pbal_hq.lake import EVENT, SUMMARY, Lake
from pbal_hq.lake.keys import Sealing
from pbal_hq.lake.place import place

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def hdfs(tmp_path_factory):
    for name in ("duckdb", "hdfs_native", "requests"):
        require_module(name, "lake")
    try:
        find_java()
        fetched("hdfs")
    except Missing as error:
        missing("HDFS", str(error))
    engine = Hdfs(tmp_path_factory.mktemp("hdfs"))
    engine.start()
    yield engine
    for service in engine.services:
        print(service.name, service.weigh())
    engine.stop()


@pytest.fixture(params=["hdfs", "webhdfs"])
def url(request, hdfs, monkeypatch):
    """A folder of HDFS that is not there yet, by one of the two ways."""
    monkeypatch.setenv("HADOOP_USER_NAME", "hq")
    # Who started HDFS makes a folder in which the user `hq` may make lakes.
    boss = place(f"webhdfs://{hdfs.user}@{hdfs.http}/")
    boss.fs.makedirs("/lakes", exist_ok=True)
    boss.fs.chmod("/lakes", "777")
    name = f"{request.node.originalname}-{request.param}"
    if request.param == "hdfs":
        return f"hdfs://{hdfs.rpc}/lakes/{name}"
    return f"webhdfs://hq@{hdfs.http}/lakes/{name}"


def test_files_are_whole_once_and_sealed(url, tmp_path):
    with pytest.raises(LakeError, match="there is no such folder"):
        place(url).check()
    ring = key_file(tmp_path / "keys")
    lake = Lake(place(url), Sealing(ring))
    lake.place.init(encrypted=True)
    lake.check()
    rows = table(*(summary(n, site) for n in range(36) for site in (7, 8)))
    assert lake.add(SUMMARY, PART, rows) == 3
    assert lake.add(SUMMARY, PART, rows) == 0
    before = found(lake)
    assert len(before) == 72
    # In the place of the file before.
    assert lake.add(SUMMARY, PART, table(summary(3, ia_mean_a=77.5))) == 1
    assert len(found(lake)) == 72
    assert 77.5 in [row["ia_mean_a"] for row in found(lake)]
    assert lake.place.names(".tmp") == []
    assert lake.compact(SUMMARY, PART)
    (path,) = lake.files(SUMMARY, PART)
    assert path.endswith("/day.parquet")
    assert lake.add(SUMMARY, PART, table(summary(3, ia_mean_a=78.5), summary(100))) == 1
    assert len(found(lake)) == 73
    with lake.place.open(path) as file:
        data = file.read()
    assert (data[:4], data[-4:]) == (b"PARE", b"PARE")
    assert b"ia_mean_a" not in data
    wrong = Lake(place(url), Sealing(key_file(tmp_path / "others")))
    with pytest.raises(LakeError, match="is another one than it was written with"):
        found(wrong)
    asked = lakes.scan(
        lake, SUMMARY, PART.day, PART.day + DAY,
        "SELECT region, count(*), max(ia_mean_a) FROM summary GROUP BY 1",
    )  # fmt: skip
    assert asked == [("kerala", 73, 78.5)]


def test_a_killed_writer_leaves_nothing_that_is_seen(url):
    lake = Lake(place(url), Sealing(None))
    lake.place.init(encrypted=False)
    lake.add(EVENT, PART, table(event(1)))

    def broken(file):
        file.write(b"half a file")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.place.publish(f"{lake.folder(EVENT, PART)}/h00.parquet", broken)
    with lake.place.fs.open(lake.place.full(".tmp/left"), "wb") as file:
        file.write(b"of a writer that is no more")
    assert len(found(lake, EVENT)) == 1
    lake.place.sweep()
    assert lake.place.fs.ls(lake.place.full(".tmp")) == []
    assert lake.drop_before(EVENT, PART.day + DAY) == 1
    assert lake.days(EVENT) == []


def test_who_may_not_write_is_told(url, hdfs, monkeypatch):
    made = Lake(place(url), Sealing(None))
    made.place.init(encrypted=False)
    if url.startswith("webhdfs"):
        other = place(url.replace("//hq@", "//stranger@"))
        with pytest.raises(LakeError, match=r"[Pp]ermission denied"):
            Lake(other, Sealing(None)).add(SUMMARY, PART, table(summary(1)))
    with pytest.raises(LakeError, match=r"127\.0\.0\.1:1"):
        place(f"{url.partition('://')[0]}://127.0.0.1:1/lake").check()


async def test_what_hq_stores_is_on_hdfs(url, tmp_path, database_url):  # noqa: F811
    ring = key_file(tmp_path / "keys")
    assert ring
    async with road_at(tmp_path, database_url, url, key_file=tmp_path / "keys") as road:
        for day in (TODAY - 2 * DAY, TODAY - DAY):
            await road.say(*summaries(day, seed=day.day))
        await road.stored()
        await road.kept()
        assert await road.differ() == (2 * 96, [])
        # The role makes days of hours that are over.
        await road.kept()
        parts = road.lake.parts(SUMMARY, TODAY - 2 * DAY, TODAY)
        assert len(parts) == 4
        async with road.database.connection() as db, lakes.locked(db) as still:
            await lakes.compact(road.lake, TODAY, still, lambda: None)
        assert all(road.lake.files(SUMMARY, p)[0].endswith("day.parquet") for p in parts)
        assert await road.differ() == (2 * 96, [])
