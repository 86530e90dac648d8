"""Two nodes with one address: found, told from noise, and said with what to do."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pbal_protocol import modbus, modbus_client
from pbal_sim.boardport import PtyPort
from pbal_tools import sitefile
from pbal_tools.commission import scan as scanning
from pbal_tools.commission.line import Line
from pbal_tools.commission.sharedunit import ROUNDS, look
from pbal_tools.site import bus as buses
from pbal_tools.site.diff import against_bus

WORDS = {1: (1, 2301, 2302, 2303, 2301, 0, 0, 0, 5000, 1, 2, 0),
         2: (1, 2299, 2310, 2307, 2310, 0, 0, 0, 5000, 2, 2, 0)}  # fmt: skip

Mix = Callable[[random.Random, list[bytes]], bytes]


def over_each_other(rng: random.Random, answers: list[bytes]) -> bytes:
    """As two drivers do that pull against each other: a dominant level wins bit by bit."""
    longest = max(len(a) for a in answers)
    shift = rng.choice((0, 1))
    a, b = (x.ljust(longest + 1, b"\xff") for x in (answers[0], b"\xff" * shift + answers[1]))
    return bytes(x & y for x, y in zip(a, b, strict=False)).rstrip(b"\xff")


def one_after_the_other(rng: random.Random, answers: list[bytes]) -> bytes:
    return b"".join(answers)


def now_and_then_alone(rng: random.Random, answers: list[bytes]) -> bytes:
    return rng.choice((answers[0], over_each_other(rng, answers)))


def noise(rng: random.Random, answers: list[bytes]) -> bytes:
    out = bytearray(answers[0])
    if rng.random() < 0.6:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def answer(frame: bytes, words: tuple[int, ...]) -> bytes:
    """A node's answer to function 04; to 43/14 an exception."""
    unit, pdu = modbus_client.split_adu(frame)
    if pdu[0] != modbus.READ_INPUT_REGISTERS:
        return modbus_client.adu(unit, bytes((pdu[0] | 0x80, 1)))
    first, count = pdu[2], pdu[4]
    data = b"".join(w.to_bytes(2, "big") for w in words[first : first + count])
    return modbus_client.adu(unit, bytes((4, len(data))) + data)


# Longer than a line needs: the street is a thread here, and tests run beside others.
ANSWER_S = 0.25


@contextmanager
def street(mixes: dict[int, Mix | None], seed: int = 1) -> Iterator[str]:
    """Units that answer: None one node alone, else two nodes whose answers come together."""
    port = PtyPort()
    stop = threading.Event()
    rng = random.Random(seed)

    def run() -> None:
        seen = b""
        while not stop.is_set():
            seen += port.read()
            if len(seen) < 8 and not (len(seen) == 7 and seen[1] == modbus.ENCAPSULATED):
                stop.wait(0.001)
                continue
            frame, seen = seen, b""
            if frame[0] not in mixes:
                continue
            mix = mixes[frame[0]]
            one, two = answer(frame, WORDS[1]), answer(frame, WORDS[2])
            port.write(one if mix is None else mix(rng, [one, two]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield port.url
    finally:
        stop.set()
        thread.join()
        port.close()


def site(url: str, *addresses: int) -> sitefile.Site:
    return sitefile.validate(
        {"site": {"id": 7}, "bus": {"north": {"port": url, "answer_timeout_ms": 1000 * ANSWER_S}},
         "home": [{"address": a, "bus": "north"} for a in addresses]}, "test",
    )  # fmt: skip


@pytest.mark.parametrize("mix", [over_each_other, one_after_the_other, now_and_then_alone])
def test_two_nodes_at_one_unit_are_called_that(mix: Mix) -> None:
    with street({1: mix, 2: None}) as url:
        found = site(url, 1, 2, 3)
        heard = buses.scan("north", found.bus["north"], [1, 2, 3])
        told = {d.address: d for d in against_bus(found, "north", heard)}
        with Line(found.bus["north"], ANSWER_S) as line:
            job: Any = SimpleNamespace(line=line, homes=found.home, note=lambda words: None)
            scanned = scanning.scan(job, range(1, 4))
    assert told[1].text.startswith("two nodes answer at unit 1 (")
    assert "pbal provision add" in told[1].remedy
    assert "one of them off the line" in told[1].remedy
    assert 2 not in told or "two nodes" not in told[2].text
    assert told[3].text == "unit 3 does not answer"
    assert [c["unit"] for c in scanned["crowded"]] == [1]
    assert scanned["crowded"][0]["words"].startswith("two nodes answer at unit 1")
    assert [n["unit"] for n in scanned["provisioned"]] == [2]
    assert scanned["absent"] == [3]


def test_noise_is_not_called_two_nodes() -> None:
    with street({1: noise, 2: noise}) as url, Line(site(url, 1).bus["north"], ANSWER_S) as line:
        crowd = look(line, 1, 2)
    assert crowd is not None
    assert crowd.noisy
    assert "noise, or two nodes" in crowd.words
    assert "termination" in crowd.remedy


def test_one_node_is_one_node() -> None:
    with street({1: None}) as url, Line(site(url, 1).bus["north"], ANSWER_S) as line:
        assert look(line, 1, None) is None
        assert look(line, 5, None) is None
        assert line.requests == 2 * ROUNDS
