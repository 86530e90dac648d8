"""HQ is started before its database: what is not there yet is waited for, what is wrong ends it."""

import asyncio
import json
import logging
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psycopg
import pytest
from rigs.hq import Headquarters, execute
from rigs.hq_process import ANY_PORTS, Process
from rigs.needs import PATIENCE_S
from rigs.waiting import until

from pbal_hq import roles
from pbal_hq.awaited import Awaited
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import reach, ready
from pbal_hq.errors import BusAway, BusError, DatabaseAway, DatabaseError
from pbal_hq.supervisor import Supervisor


def config(url, **more):
    return DatabaseConfig(url=url, timeout_s=2, **more)


def error_of(sqlstate, words):
    """A server's FATAL, in its own language."""
    fields = b"SFATAL\0VFATAL\0C" + sqlstate.encode() + b"\0M" + words.encode() + b"\0\0"
    return b"E" + struct.pack("!I", 4 + len(fields)) + fields


class Server:
    """Answers every start-up message with the same bytes; refuses TLS before it, as asked."""

    def __init__(self, answer, silent=False):
        self._answer, self._silent = answer, silent
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._one, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _one(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            while not self._silent:
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                (code,) = struct.unpack("!I", (await reader.readexactly(length - 4))[:4])
                if code != 196_608:  # a request for TLS or GSSAPI
                    writer.write(b"N")
                    continue
                writer.write(self._answer)
                return
            await reader.read()
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


STARTING = error_of("57P03", "el sistema de base de datos está iniciándose")
PASSWORD = error_of("28P01", "la autentificación password falló")


async def of(answer, silent=False):
    """What HQ makes of a server that answers so."""
    async with Server(answer, silent) as server:
        url = f"host=127.0.0.1 port={server.port} dbname=x connect_timeout=2"
        with pytest.raises(DatabaseError) as refused:
            await ready(config(url))
    return refused.type


async def test_a_server_that_starts_is_waited_for_in_any_language():
    assert await of(STARTING) is DatabaseAway


@pytest.mark.parametrize("answer", [b"", b"E\0"], ids=["closes", "ends in the middle"])
async def test_one_that_goes_away_is_waited_for(answer):
    assert await of(answer) is DatabaseAway


async def test_one_that_says_nothing_is_waited_for():
    assert await of(b"", silent=True) is DatabaseAway


@pytest.mark.parametrize("code", ["28P01", "3D000", "28000"])
async def test_a_refusal_is_final(code):
    assert await of(error_of(code, "no")) is DatabaseError


@pytest.mark.parametrize(("answer", "away"), [(PASSWORD, False), (STARTING, True)])
async def test_without_the_tls_that_we_ask_for_it_is_final_once_it_is_up(answer, away):
    async with Server(answer) as server:
        url = f"host=127.0.0.1 port={server.port} dbname=x sslmode=require"
        with pytest.raises(DatabaseError) as refused:
            await ready(config(url))
    assert (refused.type is DatabaseAway) is away


async def test_no_server_is_waited_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    hosts = ("127.0.0.1", str(tmp_path), f"{tmp_path},127.0.0.1")
    for url in (f"host={host} port={port}" for host in hosts):
        with pytest.raises(DatabaseAway, match="cannot be reached"):
            await ready(config(f"{url} dbname=x"))


@pytest.mark.parametrize(
    ("code", "away"), [(socket.EAI_AGAIN, True), (socket.EAI_NONAME, False)], ids=["later", "never"]
)
async def test_a_name_that_nobody_knows_is_final(monkeypatch, code, away):
    async def no_name(*_, **__):
        raise socket.gaierror(code, "in vain")

    monkeypatch.setattr(asyncio, "open_connection", no_name)
    error = psycopg.OperationalError("failed to resolve host")
    assert await reach.is_away(config("host=db.example.org"), error) is away


async def test_of_several_servers_one_refusal_is_final():
    async with Server(PASSWORD) as first, Server(STARTING) as second:
        url = f"host=127.0.0.1,127.0.0.1 port={second.port},{first.port} dbname=x"
        with pytest.raises(DatabaseError) as refused:
            await ready(config(url))
    assert refused.type is DatabaseError


async def test_readers_alone_are_waited_for(postgres, empty_url):
    """As while a cluster has no primary: its standby answers, and takes no writes."""
    name = empty_url.rpartition("dbname=")[2].split()[0].strip("'")
    execute(empty_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(DatabaseAway):
        await ready(config(f"{empty_url} target_session_attrs=read-write"))


async def test_what_a_person_must_mend_is_final(postgres, empty_url, database_url):
    with pytest.raises(DatabaseError, match="pbal-hq db migrate") as refused:
        await ready(config(empty_url))
    assert refused.type is DatabaseError
    with pytest.raises(DatabaseError, match="pbal-hq init") as refused:
        await ready(config(f"host={postgres.folder} user=postgres dbname=nothing_of_ours"))
    assert refused.type is DatabaseError
    await ready(config(database_url))


async def test_a_change_is_one_line_however_long_it_takes(caplog, monkeypatch):
    monkeypatch.setattr("pbal_hq.awaited._FIRST_S", 0.001)
    monkeypatch.setattr("pbal_hq.awaited._LAST_S", 0.002)
    tries = []

    async def ask():
        tries.append(None)
        if len(tries) < 40:
            raise BusAway(f"try {len(tries)}")

    need = Awaited("the bus", ask)
    caplog.set_level(logging.INFO, "pbal_hq.awaited")
    await asyncio.wait_for(need.run(), 60)
    assert [record.message for record in caplog.records] == [
        "not there yet, what needs it waits", "is there now"
    ]  # fmt: skip
    assert need.is_there
    assert not need.why


async def test_a_role_waits_for_what_it_needs_and_no_other_does():
    there = asyncio.Event()
    began = []

    async def ask():
        if not there.is_set():
            raise BusAway("nobody answers")

    async def role(name):
        began.append(name)
        await asyncio.Event().wait()

    bus = Awaited("the bus", ask)
    supervisor = Supervisor()
    supervisor.add("store", lambda beat: role("store"), bus)
    supervisor.add("portal", lambda beat: role("portal"))
    task = asyncio.create_task(supervisor.run(bus))
    try:
        await until(lambda: began == ["portal"] and bus.why)
        store, portal = supervisor.states()
        assert store.failing
        assert store.why == "it waits for the bus: nobody answers"
        assert not portal.failing
        there.set()
        await until(lambda: "store" in began)
        assert not any(state.failing for state in supervisor.states())
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_does_not_pass_ends_all_with_its_own_error():
    async def ask():
        raise BusError("wrong password")

    async def role(beat):
        await asyncio.Event().wait()

    bus = Awaited("the bus", ask)
    supervisor = Supervisor()
    supervisor.add("portal", role)
    supervisor.add("store", role, bus)
    with pytest.raises(BusError, match="wrong password"):
        await asyncio.wait_for(supervisor.run(bus), 60)


def asked(target, path):
    """(status, text) of a process, found as Prometheus finds it."""
    address = json.loads(target.read_bytes())[0]["targets"][0]
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.long
@pytest.mark.keeps_processes  # the database is started anew
async def test_hq_is_there_before_its_database(tmp_path, postgres, database_url):
    hq = Headquarters(tmp_path, database_url)
    hq.broker.start()
    file = hq.written(tmp_path / "hq.toml", ANY_PORTS, "[metrics]\nport = 0\n")
    log = tmp_path / "hq.log"
    target = hq.config.data / "metrics" / "hq-all.json"
    one, stopped = Process(file, log, ("all",)), Process(file, tmp_path / "2.log", ("run", "sums"))
    postgres.kill()
    try:
        await one.start()
        await stopped.start()
        await until(target.exists)

        def health():
            return asked(target, "/healthz")

        status, text = await asyncio.to_thread(health)
        assert status == 503
        assert "sums: it waits for the database: " in text
        assert "cannot be reached (database.url)" in text or "not asked yet" in text
        # What needs the bus alone takes messages from the broker meanwhile.
        await until(lambda: "broker is there" in log.read_text())
        status, text = await asyncio.to_thread(asked, target, "/metrics")
        assert status == 200
        assert "\npbal_hq_database_up 0.0\n" in text
        assert 'pbal_hq_role_failing{role="sums"} 1.0\n' in text
        assert 'pbal_hq_role_failing{role="bridge"} 0.0\n' in text

        # Who is told to stop meanwhile does so at once, as one who was wanted to.
        await until(lambda: "not there yet" in (tmp_path / "2.log").read_text())
        began = time.monotonic()
        assert await stopped.terminate(PATIENCE_S) == 0
        took_s = time.monotonic() - began

        await asyncio.sleep(2)
        assert log.read_text().count("not there yet, what needs it waits") == 1
        assert one.runs
        postgres.start()
        await until(lambda: asyncio.to_thread(lambda: health()[0] == 200))
        said = log.read_text()
        assert said.count("is there now") == 1
        assert "Traceback" not in said
        assert await one.terminate(PATIENCE_S) == 0
        print(f"stopped while it waited: {took_s:.2f} s")
        assert took_s < PATIENCE_S / 4
    finally:
        await one.kill()
        await stopped.kill()
        hq.broker.kill()
        if postgres._process is None:
            postgres.start()


@pytest.mark.parametrize(
    ("words", "code"), [("dbname=nothing_of_ours", 4), ("frobnicate=1", 2)], ids=["base", "option"]
)
def test_a_wrong_url_still_ends_it(tmp_path, database_url, words, code):
    hq = Headquarters(tmp_path, database_url)
    hq.url = f"{database_url} {words}"
    file = hq.written(tmp_path / "hq.toml", ANY_PORTS)
    done = subprocess.run(
        [sys.executable, "-c", "from pbal_hq.cli import main; main()", "run", "sums", "-c", file],
        capture_output=True, text=True, timeout=4 * PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "pbal-hq: " in done.stderr
    assert "Traceback" not in done.stderr


def test_every_role_is_known_to_need_something():
    assert set(roles.ROLES) >= roles._ON_THE_BUS | roles._WITHOUT_DATABASE
    assert roles._WITHOUT_DATABASE <= roles._ON_THE_BUS
