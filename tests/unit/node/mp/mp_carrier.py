"""A bridge's radio: what waits of its neighbours, in which order it is sent, who makes it send."""

import asyncio
import time

import support

from pbal_node.bearers import bridge, carrier
from pbal_node.radio import sx127x
from pbal_protocol.radio import carried

ADDRESS = 0x0105
READING = 59


def frame(address, size=READING, first=0x11, fill=0):
    return bytes((first, address & 0xFF, address >> 8)) + bytes([fill] * (size - 3))


class Clock:
    ms = 1000

    def __call__(self):
        return self.ms


class Radio:
    """The driver, without a chip: keeps what was sent."""

    flag = None
    snr_q4 = 40
    bad_crc = 0

    def __init__(self):
        self.buf = bytearray(256)
        self.length = 0
        self.stamp_us = 0
        self.sent = []
        self.tuned = []
        self._done = False

    def hear(self, data):
        self.buf[: len(data)] = data
        self.length = len(data)
        self.stamp_us = time.ticks_us()

    def time_on_air_us(self, size):
        return 1000 * size

    def change(self, sf, hz):
        self.tuned.append(sf)

    def load(self, size):
        self._size = size

    def start(self):
        self.sent.append(bytes(self.buf[: self._size]))
        self._done = True

    def poll(self):
        done, self._done = self._done, False
        return sx127x.SENT if done else sx127x.NOTHING

    def check(self):
        return True

    def listen(self):
        self.listens = True

    def standby(self):
        pass


class Groups:
    """The key of the group, in which this test has no part."""

    def __init__(self):
        self.newest = self

    def apart(self):
        return self


class Link:
    """Opens frames that end in "!", and answers with a frame of its own."""

    heard_ms = 0
    groups = Groups()
    others = None

    def __init__(self):
        self.asked = []
        self.grouped = []

    def poll(self, buf, start, end, tx, at, room):
        data = bytes(memoryview(buf)[start:end])
        self.asked.append(data)
        if data[-1:] == b"!":
            self.heard_ms += 1
        tx[at : at + READING] = frame(ADDRESS)
        return READING

    def group(self, buf, start, end):
        self.grouped.append(bytes(memoryview(buf)[start:end]))


class Report:
    def __init__(self, now_ms):
        self.now_ms = now_ms


class Rhythm:
    def answered(self, now_ms):
        pass


class Bridge:
    def __init__(self):
        self.told = []
        self.groups = []

    def ask(self, address, buf, start, end):
        self.told.append((address, bytes(memoryview(buf)[start:end])))

    def group(self, buf, start, end):
        self.groups.append(bytes(memoryview(buf)[start:end]))


def made():
    clock = Clock()
    radio, link = Radio(), Link()
    one = carrier.Carrier(
        radio, None, (1, 2, 125000, 14, (0, ()), 9), (ADDRESS, lambda n: 0),
        link, Report(clock), None, None, Rhythm(),
    )  # fmt: skip
    one.bridge = Bridge()
    return one, radio, link, clock


def keep(waiting, data, hints=0):
    waiting.tx[5 : 5 + len(data)] = data
    waiting.send(data[1] | data[2] << 8, hints, len(data))


def hear(one, radio, data):
    async def once():
        radio.hear(data)
        await one._frame(radio.buf, len(data))

    asyncio.run(once())


def ask(items, frames=4, size=255):
    return carried.ask(ADDRESS, 7, frames, size, items)


def sent_frames(radio):
    found = []
    for batch in radio.sent:
        bridge, more, frames = carried.opened(batch)
        assert bridge == ADDRESS
        found.append((more, frames))
    return found


def a_reading_is_replaced_by_a_newer_one_and_other_frames_are_kept():
    waiting = carrier.Waiting(Clock())
    keep(waiting, frame(6, fill=1))
    assert waiting.wants(6)
    keep(waiting, frame(6, fill=2))
    keep(waiting, frame(7, size=READING + 12, first=0x14))  # its time is not proven yet
    assert waiting.wants(7)
    keep(waiting, frame(8, size=READING + 20, fill=1))
    assert not waiting.wants(8)
    keep(waiting, frame(8, size=READING + 20, fill=2))
    tx = bytearray(255)
    for _ in range(2):
        waiting.fill(tx, 0, 255)
        waiting.sent()
    assert not waiting.more()
    keep(waiting, frame(8, size=READING + 20))
    for fill in range(6):
        keep(waiting, frame(8, size=READING + 20, fill=fill))
    assert waiting.dropped == 3


def urgent_frames_go_first_and_nobody_waits_for_ever():
    clock = Clock()
    waiting = carrier.Waiting(clock)
    order = []
    tx = bytearray(255)
    for _ in range(30):
        for address in (6, 7, 8):
            keep(waiting, frame(address), 2 if address == 8 else 0)
        clock.ms += 10000
        assert waiting.fill(tx, 0, READING + 1) == READING + 1  # room for one
        order.append(tx[2])
        assert waiting.sent() == 1
    assert order[0] == 8
    assert order.count(8) > order.count(6) > 0
    assert order.count(7) > 0


def neighbours_go_in_batches_and_commands_to_the_line():
    one, radio, link, _ = made()
    for address in range(0x0106, 0x010F):
        keep(one.waiting, frame(address))
    command = frame(0x0107, 20, first=0x12)
    hear(one, radio, ask([b"for the bridge itself!", command]))
    assert link.asked == [b"for the bridge itself!"]
    assert one.bridge.told == [(0x0107, command)]
    found = sent_frames(radio)
    assert [more for more, _ in found] == [True, True, False]
    assert [len(frames) for _, frames in found] == [4, 4, 2]
    assert all(len(batch) <= 255 for batch in radio.sent)
    assert found[0][1][0] == frame(ADDRESS)
    assert {frame[1] for _, frames in found for frame in frames} == set(range(5, 15))
    assert one.carried == 9 and one.batches == 3
    assert radio.tuned[0] == 7 and radio.tuned[-1] == 9 and radio.listens


def no_more_is_sent_than_was_asked_for():
    one, radio, _, _ = made()
    for address in range(0x0106, 0x010F):
        keep(one.waiting, frame(address))
    hear(one, radio, ask([b"for the bridge itself!"], frames=1, size=130))
    assert [(more, len(frames)) for more, frames in sent_frames(radio)] == [(False, 2)]
    assert len(radio.sent[0]) <= 130
    assert one.waiting.more()


def nothing_is_sent_without_an_authentic_frame_for_the_bridge():
    one, radio, link, _ = made()
    keep(one.waiting, frame(0x0106))
    hear(one, radio, ask([b"nobody sealed this", frame(0x0106, 20, first=0x12)]))
    assert not radio.sent and not one.bridge.told
    before = len(link.asked)
    hear(one, radio, carried.ask(ADDRESS + 1, 7, 4, 255, [b"for another!"]))
    assert len(link.asked) == before and not radio.sent


def what_is_malformed_is_counted():
    one, radio, _, _ = made()
    hear(one, radio, ask([]) + b"\x40cut")
    assert one.malformed == 1
    hear(one, radio, ask([b"for the bridge itself!"]) + b"\x40cut")
    assert one.malformed == 2 and not one.bridge.told
    assert len(radio.sent) == 1


def a_second_frame_for_the_bridge_itself_is_nobody_s():
    one, radio, link, clock = made()

    class Port:
        def value(self, level):
            pass

    one.bridge = bridge.Bridge(one, (None, Port(), 115200), [0x0106], clock, None)
    other = frame(ADDRESS, 20, first=0x12)
    hear(one, radio, ask([b"for the bridge itself!", other]))
    assert link.asked == [b"for the bridge itself!"]
    assert len(radio.sent) == 1


def group_frames_are_the_neighbours_too():
    one, radio, _, _ = made()
    group = frame(0, 30, first=0x13)
    hear(one, radio, group)
    assert one.bridge.groups == [group]


support.run(
    [
        a_reading_is_replaced_by_a_newer_one_and_other_frames_are_kept,
        urgent_frames_go_first_and_nobody_waits_for_ever,
        neighbours_go_in_batches_and_commands_to_the_line,
        no_more_is_sent_than_was_asked_for,
        nothing_is_sent_without_an_authentic_frame_for_the_bridge,
        what_is_malformed_is_counted,
        a_second_frame_for_the_bridge_itself_is_nobody_s,
        group_frames_are_the_neighbours_too,
    ]
)
