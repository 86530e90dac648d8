"""The detectors over the bus: as those over the database, also after a loss of memory."""

import dataclasses
import io
import itertools
import json
import time
from datetime import UTC, datetime

import pytest
import yaml
from rigs.hq import Headquarters
from rigs.windows import hours, records

from pbal_hq import alarms
from pbal_hq.bus import Record, topics
from pbal_hq.errors import ConfigError
from pbal_hq.ingest.wording import BadRecord, Dead, Judged, Message
from pbal_hq.javaclient import Client
from pbal_hq.store import series
from pbal_hq.store.presence import Seen, note_seen
from pbal_hq.storm import topology
from pbal_hq.storm.accept import take, take_judged
from pbal_hq.storm.bolt import Detect
from pbal_hq.storm.multilang import Shell, run
from pbal_hq.storm.stream import Stream

START_S = int(time.time()) // 3600 * 3600 - 4 * 3600


def judged(given):
    """(key, bytes) of what is said of these records, in-process."""
    stream = Stream()
    said = ((new.key, stream.take(new.key, new.value)) for new in given)
    return [(key, each.encode()) for key, each in said if each is not None]


def on_bus(said):
    return [Record(n, 0, key, value, topics.ALARM) for n, (key, value) in enumerate(said)]


@pytest.fixture
async def conn(conn, database_url, tmp_path):
    """A database with sites 7 and 8 that are trusted."""
    hq = Headquarters(tmp_path, database_url)
    for site, group in ((7, "kerala"), (8, "goa")):
        await hq.add_site(site, group=group)
        await hq.certificate(site)
    return conn


async def table(conn):
    """All alarms, and whether they are over."""
    cursor = await conn.execute(
        "SELECT transformer_id, kind, severity, detail, raised_at, last_at, times,"
        " closed_at IS NOT NULL FROM alarm ORDER BY raised_at, transformer_id, kind"
    )
    return await cursor.fetchall()


async def watched(conn, summaries):
    """What the detectors over the database make of it, looking when each window has come."""
    rows = await (await conn.execute("SELECT id, transformer_id FROM site")).fetchall()
    transformers = dict(rows)
    for start_s, group in itertools.groupby(summaries, lambda summary: summary.start_s):
        start = datetime.fromtimestamp(start_s, UTC)
        now = datetime.fromtimestamp(start_s + 310, UTC)
        said = list(group)
        async with conn.transaction():
            await note_seen(conn, {each.site: Seen(now, start) for each in said})
            rows = [
                series.Row(transformers[each.site], start, each.site, False, now, each.as_dict())
                for each in said
            ]
            await series.insert(conn, rows, copy=False)
        await alarms.watch(conn, now)
    return await table(conn)


async def test_they_find_what_those_over_the_database_find(conn):
    expected = await watched(conn, hours(START_S))
    kinds = {row[1] for row in expected}
    assert kinds == {"thermal overload", "phase overload", "voltage", "neutral", "stale homes"}
    await conn.execute("DELETE FROM alarm")
    said = on_bus(judged(records(START_S)))
    assert (await take_judged(conn, said)).changed > 0
    assert await table(conn) == expected
    # Again, and an old one after newer ones: nothing.
    assert (await take_judged(conn, said)).changed == 0
    assert (await take_judged(conn, said[3:4])).changed == 0
    assert await table(conn) == expected


async def test_what_a_person_closes_is_raised_again_only_when_it_is_wrong_again(conn):
    said = on_bus(judged(records(START_S, windows=8, sites=(7,))))
    first = [r for r in said if "thermal overload" in Judged.decode(r.value).raises]
    await take_judged(conn, first[:1])
    await conn.execute("UPDATE alarm SET closed_at = now()")
    assert (await take_judged(conn, first[:1])).changed == 0
    assert (await take_judged(conn, first[1:2])).changed == 1


async def test_what_is_not_the_sites_own_raises_nothing(conn):
    key, value = next(e for e in judged(records(START_S)) if Judged.decode(e[1]).raises)
    other = json.loads(value) | {"site": 99}
    strange = [("kerala/99", value), (key, json.dumps(other).encode()), (key, b"{"), (key, b"\xff")]
    assert (await take_judged(conn, on_bus(strange))).changed == 0
    await conn.execute("UPDATE site SET removed_at = now()")
    assert (await take_judged(conn, on_bus([(key, value)]))).changed == 0
    assert await table(conn) == []


async def test_what_cannot_be_used_is_a_dead_letter_and_delays_nothing(conn):
    whole = judged(records(START_S, windows=8, sites=(7,)))
    key, value = next(e for e in whole if Judged.decode(e[1]).raises)
    said = json.loads(value)
    kind = next(iter(said["raises"]))
    severity, words = said["raises"][kind]

    def but(**raises):
        return json.dumps(said | {"raises": {kind: raises.get(kind, (severity, words))}}).encode()

    bad = {
        b"{": "JSON",
        json.dumps(said | {"at_ms": 10**18}).encode(): "it cannot be used",
        but(**{kind: (3, words)}): "less than or equal to 2",
        # JSON has it, and PostgreSQL's texts do not: only the database sees that.
        but(**{kind: (severity, "a\0b")}): "the database refuses it",
    }
    given = on_bus([*((key, each) for each in bad), (key, value)])
    taken = await take(conn, given)
    assert taken.changed == len(await table(conn)) > 0
    letters = [Dead.decode(new.value) for new in taken.dead]
    assert {new.topic for new in taken.dead} == {topics.DEAD}
    assert {new.key for new in taken.dead} == {key}
    assert [letter.data for letter in letters] == list(bad)
    for letter, reason in zip(letters, bad.values(), strict=True):
        assert letter.kind == "alarm"
        assert reason in letter.reason


def test_who_is_well_is_spoken_of_once_an_hour():
    well = records(START_S, windows=36, sites=(7,))[20:]
    found = [Judged.decode(value) for _, value in judged(well)]
    quiet = [each.start_s for each in found[3:]]  # till then too few windows are known
    assert quiet == [START_S + 2 * 3600]
    assert found[-1].raises == found[-1].keeps == {}


def test_what_is_not_known_is_spoken_of_once_an_hour_and_when_it_changes():
    """A site without a model of its transformer would else say so with each window."""

    def without(new, *names):
        said = json.loads(new.value)
        said["fields"].update(dict.fromkeys(names))
        return dataclasses.replace(new, value=json.dumps(said).encode())

    well = records(START_S, windows=48, sites=(7,))[20:]
    unknown = [without(new, "hotspot_c", "load_max_percent") for new in well]
    found = [Judged.decode(value) for _, value in judged(unknown)]
    assert [each.start_s for each in found[3:]] == [START_S + n * 3600 for n in (2, 3)]
    assert {frozenset(each.keeps) for each in found[3:]} == {
        frozenset({"thermal overload", "phase overload"})
    }
    # Known again, an alarm that is open is over at once, and not in the next hour.
    found = [Judged.decode(value) for _, value in judged([*unknown[:8], *well[8:10]])]
    (first,) = [each for each in found if each.start_s == START_S + 300 * 28]
    assert "thermal overload" not in first.keeps


def test_a_backlog_is_no_alarm_and_what_does_not_fit_is_said():
    stream = Stream()
    for new in records(START_S, windows=12):
        message = json.loads(new.value)
        message["received_ms"] += 3_600_000
        assert stream.take(new.key, json.dumps(message).encode()) is None
    good = json.loads(records(START_S, windows=1)[0].value)
    for bad in (b"", b"[]", json.dumps(good | {"fields": {}}).encode()):
        with pytest.raises(BadRecord):
            stream.take("kerala/7", bad)


@pytest.mark.parametrize("died_after", [1, 7, 20, 31])
@pytest.mark.parametrize("again", [0, 3])
def test_a_bolt_in_the_place_of_another_says_the_same(died_after, again):
    given = records(START_S)
    expected = judged(given)

    class Past:
        asked = 0

        def before(self, partition, offset):
            assert partition == 4
            self.asked += 1
            return [(new.key, new.value) for new in given[:offset]]

    def tuples(first, last):
        for offset in range(first, last):
            new = given[offset]
            yield [topics.SUMMARY, 4, offset, new.key, new.value.decode()]

    past = Past()
    one, other = Detect(past), Detect(past)
    said = [e for values in tuples(0, died_after) for e in one(values)]
    # Those that were not acknowledged come again.
    first = max(0, died_after - again)
    said += [e for values in tuples(first, len(given)) for e in other(values)]
    assert past.asked == 2
    assert list(dict.fromkeys(said)) == [(key, value.decode()) for key, value in expected]


def test_the_words_of_the_protocol(tmp_path):
    def frame(message):
        return json.dumps(message).encode() + b"\nend\n"

    into = io.BytesIO(
        frame({"pidDir": str(tmp_path), "conf": {}, "context": {}})
        + frame({"id": "1", "stream": "default", "tuple": [3]})
        + frame([7, 8])
        + frame({"id": "h", "stream": "__heartbeat", "tuple": []})
        + frame({"id": "2", "stream": "default", "tuple": [0]})
    )
    out = io.BytesIO()
    run(Shell(into, out), lambda values: [[12 // values[0]]] * 2)
    said = [json.loads(part) for part in out.getvalue().split(b"\nend\n") if part]
    (pid,) = (int(path.name) for path in tmp_path.iterdir())
    assert said[0] == {"pid": pid}
    emit = {"command": "emit", "tuple": [4], "anchors": ["1"], "need_task_ids": False}
    assert said[1:5] == [emit, emit, {"command": "ack", "id": "1"}, {"command": "sync"}]
    assert "ZeroDivisionError" in said[5]["msg"]
    assert said[6:] == [{"command": "fail", "id": "2"}]


def client(folder, password="secret", key="-----BEGIN PRIVATE KEY-----\n"):
    for name, text in (("password", password), ("key", key), ("ca", ""), ("crt", "")):
        (folder / name).write_text(text)
    paths = (folder / name for name in ("password", "ca", "crt", "key"))
    return Client(("h:1", "i:2"), "pbal-hq-detect", *paths)


def test_the_topology_names_files_and_no_secret(tmp_path):
    made = topology.topology(client(tmp_path), ("python3", "-m", "x"), name="t", bolts=3)
    assert "${" not in made, "Flux would replace it"
    calls = yaml.safe_load(made)["components"][0]["configMethods"]
    assert f"${{file:{tmp_path}:password}}" in str(calls)
    assert "secret" not in made
    assert '[["python3", "-m", "x"], ["key", "message"]]' in made
    with pytest.raises(ConfigError, match="newline"):
        topology.topology(client(tmp_path, "secret\n"), (), name="t")
    with pytest.raises(ConfigError, match="PKCS"):
        topology.topology(client(tmp_path, key="-----BEGIN EC PRIVATE KEY-----"), (), name="t")
    (tmp_path / "a:b").mkdir()
    odd = client(tmp_path / "a:b")
    with pytest.raises(ConfigError, match="colon"):
        topology.topology(odd, (), name="t")


def test_a_message_that_comes_again_is_the_same_message():
    given = records(START_S)
    twice = list(itertools.chain.from_iterable((new, new) for new in given))
    once = {value for _, value in judged(given)}
    assert {value for _, value in judged(twice)} == once
    assert Message.decode(given[0].value).fields["site"] == 7
