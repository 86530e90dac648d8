"""From three sites without a modem to HQ's rows and back, over one channel, with kills in between.

Each site and the gateway has the published radio driver on an emulated SX1276; they share one air,
where frames collide. The gateway is `pbal-controller run`, the broker a real Mosquitto, HQ
`pbal-hq all` with a real PostgreSQL.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from pathlib import Path

import pytest
from rigs import needs, people
from rigs.hq import Headquarters, database_url, execute, postgres  # noqa: F401
from rigs.hq_process import ANY_PORTS, QUICK

from pbal_controller.journal import Journal
from pbal_controller.keys import KeyStore
from pbal_controller.uplink import outbox
from pbal_hq.auth import Grant, Role
from pbal_hq.commands import Signer
from pbal_sim.radio import FREE, Air, PiPort, Sx1276
from pbal_uplink import Command, names

SITES = (1001, 1002, 1003)
GATEWAY = 1000
EACH = 8
SITE = str(Path(__file__).with_name("lora_site.py"))
PATIENCE_S = 150


class Ends:
    """Processes with a radio each, on one air."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.air = Air(lambda: time.monotonic_ns() // 1000, loss=FREE)
        self.ports: dict[int, PiPort] = {}
        self.going: dict[int, asyncio.subprocess.Process] = {}
        self.said: dict[int, list[tuple[str, str]]] = {}
        self._readers: list[asyncio.Task] = []

    async def plug(self, stack: contextlib.AsyncExitStack, number: int) -> None:
        loop = asyncio.get_running_loop()
        radio = Sx1276(self.air, f"site {number}", (100.0 * (number % 10), 0.0))

        def schedule(t_us, action):
            loop.call_at(t_us / 1e6, action)

        path = self.folder / f"pi{number}"
        self.ports[number] = await stack.enter_async_context(PiPort(path, radio, schedule))
        self.said[number] = []

    async def start(self, number: int, *words: object) -> None:
        log = (self.folder / f"{number}.log").open("ab")
        process = self.going[number] = await asyncio.create_subprocess_exec(
            sys.executable, *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=log,
            env={**os.environ, **self.ports[number].environment()},
        )  # fmt: skip
        log.close()
        self._readers.append(asyncio.create_task(self._read(number, process)))

    async def _read(self, number, process):
        async for line in process.stdout:
            words = line.decode().split()
            if len(words) == 2:
                self.said[number].append((words[0], words[1]))

    async def kill(self, number: int) -> None:
        process = self.going.pop(number, None)
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def close(self) -> None:
        for number in list(self.going):
            await self.kill(number)
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def logs(self) -> str:
        return "\n".join(p.read_text()[-2000:] for p in sorted(self.folder.glob("*.log")))


def gateway_files(folder: Path, hq: Headquarters, cert: Path, key: Path, roots) -> Path:
    (folder / "pass").touch(mode=0o600)
    (folder / "pass").write_text("a passphrase")
    keys = KeyStore.create(folder / "keys.json", b"a passphrase", GATEWAY, log2_n=10)
    for site, root in roots.items():
        keys.set_link(site, root)
    path = folder / "gateway.toml"
    path.write_text(
        f'role = "gateway"\n[site]\nid = {GATEWAY}\n[keys]\nfile = "keys.json"\n'
        'passphrase_file = "pass"\n[journal]\npath = "gateway.db"\n[http]\nenabled = false\n'
        '[radio.link]\nregion = "EU868"\nsf = 7\npower_dbm = 11\n'
        f'[uplink]\nkind = "sparkplug"\nhost = "localhost"\nport = {hq.config.broker.port}\n'
        f'group = "north"\nca = "{hq.pki.ca}"\ncertificate = "{cert}"\nkey = "{key}"\n'
        "retry_s = 1\nspread_s = 0\nresend_s = 20\n"
        '[gateway]\nradio = "link"\nsilent_s = 600\n'
        + "".join(f"[[gateway.site]]\nsite = {site}\n" for site in roots)
    )
    return path


async def until(condition, what, ends):
    end_s = time.monotonic() + PATIENCE_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end_s, f"{what}: not in time\n{ends.logs()}"
        await asyncio.sleep(0.3)


def backlog(path: Path) -> int:
    journal = Journal(path)
    try:
        return outbox.backlog(journal)
    finally:
        journal.close()


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_three_sites_one_channel_a_gateway_and_hq(tmp_path, postgres, database_url):  # noqa: F811
    needs.require_module("adafruit_rfm9x", "pi")
    began = time.monotonic()
    hq = Headquarters(tmp_path, database_url)
    hq.broker.start()
    await hq.add_site(GATEWAY, group="north")
    cert, key = await hq.certificate(GATEWAY)
    for site in SITES:
        await hq.add_site(site, group="north", gateway=GATEWAY)
    signer = Signer.read(hq.config.data / "command.key")
    roots = {site: secrets.token_bytes(32) for site in SITES}
    config = gateway_files(tmp_path, hq, cert, key, roots)
    run_gateway = ("-c", "from pbal_controller.cli import main; main()", "run", "-c", config)
    ends = Ends(tmp_path)
    log = (tmp_path / "hq.log").open("ab")
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from pbal_hq.cli import main; main()", "all",
        "-c", str(hq.written(tmp_path / "hq.toml", ANY_PORTS, QUICK)), stdout=log, stderr=log,
    )  # fmt: skip

    def rows() -> int:
        return execute(hq.url, "SELECT count(*) FROM summary WHERE site_id <> 1000")[0][0]

    async def start(site: int, count: int = EACH, first: int = 0) -> None:
        await ends.start(site, SITE, tmp_path / f"{site}.db", site, roots[site].hex(),
                         signer.public_hex, count, first)  # fmt: skip

    try:
        async with contextlib.AsyncExitStack() as stack:
            for number in (GATEWAY, *SITES):
                await ends.plug(stack, number)
            await ends.start(GATEWAY, *run_gateway)
            for site in SITES:
                await start(site)
            await until(lambda: rows() >= 6, "the first rows", ends)
            # The gateway dies with what it holds, and comes back; so does a site.
            await ends.kill(GATEWAY)
            await ends.kill(SITES[0])
            await asyncio.sleep(3)
            await ends.start(GATEWAY, *run_gateway)
            done = len(ends.said[SITES[0]])
            await start(SITES[0], EACH - done, done)
            # An order for one site, which has come back, too.
            now = int(time.time())
            words = Command(site=SITES[1], command_id=4711, issued_s=now, expires_s=now + 600,
                            kind=names.COMMAND_MODE, mode=names.MODE_HOLD)  # fmt: skip
            async with people.connected(hq.url) as conn:
                await people.person(conn, people.Fleet(), "op", Grant(Role.OPERATOR, whole=True))
            execute(
                hq.url,
                "INSERT INTO command (id, site_id, kind, fields, status, asked_by, expires_at, "
                "sealed) VALUES (4711, %s, 1, %s, 'approved', 'op', now() + interval '9 min', %s)",
                SITES[1], json.dumps(words.as_dict()), signer.seal(words),
            )  # fmt: skip
            await until(
                lambda: all(len([w for w in ends.said[s] if w[0] == "S"]) >= EACH for s in SITES),
                "all is said", ends,
            )  # fmt: skip
            await until(lambda: rows() >= EACH * len(SITES), "all rows", ends)
            status = "SELECT status, answer FROM command WHERE id = 4711"
            await until(lambda: execute(hq.url, status)[0][0] == "done", "the answer", ends)
            await until(lambda: all(backlog(tmp_path / f"{s}.db") == 0 for s in SITES),
                        "empty outboxes", ends)  # fmt: skip
            online = execute(hq.url, "SELECT site_id FROM site_live WHERE online ORDER BY site_id")
            await ends.close()
    finally:
        await ends.close()
        server.kill()
        await server.wait()
        log.close()
        hq.broker.kill()
    found = execute(hq.url, "SELECT site_id, extract(epoch FROM start_at)::bigint FROM summary "
                    "WHERE site_id <> 1000")  # fmt: skip
    want = {(s, int(at)) for s in SITES for word, at in ends.said[s] if word == "S"}
    events = execute(hq.url, "SELECT site_id, command_id FROM event WHERE kind = 6")
    print(f"\n{len(found)} rows of {len(want)} summaries in {time.monotonic() - began:.0f} s")
    assert len(found) == len(set(found)), "twice"
    assert want <= set(found), "lost"
    # What was killed between the journal and the word for it may be there too, and nothing else.
    assert len(found) <= len(want) + 1
    assert events == [(SITES[1], 4711)]
    assert ("M", "hold") in ends.said[SITES[1]]
    assert [row[0] for row in online] == [GATEWAY, *SITES]
    assert execute(hq.url, "SELECT source, reason FROM dead_letter") == []
