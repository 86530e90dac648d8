"""The RS-485 bearer: a Modbus RTU server that carries sealed frames in function 100.

It knows frames, not meanings: requests go to `link`, answers come back in the same buffer. DE is
raised before the first byte, and dropped as soon as the UART reports that the last stop bit has
left, without giving the event loop a chance to be late: a driver that stays on for longer than
t3.5 would talk over the next request.
"""

import asyncio
import gc
import time

from micropython import const

from pbal_node.pace import Pace
from pbal_protocol import modbus

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.discovery import Finder
    from pbal_protocol import records, stock

_CHUNK = const(256)
_BITS = const(11)  # start, 8 data, even parity, stop
_WRAPPED_US = const(2000000)  # longer than any chunk takes on the slowest line
_BEARER = const(64)  # a place of an error, see faults.py
_PLAIN = const(68)
_PLAIN_REGISTERS = const(20)  # the setting
_LATE_US = const(40000)  # an answer this long after its request may meet the next one: keep silent


class Rs485:
    """`uart`: machine.UART (8E1, timeout 0); `de`: pin; `link`: see link.py, None while the node is
    not provisioned; `node` fills in the plain registers; `identity`: board, version and name for
    43/14. Counters: answered, late, bad_crc (in rx).
    """

    def __init__(self, uart, de, baud: int, unit: int, link, node, identity, now_ms) -> None:
        self._uart = uart
        self._stream = asyncio.StreamReader(uart)
        self._de = de
        self._char_us = 1000000 * _BITS // baud
        self._t35_us = modbus.silence_us(baud)
        self._link = link
        self._node = node
        self._identity = identity
        self._stock: "stock.Stock | None" = None
        self._telemetry: "records.Telemetry | None" = None
        self.finder: "Finder | None" = None  # answers searches while there is no link
        self._now = now_ms
        self.rx = modbus.RtuServer(unit)
        self._chunk = bytearray(_CHUNK)
        self._tx = bytearray(256)
        self._tx_view = memoryview(self._tx)
        self._rx_us = time.ticks_us()
        self.parked = False  # waiting for bytes, nothing left to do
        self.answered = 0
        self.late = 0
        self.last_request_ms = -1  # the last request for this node
        self.pace = Pace()
        de.value(0)

    def alive(self) -> bool:
        """S11: the loop is waiting for bytes and there are none, so nothing is stuck."""
        return self.parked and not self._uart.any()

    async def run(self) -> None:
        """Never ends: whatever comes out of one message is reported, and the next one is served."""
        while True:
            try:
                await self._listen()
            except Exception as e:
                self.parked = False
                self._node.faults.note(_BEARER, e)
                self.rx.silence()  # what was half received is lost
            await asyncio.sleep_ms(5)

    async def _listen(self) -> None:
        uart = self._uart
        rx = self.rx
        chunk = self._chunk
        readinto = self._stream.readinto
        ticks = time.ticks_us
        diff = time.ticks_diff
        while True:
            self.parked = True
            n = await readinto(chunk)
            self.parked = False
            if not n:
                await asyncio.sleep_ms(5)  # the line went away: never spin
                continue
            now = ticks()
            gap = diff(now, self._rx_us) - n * self._char_us
            # Far in the past: the ticks wrapped, minutes went by.
            if gap >= self._t35_us or gap < -_WRAPPED_US:
                rx.silence()
            self._rx_us = now
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

    def _serve(self, buf, n: int) -> None:
        """Answer one request for this unit, or take a broadcast."""
        self.last_request_ms = self._now()
        function = buf[1]
        if buf[0] == modbus.BROADCAST:
            if function == modbus.PBAL:
                if self.finder:
                    size = self.finder.take(buf, n, self._tx)
                    if size:
                        self._send(size)
                elif self._link and buf[2] == modbus.OP_GROUP:
                    self._link.group(buf, 4, n - 2)
            return
        tx = self._tx
        tx[0] = buf[0]
        if function == modbus.PBAL and self._link:
            if buf[2] != modbus.OP_POLL:
                size = self._exception(function, modbus.ILLEGAL_VALUE)
            else:
                size = self._link.poll(buf, 4, n - 2, tx)  # writes at tx[4:]
                tx[1] = modbus.PBAL
                tx[2] = self._link.hints
                tx[3] = size
                size += 4
        else:
            self._send(self._plain(buf, n))
            return
        self._send(modbus.seal_adu(tx, size))

    def _exception(self, function: int, code: int) -> int:
        self._tx[1] = function | 0x80
        self._tx[2] = code
        return 3

    def _plain(self, buf, n: int) -> int:
        """Answer a stock Modbus tool; the length of the ADU in `_tx`."""
        try:
            stock = self._stock or self._load_stock()
            # Anybody on the pair may ask.
            stock.withheld = bool(self._link) and not self._node.config.get(_PLAIN_REGISTERS)
            self._node.fill_telemetry(self._telemetry)
            return stock.respond(buf, n, self._telemetry, self._tx)
        except Exception as e:
            self._node.faults.note(_PLAIN, e)
            return modbus.seal_adu(self._tx, self._exception(buf[1], modbus.SERVER_FAILURE))

    def _load_stock(self) -> "stock.Stock":
        """Only when somebody asks: in service nobody does."""
        gc.collect()  # room in one piece: a heap that worked for days is in crumbs
        from pbal_protocol import records, stock

        board, version, name = self._identity
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
        self._rx_us = time.ticks_us()  # loading took its time; who asks like this waits long
        return self._stock

    def _send(self, n: int) -> None:
        uart = self._uart
        ticks = time.ticks_us
        diff = time.ticks_diff
        wait = self._t35_us - diff(ticks(), self._rx_us)
        if wait > 0:
            time.sleep_us(wait)  # Modbus: 3.5 characters of silence before an answer
        if uart.any() or diff(ticks(), self._rx_us) > _LATE_US:
            self.late += 1  # the poller has moved on
            return
        self._de.value(1)
        try:
            start = ticks()
            uart.write(self._tx_view[:n])
            # Sleep until shortly before the last stop bit, then watch for it.
            wait = n * self._char_us - 300 - diff(ticks(), start)
            if wait > 0:
                time.sleep_us(wait)
            while not uart.txdone():
                if diff(ticks(), start) > 2 * n * self._char_us + 20000:
                    break  # the UART never finishes: free the line rather than block it
                time.sleep_us(50)
        finally:
            self._de.value(0)
        self._rx_us = ticks()
        self.answered += 1
        self.pace.answered(self._now())
