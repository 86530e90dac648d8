"""The large HQ, measured role by role: `python -m bench.hq --profile large`.

Each role is a process of its own over real Kafka, Mosquitto and PostgreSQL. A role joins its group,
reads what is there, and then gets a load; its cost is its own processor time for each summary of
that load, which other work on the computer does not change much. Beside it stands the time that the
engines took meanwhile. Two processes of a role share one load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from bench import _hq_engines as engines
from bench import _hq_fleets as fleets
from bench import hq as small
from bench._hq_engines import Place
from pbal_hq.bus import New, topics
from pbal_hq.ingest.wording import Message, Raw
from pbal_uplink import Summary, metrics

_PARTITIONS = 8
_WAIT_S = 900.0


# -- roles ----------------------------------------------------------------------------------------


class Role:
    """Processes of one role, in one group of the bus."""

    def __init__(self, place: Place, name: str, group: str, words: list[str] | None = None) -> None:
        self._place, self.name, self.group = place, name, group
        code = "from pbal_hq.cli import main; main()"
        self._words = words or ["-c", code, "run", name, "-c", str(place.file)]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, ready: str = "HQ runs") -> None:
        """One process more; returns when it is in the group."""
        path = self._place.folder / f"{self.name}-{len(self._processes)}.log"
        with path.open("wb") as log:
            self._processes.append(
                subprocess.Popen([sys.executable, *self._words], stdout=log, stderr=log)
            )
        small.wait_for_words(path, ready)
        if self.group:
            until(lambda: self._place.members(self.group) == len(self._processes), self.name)

    def stop(self) -> None:
        """End all of them."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)
        self._processes.clear()

    def cpu_s(self) -> float:
        """Processor time of all of them so far."""
        return sum(engines.tree_cpu_s(process.pid) for process in self._processes)


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    end = time.monotonic() + _WAIT_S
    while not is_so():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not done in {_WAIT_S:.0f} s")
        time.sleep(0.5)


@contextlib.contextmanager
def roles(*some: Role) -> Iterator[None]:
    """End them at last."""
    try:
        yield
    finally:
        for role in some:
            role.stop()


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


def summary(site: int, n: int) -> Summary:
    """A window as no other is: what is packed or compressed takes as much as in the field."""
    rng = random.Random(f"{site} {n}")

    def amperes(low: float = 0.0, high: float = 120.0) -> float:
        return round(rng.uniform(low, high), 2)

    def volts() -> float:
        return round(rng.gauss(228, 4), 2)

    def kwh() -> float:
        return round(rng.uniform(0.2, 4.0), 3)

    return Summary(
        site=site, start_s=small.FIRST_S + 300 * n, length_s=300, complete_percent=99,
        ia_mean_a=amperes(), ib_mean_a=amperes(), ic_mean_a=amperes(), in_mean_a=amperes(0, 50),
        ia_max_a=amperes(60, 200), ib_max_a=amperes(60, 200), ic_max_a=amperes(60, 200),
        in_max_a=amperes(20, 90), va_min_v=volts(), vb_min_v=volts(), vc_min_v=volts(),
        va_mean_v=volts(), vb_mean_v=volts(), vc_mean_v=volts(), va_max_v=volts(),
        vb_max_v=volts(), vc_max_v=volts(), ea_import_kwh=kwh(), eb_import_kwh=kwh(),
        ec_import_kwh=kwh(), losses_avoided_wh=rng.randint(0, 60), homes=60,
        homes_alive=60, homes_fresh=rng.randint(55, 60), confirmed=rng.randint(0, 2),
    )  # fmt: skip


class Loads:
    """Windows of the sites that were not sent yet."""

    def __init__(self, sites: int, each: int) -> None:
        self.sites, self.each, self._first = sites, each, 0
        self.count = sites * each

    def next(self) -> int:
        """The first window of the next load."""
        first, self._first = self._first, self._first + self.each
        return first

    def raw(self) -> list[New]:
        """As the bridge puts them on the bus."""
        first = self.next()
        made = {
            site: small.payloads(site, self.each, first, summary)
            for site in range(1, self.sites + 1)
        }
        return [
            New(topics.RAW, f"{small.GROUP}/{site}",
                Raw("NDATA" if n else "NBIRTH", 1, made[site][n]).encode())
            for n in range(self.each + 1) for site in made
        ]  # fmt: skip

    def decoded(self) -> list[New]:
        """As the decoder puts them on the bus, each when its window ends."""
        first, out = self.next(), []
        for n in range(first, first + self.each):
            for site in range(1, self.sites + 1):
                said = summary(site, n)
                came_ms = 1000 * (said.start_s + said.length_s) + 2000
                token = f"{metrics.token(said):016x}"
                value = Message(token, came_ms, False, said.as_dict()).encode()
                out.append(New(topics.SUMMARY, f"{small.GROUP}/{site}", value))
        return out


# -- one kind of role after the other -------------------------------------------------------------


def bridge(place: Place, loads: Loads, contexts: dict[int, Any]) -> dict[str, Any]:
    """MQTT with TLS, real connections of the sites, to what is durable on the bus."""
    role = Role(place, "bridge", "")
    first = loads.next()
    sent = {site: small.payloads(site, loads.each, first, summary) for site in contexts}
    before = place.cpu_s()
    with roles(role):
        role.start("broker is there")
        there = place.count(topics.RAW)
        found = measured(
            place, role, loads.count, lambda: small.send(place.config.broker.port, contexts, sent),
            lambda: place.is_there(topics.RAW, there + loads.count + loads.sites),
        )  # fmt: skip
    found["mosquitto_us"] = 1e6 * (place.cpu_s()["mosquitto"] - before["mosquitto"]) / loads.count
    return {"one": found}


def shared(
    place: Place, role: Role, topic: str, loads: Loads, load: Callable[[], list[New]],
    most: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """One process of a role, then two of one group; each gets a load of its own."""
    found: dict[str, Any] = {}
    with roles(role):
        for number in range(1, most + 1):
            role.start()
            place.drained(role.group, topic)
            records = load()
            found["one" if number == 1 else "two"] = measured(
                place, role, loads.count, lambda records=records: place.feed(records),
                lambda: place.is_drained(role.group, topic),
            )  # fmt: skip
    return found


def sums(place: Place, loads: Loads) -> dict[str, Any]:
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
    """Measure all of it."""
    began = time.monotonic()
    sites, each = (12, 40) if given.quick else (given.sites, given.each)
    figures: dict[str, Any] = {
        "sites": sites, "each": each, "load_before": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pbal-bench-") as name:
        with engines.running(Path(name), _PARTITIONS) as place:
            contexts = asyncio.run(small.make_sites(place.config, place.pki, place.folder, sites))
            loads = Loads(sites, each)
            kept = place.topic_bytes(topics.RAW)
            found = {"bridge": bridge(place, loads, contexts)}
            figures["raw_bytes"] = (place.topic_bytes(topics.RAW) - kept) / loads.count
            found["decode"] = shared(
                place, Role(place, "decode", "decode"), topics.RAW, loads, loads.raw
            )
            kept, n = place.topic_bytes(topics.SUMMARY), loads.count * 3
            figures["summary_bytes"] = kept / n
            found["store"] = shared(
                place, Role(place, "store", "store"), topics.SUMMARY, loads, loads.decoded
            )
            found["sums"] = sums(place, loads)
            # Rows as roles write them, all columns filled.
            figures |= {
                name.replace("summary", "row"): value
                for name, value in fleets.sizes(place.config.database.url).items()
                if name in ("summary_bytes", "summary_hourly_bytes")
            }
            words = ["-m", "bench._hq_large", str(place.file)]
            found["detect"] = shared(
                place, Role(place, "detect", "detect", words), topics.SUMMARY, loads, loads.decoded
            )
            found["lake"] = shared(
                place, Role(place, "lake", "lake"), topics.SUMMARY, loads, loads.decoded, most=1
            )
            figures["lake_bytes"] = place.lake_bytes_a_row()
        figures["roles"] = found
    sizes = [500] if given.quick else given.sizes
    figures["fleets"] = [
        fleets.measured(size, given.days, 1 if given.quick else given.times) for size in sizes
    ]
    figures["load_after"] = round(os.getloadavg()[0], 1)
    return figures | {
        "took_s": round(time.monotonic() - began),
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }


def printed(figures: dict[str, Any]) -> None:
    """For people."""
    print(f"{figures['sites']} sites, {figures['each']} windows of each for every line; load "
          f"{figures['load_before']} to {figures['load_after']} on "
          f"{figures['processors']} processors, {figures['took_s']} s")  # fmt: skip
    print(
        "processor time for a summary, us:    role   Kafka  PostgreSQL   a core carries  together"
    )
    for name, found in figures["roles"].items():
        for words, each in (("one", found["one"]), ("two", found.get("two"))):
            if each:
                print(f"  {name:10} {words} process{'es' if words == 'two' else '  '}"
                      f"{each['us']:18.0f}{each['kafka_us']:8.0f}{each['postgres_us']:12.0f}"
                      f"{each['per_core_s']:15.0f}/s{each['wall_per_s']:8.0f}/s")  # fmt: skip
    print(f"  Mosquitto {figures['roles']['bridge']['one']['mosquitto_us']:.0f} us; Kafka keeps "
          f"{figures['raw_bytes']:.0f} B raw, {figures['summary_bytes']:.0f} B decoded; "
          f"the lake {figures['lake_bytes']:.0f} B, the database {figures['row_bytes']:.0f} B "
          f"and for an hour {figures['row_hourly_bytes']:.0f} B")  # fmt: skip
    for each in figures["fleets"]:
        print(f"{each['transformers']} transformers, {each['days']} days of hours: "
              f"{each['gb']:.2f} GB, {each['filled_s']:.0f} s to fill; "
              f"{each['bytes_transformer_day']:.0f} B for a transformer's day of windows, "
              "hours and itself")  # fmt: skip
        for reader, pages in each["pages"].items():
            for page, took in pages.items():
                print(f"  {reader:13} {page:50} {took['median_ms']:8.1f} ms, of them "
                      f"{took['cpu_ms']:.1f} ms of a processor")  # fmt: skip
        print(f"  a page takes {each['page_ms']:.1f} ms of a processor in the mean, portal and "
              "PostgreSQL")  # fmt: skip


if __name__ == "__main__":
    asyncio.run(_detect(sys.argv[1]))
