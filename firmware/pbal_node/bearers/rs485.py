"""The RS-485 bearer: a Modbus RTU server that carries sealed frames in function 100.

A bearer (docs/node.md, "Bearers"): it knows frames, not meanings. Requests go to `link`, which puts
the answer's frame into this bearer's buffer, behind Modbus's own bytes.

Any device may send anything on this line, at any rate (S11): one turn of the loop takes a bounded
time, and unauthenticated requests may take only a share of the node's time, so that metering and
the selector keep their pace. Authentic frames are not charged: only the controller can make them,
and each is accepted once. A loop that makes no progress is restarted with its UART, which opens no
contact; a reset would.
"""

import asyncio
import gc
import time

from micropython import const

from pbal_node.bearers.driver import transmit
from pbal_node.bearers.ration import Ration
from pbal_node.bearers.watched import Watch
from pbal_protocol import modbus

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.discovery import Finder
    from pbal_protocol import records, stock

_FRAME_AT = const(4)  # of function 100: unit, function, flags, length come before the frame
_CRC = const(2)
_CHUNK = const(256)
_BITS = const(11)  # start, 8 data, even parity, stop
_WRAPPED_US = const(2000000)  # longer than any chunk takes on the slowest line
_BEARER = const(64)  # a place of an error, see faults.py
_PLAIN = const(68)
_PLAIN_REGISTERS = const(20)  # the setting
_LATE_US = const(40000)  # an answer this long after its request may meet the next one: keep silent
_FRAMES = const(6)  # handled in a turn at most; a chunk of a healthy segment holds fewer
_PAUSE_MS = const(8)  # while no frame can be for this node; the buffer holds 98 ms
_EMPTY_READS = const(50)  # in a row, though bytes wait: the port is faulty
_AGAIN_MS = const(1000)  # then a restart, after a pause of so long at first, ...
_AGAIN_MAX_MS = const(60000)  # ... and at most so long
_TXBUF = const(512)
_RXBUF = const(1024)
_EIO = const(5)
_ETIMEDOUT = const(116)


class Rs485:
    """`port`: machine.UART (8E1, timeout 0), driver pin, baud. `link`: see link.py, None while
    the node has no keys. `report` fills in the plain registers, if `config` opens them. `rhythm`
    is told of each answer. Counters: answered, late, rationed (requests that were ignored),
    reopened; bad_crc, malformed.
    """

    def __init__(self, port, unit: int, link, report, config, selector, faults, rhythm) -> None:
        uart, de, baud = port
        self._uart = uart
        self._stream = asyncio.StreamReader(uart)
        self._de = de
        self._baud = baud
        self._char_us = 1000000 * _BITS // baud
        self._t35_us = modbus.silence_us(baud)
        self._link = link
        self._report = report
        self._config = config
        self._selector = selector
        self._faults = faults
        self._rhythm = rhythm
        self._stock: "stock.Stock | None" = None
        self._telemetry: "records.Telemetry | None" = None
        self.finder: "Finder | None" = None  # answers searches while there is no link
        self.rx = modbus.RtuServer(unit)
        self._chunk = bytearray(_CHUNK)
        self._tx = bytearray(256)
        self._tx_view = memoryview(self._tx)
        self._rx_us = time.ticks_us()
        self._parked = False  # waiting for bytes, nothing left to do
        self._watch = Watch(report.now_ms, faults)
        self._ration = Ration(report.now_ms, selector)
        self.answered = 0
        self.late = 0
        self.rationed = 0
        self.reopened = 0
        de.value(0)

    @property
    def bad_crc(self) -> int:
        """Frames that arrived damaged."""
        return self.rx.bad_crc

    @property
    def malformed(self) -> int:
        """Frames that were too long, or cut off by a silence."""
        return self.rx.malformed

    # progress ---------------------------------------------------------------------------------

    def alive(self, now_ms: int) -> bool:
        """S11: whether the loop makes progress."""
        return self._watch.alive(now_ms, self._parked and not self._uart.any())

    async def run(self) -> None:
        """Never ends: an error of one message is reported, and the next one is served; a loop that
        made no progress restarts with its port.
        """
        rest_ms = _AGAIN_MS
        while True:
            began_ms = self._report.now_ms()
            stuck = await self._watch.once(self._listen())
            if stuck:
                self._faults.note(_BEARER, OSError(_ETIMEDOUT))
            failed = stuck or self._parked  # while reading: an error of the port
            self._parked = False
            self.rx.silence()  # a partly received frame is lost
            if not failed:
                await asyncio.sleep_ms(5)
                continue
            self.reopened += 1
            try:
                # The driver is installed anew: it may be faulty, or hold bytes it never returns.
                self._uart.init(self._baud, 8, 0, 1, txbuf=_TXBUF, rxbuf=_RXBUF)
            except OSError as e:
                self._faults.note(_BEARER, e)
            if self._report.now_ms() - began_ms > _AGAIN_MAX_MS:
                rest_ms = _AGAIN_MS
            await asyncio.sleep_ms(rest_ms)
            rest_ms = min(2 * rest_ms, _AGAIN_MAX_MS)

    # requests ---------------------------------------------------------------------------------

    async def _listen(self) -> None:
        uart = self._uart
        rx = self.rx
        chunk = self._chunk
        readinto = self._stream.readinto
        ticks = time.ticks_us
        diff = time.ticks_diff
        empty = 0
        while True:
            self._parked = True
            n = await readinto(chunk)
            self._parked = False
            self._watch.turns += 1
            if not n:
                empty += 1
                if empty > _EMPTY_READS:
                    self._parked = True
                    raise OSError(_EIO)
                await asyncio.sleep_ms(5)  # the line failed: never spin
                continue
            empty = 0
            now = ticks()
            # Estimates the silence before these bytes: this loop may have been late, so only the
            # time that the bytes themselves do not fill counts.
            gap = diff(now, self._rx_us) - (n + uart.any()) * self._char_us
            # Far in the past: the ticks wrapped, minutes went by.
            if gap < -_WRAPPED_US or (gap >= self._t35_us and not rx.goes_on(n)):
                rx.silence()
            self._rx_us = now
            rx.budget = _FRAMES
            rx.broadcasts = self._ration.left_us() > 0
            at = 0
            while at < n:
                at = rx.feed(chunk, at, n)
                if rx.length:
                    self._serve(rx.buf, rx.length)
            if rx.wants_silence():
                # A function of unknown length for us ends with silence.
                await asyncio.sleep_ms(3)
                if not uart.any() and rx.silence():
                    self._serve(rx.buf, rx.length)
                continue
            # Other tasks run until there can be a frame for this node again.
            left = rx.passing()
            if left:
                await asyncio.sleep_ms(_PAUSE_MS if left < 0 else left * self._char_us // 1000)

    def _serve(self, buf, n: int) -> None:
        """Answer one request for this unit, or take a broadcast."""
        if self._ration.left_us() <= 0:
            self.rationed += 1
            return
        start = time.ticks_us()
        link = self._link
        heard_ms = link.heard_ms if link else 0
        try:
            if buf[0] != modbus.BROADCAST:
                self._answer(buf, n)
            elif self.finder:
                size = self.finder.take(buf, n, self._tx)
                if size:
                    self._send(size)
            elif link and buf[2] == modbus.OP_GROUP:
                link.group(buf, _FRAME_AT, n - _CRC)
        finally:
            if not link or heard_ms == link.heard_ms:
                self._ration.charge(start)

    def _answer(self, buf, n: int) -> None:
        function = buf[1]
        tx = self._tx
        tx[0] = buf[0]
        if function != modbus.PBAL or not self._link:
            if not self._stock and self._selector.busy:
                self.rationed += 1  # loading takes longer than a contact may wait
                return
            self._send(self._plain(buf, n))
            return
        if buf[2] != modbus.OP_POLL:
            size = self._exception(function, modbus.ILLEGAL_VALUE)
        else:
            room = modbus.MAX_BODY
            size = self._link.poll(buf, _FRAME_AT, n - _CRC, tx, _FRAME_AT, room)
            tx[1] = modbus.PBAL
            tx[2] = self._link.hints
            tx[3] = size
            size += _FRAME_AT
        self._send(modbus.seal_adu(tx, size))

    def _exception(self, function: int, code: int) -> int:
        self._tx[1] = function | 0x80
        self._tx[2] = code
        return 3

    def _plain(self, buf, n: int) -> int:
        """Answer a stock Modbus tool; the length of the ADU in `_tx`."""
        try:
            stock = self._stock or self._load_stock()
            # Any device on the line may ask.
            stock.withheld = bool(self._link) and not self._config.get(_PLAIN_REGISTERS)
            self._report.fill_telemetry(self._telemetry)
            return stock.respond(buf, n, self._telemetry, self._tx)
        except Exception as e:
            self._faults.note(_PLAIN, e)
            return modbus.seal_adu(self._tx, self._exception(buf[1], modbus.SERVER_FAILURE))

    def _load_stock(self) -> "stock.Stock":
        """Loaded at the first such request: in service there is none."""
        gc.collect()  # one large free block: after days of work the heap is fragmented
        from pbal_protocol import records, stock

        board, version, name = self._report.identity
        self._telemetry = records.Telemetry()
        self._stock = stock.Stock(
            {
                stock.VENDOR: b"pbal",
                stock.PRODUCT_CODE: board.encode(),
                stock.REVISION: version.encode(),
                stock.VENDOR_URL: b"https://pbal.invalid/",
                stock.PRODUCT_NAME: b"pbal node",
                stock.MODEL: board.encode(),
                stock.APPLICATION: name.encode()[:60],
            }
        )
        self._rx_us = time.ticks_us()  # loading took long; such a client waits long enough
        return self._stock

    def _send(self, n: int) -> None:
        uart = self._uart
        ticks = time.ticks_us
        diff = time.ticks_diff
        wait = self._t35_us - diff(ticks(), self._rx_us)
        if wait > 0:
            time.sleep_us(wait)  # Modbus: 3.5 characters of silence before an answer
        if uart.any() or diff(ticks(), self._rx_us) > _LATE_US:
            self.late += 1  # the poller has given up
            return
        transmit(uart, self._de, self._tx_view[:n], self._char_us)
        self._rx_us = ticks()
        self.answered += 1
        self._rhythm.answered(self._report.now_ms())
