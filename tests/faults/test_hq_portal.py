"""Two portals behind HAProxy, by the file that `pbal-hq portal balancer` writes; one is killed."""

import asyncio
import time

import httpx
import pytest
from rigs import people
from rigs.hq import Headquarters, config, database_url, empty_url, postgres, run  # noqa: F401
from rigs.hq_process import Process
from rigs.needs import require_tool
from rigs.waiting import until

from pbal_engines import Service
from pbal_sim.hq import free_port

pytestmark = [pytest.mark.keeps_processes, pytest.mark.timeout(300)]


def instance(folder, hq, number, port):
    more = f"[metrics]\nport = 0\n[portal]\nport = {port}\nplain_http = true\n"
    file = hq.written(folder / f"portal{number}.toml", more)
    return Process(file, folder / f"portal{number}.log", ("run", "portal"))


async def alive(port):
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/alive")).text == "alive\n"
        except httpx.TransportError:
            return False


@pytest.mark.long
async def test_people_notice_nothing_of_a_lost_portal(tmp_path, database_url, run):  # noqa: F811
    haproxy = require_tool("haproxy", "haproxy")
    hq = Headquarters(tmp_path, database_url)
    (hq.config.data / "portal.secret").write_text(people.MASTER.hex() + "\n")
    async with people.connected(database_url) as conn:
        fleet = await people.make(conn)
        await people.alarm(conn, fleet, "T1")
    ports = [free_port(), free_port()]
    portals = [instance(tmp_path, hq, n, port) for n, port in enumerate(ports)]
    front = free_port()
    conf = tmp_path / "haproxy.cfg"
    named = [word for port in ports for word in ("--instance", f"127.0.0.1:{port}")]
    run("portal", "balancer", *named, "--listen", f"127.0.0.1:{front}", "--out", conf)
    balancer = Service("haproxy", [haproxy, "-db", "-f", conf], tmp_path / "haproxy")
    try:
        for portal in portals:
            await portal.start()
        for port in ports:
            await until(lambda port=port: alive(port))
        balancer.start()
        address = f"http://127.0.0.1:{front}"
        async with httpx.AsyncClient(base_url=address, timeout=60) as person:
            await until(lambda: alive(front))
            said = await person.post(
                "/login", headers={"origin": address},
                data={"name": "operator-whole", "password": people.PASSWORD, "code": people.code()},
            )  # fmt: skip
            assert said.status_code == 303, said.text[-500:]
            codes, slowest, killed = [], 0.0, False
            for turn in range(40):
                if turn == 15:
                    await portals[0].kill()
                    killed = True
                begun = time.monotonic()
                page = await person.get("/alarms")
                slowest = max(slowest, time.monotonic() - begun)
                codes.append(page.status_code)
                assert "secret-T1" in page.text
            assert killed
            assert set(codes) == {200}
            # It comes back into the round; then the other one goes.
            await portals[0].start()
            await until(lambda: alive(ports[0]))
            await asyncio.sleep(5)
            await portals[1].kill()
            for _ in range(5):
                assert (await person.get("/alarms")).status_code == 200
        print(f"40 pages, one portal killed: all there, the slowest after {slowest:.2f} s")
    finally:
        balancer.stop()
        for portal in portals:
            await portal.kill()


def test_what_could_not_work_is_refused(run, tmp_path):  # noqa: F811
    out = tmp_path / "h.cfg"

    def refused(*words):
        return run("portal", "balancer", *words, "--out", out, code=2).stderr

    assert "two instances" in refused("--instance", "a:1")
    assert "named twice" in refused("--instance", "a:1", "--instance", "a:1")
    assert "no HOST:PORT" in refused("--instance", "a:1", "--instance", "b")
    assert "no HOST:PORT" in refused("--instance", "a:1", "--instance", "b:99999")
    two = ("--instance", "a:1", "--instance", "b:2")
    assert "no HOST:PORT" in refused(*two, "--listen", "x")
    assert "whole path" in refused(*two, "--certificate", "relative.pem")
    assert not out.exists()
    run("portal", "balancer", *two, "--certificate", "/e/p.pem", "--authority", "/e/ca.crt",
        "--out", out)  # fmt: skip
    text = out.read_text()
    assert "bind :443 ssl crt /e/p.pem" in text
    assert "ssl verify required ca-file /e/ca.crt" in text
