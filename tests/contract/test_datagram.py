"""Datagrams of sealed frames: the bytes of docs/wire.md, and nothing of a damaged one is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbal_protocol import datagram

ITEM = st.tuples(st.integers(0, 0xFFFF), st.integers(0, 255), st.binary(max_size=240))


def test_the_bytes_are_those_of_the_document() -> None:
    made = datagram.datagram(datagram.POLL, 0x0105, 0, b"frame")
    assert made == bytes.fromhex("a1 0501 00 05") + b"frame"
    assert datagram.items(made) == [(0x0105, 0, b"frame")]
    assert made.index(b"frame") == datagram.HEAD


@given(st.lists(ITEM, min_size=1, max_size=5))
def test_items_come_back_as_they_were(wanted) -> None:
    buf = bytearray(datagram.MAX_DATAGRAM + 100)
    buf[0] = datagram.FRAMES
    at = 1
    for address, hints, frame in wanted:
        buf[at + 4 : at + 4 + len(frame)] = frame
        at = datagram.put(buf, at, address, hints, len(frame))
    data = bytes(buf[:at])
    assert datagram.items(data) == wanted
    # Cut anywhere but between two items it is none.
    whole = {1}
    end = 1
    while end < at:
        end = datagram.item_end(data, end, at)
        whole.add(end)
    for n in range(1, at):
        if n not in whole:
            assert datagram.items(data[:n]) is None


@pytest.mark.parametrize("data", [b"", b"\xa3", b"\xa3\x01", b"\xa3\x01\x00\x00\x01"])
def test_what_is_cut_short_is_nothing(data) -> None:
    assert datagram.items(data) is None


@given(st.binary(max_size=300))
def test_no_bytes_raise(data) -> None:
    datagram.items(data)
