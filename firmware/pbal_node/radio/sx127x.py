"""Driver of the SX1276/77/78/79: start an operation, ask for its result with `poll`.

Register and field names are those of Semtech's data sheet (rev. 7), and sections are given where a
value is not plain; errata 2.1 and 2.3 are from the SX1276 errata note. Bus and pins come from
outside: `spi` needs write and write_readinto, a pin is called with its level.

Nothing is allocated once it is made: frames are read and written in pieces of 64 bytes through
views that exist from the start. Surplus bytes of the last piece stay unused.

Two things go wrong with real modules: a dip of the supply resets the chip without notice, and a
spike makes it hang. So `check` compares every register that was set with the chip, a transmission
that does not end in time is noticed, and both bring the chip up again.
"""

import time

from micropython import const

from pbal_node import unload
from pbal_protocol.errors import PbalError, RangeError
from pbal_protocol.radio import airtime

_REG_FIFO = const(0x00)
_REG_OP_MODE = const(0x01)
_REG_FRF_MSB = const(0x06)
_REG_FRF_MID = const(0x07)
_REG_FRF_LSB = const(0x08)
_REG_FIFO_ADDR_PTR = const(0x0D)
_REG_FIFO_RX_CURRENT_ADDR = const(0x10)
_REG_IRQ_FLAGS = const(0x12)
_REG_RX_NB_BYTES = const(0x13)
_REG_RX_PACKET_CNT_VALUE_LSB = const(0x17)
_REG_PKT_SNR_VALUE = const(0x19)
_REG_PKT_RSSI_VALUE = const(0x1A)
_REG_HOP_CHANNEL = const(0x1C)
_REG_MODEM_CONFIG2 = const(0x1E)
_REG_PAYLOAD_LENGTH = const(0x22)
_REG_MODEM_CONFIG3 = const(0x26)
_REG_DIO_MAPPING1 = const(0x40)
_REG_VERSION = const(0x42)

_VERSION = const(0x12)
_LONG_RANGE_MODE = const(0x80)
_MODE_SLEEP = const(0x80)
_MODE_STDBY = const(0x81)
_MODE_TX = const(0x83)
_MODE_RX_CONTINUOUS = const(0x85)
_MODE_CAD = const(0x87)  # activity.py

_IRQ_RX_DONE = const(0x40)
_IRQ_PAYLOAD_CRC_ERROR = const(0x20)
_IRQ_VALID_HEADER = const(0x10)
_IRQ_TX_DONE = const(0x08)
_CRC_ON_PAYLOAD = const(0x40)

_DIO0_RX_DONE = const(0x00)
_DIO0_TX_DONE = const(0x40)

_PIECE = const(64)
_HF_HZ = const(525000000)  # bands 1 and 2 end there (section 5.3.3)
_TX_LATE_US = const(30000)
_RESET_MS = const(6)  # section 7.2.2 asks for 5

# What `poll` found.
NOTHING, HEARD, SENT, FAILED = 0, 1, 2, 5


class RadioError(PbalError):
    """The chip does not answer, or does not keep its settings."""


class SX127x:
    """One chip. `stamp_us` is when DIO0 rose last, or when `poll` saw what had happened.

    After HEARD the frame is buf[:length], with `rssi_dbm` and `snr_q4` (quarters of a decibel).
    """

    def __init__(self, spi, cs, reset=None, boost=True, band_hz=(862000000, 1020000000)) -> None:
        self._spi = spi
        self._cs = cs
        self._reset = reset
        self._boost = boost
        self._band_hz = band_hz
        self._out = bytearray(2)
        self._back = bytearray(2)
        self._first = memoryview(self._out)[:1]
        self.buf = bytearray(256)
        view = memoryview(self.buf)
        self._pieces = tuple([view[i : i + _PIECE] for i in range(0, 256, _PIECE)])
        self._want = bytearray(80)  # register, value, register, value, ...
        self._count = 0
        self._hz = 0
        self._sf = 7
        self._bw_hz = 125000
        self._cr = 5
        self._preamble = 8
        self._rssi_offset = 157
        self._mode = _MODE_SLEEP
        self._due_us = time.ticks_us()
        self._air_us = 0
        self._packets = 0
        self.flag = None  # with set(): called when DIO0 rises
        self.stamp_us = time.ticks_us()
        self._stamped = False
        self.length = 0
        self.rssi_dbm = 0
        self.snr_q4 = 0
        # Counted since the start.
        self.sent = 0
        self.heard = 0
        self.bad_crc = 0
        self.bad_header = 0
        self.missed = 0  # good frames that a later one replaced before they were read
        self.restarts = 0
        cs(1)

    # -- the bus ----------------------------------------------------------------------------------

    def _read(self, register: int) -> int:
        self._out[0] = register
        self._out[1] = 0
        self._cs(0)
        self._spi.write_readinto(self._out, self._back)
        self._cs(1)
        return self._back[1]

    def _write(self, register: int, value: int) -> None:
        self._out[0] = register | 0x80
        self._out[1] = value
        self._cs(0)
        self._spi.write(self._out)
        self._cs(1)

    def _set(self, register: int, value: int) -> None:
        """Write a register, and remember what must be in it."""
        self._write(register, value)
        i = 0
        while i < self._count and self._want[i] != register:
            i += 2
        if i == self._count:
            self._count += 2
        self._want[i] = register
        self._want[i + 1] = value

    def _enter(self, mode: int) -> None:
        self._write(_REG_OP_MODE, mode)
        self._mode = mode

    # -- setting up -------------------------------------------------------------------------------

    def begin(self, hz, sf=7, bw_hz=125000, cr=5, power_dbm=14, preamble=8, sync=0x12) -> None:
        """Reset the chip and configure it; it then stands by.

        Raises RadioError when no SX127x answers, before anything is written; RangeError for what it
        or its module can not do.
        """
        airtime.check(sf, bw_hz, cr, preamble)
        self._in_band(hz)
        # Needed once: the chip is brought up again from what was remembered.
        from pbal_node.radio import setup

        fixed = setup.registers(self._boost, hz > _HF_HZ, bw_hz, cr, power_dbm, preamble, sync)
        unload("pbal_node.radio", "setup")
        self._wake()
        self._bw_hz = bw_hz
        self._cr = cr
        self._preamble = preamble
        self._rssi_offset = 157 if hz > _HF_HZ else 164
        self._count = 0
        for i in range(0, len(fixed), 2):
            self._set(fixed[i], fixed[i + 1])
        self._set_frequency(hz)
        self._set_factor(sf)
        self._ready()

    def _in_band(self, hz: int) -> None:
        low, high = self._band_hz
        if not low <= hz <= high:
            raise RangeError("%d Hz: this module is made for %d to %d Hz" % (hz, low, high))

    def _wake(self) -> None:
        """Reset the chip, and put it into LoRa mode, standing by. Raises RadioError."""
        self._mode = _MODE_STDBY
        if self._reset is not None:
            self._reset(0)
            time.sleep_ms(1)
            self._reset(1)
            time.sleep_ms(_RESET_MS)
        found = self._read(_REG_VERSION)
        tries = 3
        while found != _VERSION and tries:
            tries -= 1
            time.sleep_ms(_RESET_MS)  # a supply that is slow to come up
            found = self._read(_REG_VERSION)
        if found != _VERSION:
            raise RadioError(
                "no SX127x answers (version 0x%02x): check its 3.3 V, the SPI pins and the chip "
                "select" % found
            )
        # LongRangeMode changes in sleep only (section 4.1): sleep first, then LoRa.
        self._write(_REG_OP_MODE, _MODE_SLEEP & ~_LONG_RANGE_MODE)
        self._write(_REG_OP_MODE, _MODE_SLEEP)
        self._write(_REG_OP_MODE, _MODE_STDBY)
        if self._read(_REG_OP_MODE) != _MODE_STDBY:
            raise RadioError("the SX127x does not enter LoRa mode: check the SPI wires")

    def _ready(self) -> None:
        self._write(_REG_IRQ_FLAGS, 0xFF)
        self._packets = self._read(_REG_RX_PACKET_CNT_VALUE_LSB)
        self._stamped = False

    def _set_frequency(self, hz: int) -> None:
        # Frf = hz * 2**19 / 32 MHz = hz * 256 / 15625 (section 4.1.4), without a long product.
        frf = (hz // 15625 << 8) + ((hz % 15625 << 8) + 7812) // 15625
        self._set(_REG_FRF_MSB, frf >> 16)
        self._set(_REG_FRF_MID, frf >> 8 & 0xFF)
        self._set(_REG_FRF_LSB, frf & 0xFF)
        self._hz = hz

    def _set_factor(self, sf: int) -> None:
        self._set(_REG_MODEM_CONFIG2, sf << 4 | 0x04)  # RxPayloadCrcOn
        slow = airtime.low_data_rate(sf, self._bw_hz)
        self._set(_REG_MODEM_CONFIG3, 0x0C if slow else 0x04)  # AgcAutoOn
        self._sf = sf

    def change(self, sf: int, hz: int) -> None:
        """Another spreading factor and channel of the same band, from standby on. Raises
        RangeError.
        """
        airtime.check(sf, self._bw_hz)
        self._in_band(hz)
        self._enter(_MODE_STDBY)
        if hz != self._hz:
            self._set_frequency(hz)
        if sf != self._sf:
            self._set_factor(sf)

    # -- operation --------------------------------------------------------------------------------

    def time_on_air_us(self, size: int) -> int:
        """How long a frame of this size takes."""
        return airtime.time_on_air_us(size, self._sf, self._bw_hz, self._cr, self._preamble)

    def on_dio0(self, _pin=None) -> None:
        """The interrupt: stamp the time, set the flag, nothing else."""
        self.stamp_us = time.ticks_us()
        self._stamped = True
        if self.flag is not None:
            self.flag.set()

    def listen(self) -> None:
        """Receive until told otherwise."""
        self._enter(_MODE_STDBY)
        self._write(_REG_IRQ_FLAGS, 0xFF)
        self._write(_REG_DIO_MAPPING1, _DIO0_RX_DONE)
        self._stamped = False
        self._enter(_MODE_RX_CONTINUOUS)

    def standby(self) -> None:
        """Neither send nor listen; whatever was under way is given up."""
        self._enter(_MODE_STDBY)

    def send(self, size: int) -> None:
        """Send buf[:size]; `poll` then says SENT. Raises RangeError."""
        self.load(size)
        self.start()

    def load(self, size: int) -> None:
        """Put buf[:size] into the chip, which stands by; `start` sends it. Raises RangeError."""
        if not 1 <= size <= 255:
            raise RangeError("a frame of %d bytes: a LoRa frame has 1 to 255" % size)
        self._enter(_MODE_STDBY)
        self._write(_REG_IRQ_FLAGS, 0xFF)
        self._write(_REG_DIO_MAPPING1, _DIO0_TX_DONE)
        self._write(_REG_FIFO_ADDR_PTR, 0)
        self._move(size, True)
        self._write(_REG_PAYLOAD_LENGTH, size)
        self._stamped = False
        self._air_us = self.time_on_air_us(size)

    def start(self) -> None:
        """Send what was loaded."""
        self._due(self._air_us)
        self._enter(_MODE_TX)

    def _due(self, us: int) -> None:
        self._due_us = time.ticks_add(time.ticks_us(), us + _TX_LATE_US)

    def _move(self, size: int, out: bool) -> None:
        """Whole pieces of `buf` into or out of the FIFO."""
        self._out[0] = _REG_FIFO | 0x80 if out else _REG_FIFO
        spi = self._spi
        self._cs(0)
        spi.write(self._first)
        i = 0
        while size > 0:
            if out:
                spi.write(self._pieces[i])
            else:
                spi.readinto(self._pieces[i])
            i += 1
            size -= _PIECE
        self._cs(1)

    def poll(self) -> int:
        """Return what happened since: NOTHING, HEARD, SENT or FAILED.

        FAILED: it did not end in time, or the chip had lost its settings; it was brought up again
        and stands by. Raises RadioError when that did not work either.
        """
        mode = self._mode
        if mode == _MODE_STDBY or mode == _MODE_SLEEP:
            return NOTHING
        flags = self._read(_REG_IRQ_FLAGS)
        if mode == _MODE_RX_CONTINUOUS:
            if flags & _IRQ_RX_DONE:
                return self._take(flags)
            return NOTHING
        if flags & _IRQ_TX_DONE:
            self._saw()
            self._write(_REG_IRQ_FLAGS, 0xFF)
            self._mode = _MODE_STDBY
            self.sent += 1
            return SENT
        if time.ticks_diff(time.ticks_us(), self._due_us) > 0:
            self.recover()
            return FAILED
        return NOTHING

    def _saw(self) -> None:
        """Without an interrupt, the time of the event is now."""
        if not self._stamped:
            self.stamp_us = time.ticks_us()
        self._stamped = False

    def _take(self, flags: int) -> int:
        """A frame is in the FIFO. The flags are cleared first: a new event must make an edge."""
        self._saw()
        self._write(_REG_IRQ_FLAGS, flags)
        packets = self._read(_REG_RX_PACKET_CNT_VALUE_LSB)
        fresh = packets - self._packets & 0xFF
        self._packets = packets
        if not flags & _IRQ_VALID_HEADER:
            self.bad_header += 1
            return NOTHING
        if flags & _IRQ_PAYLOAD_CRC_ERROR:
            self.bad_crc += 1
            self.missed += fresh
            return NOTHING
        if fresh > 1:
            self.missed += fresh - 1
        if not self._read(_REG_HOP_CHANNEL) & _CRC_ON_PAYLOAD:
            self.bad_crc += 1  # without a CRC: not one of ours, it may be damaged
            return NOTHING
        size = self._read(_REG_RX_NB_BYTES)
        self._write(_REG_FIFO_ADDR_PTR, self._read(_REG_FIFO_RX_CURRENT_ADDR))
        self._move(size, False)
        self.length = size
        snr = self._read(_REG_PKT_SNR_VALUE)
        if snr > 127:
            snr -= 256
        rssi = self._read(_REG_PKT_RSSI_VALUE) - self._rssi_offset
        # Below the noise the ratio counts too (section 5.5.5).
        self.rssi_dbm = rssi + (snr >> 2) if snr < 0 else rssi
        self.snr_q4 = snr
        self.heard += 1
        return HEARD

    # -- faults -----------------------------------------------------------------------------------

    def check(self) -> bool:
        """Compare every register that was set with the chip; False when it had to be brought up
        again. It is then in standby. Raises RadioError when that did not work.
        """
        good = self._read(_REG_VERSION) == _VERSION
        i = 0
        while good and i < self._count:
            good = self._read(self._want[i]) == self._want[i + 1]
            i += 2
        if good:
            mode = self._read(_REG_OP_MODE)
            # Sending and channel activity detection end by themselves.
            good = mode == self._mode or (
                mode == _MODE_STDBY and self._mode in (_MODE_TX, _MODE_CAD)
            )
        if not good:
            self.recover()
        return good

    def recover(self) -> None:
        """Bring the chip up again as it was configured. Raises RadioError."""
        self.restarts += 1
        self._wake()
        i = 0
        while i < self._count:
            self._write(self._want[i], self._want[i + 1])
            i += 2
        self._ready()
