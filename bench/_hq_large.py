"""The large HQ, measured role by role: `python -m bench.hq --profile large`.

Each role is a process of its own over real Kafka, Mosquitto and PostgreSQL. Its cost is its own
processor time for each summary, which other work on the computer does not change much. Beside it
stands the time that the engines took meanwhile. Roles of which there may be several drain a
backlog by one process and by two (bench/_hq_growth.py).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from bench import _hq_engines as engines
from bench import _hq_fleets as fleets
from bench import _hq_growth as growth
from bench import _hq_sites as load
from bench._hq_engines import Place
from bench._hq_parts import Parts
from bench._hq_roles import Role, roles, until
from pbal_hq.bus import New, topics
from pbal_hq.ingest.wording import Message, Raw
from pbal_uplink import metrics

_PARTITIONS = 8


def measured(
    place: Place, role: Role, count: int, work: Callable[[], None], done: Callable[[], bool]
) -> dict[str, float]:
    """What `work` costs until it is `done`."""
    before, own, began = place.cpu_s(), role.cpu_s(), time.monotonic()
    work()
    until(done, role.name)
    took, own, after = time.monotonic() - began, role.cpu_s() - own, place.cpu_s()
    figures = {"us": 1e6 * own / count, "per_core_s": count / own, "wall_per_s": count / took}
    return figures | {
        f"{name}_us": 1e6 * (after[name] - before[name]) / count for name in ("kafka", "postgres")
    }


# -- loads ----------------------------------------------------------------------------------------


class Loads:
    """Windows of the sites that were not sent yet."""

    def __init__(self, sites: int, each: int, first: int = 0) -> None:
        self.sites, self.each, self._first = sites, each, first
        self.count, self.taken = sites * each, 0

    def next(self) -> int:
        """The first window of the next load."""
        first, self._first = self._first, self._first + self.each
        self.taken += self.count
        return first

    def raw(self) -> list[New]:
        """As the bridge puts them on the bus."""
        first = self.next()
        made = {
            site: load.payloads(site, self.each, first, load.varied_summary)
            for site in range(1, self.sites + 1)
        }
        return [
            New(topics.RAW, f"{load.GROUP}/{site}",
                Raw("NDATA" if n else "NBIRTH", 1, made[site][n]).encode())
            for n in range(self.each + 1) for site in made
        ]  # fmt: skip

    def decoded(self) -> list[New]:
        """As the decoder puts them on the bus, each when its window ends."""
        first, out = self.next(), []
        for n in range(first, first + self.each):
            for site in range(1, self.sites + 1):
                said = load.varied_summary(site, n)
                came_ms = 1000 * (said.start_s + said.length_s) + 2000
                token = f"{metrics.token(said):016x}"
                value = Message(token, came_ms, False, said.as_dict()).encode()
                out.append(New(topics.SUMMARY, f"{load.GROUP}/{site}", value))
        return out


# -- one kind of role after the other -------------------------------------------------------------


def bridge(place: Place, loads: Loads, contexts: dict[int, Any]) -> dict[str, Any]:
    """MQTT with TLS, real connections of the sites, to what is durable on the bus."""
    role = Role(place, "bridge", "")
    first = loads.next()
    sent = {site: load.payloads(site, loads.each, first, load.varied_summary) for site in contexts}
    before = place.cpu_s()
    with roles(role):
        role.start("broker is there")
        there = place.count(topics.RAW)
        found = measured(
            place, role, loads.count, lambda: load.send(place.config.broker.port, contexts, sent),
            lambda: place.is_there(topics.RAW, there + loads.count + loads.sites),
        )  # fmt: skip
    found["mosquitto_us"] = 1e6 * (place.cpu_s()["mosquitto"] - before["mosquitto"]) / loads.count
    return {"one": found}


def sums(place: Place) -> dict[str, Any]:
    """Hours and days of what was stored meanwhile."""
    with psycopg.connect(place.config.database.url, autocommit=True) as db:

        def due() -> int:
            row = db.execute("SELECT count(*) FROM summary_due").fetchone()
            return int(row[0]) if row else 0

        def rows() -> int:
            row = db.execute("SELECT count(*) FROM summary").fetchone()
            return int(row[0]) if row else 0

        # Set aside until the role has started: its start is no work on them.
        db.execute("CREATE TABLE aside AS SELECT * FROM summary_due")
        db.execute("TRUNCATE summary_due")

        def work() -> None:
            db.execute("INSERT INTO summary_due SELECT * FROM aside ON CONFLICT DO NOTHING")

        role = Role(place, "sums", "")
        with roles(role):
            role.start()
            return {"one": measured(place, role, rows(), work, lambda: due() == 0)}


async def _detect(file: str) -> None:
    """The work of a bolt, behind the bus's own consumer: Storm's workers are not in it."""
    from pathlib import Path as At

    from pbal_hq import kafkabus
    from pbal_hq.bus import done_with
    from pbal_hq.config import load
    from pbal_hq.storm.stream import Stream

    stream = Stream()
    async with (
        kafkabus.opened(load(At(file))) as bus,
        bus.consumer("detect", (topics.SUMMARY,)) as consumer,
    ):
        print("HQ runs", flush=True)
        while True:
            found = await consumer.take(500, 1.0)
            said = [(each.key, stream.take(each.key, each.value)) for each in found]
            out = [New(topics.ALARM, key, one.encode()) for key, one in said if one is not None]
            if found:
                await bus.append(out, done_with("detect", found))


# -- all of it ------------------------------------------------------------------------------------


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure what is asked for and is not kept yet."""
    parts = Parts(given.keep, tuple(given.only))
    parts.roles(lambda: _roles(given))
    for size in [500] if given.quick else given.sizes:
        # Of a large fleet most pages take long, and differ little from one time to the next.
        times = 1 if given.quick else given.times if size <= 100_000 else max(1, given.times // 3)
        parts.fleet(
            size, lambda size=size, times=times: fleets.measured(
                size, given.days, given.hours, times, given.databases
            ),
        )  # fmt: skip
    return parts.figures


def _roles(given: argparse.Namespace) -> dict[str, Any]:
    sites, each = (12, 40) if given.quick else (given.sites, given.each)
    backlog_sites, backlog_each = (24, 20) if given.quick else (given.backlog_sites, given.backlog)
    figures: dict[str, Any] = {"sites": sites, "each": each, "backlog_sites": backlog_sites}
    with (
        tempfile.TemporaryDirectory(prefix="pbal-bench-") as folder,
        engines.running(Path(folder), _PARTITIONS) as place,
    ):
        contexts = asyncio.run(load.make_sites(place.config, place.pki, place.folder, sites))
        loads = Loads(sites, each)
        kept = place.topic_bytes(topics.RAW)
        found: dict[str, Any] = {"bridge": bridge(place, loads, contexts)}
        figures["raw_bytes"] = (place.topic_bytes(topics.RAW) - kept) / loads.count
        asyncio.run(load.more_sites(place.config, sites, backlog_sites))
        backlog = Loads(backlog_sites, backlog_each, first=each)
        few = Loads(backlog_sites, max(1, backlog_each // 4), first=10_000)
        words = ["-m", "bench._hq_large", str(place.file)]
        kept = place.topic_bytes(topics.SUMMARY)
        for name, topic, size, made, more in (
            ("decode", topics.RAW, backlog, backlog.raw, None),
            ("store", topics.SUMMARY, backlog, backlog.decoded, None),
            ("detect", topics.SUMMARY, few, few.decoded, words),
            ("lake", topics.SUMMARY, backlog, backlog.decoded, None),
        ):
            found[name] = growth.grown(
                place, lambda name=name, more=more: Role(place, name, name, more), topic,
                size.count, made, quick=given.quick,
            )  # fmt: skip
            if name == "decode":
                figures["summary_bytes"] = (
                    place.topic_bytes(topics.SUMMARY) - kept
                ) / backlog.taken  # fmt: skip
        found["sums"] = sums(place)
        # Rows as roles write them, all columns filled.
        figures |= {
            name.replace("summary", "row"): value
            for name, value in fleets.sizes(place.config.database.url).items()
            if name in ("summary_bytes", "summary_hourly_bytes")
        }
        figures["lake_bytes"] = place.lake_bytes_a_row()
    return figures | {"roles": found}


if __name__ == "__main__":
    asyncio.run(_detect(sys.argv[1]))
