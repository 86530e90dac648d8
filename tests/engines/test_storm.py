"""The detectors in a real Storm over a real Kafka: as in one process, to the byte.

First in one Java (LocalCluster); then on a cluster, where a worker is killed in between.
"""

import collections
import json
import sys
import time

import pytest
from rigs.hq import run  # noqa: F401
from rigs.needs import missing
from rigs.waiting import until
from rigs.windows import records

from pbal_engines import Missing, fetched, storm
from pbal_hq.bus import topics
from pbal_hq.storm.stream import Stream

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(400)]

USER = "pbal-hq-detect"
START_S = int(time.time()) // 3600 * 3600 - 4 * 3600
SITES = range(7, 27)


def judged(given):
    """What the detectors say of these records in this process, by key."""
    stream, said = Stream(), collections.defaultdict(list)
    for new in given:
        if (each := stream.take(new.key, new.value)) is not None:
            said[new.key].append(each.encode())
    return said


@pytest.fixture
def bus(kafka):
    """HQ's topics, with a group that is done with nothing."""
    import confluent_kafka as ck

    from pbal_hq.bus import rights

    try:
        for name in ("zookeeper", "storm-server", "storm-client", "storm-topology"):
            fetched(name)
    except Missing as error:
        missing("Storm", str(error))
    rights.set_up(kafka.settings(), kafka.config())
    # Else the topology begins with what comes after its start.
    consumer = ck.Consumer({**kafka.settings(), "group.id": "pbal-hq.detect"})
    places = [ck.TopicPartition(topics.SUMMARY, n, 0) for n in range(4)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    yield kafka
    kafka.forget_hq()


@pytest.fixture
def flux(bus, tmp_path, run):  # noqa: F811
    """The topology, by the command that people use."""
    settings = bus.settings(USER)
    password = tmp_path / "detect.password"
    password.write_text(settings["sasl.password"])
    file = tmp_path / "hq.toml"
    file.write_text(
        f'data = "{tmp_path}"\n[bus]\nkind = "kafka"\n[bus.kafka]\n'
        f'servers = {json.dumps(bus.engine.servers)}\nuser = "{USER}"\n'
        f'password_file = "{password}"\nca = "{settings["ssl.ca.location"]}"\n'
        f'certificate = "{settings["ssl.certificate.location"]}"\n'
        f'key = "{settings["ssl.key.location"]}"\n'
    )
    made = tmp_path / "detect.yaml"
    made.write_text(run("storm", "topology", "-c", file, "--python", sys.executable).stdout)
    return made


async def said_by_storm(bus, expected, service):
    """What is in hq.alarm when all that is expected is there, by key."""
    from pbal_hq.bus.kafka import KafkaBus

    found = collections.defaultdict(list)
    started = time.monotonic()
    async with KafkaBus(bus.settings()) as opened, opened.consumer("see", (topics.ALARM,)) as see:

        async def all_there():
            assert service.is_running()
            for record in await see.take(1000, 0.5):
                found[record.key].append(record.value)
            return all(set(found[key]) >= set(values) for key, values in expected.items())

        try:
            await until(all_there, 150)
        except AssertionError:
            print(service.tail(6000))
            raise
    print(f"{sum(map(len, found.values()))} judgements after {time.monotonic() - started:.1f} s")
    return found


async def test_in_one_java_they_say_what_they_say_in_one_process(bus, flux, tmp_path):
    from pbal_hq.bus.kafka import KafkaBus

    given = records(START_S, sites=SITES)
    async with KafkaBus(bus.settings()) as opened:
        await opened.append(given)
    expected = judged(given)
    with storm.local(tmp_path / "storm", flux) as service:
        found = await said_by_storm(bus, expected, service)
        print(service.weigh())
    assert found == expected


async def test_on_a_cluster_a_worker_dies_and_the_next_one_says_the_same(bus, flux, tmp_path):
    from pbal_hq.bus.kafka import KafkaBus

    given = records(START_S, sites=SITES)
    half = len(given) // 2
    engine = storm.Storm(tmp_path / "storm", slots=1)
    engine.start()
    try:
        engine.submit(flux)
        supervisor = engine.services[-1]
        async with KafkaBus(bus.settings()) as opened:
            await opened.append(given[:half])
        await said_by_storm(bus, judged(given[:half]), supervisor)
        first = set(engine.workers())
        for service in engine.services:
            print(service.name, service.weigh())
        assert engine.kill_workers() >= 1
        async with KafkaBus(bus.settings()) as opened:
            await opened.append(given[half:])
        found = await said_by_storm(bus, judged(given), supervisor)
        assert set(engine.workers()).isdisjoint(first)
    finally:
        engine.stop()
    # At least once: some may be there twice, and none is another.
    assert {k: list(dict.fromkeys(v)) for k, v in found.items()} == judged(given)
