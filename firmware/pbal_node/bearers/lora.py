"""The LoRa bearer: a slot in each round, urgent frames in between, an answer when it is asked.

A bearer (docs/node.md, "Bearers"). It sends at a time counted from a beacon that it has just heard,
or as the answer to an authentic frame for this node, and at no other time: a node that lost the
beacon is silent, and looks for one at each spreading factor in turn.

A slot has no room for a nonce of its own. While a frame needs one (counters.py: until site time is
proven, and while counters are ahead of it), readings go in the window for urgent frames.

A beacon does not prove that the controller sent it, as every node has its key. So it moves the
clock only within the band of other group frames, and a false one can at worst make a node send at a
wrong time. Beacons have counters of their own, with the highest bit; a reset loses those, and so
does a time without beacons.
"""

import asyncio
import time

from micropython import const

from pbal_node.bearers.watched import Watch
from pbal_node.radio import sx127x
from pbal_node.radio.waiting import Waiter
from pbal_protocol import records
from pbal_protocol.errors import PbalError
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.compact import compact
from pbal_protocol.radio.follower import GUARD_US, URGENT_BYTES, Contention, Follower

_BEACON = const(42)
_SLOT_ASSIGN = const(43)
_KIND = const(15)
_GROUP = const(3)
_DOWN = const(2)
_SLOT_BYTES = const(39)
_ANSWER_BYTES = const(110)
_READY_MS = const(70)  # a frame is made so long before its time, ...
_SPIN_MS = const(12)  # ... and at the end the processor busy-waits for so long
_TURN_MS = const(15)  # the controller turns from sending to listening
_LOOK_MS = const(500)
_STAY_MS = const(12000)  # listening for a beacon at one spreading factor, at first ...
_STAY_MAX_MS = const(60000)  # ... and at most
_LOST_MS = const(20000)  # without a beacon, in addition to three rounds
_STUCK_MS = const(180000)
_AGAIN_MS = const(5000)
_SF_MIN = const(7)
_SF_MAX = const(11)


class Lora:
    """`radio`: an SX127x before begin(); `air`: (up Hz, down Hz, bandwidth, dBm, limits of
    fitting.py, spreading factor to begin with); `node`: (address, random number below).
    """

    def __init__(self, radio, dio0, air, node, link, report, selector, faults, rhythm) -> None:
        self._watch = Watch(report.now_ms, faults, _STUCK_MS)
        self._radio = radio
        self._waiter = Waiter(radio, dio0)
        self._up_hz, self._down_hz, self._bw_hz, self._dbm, limits, self._sf = air
        self._dwell_us, self._windows = limits
        self.address, self._randrange = node
        self._key = link.groups.newest  # under which beacons come, ...
        self._opener = self._key.apart()  # ... with a replay window of their own
        self._link = link
        self._report = report
        self._selector = selector
        self._rhythm = rhythm
        self._tx = radio.buf  # what was heard is read before an answer is written
        self._follower = Follower(self._bw_hz)
        self._contention = Contention()
        self._urgent_ms = 0  # when the last urgent frame went out, 0 once it was answered
        self._begun = False
        self._beacon_ms = -1
        self._period_ms = 0
        self._guard_us = 0  # of the last beacon
        self._stay_ms = _STAY_MS
        self._since_ms = 0
        self.answered = 0
        self.malformed = 0
        self._mute = False  # the last reading had no room in its slot
        self.late = 0  # slots that were missed
        self.silenced = 0  # by the airtime budget
        self.snr_q4 = 0
        self.missed = 0  # beacons
        link.others = self._record

    @property
    def bad_crc(self) -> int:
        """Frames that arrived damaged."""
        return self._radio.bad_crc

    def _record(self, r) -> None:
        if r.ID == _SLOT_ASSIGN:
            self._follower.assign(r.map_version, r.slot, r.sf)

    # progress ---------------------------------------------------------------------------------

    def alive(self, now_ms: int) -> bool:
        """S11: whether the loop makes progress."""
        return self._watch.alive(now_ms)

    async def run(self) -> None:
        """Never ends: a radio that fails is reported and set up again."""
        asyncio.create_task(self._waiter.tick())
        while True:
            await self._watch.once(self._listen())
            await asyncio.sleep_ms(_AGAIN_MS)

    async def _listen(self) -> None:
        radio = self._radio
        if self._begun:
            radio.recover()
        else:
            radio.begin(self._down_hz, self._sf, self._bw_hz, power_dbm=self._dbm)
            self._begun = True
        self._back()
        self._since_ms = self._report.now_ms()
        while True:
            found = await self._waiter.event(_LOOK_MS)
            self._watch.turns += 1
            now_ms = self._report.now_ms()
            if found == sx127x.HEARD:
                await self._frame(radio.buf, radio.length)
            elif found == sx127x.FAILED:
                self._back()
            elif found == sx127x.NOTHING:
                self._look_for_beacons(now_ms)

    def _back(self) -> None:
        """Listen for the controller."""
        self._radio.change(self._sf, self._down_hz)
        self._radio.listen()

    def _look_for_beacons(self, now_ms: int) -> None:
        if self._beacon_ms >= 0:
            if now_ms - self._beacon_ms < _LOST_MS + 3 * self._period_ms:
                return
            self._beacon_ms = -1
            self._stay_ms = _STAY_MS
            # As after a reset: another node may have used up the counters.
            self._opener.floor = 0
        elif now_ms - self._since_ms < self._stay_ms:
            return
        self._since_ms = now_ms
        self._sf += 1
        if self._sf > _SF_MAX:
            self._sf = _SF_MIN
            self._stay_ms = min(2 * self._stay_ms, _STAY_MAX_MS)
        self._back()

    # receiving --------------------------------------------------------------------------------

    async def _frame(self, buf, n: int) -> None:
        kind = buf[0] & _KIND
        if n < 16 or n > 240:
            self.malformed += 1
        elif kind == _GROUP:
            if buf[6] & 0x80:
                await self._beacon(buf, n)
            else:
                self._link.group(buf, 0, n)
        elif kind == _DOWN and buf[1] | buf[2] << 8 == self.address:
            await self._answer(buf, n)

    def _open(self, buf, n: int):
        """The Beacon in buf[:n], None when it is not one of this site."""
        groups = self._link.groups
        opener = self._opener
        while True:
            try:
                size = opener.open_into(buf, n)
                break
            except PbalError:
                if opener is not self._opener or groups.newest is self._key:
                    return None
            opener = groups.newest.apart()  # the controller may use it by now
        if opener is not self._opener:
            self._opener, self._key = opener, groups.newest
            groups.older = None
        try:
            items = records.decode_all(memoryview(buf)[7 : 7 + size], "group")
        except PbalError:
            return None
        return items[0] if len(items) == 1 and items[0].ID == _BEACON else None

    async def _beacon(self, buf, n: int) -> None:
        radio = self._radio
        us = radio.time_on_air_us(n)
        begin_us = time.ticks_add(radio.stamp_us, -us)
        beacon = self._open(buf, n)
        if beacon is None:
            return
        self.snr_q4 = radio.snr_q4
        now_ms = self._report.now_ms()
        self._discipline(beacon, begin_us)
        if not beacon.repair:
            if self._beacon_ms >= 0:
                self.missed += (beacon.round - self._follower.round - 1) & 0xFF
                self._period_ms = min(now_ms - self._beacon_ms, _STAY_MAX_MS)
            self._beacon_ms = now_ms
        after_us = self._follower.beacon(beacon, us)
        guard_us = self._guard_us = GUARD_US * beacon.shape[6]
        if after_us >= 0:
            at_us = time.ticks_add(begin_us, after_us)
            if await self._send_at(at_us, guard_us, self._follower.sf, self._reading):
                self._rhythm.answered(self._report.now_ms())
        if not beacon.repair:
            await self._contend(beacon, begin_us, guard_us)
        self._back()

    def _discipline(self, beacon, begin_us) -> None:
        """The clock follows beacons within its band, once a proven answer has set it."""
        clock = self._report.clock
        if clock.synced:
            ms = beacon.time_ms + time.ticks_diff(time.ticks_us(), begin_us) // 1000
            clock.set(beacon.time_s + ms // 1000, ms % 1000, 0, False)

    async def _answer(self, buf, n: int) -> None:
        """An exchange: answer an authentic frame at once."""
        link = self._link
        radio = self._radio
        stamp_us = radio.stamp_us
        before_ms = link.heard_ms
        size = link.poll(buf, 0, n, self._tx, 0, _ANSWER_BYTES)
        if size and link.heard_ms != before_ms:
            at_us = time.ticks_add(stamp_us, 1000 * _TURN_MS)
            if await self._transmit(size, at_us, -1, self._sf):
                self._urgent_ms = 0
                self._rhythm.answered(self._report.now_ms())
        self._back()

    # sending ----------------------------------------------------------------------------------

    def _reading(self) -> int:
        """Write a compact reading for the slot to `_tx`; the frame's length."""
        size = self._write(self._lead, _SLOT_BYTES)
        self._mute = size == 0
        return size

    def _wide_reading(self) -> int:
        """The same for the window of urgent frames, where a nonce fits in."""
        return self._write(self._lead, URGENT_BYTES)

    def _write(self, lead, room: int) -> int:
        link = self._link
        link.lead = lead
        try:
            return link.poll(b"", 0, 0, self._tx, 0, room)
        finally:
            link.lead = None

    def _lead(self, tx, at: int, x) -> int:
        self._report.fill_telemetry(x)
        short = compact(x, self.snr_q4 / 4, min(self.missed, 255))
        return at + short.encode_into(tx, at)

    def _news(self) -> int:
        """Write what is urgent to `_tx`, without a reading; the frame's length."""
        return self._write(_nothing, URGENT_BYTES)

    async def _contend(self, beacon, begin_us, guard_us: int) -> None:
        """Send an urgent frame, the request for a slot, or what the slot has no room for, in the
        contention window.
        """
        link = self._link
        joined = self._follower.joined(beacon)
        contention = self._contention
        calm = joined and not link.urgent()
        if calm and not self._mute:
            contention.done()
            self._urgent_ms = 0
            return
        if self._urgent_ms:
            if link.heard_ms > self._urgent_ms:
                contention.done()
            else:
                contention.failed(self._randrange(8))
            self._urgent_ms = 0
        slot = contention.turn(self._randrange(64))
        if slot < 0:
            return
        if not joined:
            link.greet()
        step_us = time_on_air_us(URGENT_BYTES, self._sf, self._bw_hz) + guard_us
        at_us = time.ticks_add(begin_us, self._follower.end_us + slot * step_us)
        make = self._wide_reading if calm else self._news
        if await self._send_at(at_us, guard_us, self._sf, make):
            self._urgent_ms = self._report.now_ms()

    async def _send_at(self, at_us, guard_us: int, sf: int, make) -> bool:
        """Make a frame shortly before its time, and send it then."""
        self._radio.standby()
        left_ms = time.ticks_diff(at_us, time.ticks_us()) // 1000 - _READY_MS
        if left_ms > 0:
            await asyncio.sleep_ms(left_ms)
        if self._selector.busy:
            return False  # contacts move: nothing may block the processor
        size = make()
        return size > 0 and await self._transmit(size, at_us, guard_us // 2, sf)

    async def _transmit(self, size: int, at_us, late_us: int, sf: int) -> bool:
        """Send _tx[:size] at a time; not at all if late by more than `late_us` (-1: no limit)."""
        radio = self._radio
        radio.change(sf, self._up_hz)
        us = radio.time_on_air_us(size)
        now_ms = self._report.now_ms()
        if 0 < self._dwell_us < us:
            self.silenced += 1
            return False
        for window in self._windows:
            if not window.fits(now_ms, us):
                self.silenced += 1
                return False
        for window in self._windows:
            window.spend(now_ms, us)
        radio.load(size)
        left_ms = time.ticks_diff(at_us, time.ticks_us()) // 1000 - _SPIN_MS
        if left_ms > 0:
            await asyncio.sleep_ms(left_ms)
        left_us = time.ticks_diff(at_us, time.ticks_us())
        if left_us > 0:
            time.sleep_us(left_us)
        elif 0 <= late_us < -left_us:
            self.late += 1
            return False
        radio.start()
        if await self._waiter.event() != sx127x.SENT:
            return False
        self.answered += 1
        return True


def _nothing(_tx, at: int, _x) -> int:
    return at
