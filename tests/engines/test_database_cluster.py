"""HQ over PostgreSQL under Patroni: the primary is lost under load; a backup brings back a moment.

One story, because a cluster takes 20 s to come up. Its machines have the files that `pbal-hq db
cluster` writes. The primary's Patroni hangs while PostgreSQL goes on. The watchdog resets the
machine, which is also etcd's leader, so that the new one begins to count from there: the longest
way to a new primary. Meanwhile a site reports as fast as it can.
"""

import asyncio
import json
import threading
import time

import psycopg
import pytest
from rigs.dbcluster import DatabaseCluster, bin_dir
from rigs.hq import Headquarters, migrated, run  # noqa: F401
from rigs.hq_process import ANY_PORTS, QUICK, Process
from rigs.needs import PATIENCE_S
from rigs.sitefault import Site
from rigs.waiting import until

from pbal_hq.doctor.cluster import cluster as patroni
from pbal_hq.doctor.data import database

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(480)]

AGAIN_S = 30.0  # from the primary's loss to the next committed row


class Watching:
    """Looks without a break: when rows came, and whether two servers ever took writes at once."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.counts = []  # (when, rows)
        self.two = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._end.set()
        self._thread.join()

    def _look(self):
        while not self._end.wait(0.2):
            writers = self._cluster.writers()
            if len(writers) > 1:
                self.two.append(time.monotonic())
            for name in writers:
                said = self._cluster.sql(name, "SELECT count(*) FROM summary", "pbal_hq")
                if said:
                    self.counts.append((time.monotonic(), int(said)))

    def grown_after(self, moment):
        """When there was a row more than at this moment, or None."""
        before = max((n for when, n in self.counts if when <= moment), default=0)
        return next((when for when, n in self.counts if when > moment and n > before), None)


def rows(url, sql):
    with psycopg.connect(url) as db:
        return db.execute(sql).fetchall()


async def test_a_lost_primary_and_a_lost_table(tmp_path, run):  # noqa: F811
    cluster = DatabaseCluster(tmp_path / "hq")
    hq = Headquarters(tmp_path, cluster.url)
    site = role = None
    told = []
    try:
        begun = time.monotonic()
        await asyncio.to_thread(cluster.start)
        told.append(f"cluster up: {time.monotonic() - begun:.1f} s")
        await migrated(cluster.url)
        hq.broker.start()
        await hq.add_site(7, group="north")
        certificate = await hq.certificate(7)
        site = Site(tmp_path / "j.db", hq.config.broker.port, hq.pki.ca, *certificate)
        file = hq.written(tmp_path / "hq.toml", ANY_PORTS, "[metrics]\nport = 0\n", QUICK)
        role = Process(file, tmp_path / "hq.log", ("all",))
        await role.start()
        await site.start(100_000)
        # On a busy computer HQ takes long to start beside the cluster.
        some = "SELECT 1 FROM summary LIMIT 6"
        await until(lambda: len(rows(cluster.url, some)) > 5, 2 * PATIENCE_S)
        assert await asked(hq, "replication") == ["ok"]
        # Patroni answers when the computer lets it.
        await until(lambda: seen_by_patroni(hq) == ["ok"])
        await asyncio.to_thread(the_primary_hangs, cluster, told)
        # The doctor sees what is left.
        assert await asked(hq, "database") == ["ok"]
        assert await asked(hq, "replication") == ["error"]
        assert "error" in seen_by_patroni(hq)
        assert await asked(hq, "archive") == ["ok"]
        await site.drained()
        assert await role.terminate(60) == 0
        starts = [n for (n,) in rows(
            cluster.url, "SELECT extract(epoch FROM start_at)::bigint FROM summary")]  # fmt: skip
        commands = [n for (n,) in rows(cluster.url, "SELECT command_id FROM event")]
        told.append(
            f"{len(site.summaries)} summaries and {len(site.commands)} switchings said; "
            f"rows {len(starts)} and {len(commands)}"
        )
        assert set(site.summaries) <= set(starts), "lost"
        assert set(site.commands) <= set(commands), "lost"
        assert len(starts) == len(set(starts))
        assert len(commands) == len(set(commands))
        the_table_comes_back(cluster, run, len(starts), told)
    except AssertionError:
        if role is not None:
            print((tmp_path / "hq.log").read_text()[-4000:])
        raise
    finally:
        if site is not None:
            await site.kill()
        if role is not None:
            await role.kill()
        hq.broker.kill()
        cluster.stop()
        print("", *told, sep="\n")


def seen_by_patroni(hq):
    """What the doctor thinks of the cluster, by what each member's Patroni says."""
    return [found.level for found in patroni(hq.config)]


async def asked(hq, check):
    """What the doctor thinks of it."""
    return [found.level async for found in database(hq.config) if found.check == check]


def the_primary_hangs(cluster, told):
    primary, standby = cluster.role("primary"), cluster.role("sync")
    assert {primary, standby} == {"db1", "db2"}
    cluster.lead(primary)
    begun = time.monotonic()
    cluster.pgbackrest(primary, "stanza-create")
    cluster.pgbackrest(primary, "backup", "--type=full")
    told.append(f"encrypted full backup: {time.monotonic() - begun:.1f} s")
    with Watching(cluster) as seen:
        hung = time.monotonic()
        cluster.machines[primary].pause("patroni")
        dog = cluster.watchdogs[primary]
        cluster.wait(lambda: dog.resets, 30, "reset by the watchdog")
        lost = dog.resets[0]
        assert seen.grown_after(hung) < lost, "the hung primary took rows until then"
        cluster.wait(lambda: seen.grown_after(lost + 0.5), AGAIN_S + 10, "row after the loss")
        again = seen.grown_after(lost + 0.5)
    told.append(
        f"watchdog: {lost - hung:.1f} s after it hung; rows again {again - lost:.1f} s later"
    )
    assert cluster.writers() == [standby]
    assert again - lost < AGAIN_S
    assert seen.two == [], "two primaries"


def the_table_comes_back(cluster, pbal_hq, count, told):
    """The backup is of before the failover, the moment after it: WAL of two timelines."""
    (primary,) = cluster.writers()
    moment = cluster.sql(
        primary, "SELECT to_char(clock_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"
    )
    cluster.sql(primary, "TRUNCATE summary", "pbal_hq")
    cluster.sql(primary, "SELECT pg_switch_wal()")
    folder = cluster.folder / primary / "proof"
    conf = cluster.members[primary].place.etc / "pgbackrest.conf"
    backups = cluster.backups.rglob("*")
    assert not any(b"PGDATA" in path.read_bytes() for path in backups if path.is_file())

    def proved(*more):
        said = pbal_hq("db", "prove-backup", "--conf", conf, "--in", folder, "--bin-dir", bin_dir(),
                   "--json", *more)  # fmt: skip
        return json.loads(said.stdout)

    proof = proved("--at", moment)
    told.append(f"restored to the moment before: {proof['restore_s']:.1f} s")
    assert proof["summaries"] == count
    assert not folder.exists()
    assert int(cluster.sql(primary, "SELECT count(*) FROM summary", "pbal_hq")) == 0
