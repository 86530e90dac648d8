"""HQ: summaries a second from MQTT to the committed row; an alarm's way; an outage made up for.

    .venv/bin/python -m bench.hq [--sites 40] [--each 1000] [--alarms 60] [--away 400]
    .venv/bin/python -m bench.hq --profile large [--keep large.json] [--only fleets] [--sizes ...]

Real Mosquitto with TLS 1.3, real PostgreSQL that waits for its disk, `pbal-hq all`. The load (one
process, a connection for each site, QoS 1) runs on the same computer.

per_s         summaries a second, sustained, while the load sends as fast as it is taken
cpu_us        processor time of HQ's process for each of them (of paho and COPY: of the subscriber)
bare_per_s    the same load into a hand-written subscriber in the same run, which decodes and writes
              with COPY, without sessions, bus or upsert
alarm_p95_s   from the publish of an event to its committed alarm, while summaries come at a third
              of the sustained rate
catch_up      messages of a fleet that gives a tenth of the sustained rate waited at the broker
              while HQ was away for --away seconds: how many times faster than real time they
              become rows, HQ's start included, which counts the less the longer HQ was away
              (of an hour of so large a fleet the broker holds half)
bytes_a_row   with its index

The large profile measures each role by itself over Kafka, and fleets of several sizes
(bench/_hq_large.py), and prints the tables of docs/scale.md. All of it takes an hour or more: with
--keep each part is in a file as soon as it ends, and is not measured again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from bench._hq_sites import (
    GROUP,
    Client,
    make_sites,
    payloads,
    send,
    summary,
    wait_for_words,
)
from pbal_hq import portal
from pbal_hq.broker import BrokerFiles
from pbal_hq.ca import HQ, Pki
from pbal_hq.config import Config
from pbal_hq.enrol import set_up
from pbal_sim.hq import Postgres, free_port
from pbal_uplink import Event, Message, Summary, metrics, names, sparkplug
from pbal_uplink.sparkplug import Payload

# Windows of a site: what it says beside the alarms, and what waited while HQ was away, begin at
BESIDE, AWAY, LAST = 3000, 8000, 22_000


def rows(url: str, table: str) -> int:
    with psycopg.connect(url, autocommit=True) as db:
        row = db.execute(f"SELECT count(*) FROM {table}").fetchone()
        return row[0] if row else 0


def wait_for(url: str, table: str, count: int, seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while rows(url, table) < count:
        if time.monotonic() > until:
            raise SystemExit(f"only {rows(url, table)} of {count} rows came")
        time.sleep(0.2)


@contextlib.asynccontextmanager
async def running(file: Path) -> AsyncIterator[int]:
    """HQ's process; gives its number once it is at the broker."""
    log_file = file.parent / "hq.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from pbal_hq.cli import main; main()", "all", "-c", str(file),
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        await asyncio.to_thread(
            wait_for_words, log_file, "broker is there", lambda: process.returncode is not None
        )
        yield process.pid
    finally:
        process.terminate()
        await process.wait()


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def sustained(
    config: Config, pid: int, contexts: dict, loads: dict, count: int
) -> tuple[float, float]:
    """(summaries a second, microseconds of HQ's processor time for each)."""
    began, used = time.monotonic(), cpu_s(pid)
    await asyncio.to_thread(send, config.broker.port, contexts, loads)
    await asyncio.to_thread(wait_for, config.database.url, "summary", count)
    return count / (time.monotonic() - began), 1e6 * (cpu_s(pid) - used) / count


def alarm_delays(config: Config, contexts: dict, rate: float, count: int) -> list[float]:
    """Seconds from an event's publish to its committed alarm, at `rate` summaries a second."""
    sites = list(contexts)
    busy, quiet = sites[: len(sites) // 2], sites[len(sites) // 2 :]
    clients = {site: Client(config.broker.port, str(site), contexts[site]) for site in sites}
    now_s, delays = int(time.time()), []
    seq = dict.fromkeys(sites, 0)

    def publish(site: int, message: Message) -> None:
        seq[site] = (seq[site] + 1) % 256
        made = tuple(m.under_alias() for m in metrics.packed(message, now_s * 1000))
        data = sparkplug.encode(Payload(made, now_s * 1000, seq[site]), types=False)
        clients[site].mqtt.publish(sparkplug.topic(GROUP, "NDATA", str(site)), data, 1)

    for site, data in ((site, payloads(site, 0)[0]) for site in sites):
        clients[site].mqtt.publish(sparkplug.topic(GROUP, "NBIRTH", str(site)), data, 1)
    done = threading.Event()

    def background() -> None:
        began, sent = time.monotonic(), 0
        while not done.is_set():
            while sent < (time.monotonic() - began) * rate:
                site = busy[sent % len(busy)]
                publish(site, summary(site, BESIDE + sent // len(busy)))
                sent += 1
            time.sleep(0.005)

    load = threading.Thread(target=background)
    load.start()
    rng = random.Random(1)
    try:
        with psycopg.connect(config.database.url, autocommit=True) as db:
            for n in range(count):
                time.sleep(rng.uniform(0.1, 0.6))
                began = time.monotonic()
                publish(quiet[n % len(quiet)], Event(
                    site=quiet[n % len(quiet)], event_id=n + 1, at_s=now_s, severity=2,
                    kind=names.KIND_NODE, address=n + 1, code=1))  # fmt: skip
                while (
                    db.execute("SELECT 1 FROM alarm WHERE address = %s", (n + 1,)).fetchone()
                    is None
                ):
                    if time.monotonic() - began > 60:
                        raise SystemExit("an event became no alarm within a minute")
                    time.sleep(0.01)
                delays.append(time.monotonic() - began)
    finally:
        done.set()
        load.join()
        for client in clients.values():
            client.close()
    return delays


async def caught_up(
    config: Config, file: Path, contexts: dict, given: argparse.Namespace, rate: float
) -> float:
    """How many times faster than real time HQ takes what waited at the broker."""
    fleet = rate / 10  # summaries a second in real time
    each = min(LAST - AWAY, int(fleet * given.away / len(contexts)) + 1)
    loads = {site: payloads(site, each, AWAY) for site in contexts}
    await asyncio.to_thread(send, config.broker.port, contexts, loads)
    before = await asyncio.to_thread(rows, config.database.url, "summary")
    count = each * len(contexts)
    began = time.monotonic()
    async with running(file):
        await asyncio.to_thread(wait_for, config.database.url, "summary", before + count, 900)
        return count / fleet / (time.monotonic() - began)


async def bare_figure(config: Config, pki: Pki, contexts: dict, loads: dict, count: int) -> float:
    """The figure of a plain script: decode and COPY, a thousand rows at a time."""
    url = config.database.url
    columns = [field.name for field in Summary.DECLARED]
    with psycopg.connect(url, autocommit=True) as db:
        kinds = ", ".join(f"{name} double precision" for name in columns)
        db.execute(f"CREATE TABLE bare ({kinds})")
    held: list[tuple] = []
    db = psycopg.connect(url)

    def write() -> None:
        with (
            db.cursor() as cursor,
            cursor.copy(f"COPY bare ({', '.join(columns)}) FROM STDIN") as c,
        ):
            for row in held:
                c.write_row(row)
        db.commit()
        held.clear()

    aliases = sparkplug.aliases(Payload(metrics.announced(Summary, 1, in_plain=False)))

    def heard(client, userdata, message) -> None:
        payload = sparkplug.decode(message.payload, aliases)
        for said, _ in metrics.messages(payload.metrics):
            held.append(tuple(getattr(said, name) for name in columns))
        if len(held) >= 1000:
            write()

    made = ssl.create_default_context(cafile=str(pki.ca))
    made.load_cert_chain(pki.certificate(HQ), pki.key(HQ))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, HQ, protocol=mqtt.MQTTv5)
    client.tls_set_context(made)
    client.on_message = heard
    client.connect("localhost", config.broker.port)
    client.subscribe(f"{sparkplug.NAMESPACE}/+/NDATA/#", 1)
    client.loop_start()
    began = time.monotonic()
    await asyncio.to_thread(send, config.broker.port, contexts, loads)
    await asyncio.to_thread(wait_for, url, "bare", count // 1000 * 1000)
    took = time.monotonic() - began
    client.disconnect()
    client.loop_stop()
    db.close()
    return count // 1000 * 1000 / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=("small", "large"), default="small")
    parser.add_argument("--sites", type=int, default=40)
    parser.add_argument("--each", type=int, help="windows of each site; 1000, large: 60")
    parser.add_argument(
        "--backlog", type=int, default=100, help="large: windows of each site that are drained"
    )
    parser.add_argument("--backlog-sites", type=int, default=200, help="large: of so many sites")
    parser.add_argument("--alarms", type=int, default=60)
    parser.add_argument("--away", type=float, default=400, help="seconds without HQ")
    parser.add_argument("--quick", action="store_true", help="large: little of everything")
    parser.add_argument(
        "--sizes", type=lambda text: [int(each) for each in text.split(",") if each],
        default=[10_000, 100_000, 1_000_000],
        help="large: fleets whose pages are asked for; '' for none",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=7, help="large: of each fleet's hours")
    parser.add_argument(
        "--hours", type=int, default=3, help="large: of most transformers no more; 0: all"
    )
    parser.add_argument(
        "--times", type=int, default=9,
        help="large: how often a page is asked for; a third of that beyond 100,000",
    )  # fmt: skip
    parser.add_argument("--keep", type=Path, help="large: a file for what is measured")
    parser.add_argument(
        "--databases", type=Path, help="large: a folder for the fleets, to be used once more"
    )
    parser.add_argument(
        "--only", action="append", choices=("roles", "fleets"), default=[],
        help="large: this part alone, also where it is kept already",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.profile == "large":
        from bench import _hq_large, _hq_tables  # Kafka's client

        given.each = given.each or 60
        figures = _hq_large.run(given)
        print(json.dumps(figures, indent=1)) if given.json else _hq_tables.printed(figures)
        return
    given.each = given.each or 1000
    if given.sites * given.each < 1000:  # what the subscriber of bare_per_s writes at once
        parser.error("--sites times --each: 1000 summaries at least")
    asyncio.run(small(given))


async def small(given: argparse.Namespace) -> None:
    """One process of HQ with a file as its bus."""
    count = given.sites * given.each
    server = Postgres(safe=True)
    with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
        folder = Path(name)
        file = folder / "hq.toml"
        port = free_port()
        config = Config.model_validate(
            {"data": folder / "hq", "database": {"url": server.url}, "broker": {"port": port}}
        )
        file.write_text(
            f'data = "{config.data}"\n[database]\nurl = "{server.url}"\n[broker]\nport = {port}\n'
            '[enrol]\nlisten = "127.0.0.1"\nport = 0\n[portal]\nport = 0\n'
        )
        set_up(config, "bench", ("localhost",), "127.0.0.1")
        portal.set_up(config)
        pki = Pki(config.data / "pki")
        broker = await asyncio.create_subprocess_exec(
            "/usr/sbin/mosquitto", "-c", str(BrokerFiles(config.data / "broker").conf),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            contexts = await make_sites(config, pki, folder, given.sites)
            loads = {site: payloads(site, given.each) for site in contexts}
            figures: dict[str, float] = {"summaries": count}
            async with running(file) as pid:
                rate, cpu = await sustained(config, pid, contexts, loads, count)
                figures |= {"per_s": round(rate), "cpu_us": round(cpu)}
                with psycopg.connect(server.url, autocommit=True) as db:
                    size = db.execute(
                        "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
                        "WHERE inhparent = 'summary'::regclass"
                    ).fetchone()
                figures["bytes_a_row"] = round(int(size[0]) / count) if size else 0
                delays = await asyncio.to_thread(
                    alarm_delays, config, contexts, rate / 3, given.alarms
                )
                figures["alarm_p95_s"] = round(sorted(delays)[int(0.95 * len(delays))], 2)
            figures["catch_up"] = round(await caught_up(config, file, contexts, given, rate), 1)
            figures["bare_per_s"] = round(await bare_figure(config, pki, contexts, loads, count))
        finally:
            broker.terminate()
            await broker.wait()
            server.stop()
    if given.json:
        print(json.dumps(figures))
        return
    print(f"{count} summaries of {given.sites} sites, MQTT with TLS 1.3 to committed rows:")
    print(f"  pbal-hq, one process   {figures['per_s']:>6} a second, {figures['cpu_us']} us of its")
    print("                                processor time for each")
    print(f"  paho and COPY alone    {figures['bare_per_s']:>6} a second")
    print(f"  a row with its index   {figures['bytes_a_row']:>6} bytes")
    print(f"  an event to its alarm  {figures['alarm_p95_s']:>6} s (95 of 100)")
    print(f"  after an outage        {figures['catch_up']:>6} times faster than real time")


if __name__ == "__main__":
    main()
