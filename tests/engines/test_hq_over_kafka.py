"""`pbal-hq all` over a real Kafka that comes later, killed once and poisoned: from an uplink to the
row.
"""

import asyncio
import collections
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from rigs.buscontract import taken
from rigs.hq import Headquarters, config, database_url, empty_url, execute, postgres, run  # noqa: F401
from rigs.hq_process import ANY_PORTS, QUICK, Process
from rigs.needs import PATIENCE_S
from rigs.poison import poison
from rigs.sitefault import Site
from rigs.waiting import until

from pbal_hq.bus import New, topics
from pbal_hq.config import load
from pbal_hq.doctor import parts

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(420)]

POISON, LETTERS = poison("north/7")
POISON.append(New(topics.ALARM, "north/7", b'{"site":7}'))  # here the detectors are in Storm
LETTERS["alarm"] = 1


def written(path, hq, kafka):
    """The configuration, with the cluster as its bus."""
    password = path.parent / "hq.password"
    password.write_text(kafka.passwords["pbal-hq"])
    admin = path.parent / "admin.password"
    admin.write_text(kafka.passwords["admin"])
    certificate = kafka.settings()
    file = hq.written(
        path, ANY_PORTS, QUICK, '[alarms]\ndetectors = "storm"\n',
        '[bus]\nkind = "kafka"\n[bus.kafka]\n'
        f'servers = {kafka.engine.servers}\npassword_file = "{password}"\npartitions = 4\n'
        f'replicas = 1\nca = "{kafka.pki.ca}"\n'
        f'certificate = "{certificate["ssl.certificate.location"]}"\n'
        f'key = "{certificate["ssl.key.location"]}"\n',
    )  # fmt: skip
    return file, admin


def is_told(target):
    """Whether the process tells Prometheus how far consumers are behind: when Kafka is in time."""
    address = json.loads(target.read_bytes())[0]["targets"][0]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    told = re.findall(r'^pbal_hq_bus_lag_records\{group="(.*?)",topic="(.*?)"\} \d', text, re.M)
    return {("decode", topics.RAW), ("store", topics.DEAD), ("alarms", topics.ALARM)} <= {*told}


def health(target):
    """What the process says that is not well, by role; None while it is not there."""
    if not target.exists():
        return None
    address = json.loads(target.read_bytes())[0]["targets"][0]
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=60):
            return {}
    except urllib.error.HTTPError as error:
        lines = error.read().decode().splitlines()
        return dict(line.split(": ", 1) for line in lines)


async def comes_later(kafka, one, other, target, log):
    """HQ is started while Kafka is away: who needs it waits, the portal does not, a stop counts."""
    needing = {"bridge", "decode", "store", "orders", "alarms"}
    await asyncio.to_thread(kafka.engine.services[0].kill)
    await one.start()
    await other.start()
    # The first answer that there is none takes 15 s.
    found = await until(lambda: asyncio.to_thread(
        lambda: (bad := health(target)) and set(bad) == needing and "Kafka" in bad["store"] and bad
    ), 2 * PATIENCE_S)  # fmt: skip
    assert all(why.startswith("it waits for the bus: ") for why in found.values()), found
    assert "the portal listens" in log.read_text()
    await until(lambda: "not there yet" in (log.parent / "other.log").read_text())
    began = time.monotonic()
    assert await other.terminate(PATIENCE_S) == 0
    print(f"stopped while it waited: {time.monotonic() - began:.2f} s")
    assert one.runs
    assert log.read_text().count("not there yet, what needs it waits") == 1
    began = time.monotonic()
    await asyncio.to_thread(kafka.engine.start_one, 0)
    started = time.monotonic()
    await until(lambda: asyncio.to_thread(lambda: health(target) == {}), 2 * PATIENCE_S)
    print(f"Kafka is up after {started - began:.1f} s, HQ {time.monotonic() - started:.1f} s later")
    assert log.read_text().count("is there now") == 1


async def test_from_the_uplink_to_the_row(tmp_path, kafka, database_url, run):  # noqa: F811
    from pbal_hq.bus.kafka import KafkaBus

    hq = Headquarters(tmp_path, database_url)
    hq.broker.start()
    await hq.add_site(7, group="north")
    cert, key = await hq.certificate(7)
    file, admin = written(tmp_path / "hq.toml", hq, kafka)
    said = run("bus", "set-up", "-c", file, "--password-file", admin)
    assert "hq.spb.raw" in said.stdout
    log = tmp_path / "hq.log"
    site = Site(tmp_path / "j.db", hq.config.broker.port, hq.pki.ca, cert, key)
    role = Process(file, log, ("all",))

    def rows():
        return execute(hq.url, "SELECT extract(epoch FROM start_at)::bigint FROM summary")

    def many(least):
        return asyncio.to_thread(lambda: len(rows()) > least)

    other = Process(file, tmp_path / "other.log", ("run", "store"))
    try:
        await comes_later(kafka, role, other, hq.config.data / "metrics" / "hq-all.json", log)
        await site.start(100_000)
        await until(lambda: many(4))
        async with KafkaBus(kafka.settings()) as bus:
            await bus.append(POISON)
        await role.kill()
        await role.start()
        before = len(rows())
        await until(lambda: many(before + 5))
        await site.drained()
        letters = "SELECT kind, count(*) FROM dead_letter GROUP BY kind"
        await until(lambda: sum(n for _, n in execute(hq.url, letters)) >= len(POISON))
        await until(lambda: asyncio.to_thread(is_told, hq.config.data / "metrics" / "hq-all.json"))
        (said,) = [each async for each in parts.bus(load(file))]
        assert said.words.startswith("kafka; "), said
        assert await role.terminate(60) == 0
        async with (
            KafkaBus(kafka.settings()) as bus,
            bus.consumer("see", (topics.SUMMARY,)) as consumer,
        ):
            on_bus = await taken(consumer, len(rows()), 30)
    except AssertionError:
        print(log.read_text()[-6000:])
        raise
    finally:
        await site.kill()
        await role.kill()
        await other.kill()
        hq.broker.kill()
        kafka.forget_hq()
    starts = [start for (start,) in rows()]
    print(f"{len(site.summaries)} said, {len(starts)} rows, {len(on_bus)} summaries on the bus")
    assert set(site.summaries) <= set(starts), "lost"
    assert len(starts) == len(set(starts))
    assert len({record.key for record in on_bus}) == 1
    dead = collections.Counter(dict(execute(hq.url, letters)))
    assert dead == LETTERS


def test_a_wrong_password_ends_it(tmp_path, kafka, database_url):  # noqa: F811
    """What Kafka refuses does not pass by itself: a line, and an exit code."""
    hq = Headquarters(tmp_path, database_url)
    file, _ = written(tmp_path / "hq.toml", hq, kafka)
    (tmp_path / "hq.password").write_text("another")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from pbal_hq.cli import main; main()", "run", "store", "-c", file],
        capture_output=True, text=True, timeout=4 * PATIENCE_S,
    )  # fmt: skip
    print(f"ended after {time.monotonic() - began:.1f} s")
    assert done.returncode == 8, done.stderr
    assert "pbal-hq: Kafka: " in done.stderr
    assert "password_file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_cannot_work_says_why(config, run):  # noqa: F811
    text = config.read_text()

    def complains(more, words):
        config.write_text(f"{text}\n{more}\n")
        said = run("check-config", "-c", config, code=2).stderr
        assert words in said, said

    complains('[bus]\nkind = "kafka"', "needs `kafka.servers`")
    complains('[bus]\nkind = "kafka"\n[bus.kafka]\nservers = ["here"]', "bus.kafka.servers")
    complains(
        '[bus]\nkind = "kafka"\n[bus.kafka]\nservers = ["h:1"]', "needs `kafka.password_file`"
    )
    config.write_text(f"{text}\n")
    said = run("bus", "set-up", "-c", config, "--password-file", "x", code=2).stderr
    assert "bus.kind is file" in said
    config.write_text(
        f'{text}\n[bus]\nkind = "kafka"\n[bus.kafka]\nservers = ["127.0.0.1:1"]\n'
        'password_file = "none"\n'
    )
    said = run("bus", "set-up", "-c", config, "--password-file", "none", code=2).stderr
    assert "password_file" in said
