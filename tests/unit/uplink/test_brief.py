"""Messages in few bytes, the items between a site and its gateway, and ChirpStack's codec."""

import contextlib
import itertools
import json
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.needs import require_tool
from rigs.words import messages

from pbal_tools.uplinkcodec import DOWN_PORT, UP_PORT
from pbal_uplink import BadMessage, Command, Event, Message, State, Summary, brief, link, metrics

CODEC = Path(brief.__file__).with_name("chirpstack.js")
sent = messages(Summary, Event, State)


@given(sent, st.integers(brief.LIMIT, 250))
def test_a_brief_message_fits_and_is_the_message_but_for_its_text(message: Message, room: int):
    data = brief.encode(message, room)
    assert len(data) <= room
    back = brief.decode(data, message.site)
    assert brief.encode(back, room) == data
    assert metrics.token(brief.arrives(message, room)) == metrics.token(back)
    if isinstance(message, Summary):
        return
    text = message.DECLARED[-1].name
    assert getattr(message, text).startswith(getattr(back, text))
    ours, theirs = message.as_dict(), back.as_dict()
    assert ours.pop(text) == theirs.pop(text) or len(data) > room - 4
    assert ours == theirs


def test_a_command_has_no_brief_form_and_strange_bytes_are_refused():
    command = Command(site=1, command_id=1, issued_s=1, expires_s=2, kind=3, detail="")
    with pytest.raises(BadMessage, match="no brief form"):
        brief.encode(command)
    for data in (b"", b"\x99", b"\x12", b"\x13" + bytes(10), b"\x11" + bytes(3)):
        with pytest.raises(BadMessage):
            brief.decode(data, 1)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes):
    for read in (lambda: brief.decode(data, 1), lambda: link.unpack(data)):
        with contextlib.suppress(BadMessage):
            read()


@given(st.binary(min_size=1, max_size=240), st.sampled_from((45, 51, 95, 200)), st.randoms())
def test_a_command_in_parts_is_whole_again(sealed: bytes, room: int, rng: random.Random):
    parts = link.split(sealed, room)
    assert all(part.size <= room for part in parts)
    shuffled = [*parts, *parts]
    rng.shuffle(shuffled)
    joiner, whole = link.Joiner(), []
    for part in link.unpack(link.pack(shuffled)):
        whole += filter(None, [joiner.put(part)])
    assert sealed in whole
    assert set(whole) == {sealed}


def test_parts_that_never_become_whole_take_little_memory():
    joiner = link.Joiner()
    for n in range(1000):
        assert joiner.put(link.split(bytes([n % 256, n >> 8]) * 60, 51)[0]) is None
    assert len(joiner._begun) == 4
    broken = link.split(b"x" * 100, 51)
    other = link.Item(link.PART, broken[1].body[:-1] + b"y")
    assert [joiner.put(part) for part in (broken[0], other, broken[2])] == [None] * 3


def test_items_are_known_answers():
    items = [link.held(7), link.stored([1, 2**63]), link.Item(link.ASK)]
    data = link.pack(items)
    assert data.hex() == "1004070000001110010000000000000000000000000000801300"
    assert link.unpack(data + b"\x77\x01\x00") == items
    assert link.held_counter(items[0]) == 7
    assert link.stored_tokens(items[1]) == [1, 2**63]
    with pytest.raises(BadMessage):
        link.unpack(data[:-1])


def run_codec(calls: list[dict]) -> list[dict]:
    node = require_tool("node", "nodejs")
    lines = "\n".join(json.dumps(call) for call in calls)
    done = subprocess.run(
        [node, str(Path(__file__).with_name("codec.js")), str(CODEC)], input=lines, text=True,
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    # Not splitlines(): JSON may hold characters that it takes for the end of a line.
    return [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]


def _as_javascript(message: Message) -> dict:
    fields = message.as_dict()
    del fields["site"]
    for field in message.DECLARED:
        if field.code == "Q":
            fields[field.name] = f"{fields[field.name]:016x}"
        elif field.is_float and fields[field.name] is not None:
            fields[field.name] = round(fields[field.name], 3)
    return fields


def _up(data: bytes, port: int = UP_PORT) -> dict:
    return {"call": "decodeUplink", "input": {"bytes": list(data), "fPort": port}}


def test_the_codec_reads_what_python_wrote():
    made: list[Message] = []

    @settings(max_examples=120, database=None)
    @given(sent)
    def collect(message: Message) -> None:
        made.append(message)

    collect()
    answers = run_codec([_up(brief.encode(message)) for message in made])
    assert {type(message) for message in made} == {Summary, Event, State}
    for message, answer in zip(made, answers, strict=True):
        want = _as_javascript(brief.arrives(message))
        assert answer == {"data": {"kind": message.NAME, "fields": want}}


def test_the_codec_refuses_what_is_no_message():
    good = brief.encode(Summary(site=1, start_s=60, length_s=300))
    bad = [
        _up(good, 2), _up(b""), _up(b"\x99"), _up(good[:-1]), _up(good[:-1] + b"\x01"),
        _up(b"\x12" + bytes(4)), _up(b"\x13" + bytes(49) + b"\x05"),
        {"call": "encodeDownlink", "input": {"data": {"hex": "abc"}}},
    ]  # fmt: skip
    for answer in run_codec(bad):
        assert list(answer) == ["errors"]
    down = {"call": "encodeDownlink", "input": {"data": {"hex": "1300"}}}
    assert run_codec([down]) == [{"fPort": DOWN_PORT, "bytes": [0x13, 0]}]


@given(st.lists(st.integers(0, 60), max_size=30), st.integers(link.HEAD, 70))
def test_items_fill_frames_in_their_order(sizes, room):
    items = [link.Item(link.NEW, bytes(size)) for size in sizes]
    if any(item.size > room for item in items):
        with pytest.raises(BadMessage, match="does not fit"):
            link.fill(items, room)
        return
    frames = link.fill(items, room)
    assert [item for frame in frames for item in frame] == items
    for frame, after in itertools.zip_longest(frames, frames[1:]):
        size = len(link.pack(frame))
        assert 0 < size <= room
        assert not after or size + after[0].size > room, "as few as it takes"


@pytest.mark.parametrize("room", [1, 9, 10, 17, 18, 82, 83])
def test_as_many_tokens_as_fit(room):
    count = link.stored_room(room)
    assert count == 0 or link.stored(range(count)).size <= room
    assert link.stored(range(count + 1)).size > room


def test_a_frame_without_room_for_a_part_takes_no_command():
    with pytest.raises(BadMessage, match="no part"):
        link.split(b"x" * 100, 8)
