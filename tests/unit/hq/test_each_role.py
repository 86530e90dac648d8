"""Every role of HQ as a process of its own (`pbal-hq run ROLE`), on one computer.

A site's messages go from the broker to the portal's API and to a receiver outside, an order goes
back, and each role is seen to do its part. PostgreSQL, Mosquitto and the controller's uplink are
real.
"""

import asyncio
import contextlib
import dataclasses
import subprocess
import sys
import time

import aiohttp
import pytest
from aiohttp import web
from rigs import people
from rigs.hq import Headquarters
from rigs.hq_process import Process
from rigs.needs import PATIENCE_S
from rigs.uplink import a_state, no_reading, opened
from rigs.waiting import until

from pbal_controller.config import PlannerConfig, UplinkConfig
from pbal_controller.standing import Mode, Restraint
from pbal_controller.uplink import Commands, Uplink, outbox
from pbal_host import check_cancelled
from pbal_hq import commands, roles
from pbal_sim.hq import free_port
from pbal_uplink import Event, Summary, names

pytestmark = pytest.mark.timeout(900)
SITE = 7


async def told(what, condition):
    """Wait for it: each process imports for a while first."""
    return await until(condition, 2 * PATIENCE_S, what)


@contextlib.asynccontextmanager
async def receiver():
    """A webhook's other end: (its address, the bodies that came)."""
    came = []

    async def post(request):
        came.append(await request.json())
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", post)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}/hook", came
    finally:
        await runner.cleanup()


def written(folder, hq, portal, enrol, hook):
    path = folder / "hq.toml"
    path.write_text(
        f'data = "{hq.config.data}"\n[database]\nurl = "{hq.url}"\npool_max = 4\n'
        f"[broker]\nport = {hq.config.broker.port}\n"
        f'[enrol]\nlisten = "127.0.0.1"\nport = {enrol}\n[portal]\nport = {portal}\n'
        "[ingest]\nstored_batch = 1\nstored_within_s = 1\n"
        f'[[notify.routes]]\nname = "desk"\nkind = "webhook"\nurl = "{hook}"\n'
    )
    return path


def its_state(backlog, thinned):
    """Of a site that takes commands."""
    return dataclasses.replace(a_state(backlog, thinned), capabilities=names.CAPABILITY_COMMANDS)


@contextlib.asynccontextmanager
async def controller(folder, hq):
    """A site's uplink: (its journal, its restraint)."""
    journal = await opened(folder / "j.db")
    cert, key = await hq.certificate(SITE)
    public = commands.Signer.read(hq.config.data / "command.key").public_hex
    settings = UplinkConfig(
        kind="sparkplug", host="localhost", port=hq.config.broker.port, group="north",
        node=str(SITE), ca=hq.pki.ca, certificate=cert, key=key, spread_s=0, retry_s=1,
        primary_host="hq", hq_keys=(public,), allow=("mode",),
    )  # fmt: skip
    restraint = Restraint()
    taken = Commands(journal, settings, PlannerConfig(), SITE, restraint, time.time)
    uplink = Uplink(journal, settings, SITE, its_state, taken, no_reading, time.time)
    task = asyncio.create_task(uplink.run(check_cancelled))
    try:
        yield journal, restraint
    finally:
        task.cancel()
        await asyncio.wait([task])
        await journal.close()


class Api:
    """The portal's API for one user."""

    def __init__(self, http, port, access):
        self._http, self._base = http, f"http://127.0.0.1:{port}/api/v1"
        self._head = {"Authorization": f"Bearer {access}"}

    async def get(self, path):
        """What it answers; None while the portal does not listen."""
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with self._http.get(self._base + path, headers=self._head) as answer:
                return await answer.json() if answer.status == 200 else None

    async def post(self, path, body):
        async with self._http.post(self._base + path, headers=self._head, json=body) as answer:
            assert answer.status == 201, await answer.text()
            return await answer.json()


async def test_a_message_and_an_order_pass_through_roles_that_are_processes(tmp_path, database_url):
    hq = Headquarters(tmp_path, database_url)
    (hq.config.data / "portal.secret").write_text(people.MASTER.hex())
    portal, enrol = free_port(), free_port()
    listed = hq.pki.crl.stat().st_mtime_ns
    hq.broker.start()
    processes = []
    try:
        async with receiver() as (hook, came), people.connected(database_url) as conn:
            fleet = await people.make(conn)
            one = fleet.transformers["T1"]
            await conn.execute(
                "INSERT INTO enrol_token (hash, site_id, expires_at) VALUES ('x', 7, '2020-01-01')"
            )
            file = written(tmp_path, hq, portal, enrol, hook)
            processes = [
                Process(file, tmp_path / f"{role}.log", ("run", role))
                for role in roles.wanted(hq.config)
            ]
            for process in processes:
                await process.start()
            _, access = await people.who(conn, "operator-d1")

            async def rows(sql):
                return await (await conn.execute(sql)).fetchone()

            async with aiohttp.ClientSession() as http, controller(tmp_path, hq) as (journal, held):
                api = Api(http, portal, access)
                # bridge, decode, store, portal: a window of just now is what the API tells.
                start_s = int(time.time()) // 300 * 300 - 300
                window = Summary(site=SITE, start_s=start_s, length_s=300, complete_percent=100,
                                 ia_mean_a=41.5, homes=4)  # fmt: skip
                await journal.call(outbox.put, window, 100)
                await told("the site at the portal", lambda: seen(api, one))
                # The bridge again: what is stored is told to the site, which forgets it.
                await told("STORED", lambda: empty(journal))
                await told("sums", lambda: rows("SELECT 1 FROM summary_hourly"))
                # notify: an event is an alarm, and somebody outside is told.
                event = Event(site=SITE, event_id=9, at_s=start_s, kind=names.KIND_NODE, severity=2,
                              address=257, detail="a relay does not follow")  # fmt: skip
                await journal.call(outbox.put, event, 100)
                await told("a webhook", lambda: came)
                assert came[0]["changes"][0]["transformer"] == "T1"
                # orders: from the API to the controller, whose answer comes back.
                hold = {"kind": "mode", "mode": "hold", "why": "storm", "good_for_s": 3600}
                made = await api.post(f"/transformers/{one}/commands", hold)
                await told("the order", lambda: held.mode is Mode.HOLD)
                await told("the answer", lambda: done(api, made["id"]))
                # enrol and house by themselves.
                trust = hq.context()
                async with http.get(f"https://localhost:{enrol}/ca", ssl=trust) as answer:
                    assert (await answer.text()).encode() == hq.pki.ca.read_bytes()
                await told("the list", lambda: hq.pki.crl.stat().st_mtime_ns > listed)
                assert await rows("SELECT 1 FROM enrol_token") is None
            logs = {p.words[1]: (tmp_path / f"{p.words[1]}.log").read_text() for p in processes}
            assert [p.words[1] for p in processes if not p.runs] == [], logs
            assert not [role for role, text in logs.items() if "does not work" in text], logs
            assert [await process.stop() for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            await process.kill()
        hq.broker.kill()


async def seen(api, transformer):
    told = await api.get(f"/transformers/{transformer}")
    return told and told["window"] and told["window"]["ia_mean_a"] == 41.5


async def empty(journal):
    return await journal.call(outbox.backlog) == 0


async def done(api, number):
    found = await api.get("/commands")
    return found and any(c["id"] == number and c["status"] == "done" for c in found)


STARTS = """
import asyncio, sys
from pbal_hq import roles
from pbal_hq.config import Config

def loaded():
    print([room for room in sys.argv[2:] if room in sys.modules])

def begin():
    loaded()
    raise SystemExit

loaded()
roles.Supervisor = begin
asyncio.run(roles.run(Config.model_validate_json(sys.argv[1]), ["portal"]))
"""
DRUID = '{"druid": {"broker": "http://127.0.0.1:1", "coordinator": "http://127.0.0.1:1"}}'
MORE = (
    '{"lake": {"url": "file:///nowhere"},'
    ' "oidc": {"issuer": "https://id.test", "client_id": "x", "portal_url": "https://hq.test"}}'
)
ROOMS = ("pbal_hq.portal", "pbal_hq.trends", "pyarrow.dataset", "pbal_hq.auth.oidc")


@pytest.mark.parametrize(
    ("settings", "loaded"),
    [("{}", ROOMS[:1]), (DRUID, ROOMS[:2]), (MORE, ROOMS)],
)
def test_a_large_room_is_loaded_before_there_are_loops_and_says_nothing(settings, loaded):
    words = [sys.executable, "-c", STARTS, settings, *ROOMS]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"[]\n{list(loaded)}\n", "")
