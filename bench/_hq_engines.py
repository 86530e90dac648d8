"""Kafka, Mosquitto and PostgreSQL for the large profile of `bench.hq`, and what each has cost."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from confluent_kafka import ConsumerGroupTopicPartitions as ck_groups
from confluent_kafka.admin import AdminClient

from bench._processors import tree_cpu_s
from pbal_engines import Kafka, Tls, fetched, find_java
from pbal_hq import kafkabus, portal
from pbal_hq.broker import BrokerFiles
from pbal_hq.bus import New
from pbal_hq.bus.cluster import asked, group_id
from pbal_hq.bus.kafka import KafkaBus
from pbal_hq.bus.rights import set_up as make_topics
from pbal_hq.bus.rights import users
from pbal_hq.ca import Pki
from pbal_hq.config import Config, load
from pbal_hq.enrol import set_up
from pbal_hq.lake import lake_of
from pbal_sim.hq import Postgres, free_port

_AT_ONCE = 2000  # records in an append


class Place:
    """HQ's configuration over running engines."""

    def __init__(self, folder: Path, url: str, partitions: int) -> None:
        self.folder, self.file = folder, folder / "hq.toml"
        data = folder / "hq"
        port = free_port()
        base = Config.model_validate(
            {"data": data, "database": {"url": url}, "broker": {"port": port}}
        )
        set_up(base, "bench", ("localhost",), "127.0.0.1")
        portal.set_up(base)
        self.pki = Pki(data / "pki")
        passwords = {user: secrets.token_hex(8) for user in ("admin", *users())}
        now = datetime.datetime.now(datetime.UTC)
        peer = self.pki.authority().peer("pbal-kafka", ("localhost", "127.0.0.1"), 10, now)
        pair = folder / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(peer.key + peer.pem)
        self.kafka = Kafka(
            folder / "kafka", Tls(self.pki.ca, pair, "pbal-kafka"), passwords, heap_mb=512
        )
        for user in ("admin", "pbal-hq"):
            (folder / f"{user}.password").write_text(passwords[user])
        self.lake = folder / "lake"
        self.lake.mkdir()
        self.kafka.start()
        self._admin: AdminClient
        self.mosquitto: subprocess.Popen[bytes] | None = None
        self.postgres_pid = 0
        try:
            self._start(url, port, partitions)
        except BaseException:
            self.close()
            raise

    def _start(self, url: str, port: int, partitions: int) -> None:
        folder, data = self.folder, self.folder / "hq"
        self.file.write_text(
            f'data = "{data}"\n[database]\nurl = "{url}"\n[broker]\nport = {port}\n'
            '[enrol]\nlisten = "127.0.0.1"\nport = 0\n[portal]\nport = 0\n[metrics]\nport = 0\n'
            f'[lake]\nurl = "{self.lake}"\nflush_s = 5\n'
            f'[bus]\nkind = "kafka"\n[bus.kafka]\nservers = {self.kafka.servers}\n'
            f'password_file = "{folder / "pbal-hq.password"}"\npartitions = {partitions}\n'
            "replicas = 1\n"
        )
        self.config = load(self.file)
        self._settings = kafkabus.settings(self.config, "admin", folder / "admin.password")
        make_topics(self._settings, self.config.bus.kafka)
        self._admin, _ = asked(self._settings)
        lake_of(self.config.lake).place.init(encrypted=False)
        conf = BrokerFiles(data / "broker").conf
        quiet = subprocess.DEVNULL
        self.mosquitto = subprocess.Popen(
            ["/usr/sbin/mosquitto", "-c", str(conf)], stdout=quiet, stderr=quiet
        )

    def close(self) -> None:
        """End broker and Kafka."""
        if self.mosquitto is not None:
            self.mosquitto.terminate()
            self.mosquitto.wait(30)
        self.kafka.stop()

    def cpu_s(self) -> dict[str, float]:
        """Processor time of each engine so far."""
        return {
            "kafka": sum(tree_cpu_s(each.pid) for each in self.kafka.services),
            "postgres": tree_cpu_s(self.postgres_pid),
            "mosquitto": tree_cpu_s(self.mosquitto.pid) if self.mosquitto else 0.0,
        }

    # -- the bus --------------------------------------------------------------------------------

    def feed(self, records: Sequence[New]) -> None:
        """Append them, some thousand at once."""

        async def work() -> None:
            async with KafkaBus(self._settings) as bus:
                for begin in range(0, len(records), _AT_ONCE):
                    await bus.append(records[begin : begin + _AT_ONCE])

        asyncio.run(work())

    @contextlib.contextmanager
    def held(self, records: Sequence[New]) -> Iterator[Callable[[], None]]:
        """Append them in one transaction that is open: call what is given, and consumers see them
        all at once."""
        import confluent_kafka as ck

        refused: list[ck.KafkaError] = []

        def delivered(error: ck.KafkaError | None, _: object) -> None:
            if error is not None:
                refused.append(error)

        producer = ck.Producer({
            **self._settings, "transactional.id": f"bench-{secrets.token_hex(4)}",
            "transaction.timeout.ms": 600_000, "partitioner": "murmur2_random",
            "compression.type": "lz4", "linger.ms": 2,
        })  # fmt: skip
        producer.init_transactions(30)
        producer.begin_transaction()
        for begin in range(0, len(records), _AT_ONCE):
            for new in records[begin : begin + _AT_ONCE]:
                producer.produce(new.topic, new.value, new.key.encode(), on_delivery=delivered)
            producer.flush(60)
        if refused:
            raise SystemExit(f"Kafka: {refused[0].str()}")
        yield lambda: producer.commit_transaction(60)

    def at_end(self, group: str, topic: str) -> None:
        """What is there already is done for this group, which has no members now."""
        import confluent_kafka as ck
        from confluent_kafka.admin import OffsetSpec

        until = time.monotonic() + 60
        while self.members_left(group):  # those of processes that have just ended
            if time.monotonic() > until:
                raise SystemExit(f"{group} does not come to rest")
            time.sleep(0.2)
        parts = [ck.TopicPartition(topic, n) for n in range(self.config.bus.kafka.partitions)]
        asked_ = self._admin.list_offsets({each: OffsetSpec.latest() for each in parts})
        ends = [ck.TopicPartition(topic, each.partition, found.result(30).offset)
                for each, found in asked_.items()]  # fmt: skip
        wanted = ck.ConsumerGroupTopicPartitions(group_id(group), ends)
        for done in self._admin.alter_consumer_group_offsets([wanted]).values():
            done.result(30)

    def behind(self, group: str, topic: str) -> int:
        """Records that this group has before it; the marks of transactions count."""
        from pbal_hq.bus.behind import behind

        return behind(self._admin, {topic: (group,)})[group, topic]

    def position(self, group: str, topic: str) -> int:
        """Offsets of a topic that this group is done with, over its partitions."""
        wanted = ck_groups(group_id(group))
        (found,) = self._admin.list_consumer_group_offsets([wanted]).values()
        places = found.result(30).topic_partitions
        return sum(max(0, each.offset) for each in places if each.topic == topic)

    def is_there(self, topic: str, records: int) -> bool:
        """Whether a topic has so many records: its offsets first, which cost little to ask for."""
        return self.behind("nobody", topic) >= records <= self.count(topic)

    def is_drained(self, group: str, topic: str) -> bool:
        """Whether it has read all: the mark of each partition's last transaction may be left."""
        return self.behind(group, topic) <= self.config.bus.kafka.partitions

    def drained(self, group: str, topic: str, seconds: float = 900.0) -> None:
        """Wait until it has."""
        end = time.monotonic() + seconds
        while not self.is_drained(group, topic):
            if time.monotonic() > end:
                raise SystemExit(f"{group} does not come to the end of {topic}")
            time.sleep(0.2)

    def count(self, topic: str) -> int:
        """The records of a topic, each read: the marks of transactions do not count."""
        import confluent_kafka as ck

        reader = ck.Consumer({
            **self._settings, "group.id": group_id(f"count-{secrets.token_hex(4)}"),
            "enable.auto.commit": False, "isolation.level": "read_committed",
            "auto.offset.reset": "earliest", "enable.partition.eof": True,
        })  # fmt: skip
        parts = range(self.config.bus.kafka.partitions)
        found, left = 0, set(parts)
        try:
            reader.assign([ck.TopicPartition(topic, part, ck.OFFSET_BEGINNING) for part in parts])
            while left:
                message = reader.poll(30.0)
                if message is None:
                    raise SystemExit(f"Kafka: {topic} cannot be read to its end")
                if message.error() is None:
                    found += 1
                elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise SystemExit(f"Kafka: {message.error().str()}")
        finally:
            reader.close()
        return found

    def members(self, group: str) -> int:
        """How many consumers a group has that share its partitions; 0 while it shares anew."""
        asked_ = self._admin.describe_consumer_groups([group_id(group)], request_timeout=15)
        found = next(iter(asked_.values())).result(30)
        return len(found.members) if found.state.name == "STABLE" else 0

    def members_left(self, group: str) -> int:
        """How many consumers a group has in whatever state."""
        asked_ = self._admin.describe_consumer_groups([group_id(group)], request_timeout=15)
        return len(next(iter(asked_.values())).result(30).members)

    def topic_bytes(self, topic: str) -> int:
        """What a topic's log takes on the disk."""
        files = self.kafka.folder.glob(f"broker-*/data/{topic}-*/*.log")
        return sum(each.stat().st_size for each in files)

    def lake_bytes_a_row(self) -> float:
        """Of the lake's summaries."""
        from pbal_hq.lake import SUMMARY

        lake = lake_of(self.config.lake)
        days = (datetime.date.min, datetime.date.max)
        parts = lake.parts(SUMMARY, *days)
        rows = sum(len(table) for part in parts for table in lake.rows(SUMMARY, part))
        size = sum(each.stat().st_size for each in self.lake.rglob("*.parquet"))
        return size / rows if rows else 0.0


@contextlib.contextmanager
def running(folder: Path, partitions: int) -> Iterator[Place]:
    """All of them, to be ended."""
    find_java()
    fetched("kafka")
    server = Postgres(safe=True)
    try:
        made = Place(folder, server.url, partitions)
        made.postgres_pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        try:
            yield made
        finally:
            made.close()
    finally:
        server.stop()
