"""Real engines: each is started once for all tests that need it, and one after the other."""

import datetime
import itertools
import secrets

import pytest
from rigs.needs import in_ci, missing, require_module

from pbal_engines import Kafka, Missing, Tls, fetched, find_java
from pbal_hq.bus import topics
from pbal_hq.ca import HQ, Pki
from pbal_hq.config import KafkaConfig

_numbers = itertools.count()


class Cluster:
    """Kafka, with HQ's authority and users."""

    def __init__(self, folder, brokers):
        from pbal_hq.bus.rights import users

        now = datetime.datetime.now(datetime.UTC)
        self.pki = Pki(folder / "pki")
        authority = self.pki.make("engines' authority", now)
        self.pki.write(HQ, authority.client_with_key(HQ, 10, now))
        peer = authority.peer("pbal-kafka", ("localhost", "127.0.0.1"), 10, now)
        pair = folder / "pair.pem"
        pair.write_bytes(peer.key + peer.pem)
        self.passwords = {user: secrets.token_hex(8) for user in ("admin", *users())}
        tls = Tls(self.pki.ca, pair, "pbal-kafka")
        self.engine = Kafka(folder / "kafka", tls, self.passwords, brokers=brokers)
        self.replicas = brokers

    def config(self, partitions=4, **more):
        return KafkaConfig(
            servers=tuple(self.engine.servers), partitions=partitions, replicas=self.replicas,
            **more,
        )  # fmt: skip

    def settings(self, user="admin", password=None, **more):
        from pbal_hq.bus.cluster import connection

        files = {"ca": self.pki.ca, "certificate": self.pki.certificate(HQ),
                 "key": self.pki.key(HQ)}  # fmt: skip
        password = self.passwords[user] if password is None else password
        return {**connection(self.config(), files, password, user), **more}

    def make_topics(self, partitions=4, prefix=""):
        """raw, out and a compacted topic of their own; their names."""
        from confluent_kafka.admin import NewTopic

        from pbal_hq.bus.cluster import asked

        prefix = prefix or f"t{next(_numbers)}"
        client, _ = asked(self.settings())
        made = [
            NewTopic(f"{prefix}.raw", partitions, self.replicas),
            NewTopic(f"{prefix}.out", partitions, self.replicas),
            NewTopic(f"{prefix}.node", partitions, self.replicas,
                     config={"cleanup.policy": "compact"}),
        ]  # fmt: skip
        for each in client.create_topics(made).values():
            each.result(60)
        return [topic.topic for topic in made]

    def forget_hq(self):
        """Without HQ's topics, and what its groups were done with."""
        from pbal_hq.bus.cluster import asked

        client, _ = asked(self.settings())
        there = set(client.list_topics(timeout=30).topics)
        ours = [name for name in (*topics.ALL, *topics.COMPACTED) if name in there]
        if ours:
            for each in client.delete_topics(ours).values():
                each.result(60)


def _needs():
    require_module("confluent_kafka", "kafka")
    try:
        find_java()
        fetched("kafka")
    except Missing as error:
        missing("what Kafka needs", str(error))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """One broker."""
    _needs()
    made = Cluster(tmp_path_factory.mktemp("kafka"), 1)
    made.engine.start()
    yield made
    made.engine.stop()


@pytest.fixture
def three(tmp_path):
    """Three brokers, for one test."""
    _needs()
    made = Cluster(tmp_path, 3)
    made.engine.start()
    yield made
    made.engine.stop()


def pytest_collection_modifyitems(items):
    """Left out where nobody asked for them: test.sh --engines, or CI=true."""
    import os

    if not in_ci() and os.environ.get("PBAL_ENGINE_TESTS", "") in ("", "0"):
        for item in items:
            if item.get_closest_marker("engine"):
                item.add_marker(pytest.mark.skip(reason="real engines: ./test.sh --engines"))
