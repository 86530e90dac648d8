"""An edge node's session as HQ sees it: births, deaths, sequence, aliases; pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbal_hq.ingest import Node
from pbal_uplink import Event, State, Summary, metrics, sparkplug
from pbal_uplink.sparkplug import Metric, Payload

REORDER_MS = 5000


def birth(bdseq=0, seq=0, plain=False):
    form = metrics.plain if plain else metrics.packed
    made = (
        Metric(sparkplug.BDSEQ, bdseq, sparkplug.INT64, timestamp=1),
        *form(State(site=7, words=1, config_hash=bytes(8), window_s=300), 1),
        *(m for cls in (Summary, Event) for m in metrics.announced(cls, 1, in_plain=plain)),
    )
    return sparkplug.encode(Payload(made, 1, seq))


def death(bdseq=0):
    return sparkplug.encode(Payload((Metric(sparkplug.BDSEQ, bdseq, sparkplug.INT64),), 1))


def data(seq, start_s=300, plain=False):
    form = metrics.plain if plain else metrics.packed
    made = tuple(m.under_alias() for m in form(Summary(site=7, start_s=start_s, length_s=300), 1))
    return sparkplug.encode(Payload(made, 1, seq), types=False)


def take(node, kind, payload, now_ms=0):
    return node.take(kind, payload, 0, now_ms)


def born(bdseq=0, plain=False):
    node = Node()
    assert take(node, "NBIRTH", birth(bdseq, plain=plain)).online is True
    return node


@pytest.mark.parametrize("plain", [False, True])
def test_data_is_read_by_the_aliases_of_the_birth(plain):
    verdict = take(born(plain=plain), "NDATA", data(1, plain=plain))
    ((message, historical),) = metrics.messages(verdict.payload.metrics)
    assert (message.start_s, historical) == (300, False)
    assert not verdict.rebirth


@pytest.mark.parametrize("plain", [False, True])
def test_data_without_a_birth_is_used_and_a_rebirth_asked_for(plain):
    verdict = take(Node(), "NDATA", data(9, plain=plain))
    assert verdict.rebirth
    assert metrics.messages(verdict.payload.metrics)[0][0].start_s == 300


def test_what_comes_late_but_in_time_is_no_gap():
    node = born()
    for seq, now_ms in ((2, 0), (4, 100), (3, 200), (1, 4000)):
        take(node, "NDATA", data(seq), now_ms)
    assert not node.is_missing(99_999, REORDER_MS)
    assert node.seq == 4


def test_what_does_not_come_is_missing_after_its_time_and_once():
    node = born()
    take(node, "NDATA", data(2), 1000)
    assert not node.is_missing(5999, REORDER_MS)
    assert node.is_missing(6000, REORDER_MS)
    assert not node.is_missing(99_999, REORDER_MS)
    take(node, "NDATA", data(3), 7000)
    assert not node.is_missing(99_999, REORDER_MS)


def test_a_message_given_again_is_no_gap():
    node = born()
    for seq in (1, 1, 2, 2):
        take(node, "NDATA", data(seq))
    assert node.gap_ms is None


def test_the_sequence_goes_round():
    node = born()
    for n in range(1, 600):
        take(node, "NDATA", data(n % 256))
    assert node.gap_ms is None


@given(st.permutations(range(1, 12)))
def test_any_order_of_all_messages_is_complete(order):
    node = born()
    for seq in order:
        take(node, "NDATA", data(seq))
    assert (node.seq, node.gap_ms, node.ahead) == (11, None, [])


def test_an_older_connections_will_kills_nobody():
    node = born(bdseq=5)
    assert take(node, "NDEATH", death(4)).online is None
    assert node.born
    assert take(node, "NDEATH", death(5)).online is False
    assert not node.born


def test_a_birth_ends_the_wait():
    node = born()
    take(node, "NDATA", data(5), 0)
    take(node, "NBIRTH", birth(), 100)
    assert not node.is_missing(99_999, REORDER_MS)
    take(node, "NDATA", data(1), 200)
    assert node.gap_ms is None


@pytest.mark.parametrize(
    ("kind", "payload", "why"),
    [
        ("NBIRTH", birth(seq=3), "seq 0, not 3"),
        ("NBIRTH", sparkplug.encode(Payload((), 1, 0)), "without bdSeq"),
        ("NBIRTH", b"\xff\xff", "no Sparkplug payload"),
        ("NDATA", b"\xff\xff", "no Sparkplug payload"),
        ("NDATA", sparkplug.encode(Payload((Metric(alias=77, value=1, datatype=8),), 1, 1),
                                   types=False), "data type 0"),
        ("NDATA", sparkplug.encode(Payload((Metric("x", True, 11),), 1)), "without seq"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_dead_with_a_reason(kind, payload, why):
    verdict = take(born(), kind, payload)
    assert why in verdict.dead
    assert verdict.rebirth
    assert verdict.payload is None


def test_requests_for_a_rebirth_come_at_doubling_pauses():
    node = Node()
    asked = [s for s in range(400) if node.may_ask(s * 1000, 10_000, 60_000)]
    assert asked[:6] == [0, 10, 30, 70, 130, 190]
    take(node, "NBIRTH", birth())
    assert node.may_ask(400_000, 10_000, 60_000)


@given(st.lists(st.integers(0, 255), max_size=20), st.booleans())
def test_what_is_kept_is_the_same(seqs, plain):
    node = born(3, plain)
    for seq in seqs:
        take(node, "NDATA", data(seq, plain=plain), 123)
    assert Node.decode(node.encode()) == node
