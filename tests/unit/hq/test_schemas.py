"""The published schemas of the bus's topics, and what the roles that read them take: the same."""

import copy
import json

import jsonschema
import pytest
from rigs.poison import poison

from pbal_hq.bus import topics
from pbal_hq.ingest.wording import BadRecord, Dead, Judged, Message, Out, Presence
from pbal_hq.schemas import schemas
from pbal_hq.store import forms
from pbal_uplink import Event, State, Summary

SCHEMAS = schemas()


def of(said):
    return Message("00c0ffee00c0ffee", 1_790_000_000_000, False, said.as_dict())


STATE = State(site=7, at_s=1, words=1, config_hash=bytes(8), window_s=300)
EXAMPLES = {
    topics.SUMMARY: [of(Summary(site=7, start_s=1_790_000_000, length_s=300, va_min_v=231.25)),
                     Message("1", 1, True, Summary(length_s=1).as_dict(), replayed=True)],
    topics.EVENT: [of(Event(site=7, event_id=1, kind=2, detail="why", arg0=-5))],
    topics.STATE: [of(STATE), Presence(True, 3, 5, of(STATE)), Presence(False, None, 5)],
    topics.ALARM: [Judged(7, 1, 2, {"overload": (2, "120 %")}, {})],
    topics.OUT: [Out(rebirth=True), Out(stored=["00c0ffee"]), Out(command="00ff")],
    topics.DEAD: [Dead.of("NDATA", "no seq", b"\x00", 3)],
}  # fmt: skip
SAID = {topics.SUMMARY: Summary, topics.EVENT: Event, topics.STATE: State}


def is_taken(topic, value):
    """As the store, the bridge and the alarms read it."""
    try:
        if topic == topics.STATE and isinstance(value, dict) and "online" in value:
            told = Presence.decode(json.dumps(value).encode())
            if told.state is not None:
                forms.check(State, told.state.fields)
        elif topic in SAID:
            forms.check(SAID[topic], Message.decode(json.dumps(value).encode()).fields)
        else:
            form = {topics.ALARM: Judged, topics.OUT: Out, topics.DEAD: Dead}[topic]
            form.decode(json.dumps(value).encode())
    except BadRecord:
        return False
    return True


def fits(topic, value):
    return jsonschema.Draft202012Validator(SCHEMAS[topic]).is_valid(value)


def broken(value):
    """The same with one thing changed, everywhere in it."""
    if isinstance(value, dict):
        for name in value:
            yield {key: each for key, each in value.items() if key != name}
            for other in broken(value[name]):
                yield {**value, name: other}
        yield {**value, "of a newer role": 1}
    elif isinstance(value, list):
        yield [*value, True]
        for n, each in enumerate(value):
            for other in broken(each):
                yield [*value[:n], other, *value[n + 1 :]]
    yield from (None, "zz!", -1, 2**70, [], {}, True)


@pytest.mark.parametrize("topic", EXAMPLES)
def test_what_is_written_fits_and_what_does_not_fit_is_not_taken(topic):
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[topic])
    seen = set()
    for said in EXAMPLES[topic]:
        value = json.loads(said.encode())
        assert fits(topic, value), value
        for other in broken(copy.deepcopy(value)):
            seen.add(fits(topic, other))
            assert fits(topic, other) == is_taken(topic, other), other
    assert seen == {True, False}


def test_every_topic_of_json_has_one():
    assert set(SCHEMAS) == set(topics.ALL) - {topics.RAW}


def test_no_poison_fits():
    told = [new for new in poison("north/7")[0] if new.topic in SCHEMAS]
    assert len({new.topic for new in told}) >= 5
    for new in told:
        try:
            value = json.loads(new.value)
        except ValueError:
            continue
        assert not fits(new.topic, value), new


def test_the_command_prints_them(run):
    said = run("bus", "schema", "hq.summary")
    assert json.loads(said.stdout) == SCHEMAS[topics.SUMMARY]
    assert json.loads(run("bus", "schema").stdout) == SCHEMAS
    assert "hq.summary" in run("bus", "schema", "hq.spb.raw", code=6).stderr
