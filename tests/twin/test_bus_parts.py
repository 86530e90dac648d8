"""The parts of the bus and of the street's figures by themselves: no process, no firmware."""

import json
import mmap
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from pbal_sim.bus import Bus
from pbal_sim.buscounts import BusCounts
from pbal_sim.disturbances import Disturbances
from pbal_sim.hal import hwmap
from pbal_sim.line import CONTROLLER, INTRUDER, Line, Transmission, char_us
from pbal_sim.mains import Mains
from pbal_sim.neutral import NeutralHistory
from pbal_sim.receivers import Port, Receivers

CHAR = char_us(115200)
UNITS = [1, 2, 3]


class Later:
    """What was scheduled, to be done when a test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def at(self, t_us: float, action: Callable[[], None]) -> None:
        self.due.append((t_us, action))

    def run(self) -> None:
        now, self.due = sorted(self.due, key=lambda item: item[0]), []
        for _, action in now:
            action()


class Segment:
    """Three chips' ends without chips."""

    def __init__(self, pair_frames: bool = False, room: int = 256) -> None:
        self.pages = mmap.mmap(-1, len(UNITS) * hwmap.PAGE_SIZE)
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in UNITS]
        self.chips = [chip for _, chip in pairs]
        self.ports = [Port(bus, i * hwmap.PAGE_SIZE) for i, (bus, _) in enumerate(pairs)]
        for chip, port in zip(self.chips, self.ports, strict=True):
            chip.setblocking(False)
            struct.pack_into("<I", self.pages, port.base + hwmap.RX_SIZE, room)
        self.later, self.counts, rng = Later(), BusCounts(), random.Random(1)
        self.line = Line(len(UNITS), rng)
        self.receivers = Receivers(
            self.pages, self.ports, UNITS, self.line, rng, self.counts.counts, self.later.at,
            pair_frames,
        )  # fmt: skip

    def heard(self) -> list[list[bytes]]:
        """What each chip has been given since the last question, piece by piece."""
        found: list[list[bytes]] = []
        for chip in self.chips:
            found.append([])
            while True:
                try:
                    found[-1].append(chip.recv(512))
                except BlockingIOError:
                    break
        return found

    def close(self) -> None:
        for end in (*self.chips, *(port.sock for port in self.ports)):
            end.close()
        self.pages.close()


@pytest.fixture
def make_segment() -> Iterator[Callable[..., Segment]]:
    made: list[Segment] = []

    def make(**options: int) -> Segment:
        made.append(Segment(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for segment in made:
        segment.close()


def test_a_node_cut_off_in_its_answer_leaves_the_pair_to_the_others(
    make_segment: Callable[..., Segment],
) -> None:
    segment = make_segment()
    street, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bus = Bus(control, segment.pages, segment.ports, UNITS, 115200, 1, False)
    segment.ports[1].sock.setblocking(False)
    now_us = time.monotonic_ns() // 1000
    segment.chips[1].send(struct.pack(hwmap.EVENT_FORMAT, hwmap.EV_PIN, 0, 1, 0, now_us))
    with street, control:
        bus._from_node(1)
        assert bus._line.drivers[1].on_us is not None
        street.send(json.dumps({"do": "wire", "node": 1, "value": False}).encode())
        assert bus._command()
        # It switches its driver off when its answer is over, which nobody on the pair sees.
        segment.chips[1].send(struct.pack(hwmap.EVENT_FORMAT, hwmap.EV_PIN, 0, 0, 0, now_us + 9000))
        bus._from_node(1)
        assert not bus._line.drivers[1].touches(now_us + 1e6, now_us + 2e6)


def sent(data: bytes, source: int = CONTROLLER) -> Transmission:
    return Transmission(source, 0.0, bytearray(data), CHAR)


REQUEST, ANSWER, GROUP = b"\x02request", b"\x02answer", b"\x00group"


def test_the_addressed_node_is_served_before_the_bystanders(
    make_segment: Callable[..., Segment],
) -> None:
    s = make_segment()
    s.receivers.deliver(sent(REQUEST), REQUEST)
    assert s.heard() == [[], [REQUEST], []]
    s.later.run()
    assert s.heard() == [[REQUEST], [], [REQUEST]]
    s.receivers.deliver(sent(ANSWER, 1), ANSWER)
    assert s.heard() == [[], [], []]
    # The next request finds its node with nothing left to read before it.
    s.receivers.request_begins(3)
    assert s.heard() == [[], [], [ANSWER]]
    s.receivers.deliver(sent(GROUP), GROUP)
    assert s.heard() == [[ANSWER, GROUP], [GROUP], [GROUP]]


def test_on_a_large_street_a_bystander_gets_two_polls_in_one_piece(
    make_segment: Callable[..., Segment],
) -> None:
    s = make_segment(pair_frames=True)
    for _ in range(2):
        s.receivers.deliver(sent(REQUEST), REQUEST)
        s.receivers.answer_begins(1)
        s.receivers.deliver(sent(ANSWER, 1), ANSWER)
    s.later.run()
    assert s.heard() == [[2 * (REQUEST + ANSWER)], [REQUEST, REQUEST], [2 * (REQUEST + ANSWER)]]
    # No answer ever comes: late is better than never.
    s.receivers.deliver(sent(REQUEST), REQUEST)
    s.later.run()
    assert s.heard() == [[REQUEST], [REQUEST], [REQUEST]]


def test_what_a_chip_cannot_take_is_counted(make_segment: Callable[..., Segment]) -> None:
    s = make_segment(room=5)
    s.receivers.deliver(sent(REQUEST), REQUEST)
    assert s.heard()[1] == [REQUEST[:5]]
    assert s.counts.counts["overrun_bytes"] == len(REQUEST) - 5
    base = s.ports[1].base
    assert struct.unpack_from("<I", s.pages, base + hwmap.RX_GIVEN)[0] == 5
    # A UART that is not open stores nothing; neither hears one whose own driver is on.
    struct.pack_into("<I", s.pages, base + hwmap.RX_SIZE, 0)
    s.line.drivers[0].enable(0.0)
    s.receivers.deliver(sent(GROUP), GROUP)
    assert s.heard() == [[], [], [REQUEST[:5]]]
    # The third one's buffer was full of the request.
    assert s.counts.counts["overrun_bytes"] == 2 * (len(REQUEST) - 5) + len(GROUP)


def test_counts_begin_anew_in_the_hands_of_who_counts() -> None:
    figures = BusCounts()
    counts, late = figures.counts, figures.timer_late
    counts["requests"] += 7
    late.extend(range(1, 101))
    assert figures.summary()["requests"] == 7
    spread = {"n": 100, "min": 1, "p50": 51, "p95": 96, "max": 100}
    assert figures.summary()["timer_late_us"] == spread
    figures.clear()
    assert figures.summary()["timer_late_us"] == {"n": 0}
    counts["requests"] += 1
    assert figures.summary()["requests"] == 1


def test_an_intruder_waits_for_a_gap_and_a_babbler_for_the_end() -> None:
    later, gap = Later(), [False]
    line, rng = Line(2, random.Random(1)), random.Random(1)
    frames: list[tuple[int, bytes]] = []
    over: list[Transmission] = []

    def send(source: int, t_us: float, data: bytes) -> Transmission:
        frames.append((source, data))
        return sent(data, source)

    d = Disturbances(
        line, CHAR, rng, at=later.at, send=send, finish=over.append, between_turns=lambda t: gap[0]
    )
    d.inject(b"evil")
    later.run()
    assert frames == []
    gap[0] = True
    later.run()
    assert frames == [(INTRUDER, b"evil")]
    d.babble(1, on_ms=2.0, off_ms=8.0)
    (burst,) = line.recent
    assert (burst.source, len(burst.data)) == (1, int(2000 / CHAR))
    assert line.drivers[1].on_us == burst.start_us
    later.run()  # the burst is over, and the next one begins
    assert over == [burst]
    assert line.drivers[1].covers(burst.start_us, burst.end_us)
    assert len(line.recent) == 2
    d.babble(1, on_ms=0.0, off_ms=0.0)
    later.run()
    later.run()
    assert len(line.recent) == 2
    assert later.due == []


def test_the_neutral_current_before_after_and_without() -> None:
    mains = Mains(3)
    watts, tan_phi = np.array([1000.0, 1000.0, 1000.0]), np.zeros(3)
    history = NeutralHistory(mains)

    def moment(t_s: float, phases: list[int], transfers: int = 0) -> float:
        now = np.array(phases, dtype=np.int64)
        mains.solve(watts, tan_phi, now)
        history.note(t_s, now, transfers)
        return abs(mains.i_neutral)

    moment(0.0, [-1, 0, 0])  # not every home has a phase yet
    assert history.without_a is None
    assert history.report(0.0) == dict.fromkeys(
        ("neutral_before_a", "neutral_after_a", "neutral_without_a")
    )
    before = moment(1.0, [0, 0, 0])
    after = moment(20.0, [0, 1, 2], transfers=2)
    found = history.report(21.0)
    assert found["neutral_before_a"] == before
    assert found["neutral_after_a"] == after < 0.1 * before
    # The same homes, all on A: first order, so within a few percent of what it was.
    assert history.without_a == found["neutral_without_a"] == pytest.approx(before, rel=0.05)
    moment(21.0, [-1, -1, -1], transfers=2)  # a blackout tells nothing
    assert history.report(21.0) == found
