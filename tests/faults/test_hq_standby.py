"""Two processes with the same roles, of which each role runs in one: killed, upgraded, put back.

A site reports as fast as it can meanwhile, other sites enrol and renew, and somebody looks at page
after page; at the end the counts at both ends are compared. The "new" program is this one with one
step of the schema more.
"""

import asyncio
import contextlib
import sys
import time

import pytest
from rigs import people
from rigs.hq import Headquarters, database_url, execute, postgres  # noqa: F401
from rigs.hq_process import QUICK, Process
from rigs.rolling import Newcomers, Person, Portals
from rigs.sitefault import Site
from rigs.waiting import going, until

from pbal_hq.database import Step, connected, migrate, steps
from pbal_sim.hq import free_port

# Of which one process at a time does the work,
ROLES = ("bridge", "decode", "store", "sums", "orders", "house", "notify")
# and who serve beside each other.
OPEN = ("enrol", "portal")
TAKEOVER_S = 4
LATER = Step(9001, "later", "ALTER TABLE summary ADD COLUMN later int")
NEW = (
    "import sys, pbal_hq.database.migrate; m = sys.modules['pbal_hq.database.migrate']; "
    "known = m.steps; "
    f"m.steps = lambda: [*known(), m.Step({LATER.number}, '{LATER.name}', '{LATER.sql}')]"
)

pytestmark = [pytest.mark.keeps_processes, pytest.mark.timeout(400)]


class Upgrade:
    """An HQ of two processes, each with its own doors, and all who use it."""

    def __init__(self, folder, url):
        self.hq = Headquarters(folder, url)
        (self.hq.config.data / "portal.secret").write_text(people.MASTER.hex() + "\n")
        self.folder, self.log = folder, folder / "hq.log"
        self.site = None
        enrol, portal = ([free_port(), free_port()] for _ in OPEN)
        self.processes = [
            Process(self._written(folder / f"hq{n}.toml", *ports), self.log,
                    ("run", *ROLES, *OPEN))
            for n, ports in enumerate(zip(enrol, portal, strict=True))
        ]  # fmt: skip
        self.portals = Portals(folder, portal)
        self.person = Person(self.portals)
        self.newcomers = Newcomers(self.hq, folder / "newcomers", enrol)
        self.told = []

    def _written(self, file, enrol, portal):
        return self.hq.written(
            file, "[metrics]\nport = 0\n", QUICK,
            f"[standby]\nroles = {list(ROLES)}\ntakeover_s = {TAKEOVER_S}\n"
            f'[enrol]\nlisten = "127.0.0.1"\nport = {enrol}\nattempts_per_minute = 6000\n'
            f"[portal]\nport = {portal}\nplain_http = true\n",
        )  # fmt: skip

    async def up(self):
        """The fleet and its person; the site 7; the first process and the balancer."""
        self.hq.broker.start()
        async with people.connected(self.hq.url) as conn:
            await people.alarm(conn, await people.make(conn), "T1")
        await self.processes[0].start()
        await until(lambda: self.reached(0), what="the first portal")
        self.portals.start()
        await until(lambda: self.portals.said(1, "DOWN"), what="the balancer")
        await self.person.log_in()
        files = await self.hq.certificate(7)
        self.site = Site(self.folder / "j.db", self.hq.config.broker.port, self.hq.pki.ca, *files)
        await self.site.start(100_000)

    async def reached(self, number):
        """Whether this portal answers."""
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.portals.ports[number])
            writer.close()
            return True
        return False

    async def add(self, number, beside):
        """A process starts: it waits for the work, and its doors are open beside the other's."""
        noticed = self.portals.said(number, "UP")
        await self.processes[number].start()
        await until(lambda: self._waits(beside), what="a standby")
        await until(lambda: self.portals.said(number, "UP") > noticed, what="the balancer")
        assert await self.person.sees(0), "of one session, both show its pages"
        assert await self.person.sees(1)
        since = len(self.newcomers.given_by)
        addresses = set(self.newcomers.addresses)
        await until(
            lambda: set(self.newcomers.given_by[since:]) == addresses, what="certificates of both"
        )

    def _waits(self, count):
        return self.log.read_text().count("another process runs this role") >= count * len(ROLES)

    def rows(self):
        return execute(self.hq.url, "SELECT count(*) FROM summary")[0][0]

    async def goes_on(self, what):
        """Rows come again."""
        begun, before = time.monotonic(), self.rows()
        await until(lambda: asyncio.to_thread(lambda: self.rows() > before + 5), what=what)
        self.told.append(f"{what}: rows again after {time.monotonic() - begun:.1f} s")

    async def down(self):
        for each in (self.site, *self.processes):
            if each is not None:
                await each.kill()
        self.portals.stop()
        self.hq.broker.kill()
        await self.person.close()
        print("", *self.told, sep="\n")


@pytest.mark.long
async def test_a_kill_an_upgrade_and_the_way_back_lose_nothing(tmp_path, database_url):  # noqa: F811
    all_ = Upgrade(tmp_path, database_url)
    hq, (one, two) = all_.hq, all_.processes
    person, newcomers, goes_on = all_.person, all_.newcomers, all_.goes_on
    try:
        await all_.up()
        await goes_on("one process")
        async with going(person.look()), going(newcomers.come()):
            await all_.add(1, beside=1)
            await one.kill()
            await goes_on("the first was killed")
            # The new program changes the schema under the old one, and takes over from it.
            async with connected(hq.config.database) as db:
                assert await migrate(db, known=[*steps(), LATER]) == [LATER]
            await goes_on("the schema is newer than the program")
            one.before = NEW
            await all_.add(0, beside=2)
            assert await two.stop() == 0
            await goes_on("new in place of old")
            # And back: the old program starts on the newer schema.
            await all_.add(1, beside=3)
            assert await one.stop() == 0
            await goes_on("old in place of new")
        await all_.site.drained()
        due = "SELECT count(*) FROM summary_due"
        await until(lambda: asyncio.to_thread(lambda: execute(hq.url, due) == [(0,)]), what="sums")
        assert await two.stop() == 0
    except AssertionError:
        print(all_.log.read_text()[-5000:], file=sys.stderr)
        raise
    finally:
        await all_.down()
    site = all_.site
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
    for table in ("hourly", "daily"):
        whole = execute(hq.url, f"SELECT sum(windows) FROM summary_{table}")
        assert whole == [(len(starts),)], table

    print(f"{len(person.codes)} pages, the slowest after {person.slowest_s:.2f} s")
    print(f"{len(newcomers.given_by)} certificates, {newcomers.lost} times nobody answered")
    assert len(person.codes) > 100
    assert set(person.codes) == {200}
    # Each certificate that a site holds is HQ's; one whose answer was lost may be there besides.
    known = execute(hq.url, "SELECT site_id, serial FROM certificate WHERE revoked_at IS NULL")
    held = {(site, f"{serial:x}") for site, own in newcomers.held.items() for serial in own}
    others = {row for row in known if row[0] > 1000} - held
    assert held <= set(known)
    assert len(others) <= newcomers.lost + 1
    assert all(len(serials) == 2 for serials in list(newcomers.held.values())[:-1])
