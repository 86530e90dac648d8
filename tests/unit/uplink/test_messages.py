"""The words to HQ: known answers, ranges, both Sparkplug forms, and the compact summary."""

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.needs import ROOT
from rigs.words import messages

from pbal_uplink import (
    MESSAGES,
    BadMessage,
    BadSignature,
    Command,
    Event,
    State,
    Summary,
    UplinkValueError,
    compact,
    metrics,
    signing,
    sparkplug,
)

VECTORS = ROOT / "protocol" / "vectors"
FILES = {name: json.loads((VECTORS / "uplink" / name).read_text()) for name in
         ("messages.json", "commands.json")}  # fmt: skip
BY_NAME = {cls.NAME: cls for cls in MESSAGES.values()}


def ids(rows):
    return [row["id"] for row in rows]


def test_the_vectors_are_what_their_maker_writes():
    done = subprocess.run(
        [sys.executable, VECTORS / "make_uplink.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


MESSAGE_VECTORS = FILES["messages.json"]["vectors"]


@pytest.mark.parametrize("vector", MESSAGE_VECTORS, ids=ids(MESSAGE_VECTORS))
def test_known_messages(vector):
    cls = BY_NAME[vector["message"]]
    made = cls.from_dict(vector["fields"])
    assert made.encode().hex() == vector["hex"]
    read = cls.decode(bytes.fromhex(vector["hex"]))
    assert read == made
    assert {k: v for k, v in read.as_dict().items() if k in vector["fields"]} == vector["fields"]
    assert metrics.token(made) == int(vector["token"])
    if "compact" in vector:
        assert compact.encode(made).hex() == vector["compact"]


@pytest.mark.parametrize(
    "vector", FILES["messages.json"]["refused"], ids=ids(FILES["messages.json"]["refused"])
)
def test_refused_messages(vector):
    with pytest.raises(BadMessage):
        BY_NAME[vector["message"]].decode(bytes.fromhex(vector["hex"]))


def test_known_commands():
    for vector in FILES["commands.json"]["vectors"]:
        public = bytes.fromhex(vector["public"])
        keys = {signing.key_id(public): public}
        command = signing.open_sealed(bytes.fromhex(vector["sealed"]), keys)
        assert command == Command.from_dict(vector["fields"])


@pytest.mark.parametrize(
    "vector", FILES["commands.json"]["refused"], ids=ids(FILES["commands.json"]["refused"])
)
def test_refused_commands(vector):
    public = bytes.fromhex(vector["public"])
    with pytest.raises(UplinkValueError):
        signing.open_sealed(bytes.fromhex(vector["sealed"]), {signing.key_id(public): public})


def test_a_key_under_anothers_name_opens_nothing():
    vector = FILES["commands.json"]["vectors"][0]
    sealed = bytes.fromhex(vector["sealed"])
    other = b"\x01" + bytes.fromhex(vector["public"])[1:]
    with pytest.raises((BadSignature, ValueError)):
        signing.open_sealed(sealed, {sealed[:8]: other})


# -- any value -----------------------------------------------------------------------------------


@given(messages(*MESSAGES.values()))
def test_any_message_comes_back(message):
    assert type(message).decode(message.encode()) == message
    assert type(message).from_dict(json.loads(json.dumps(message.as_dict()))) == message


@given(
    messages(*MESSAGES.values()),
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from([0, 1, 127, 255]) | st.integers(0, 255))
    ),
    st.integers(-3, 3),
)
@settings(max_examples=300)
def test_what_is_decoded_is_what_its_fields_make(message, changes, longer):
    """decode() does not build the message field by field; whatever it takes, it takes rightly."""
    data = bytearray(message.encode())
    for place, value in changes:
        data[place % len(data)] = value
    data = bytes(data[:longer] if longer < 0 else data + bytes(longer))
    try:
        read = type(message).decode(data)
    except BadMessage:
        return
    assert read.encode() == data
    fields = dict(vars(read))
    assert vars(type(message)(**fields)) == fields
    assert list(fields) == [field.name for field in message.DECLARED]


@given(messages(Summary, Event, State), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_any_message_comes_back_as_metrics(message, in_plain, historical):
    form = metrics.plain if in_plain else metrics.packed
    birth = sparkplug.Payload(
        sum((metrics.announced(c, 5, in_plain=in_plain) for c in metrics.SENT), ()), 5, 0
    )
    known = sparkplug.aliases(sparkplug.decode(sparkplug.encode(birth)))
    sent = tuple(m.under_alias() for m in form(message, 1_700_000_000_000, historical))
    data = sparkplug.encode(sparkplug.Payload(sent, 1, 7), types=False)
    got = sparkplug.decode(data, known)
    assert got.seq == 7
    assert all(m.timestamp == 1_700_000_000_000 for m in got.metrics)
    assert metrics.messages(got.metrics) == [(message, historical)]
    assert metrics.messages(sparkplug.decode(sparkplug.encode(birth)).metrics) == []


@given(messages(Summary))
def test_the_compact_summary_is_near_the_whole_one(summary):
    data = compact.encode(summary)
    assert len(data) == compact.SIZE <= 51
    back = compact.decode(data, summary.site)
    for field, place in compact.fields():
        value, got = getattr(summary, field.name), getattr(back, field.name)
        if value is None or got is None:
            assert value == got, field.name
            continue
        ends = [place.low + end(field, place) * place.step for end in (compact.bottom, compact.top)]
        nearest = min(max(value, ends[0]), ends[1])
        slack = place.step / 2 + (0.5 if not field.is_float else 0.5 / field.divisor) + 1e-6
        assert abs(got - nearest) <= slack, field.name
    assert compact.encode(back) == data


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_be_refused(data):
    for cls in MESSAGES.values():
        try:
            made = cls.decode(data)
        except BadMessage:
            continue
        assert made.encode() == data
    for read in (lambda: compact.decode(data, 1), lambda: sparkplug.decode(data),
                 lambda: sparkplug.read_state(data)):  # fmt: skip
        try:
            read()
        except BadMessage:
            continue


def test_every_part_of_a_message_is_needed():
    whole = bytes.fromhex(MESSAGE_VECTORS[0]["hex"])
    for end in range(len(whole)):
        with pytest.raises(BadMessage):
            Summary.decode(whole[:end])


# -- what is not legal ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "values", "words"),
    [
        (Summary, {"length_s": 0}, "Summary.length_s"),
        (Summary, {"length_s": 300, "va_min_v": 601.0}, "Summary.va_min_v"),
        (Summary, {"length_s": 300, "ia_mean_a": math.nan}, "Summary.ia_mean_a"),
        (Summary, {"length_s": 300, "homes": 1.5}, "Summary.homes"),
        (Summary, {"length_s": 300, "homes": True}, "Summary.homes"),
        (Summary, {"length_s": 300, "homes": None}, "Summary.homes"),
        (Event, {"kind": 12}, "Event.kind"),
        (Event, {"kind": 1, "detail": "é" * 101}, "Event.detail"),
        (State, {"words": 1, "window_s": 300, "config_hash": b"1234"}, "State.config_hash"),
        (Command, {"command_id": 0, "kind": 1}, "Command.command_id"),
    ],
)
def test_what_is_not_legal_names_its_field(cls, values, words):
    with pytest.raises(BadMessage, match=words):
        cls(**values)


def test_json_with_unknown_or_missing_fields_is_refused():
    whole = Event(kind=1).as_dict()
    with pytest.raises(BadMessage, match="colour"):
        Event.from_dict(whole | {"colour": 1})
    with pytest.raises(BadMessage, match="kind"):
        Event.from_dict({})
    with pytest.raises(BadMessage, match="hex"):
        State.from_dict({"words": 1, "window_s": 1, "config_hash": "zz"})


def test_plain_metrics_without_one_field_are_refused():
    with pytest.raises(BadMessage, match="mode"):
        metrics.messages(metrics.plain(Summary(length_s=300), 1)[:-1])


@pytest.mark.parametrize("data", [b"", b"ONLINE", b"{}", b'{"online":1,"timestamp":1}',
                                  b'{"online":true,"timestamp":true}', b"[]"])  # fmt: skip
def test_a_state_of_another_version_is_refused(data):
    with pytest.raises(BadMessage):
        sparkplug.read_state(data)
    assert sparkplug.read_state(sparkplug.write_state(True, 5)) == (True, 5)


def test_metrics_that_say_too_little_are_refused():
    raw = sparkplug.encode(sparkplug.Payload((sparkplug.Metric(alias=5, value=1, datatype=7),)),
                           types=False)  # fmt: skip
    with pytest.raises(BadMessage, match="data type"):
        sparkplug.decode(raw)
    with pytest.raises(BadMessage):
        sparkplug.encode(sparkplug.Payload((sparkplug.Metric("x", "text", sparkplug.UINT32),)))
