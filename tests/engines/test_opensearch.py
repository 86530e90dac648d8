"""The road of a log line with the real OpenSearch and rsyslog: a controller and HQ's roles, through
two rsyslogs, to `pbal-hq logs`. The controller's lines are in a journal and go through a tunnel:
the Pi's rsyslog and HQ's run in network namespaces with WireGuard between. HQ's are in a file.
"""

import asyncio
import contextlib
import datetime
import json
import logging
import os
import secrets
import signal
import ssl
import sys
import time
from ipaddress import ip_address

import httpx
import pytest
from rigs import people
from rigs.hq import database_url, execute, hq, postgres, run  # noqa: F401
from rigs.journal import require_journal_writer
from rigs.needs import missing, require_file
from rigs.netns import Network
from rigs.shipping import Shipping, logging_to
from rigs.tunnel import HQ_ADDRESS, Road, require_tunnels
from rigs.uplink import NoOrders, no_reading, opened
from rigs.uplink import config as uplink_config
from rigs.waiting import going, until

from pbal_controller.uplink import Uplink, outbox
from pbal_engines import Missing, OpenSearch, Tls, fetched, find_java
from pbal_engines.opensearch import READER, USERS, WRITER
from pbal_host import check_cancelled
from pbal_hq import logstore, roles
from pbal_hq.auth import Grant, Role
from pbal_hq.ca import write_private
from pbal_hq.config import IngestConfig, load
from pbal_hq.doctor import parts
from pbal_sim.hq import free_port
from pbal_uplink import Event, names

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(600)]

SITE = 1007
PHASE = 60  # lines of the controller before, during and after the loss
HOME_NAME, PASSWORD_WORD = "Nair, Mill Lane 4", "hunter2-of-the-site"


@pytest.fixture
def engine(hq, tmp_path):  # noqa: F811
    require_tunnels()
    try:
        find_java()
        for name in ("opensearch", "opensearch-transport"):
            fetched(name)
        require_file("/usr/sbin/haproxy", "haproxy")
        require_journal_writer()
    except Missing as error:
        missing("OpenSearch", str(error))
    for package in ("rsyslog-elasticsearch", "rsyslog-relp"):
        require_file(f"/usr/share/doc/{package}", package)
    now = datetime.datetime.now(datetime.UTC)
    peer = hq.pki.authority().peer("pbal-opensearch", ("localhost", "127.0.0.1"), 10, now)
    pair = tmp_path / "opensearch.pem"
    write_private(pair, peer.key + peer.pem)
    passwords = {user: secrets.token_urlsafe(18) for user in USERS}
    made = OpenSearch(tmp_path / "os", Tls(hq.pki.ca, pair, "pbal-opensearch"), passwords)
    made.passwords = passwords
    made.start()
    for service in made.services:
        print(service.name, service.weigh())
    yield made
    made.stop()


def configured(hq, engine, tmp_path):  # noqa: F811
    """HQ's configuration as a file; its parts that are not of logs as the rig has them."""
    for user in (READER, WRITER):
        write_private(tmp_path / f"{user}.password", engine.passwords[user].encode())
    file, port = tmp_path / "hq.toml", free_port()
    file.write_text(
        f'data = "{hq.config.data}"\n[database]\nurl = "{hq.url}"\n'
        f'[broker]\nport = {hq.config.broker.port}\n[enrol]\nlisten = "127.0.0.1"\nport = 0\n'
        "[portal]\nport = 0\n[metrics]\nport = 0\n"
        f'[log]\nformat = "json"\n[logs]\nurl = "{engine.url}"\nport = {port}\n'
        f'password_file = "{READER}.password"\nship_password_file = "{WRITER}.password"\n'
        f"keep_days = 30\n"
        f'[network]\nendpoint = "{HQ_ADDRESS}"\ninterface = "pbl{os.getpid() % 100_000}"\n'
        f"more_ports = [{port}]\n"
    )
    return file


async def test_a_line_comes_from_the_site_to_the_command(
    hq,  # noqa: F811
    engine,
    run,  # noqa: F811
    tmp_path,
):
    file = configured(hq, engine, tmp_path)
    config = load(file)
    here = ("-c", file)
    run("logs", *here, code=6)  # there is nothing yet, and no template
    said = await asyncio.to_thread(run, "doctor", *here, "--json", code=16)
    assert "pbal-hq logs set-up" in said.stdout
    run("logs", "set-up", *here)
    token = await hq.add_site(SITE, group="kerala", node="mill-7")
    with (
        Network() as network,
        contextlib.closing(
            await asyncio.to_thread(Road, network, SITE, config, file, run, tmp_path)
        ) as road,
        Shipping(config, tmp_path, road) as shipping,
        logging_to(shipping),
    ):
        trace, alarm = await asyncio.wait_for(an_alarm(hq, config, tmp_path), 180)
        its = logging.getLogger("pbal_controller.uplink.test")
        line = {"time": 1.0, "level": "warning", "logger": its.name, "message": "home silent",
                "home": 5, "why": "no answer", "name": HOME_NAME, "p_w": 2070.123456,
                "reason": "home 5 draws 9.41 A", "password": PASSWORD_WORD}  # fmt: skip
        shipping.journal.say(json.dumps(line))
        shipping.journal.say(f"a panic with {PASSWORD_WORD} of {HOME_NAME}")
        numbered(its, 0)
        await seen(lambda: count(config, "numbered line") == PHASE, 60)
        # OpenSearch and HQ's rsyslog end as in a crash, one while the other is away.
        engine.services[0].kill()
        assert run("logs", *here, code=19).stderr.count("\n") == 1
        numbered(its, 1)
        await until(lambda: queued(tmp_path / "hq-spool") > 0, 60)
        shipping.services["hq"].kill()
        (tmp_path / "hq-spool" / "pid").unlink()
        numbered(its, 2)
        logging.getLogger("pbal_hq.test").error("while away", extra={"traceback": "x" * 20_000})
        shipping.services["hq"].start()
        began = time.monotonic()
        await asyncio.to_thread(engine.start_node)
        await seen(lambda: count(config, "numbered line") == 3 * PHASE, 120)
        print(f"all there {time.monotonic() - began:.1f} s after the restart began")
        await seen(lambda: count(config, "while away") == 1, 60)
        got = read(run, *here, SITE, "--lines", 1000)
        numbers = [each["fields"]["count"] for each in got if each["message"] == "numbered line"]
        assert sorted(map(int, numbers)) == list(range(3 * PHASE))
        await followed(here, its)
    # One id from the controller's log over HQ's to the alarm's page.
    found = read(run, *here, "--trace", trace.upper())
    assert [(line["message"], line["role"], line["site"]) for line in found] == [
        ("event for HQ", "controller", str(SITE)), ("event stored", "store", str(SITE)),
        ("event is an alarm", "portal", str(SITE)),
    ]  # fmt: skip
    assert found[0]["event"] == "quarantine"
    assert found[0]["home"] == "5"
    assert ip_address(found[0]["address"]) in config.network.network
    await on_the_page(hq.url, trace, alarm)
    worse = read(run, *here, SITE, "--level", "warning")
    assert "home silent" in [line["message"] for line in worse]
    assert {line["level"] for line in worse} <= {"warning", "error", "critical"}
    large = next(x for x in read(run, *here, "--level", "error") if x["message"] == "while away")
    assert large["fields"]["traceback"] == "x" * 20_000
    text = run("logs", SITE, "--since", "1h", "--lines", 2000, *here).stdout
    assert "warning  site 1007 controller: home silent home='5' why='no answer'" in text
    # What is personal or secret stayed where it was.
    whole = everything(engine)
    assert "home silent" in whole
    for word in (HOME_NAME, PASSWORD_WORD, "2070.123456", "9.41 A", token, "PRIVATE KEY",
                 *engine.passwords.values()):  # fmt: skip
        assert word not in whole, word
    for name in json.loads(run("logs", "searches", "--json").stdout):
        run("logs", "--saved", name["name"], *here, code=6 if name["name"] == "strangers" else 0)
    old_days(engine, run, here)
    rights(engine, config)
    assert [(found.check, found.level) for found in parts.logs(config)] == [("logs", "ok")]


async def an_alarm(hq, config, tmp_path):  # noqa: F811
    """A controller's event becomes an alarm, by all that is between; its trace, the alarm's id."""
    settings = config.model_copy(
        update={"ingest": IngestConfig(stored_batch=4, stored_within_s=1.0)}
    )
    journal = await opened(tmp_path / "j.db")
    wanted = [name for name in roles.wanted(settings) if name != "enrol"]

    def alarms():
        return execute(
            hq.url, "SELECT trace, alarm_id FROM event JOIN alarm_event USING (site_id, event_id)"
        )

    try:
        how = uplink_config(
            hq.pki, config.broker.port, await hq.certificate(SITE), group="kerala", node="mill-7",
            primary_host=config.broker.host_id,
        )  # fmt: skip
        uplink = Uplink(journal, how, SITE, state, NoOrders(), no_reading, time.time)
        async with going(roles.run(settings, wanted)), going(uplink.run(check_cancelled)):
            event = Event(site=SITE, event_id=1, at_s=int(time.time()), kind=names.KIND_QUARANTINE,
                          severity=names.ALARM, address=5)  # fmt: skip
            await journal.call(outbox.put, event, 1000)
            uplink.wake()
            await until(lambda: bool(alarms()), 150)
    finally:
        await journal.close()
    ((trace, alarm),) = alarms()
    return trace, alarm


def state(backlog, thinned):
    from pbal_uplink import State

    return State(site=SITE, at_s=int(time.time()), words=1, config_hash=bytes(8), window_s=300,
                 homes=12, backlog=backlog, thinned=thinned, name="Mill")  # fmt: skip


async def followed(here, its):
    """`logs SITE --follow`: what is there, then each new line once; Ctrl-C ends it quietly."""
    words = [sys.executable, "-c", "from pbal_hq.cli import main; main()", "logs", SITE, "--since",
             "1h", "--level", "warning", "--follow", "--json", *here]  # fmt: skip
    child = await asyncio.create_subprocess_exec(
        *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    came = []

    async def take(wanted):
        while wanted not in came:
            came.append(json.loads(await child.stdout.readline())["message"])

    try:
        # It is there already; so whoever reads it has asked once.
        await asyncio.wait_for(take("home silent"), 60)
        its.info("beneath the level that is followed")
        for word in ("followed once", "followed twice"):
            its.warning(word)
            await asyncio.wait_for(take(word), 60)
        await asyncio.sleep(3)  # what came is not shown again
        child.send_signal(signal.SIGINT)
        rest, complaint = await asyncio.wait_for(child.communicate(), 60)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert (rest, complaint, child.returncode) == (b"", b"", 0)
    assert [word for word in came if word.startswith("followed")] == [
        "followed once", "followed twice"
    ]  # fmt: skip
    assert "beneath the level that is followed" not in came


def numbered(its, phase):
    for n in range(PHASE):
        its.info("numbered line", extra={"count": phase * PHASE + n})


def queued(spool):
    return sum(file.stat().st_size for file in spool.glob("pbal-logs.0*"))


async def seen(condition, within_s):
    """As `until`, with time between the questions for who is to answer."""
    until_s = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < until_s, "not in time"
        await asyncio.sleep(0.5)


def count(config, message):
    """How many lines with this message are found; 0 while OpenSearch starts."""
    wanted = logstore.Wanted(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    try:
        with logstore.opened(config) as place:
            return sum(line["message"] == message for line in place.lines(wanted, 10_000))
    except Exception:
        return 0


def read(run, *words):  # noqa: F811
    return [json.loads(line) for line in run("logs", *words, "--json").stdout.splitlines()]


async def on_the_page(url, trace, alarm):
    async with people.connected(url) as conn, people.portal(url) as client:
        await people.person(conn, people.Fleet(), "op", Grant(Role.OPERATOR, whole=True))
        _, access = await people.who(conn, "op")
        client.cookies.set("__Host-pbal", access)
        page = await client.get(f"/alarms/{alarm}")
        assert page.status_code == 200
        assert trace in page.text


def asked(engine, user, method, path, **how):
    with httpx.Client(
        base_url=engine.url, verify=ssl.create_default_context(cafile=engine._tls.ca), timeout=30
    ) as client:
        password = engine.passwords.get(user, "wrong")
        return client.request(method, path, auth=(user, password), **how)


def everything(engine):
    """All that is stored, as text."""
    answer = asked(engine, "admin", "POST", "/pbal-logs-*/_search", json={"size": 10_000})
    return answer.text


def old_days(engine, run, here):  # noqa: F811
    for name in ("2020.01.01", "2020.02.31", "not-a-day"):
        assert asked(engine, "admin", "PUT", f"/pbal-logs-{name}").status_code == 200
    assert json.loads(run("logs", "expire", *here, "--json").stdout) == {"days": ["2020-01-01"]}
    left = asked(engine, "admin", "GET", "/_cat/indices/pbal-logs-*?h=index").text.split()
    assert "pbal-logs-2020.01.01" not in left
    assert {"pbal-logs-2020.02.31", "pbal-logs-not-a-day"} < set(left)


def rights(engine, config):
    """TLS alone; nobody without a password; who reads adds nothing, who adds reads nothing."""
    line = b'{"index":{"_index":"pbal-logs-x"}}\n{"a":1}\n'
    bulk = {"content": line, "headers": {"Content-Type": "application/x-ndjson"}}
    assert asked(engine, "nobody", "GET", "/").status_code == 401
    assert asked(engine, READER, "POST", "/_bulk", **bulk).status_code == 403
    assert asked(engine, READER, "DELETE", "/pbal-logs-*").status_code == 403
    assert asked(engine, WRITER, "POST", "/pbal-logs-*/_search", json={}).status_code == 403
    assert asked(engine, WRITER, "DELETE", "/pbal-logs-2026.01.01").status_code == 403
    with pytest.raises(httpx.HTTPError):
        httpx.get(engine.url.replace("https", "http"), timeout=10)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        httpx.get(engine.url, timeout=10)
