"""HQ: summaries a second from MQTT to the committed row; an alarm's way; an outage made up for.

    .venv/bin/python -m bench.hq [--sites 40] [--each 1000] [--alarms 60] [--away 400]
    .venv/bin/python -m bench.hq --profile large [--quick] [--sizes 10000,100000] [--days 2]

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
(bench/_hq_large.py).
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
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pbal_hq import portal
from pbal_hq.broker import BrokerFiles
from pbal_hq.ca import HQ, Pki
from pbal_hq.config import Config
from pbal_hq.database import connected, migrate
from pbal_hq.enrol import set_up
from pbal_hq.registry import NewSite, add_site, add_transformer, note_certificate
from pbal_sim.hq import Postgres, free_port
from pbal_uplink import Event, Message, State, Summary, metrics, names, sparkplug
from pbal_uplink.sparkplug import Metric, Payload

FIRST_S = int(time.time()) // 86_400 * 86_400 - 80 * 86_400
# Windows of a site: what it says beside the alarms, and what waited while HQ was away, begin at
BESIDE, AWAY, LAST = 3000, 8000, 22_000
GROUP = "bench"


class Client:
    """One MQTT connection with a certificate."""

    def __init__(self, port: int, name: str, context: ssl.SSLContext) -> None:
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self.mqtt.tls_set_context(context)
        self.mqtt.max_inflight_messages_set(200)
        self.mqtt.connect("localhost", port)
        self.mqtt.loop_start()

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def context(pki: Pki, folder: Path, name: str, key: bytes, certificate: bytes) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki.ca))
    path = folder / f"{name}.pem"
    path.write_bytes(key + certificate)
    made.load_cert_chain(path)
    return made


def summary(site: int, n: int) -> Summary:
    return Summary(
        site=site, start_s=FIRST_S + 300 * n, length_s=300, complete_percent=99,
        ia_mean_a=40 + n % 37, ib_mean_a=30 + n % 23, ic_mean_a=50 + n % 41, in_mean_a=n % 19,
        ia_max_a=80, ib_max_a=70, ic_max_a=90, in_max_a=40, va_min_v=221.5, vb_min_v=223.1,
        vc_min_v=219.4, va_mean_v=228.3, vb_mean_v=229.2, vc_mean_v=226.8, homes=30,
        homes_alive=30, homes_fresh=30, ea_import_kwh=2.1, eb_import_kwh=1.7, ec_import_kwh=2.6,
    )  # fmt: skip


def payloads(
    site: int, each: int, first: int = 0, said: Callable[[int, int], Summary] = summary
) -> list[bytes]:
    """A birth and `each` summaries from window `first` on, as a site sends them."""
    state = State(site=site, at_s=FIRST_S, words=1, config_hash=bytes(8), window_s=300)
    bdseq = Metric(sparkplug.BDSEQ, 0, sparkplug.INT64, timestamp=1)
    announced = [m for cls in (Summary, Event) for m in metrics.announced(cls, 1, in_plain=False)]
    out = [sparkplug.encode(Payload((bdseq, *metrics.packed(state, 1), *announced), 1, 0))]
    for n in range(each):
        made = tuple(m.under_alias() for m in metrics.packed(said(site, first + n), 1))
        out.append(sparkplug.encode(Payload(made, 1, (n + 1) % 256), types=False))
    return out


async def make_sites(config: Config, pki: Pki, folder: Path, count: int) -> dict[int, object]:
    import datetime

    now, authority = datetime.datetime.now(datetime.UTC), pki.authority()
    contexts = {}
    async with connected(config.database) as db:
        await migrate(db)
        for site in range(1, count + 1):
            transformer = await add_transformer(db, f"T{site}", "KL/ERN/ALU/F12")
            await add_site(db, NewSite(site, transformer, GROUP))
            issued = authority.client_with_key(str(site), 5, now)
            await note_certificate(db, issued.certificate, site)
            contexts[site] = context(pki, folder, str(site), issued.key, issued.pem)
    return contexts


def send(port: int, contexts: dict, loads: dict[int, list[bytes]]) -> None:
    clients = {site: Client(port, str(site), made) for site, made in contexts.items()}
    for site, client in clients.items():
        client.mqtt.publish(sparkplug.topic(GROUP, "NBIRTH", str(site)), loads[site][0], 1)
    last = []
    for n in range(1, len(next(iter(loads.values())))):
        last = [
            client.mqtt.publish(sparkplug.topic(GROUP, "NDATA", str(site)), loads[site][n], 1)
            for site, client in clients.items()
        ]
    for info in last:
        info.wait_for_publish(300)
    for client in clients.values():
        client.close()


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


def wait_for_words(file: Path, words: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while words not in file.read_text():
        if time.monotonic() > until:
            raise SystemExit(f"HQ does not start: {file.read_text()}")
        time.sleep(0.1)


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
        await asyncio.to_thread(wait_for_words, log_file, "broker is there")
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
    parser.add_argument("--each", type=int, default=1000, help="windows of each site")
    parser.add_argument("--alarms", type=int, default=60)
    parser.add_argument("--away", type=float, default=400, help="seconds without HQ")
    parser.add_argument("--quick", action="store_true", help="large: little of everything")
    parser.add_argument(
        "--sizes", type=lambda text: [int(each) for each in text.split(",")], default=[10_000],
        help="large: fleets whose pages are asked for",
    )  # fmt: skip
    parser.add_argument("--days", type=int, default=2, help="large: of each fleet's hours")
    parser.add_argument("--times", type=int, default=7, help="large: how often a page is asked for")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.profile == "large":
        from bench import _hq_large  # Kafka's client

        figures = _hq_large.run(given)
        print(json.dumps(figures, indent=1)) if given.json else _hq_large.printed(figures)
        return
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
