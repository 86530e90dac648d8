"""Two processes with the same roles, of which each role runs in one: killed, upgraded, put back.

A site reports as fast as it can meanwhile; at the end the counts at both ends are compared. The
"new" program is this one with one step of the schema more.
"""

import asyncio
import sys
import time

import pytest
from rigs.hq import Headquarters, database_url, execute, postgres  # noqa: F401
from rigs.hq_process import QUICK, Process
from rigs.sitefault import Site
from rigs.waiting import until

from pbal_hq.database import Step, connected, migrate, steps

ROLES = ("bridge", "decode", "store", "orders")
TAKEOVER_S = 4
LATER = Step(9001, "later", "ALTER TABLE summary ADD COLUMN later int")
NEW = (
    "import sys, pbal_hq.database.migrate; m = sys.modules['pbal_hq.database.migrate']; "
    "known = m.steps; "
    f"m.steps = lambda: [*known(), m.Step({LATER.number}, '{LATER.name}', '{LATER.sql}')]"
)

pytestmark = [pytest.mark.keeps_processes, pytest.mark.timeout(400)]


def written(folder, hq):
    standby = f"[standby]\nroles = {list(ROLES)}\ntakeover_s = {TAKEOVER_S}\n"
    return hq.written(folder / "hq.toml", "[metrics]\nport = 0\n", QUICK, standby)


async def test_a_kill_an_upgrade_and_the_way_back_lose_nothing(tmp_path, database_url):  # noqa: F811
    hq = Headquarters(tmp_path, database_url)
    hq.broker.start()
    await hq.add_site(7, group="north")
    site = Site(tmp_path / "j.db", hq.config.broker.port, hq.pki.ca, *await hq.certificate(7))
    file, log = written(tmp_path, hq), tmp_path / "hq.log"
    one, two = (Process(file, log, ("run", *ROLES)) for _ in range(2))
    told = []

    def rows():
        return execute(hq.url, "SELECT count(*) FROM summary")[0][0]

    async def goes_on(what):
        """Rows come again."""
        begun, before = time.monotonic(), rows()
        await until(lambda: asyncio.to_thread(lambda: rows() > before + 5), what=what)
        told.append(f"{what}: rows again after {time.monotonic() - begun:.1f} s")

    def waits(count):
        return log.read_text().count("another process runs this role") >= count * len(ROLES)

    try:
        await one.start()
        await site.start(100_000)
        await goes_on("one process")
        await two.start()
        await until(lambda: waits(1))
        await one.kill()
        await goes_on("the first was killed")
        # The new program changes the schema under the old one, and takes over from it.
        async with connected(hq.config.database) as db:
            assert await migrate(db, known=[*steps(), LATER]) == [LATER]
        await goes_on("the schema is newer than the program")
        one.before = NEW
        await one.start()
        await until(lambda: waits(2))
        assert await two.stop() == 0
        await goes_on("new in place of old")
        # And back: the old program starts on the newer schema.
        await two.start()
        await until(lambda: waits(3))
        assert await one.stop() == 0
        await goes_on("old in place of new")
        await site.drained()
        assert await two.stop() == 0
    except AssertionError:
        print(log.read_text()[-5000:], file=sys.stderr)
        raise
    finally:
        await site.kill()
        for process in (one, two):
            await process.kill()
        hq.broker.kill()
        print("", *told, sep="\n")
    found = execute(hq.url, "SELECT extract(epoch FROM start_at)::bigint FROM summary")
    starts = [start for (start,) in found]
    commands = [number for (number,) in execute(hq.url, "SELECT command_id FROM event")]
    print(f"{len(site.summaries)} summaries and {len(site.commands)} switchings said; "
          f"rows {len(starts)} and {len(commands)}")  # fmt: skip
    assert execute(hq.url, "SELECT kind, reason FROM dead_letter") == []
    assert set(site.summaries) <= set(starts), "lost"
    assert set(site.commands) <= set(commands), "lost"
    assert len(starts) == len(set(starts))
    assert len(commands) == len(set(commands))
