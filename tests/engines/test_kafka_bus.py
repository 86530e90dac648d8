"""The bus over a real Kafka: the contract, sharing, faults, rights."""

import asyncio
import collections
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rigs.buscontract import BusContract, Place, by_key, news, taken

from pbal_engines import classpath, command
from pbal_hq.bus import New, done_with
from pbal_hq.errors import BusError

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(300)]


class KafkaPlace(Place):
    def __init__(self, cluster, partitions=4):
        self.cluster = cluster
        self.raw, self.out, self.node = cluster.make_topics(partitions)

    def bus(self, user="admin", instance=""):
        from pbal_hq.bus.kafka import KafkaBus

        return KafkaBus(self.cluster.settings(user), instance)


@pytest.fixture
def place(kafka):
    return KafkaPlace(kafka)


class TestContract(BusContract):
    pass


# -- sharing --------------------------------------------------------------------------------


async def work(place, stop, pause_s=0.0, instance="", shares=None):
    """A role as HQ's are: takes from raw, appends to out with its progress. How many it did.

    `shares`: an event, set with its first records.
    """
    count = 0
    async with place.bus(instance=instance) as bus:
        while not stop.is_set():
            try:
                async with bus.consumer("work", (place.raw,)) as consumer:
                    while not stop.is_set():
                        records = await consumer.take(50, 0.5)
                        if records:
                            out = [New(place.out, r.key, r.value) for r in records]
                            await bus.append(out, done_with("work", records))
                            count += len(records)
                            if shares:
                                shares.set()
                            await asyncio.sleep(pause_s)
            except BusError as error:  # as the supervisor does
                print("again:", error)
                await asyncio.sleep(0.2)
    return count


async def feed(place, keys, count, pause_s=0.02, until=None):
    """Numbers 0.. for each key, again what was not taken; how many.

    `until`: an event; it goes on behind `count` till it is set.
    """
    async with place.bus() as bus:
        for number in itertools.count():
            if number >= count and (until is None or until.is_set()):
                return number
            records = [New(place.raw, key, str(number).encode()) for key in keys]
            while True:
                try:
                    await bus.append(records)
                    break
                except BusError as error:
                    print("fed again:", error)
            await asyncio.sleep(pause_s)


async def values(bus, group, topic, count, seconds=120):
    async with bus.consumer(group, (topic,)) as consumer:
        found = await taken(consumer, count, seconds)
        found += await consumer.take(1000, 1.0)  # one too many would come now
    return by_key(found)


async def results(place, count):
    """What was fed and what came of it: the same, each once and in order.

    Who was told of no answer feeds again: then a number may be there twice on both sides.
    """
    async with place.bus() as bus:
        fed = await values(bus, "fed", place.raw, len(KEYS) * count)
        done = await values(bus, "see", place.out, sum(map(len, fed.values())))
    assert set(fed) == set(KEYS)
    for key in KEYS:
        assert list(dict.fromkeys(fed[key])) == list(range(count)), key
        assert done[key] == fed[key], key
    return sum(map(len, fed.values()))


KEYS = [f"g/{n}" for n in range(40)]


async def test_roles_that_come_and_go_share_the_keys_and_lose_and_double_nothing(place):
    stops, shares = ([asyncio.Event() for _ in range(3)] for _ in range(2))
    roles = []

    async def come(number):
        job = work(place, stops[number], 0.01, shares=shares[number])
        roles.append(asyncio.create_task(job))
        await asyncio.wait_for(shares[number].wait(), 60)

    # Feeding goes on until the last one has a share: a group takes seconds to deal anew.
    feeding = asyncio.create_task(feed(place, KEYS, 60, 0.1, until=shares[2]))
    await come(0)
    await come(1)
    stops[0].set()
    await roles[0]
    await come(2)
    count = await feeding
    total = await results(place, count)
    for stop in stops:
        stop.set()
    print("fed:", count, "done by each:", [await role for role in roles])
    assert total == count * len(KEYS)


CHILD = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from test_kafka_bus import work
from rigs.buscontract import Place
from pbal_hq.bus.kafka import KafkaBus
class P(Place):
    raw, out = sys.argv[2:4]
    def bus(self, user="admin", instance=""):
        return KafkaBus(json.loads(sys.argv[4]), instance)
asyncio.run(work(P(), asyncio.Event(), 0.005, "child"))
"""


async def test_a_role_that_is_killed_loses_and_doubles_nothing(place):
    here = Path(__file__).parent
    words = [sys.executable, "-c", CHILD, str(here), place.raw, place.out,
             json.dumps(place.cluster.settings())]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": f"{here.parent}"}

    async def child():
        return await asyncio.create_subprocess_exec(*words, env=env)

    feeding = asyncio.create_task(feed(place, KEYS, 60, 0.1))
    for _ in range(3):
        role = await child()
        await asyncio.sleep(4)
        role.kill()
        await role.wait()
    await feeding
    role = await child()
    try:
        total = await results(place, 60)
    finally:
        role.kill()
        await role.wait()
    assert total == 60 * len(KEYS)


async def test_a_broker_that_is_killed_under_load_loses_and_doubles_nothing(place):
    stop = asyncio.Event()
    working = asyncio.create_task(work(place, stop))
    feeding = asyncio.create_task(feed(place, KEYS, 60, 0.1))
    engine = place.cluster.engine
    for _ in range(2):
        await asyncio.sleep(2)
        await asyncio.to_thread(engine.services[0].kill)
        await asyncio.sleep(1)
        await asyncio.to_thread(engine.start_one, 0)
    await feeding
    print("through:", await results(place, 60))
    stop.set()
    await working


async def test_one_of_three_brokers_is_lost_and_the_others_go_on(three):
    place = KafkaPlace(three)
    stop = asyncio.Event()
    working = asyncio.create_task(work(place, stop))
    feeding = asyncio.create_task(feed(place, KEYS, 60, 0.1))
    await asyncio.sleep(2)
    await asyncio.to_thread(three.engine.services[1].kill)
    await feeding
    print("through:", await results(place, 60))
    stop.set()
    await working
    print("weight:", [service.weigh() for service in three.engine.services])


# -- partitions -----------------------------------------------------------------------------


def _java_client(cluster):
    """The settings of a client in Java, as a file."""
    settings = cluster.settings()
    pair = cluster.engine.folder / "client.pem"
    parts = [settings["ssl.key.location"], settings["ssl.certificate.location"]]
    pair.write_text("".join(Path(part).read_text() for part in parts))
    login = "org.apache.kafka.common.security.scram.ScramLoginModule"
    file = cluster.engine.folder / "client.properties"
    file.write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n"
        f'sasl.jaas.config={login} required username="admin" '
        f'password="{settings["sasl.password"]}";\n'
        f"ssl.truststore.type=PEM\nssl.truststore.location={settings['ssl.ca.location']}\n"
        f"ssl.keystore.type=PEM\nssl.keystore.location={pair}\n"
    )
    return file


async def test_java_puts_a_key_where_python_does(place):
    keys = [f"kerala/mill-{n}" for n in range(50)]
    async with place.bus() as bus:
        await bus.append([New(place.raw, key, b"1") for key in keys])
    file = _java_client(place.cluster)
    words = command(
        "org.apache.kafka.tools.ConsoleProducer",
        ["--bootstrap-server", ",".join(place.cluster.engine.servers), "--topic", place.raw,
         "--command-config", file, "--reader-property", "parse.key=true"],
        classpath=classpath("kafka"), heap_mb=128,
    )  # fmt: skip
    said = "".join(f"{key}\t2\n" for key in keys)
    done = await asyncio.to_thread(
        subprocess.run, words, input=said, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    async with place.bus() as bus, bus.consumer("see", (place.raw,)) as consumer:
        found = await taken(consumer, 100)
    places = collections.defaultdict(set)
    for record in found:
        places[record.key].add(record.partition)
    assert len(found) == 100
    assert all(len(parts) == 1 for parts in places.values()), places
    assert len(set.union(*places.values())) == 4


# -- who may what ---------------------------------------------------------------------------


async def test_who_is_not_known_is_told_what_to_look_at(kafka):
    from pbal_hq.bus.kafka import KafkaBus

    with pytest.raises(BusError, match="password_file") as refused:
        async with KafkaBus(kafka.settings(password="wrong")):
            pass
    assert "uthentication" in str(refused.value)
    without = kafka.settings()
    del without["ssl.certificate.location"], without["ssl.key.location"]
    with pytest.raises(BusError, match="certificates fit"):
        async with KafkaBus(without):
            pass


async def test_a_role_reads_and_writes_what_is_its_own_and_nothing_else(kafka):
    from pbal_hq.bus import rights, topics
    from pbal_hq.bus.kafka import KafkaBus

    made = rights.set_up(kafka.settings(), kafka.config())
    assert set(made) == {*topics.ALL, *topics.COMPACTED}
    assert rights.set_up(kafka.settings(), kafka.config()) == []
    try:
        async with KafkaBus(kafka.settings("pbal-hq-bridge")) as bridge:
            await bridge.append(news(topics.RAW, "a", 1))
            with pytest.raises(BusError, match="uthoriz"):
                await bridge.append(news(topics.SUMMARY, "a", 1))
            with pytest.raises(BusError, match="uthoriz"):
                async with bridge.consumer("decode", (topics.RAW,)) as consumer:
                    await taken(consumer, 1, 20)
        async with (
            KafkaBus(kafka.settings("pbal-hq-decode")) as decode,
            decode.consumer("decode", (topics.RAW,)) as consumer,
        ):
            found = await taken(consumer, 1)
            assert len(found) == 1
            assert await consumer.latest(topics.NODE) == {}
            await decode.append(news(topics.SUMMARY, "a", 1), done_with("decode", found))
            # Of the others' groups and topics it knows nothing, not even that they are behind.
            lag = await decode.lag({
                topics.RAW: ("decode",), topics.SUMMARY: ("store", "lake"),
                topics.ALARM: ("alarms",),
            })  # fmt: skip
            assert lag.keys() == {("decode", topics.RAW)}
        async with KafkaBus(kafka.settings("pbal-hq")) as whole:
            lag = await whole.lag({topics.SUMMARY: ("store",), topics.ALARM: ("alarms",)})
            assert lag == {("store", topics.SUMMARY): 2, ("alarms", topics.ALARM): 0}
    finally:
        kafka.forget_hq()
