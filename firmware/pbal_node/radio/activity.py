"""Channel activity detection, the power in the channel, and sleep, for programs that look whether
somebody sends before they do. The bearer takes turns and needs none, so a node does not load it.
"""

from micropython import const

from pbal_node.radio.sx127x import SX127x
from pbal_protocol.radio import airtime

_REG_IRQ_FLAGS = const(0x12)
_REG_RSSI_VALUE = const(0x1B)
_REG_DIO_MAPPING1 = const(0x40)
_MODE_SLEEP = const(0x80)
_MODE_STDBY = const(0x81)
_MODE_CAD = const(0x87)
_IRQ_CAD_DONE = const(0x04)
_IRQ_CAD_DETECTED = const(0x01)
_DIO0_CAD_DONE = const(0x80)

# What `poll` found besides.
IDLE, BUSY = 3, 4


class Sensing(SX127x):
    """A chip that can look as well."""

    def look(self) -> None:
        """Begin to look: `poll` then says IDLE or BUSY, after about two symbols."""
        self._enter(_MODE_STDBY)
        self._write(_REG_IRQ_FLAGS, 0xFF)
        self._write(_REG_DIO_MAPPING1, _DIO0_CAD_DONE)
        self._stamped = False
        self._due(4 * airtime.symbol_us(self._sf, self._bw_hz))
        self._enter(_MODE_CAD)

    def poll(self) -> int:
        """As of the driver. Raises RadioError."""
        if self._mode == _MODE_CAD:
            flags = self._read(_REG_IRQ_FLAGS)
            if flags & _IRQ_CAD_DONE:
                self._saw()
                self._write(_REG_IRQ_FLAGS, 0xFF)
                self._mode = _MODE_STDBY
                return BUSY if flags & _IRQ_CAD_DETECTED else IDLE
        return super().poll()

    def sleep(self) -> None:
        """Lowest supply current; the FIFO is lost."""
        self._enter(_MODE_SLEEP)

    def rssi_now_dbm(self) -> int:
        """Power in the channel now, while it listens."""
        return self._read(_REG_RSSI_VALUE) - self._rssi_offset
