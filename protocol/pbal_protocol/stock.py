"""What a node answers to stock Modbus tools: functions 04, 17 and 43/14, and nothing else.

Read Device Identification is section 6.21 of "MODBUS Application Protocol V1.1b3", Report
Server ID 6.13, Read Input Registers 6.4. Every other function is refused with exception 1, so
no plain write can ever switch.
"""

from pbal_protocol.codec import Record
from pbal_protocol.compat import const
from pbal_protocol.errors import RangeError, SpaceError
from pbal_protocol.modbus import (
    ENCAPSULATED,
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    READ_DEVICE_ID,
    READ_INPUT_REGISTERS,
    REPORT_SERVER_ID,
    SERVER_FAILURE,
    seal_adu,
)
from pbal_protocol.registers import COUNT, fill, shows_use

VENDOR, PRODUCT_CODE, REVISION, VENDOR_URL, PRODUCT_NAME, MODEL, APPLICATION = range(7)

SERVER_ID = 0x70
_RUNNING = const(0xFF)
_REGULAR = const(0x82)  # conformity: basic and regular objects, by stream and one by one
_END = const(254)  # unit (1) and the longest PDU (253)


class Stock:
    """Answers stock tools. `identity` maps object ids 0..6 to ASCII bytes; 0..2 are required.

    `withheld`: the registers of what the home draws are illegal data addresses (exception 2).
    """

    def __init__(self, identity: dict[int, bytes]) -> None:
        for i in (VENDOR, PRODUCT_CODE, REVISION):
            if i not in identity:
                raise RangeError("object %d is required" % i)
        for i, text in identity.items():
            if not 0 <= i <= APPLICATION:
                raise RangeError("object %d" % i)
            if len(text) > 60:
                raise RangeError("object %d: %d bytes" % (i, len(text)))
        self._objects = identity
        self._registers = bytearray(2 * COUNT)
        self.withheld = False

    def respond(
        self,
        request: bytes | bytearray | memoryview,
        n: int,
        telemetry: "Record | None",
        out: bytearray,
    ) -> int:
        """Write the answer to the ADU request[:n] into `out` (256 bytes); return its length.

        0 for a broadcast, which has no answer. `request` has passed its CRC check.
        """
        if len(out) < 256:
            raise SpaceError("needs 256 bytes")
        if request[0] == 0:
            return 0
        out[0] = request[0]
        function = request[1]
        out[1] = function
        # The data of the PDU is request[2 : n - 2].
        if function == READ_INPUT_REGISTERS:
            end = self._read(request, n, telemetry, out)
        elif function == REPORT_SERVER_ID:
            end = self._report(n, out)
        elif function == ENCAPSULATED:
            end = self._identify(request, n, out)
        else:
            end = -ILLEGAL_FUNCTION
        if end < 0:
            out[1] = function | 0x80
            out[2] = -end
            end = 3
        return seal_adu(out, end)

    def _read(
        self,
        request: bytes | bytearray | memoryview,
        n: int,
        telemetry: "Record | None",
        out: bytearray,
    ) -> int:
        if n != 8:
            return -ILLEGAL_VALUE
        start = request[2] << 8 | request[3]
        count = request[4] << 8 | request[5]
        if not 1 <= count <= 125:
            return -ILLEGAL_VALUE
        if start + count > COUNT or (self.withheld and shows_use(start, count)):
            return -ILLEGAL_ADDRESS
        if telemetry is None:
            return -SERVER_FAILURE
        fill(telemetry, self._registers)
        out[2] = 2 * count
        for i in range(2 * count):
            out[3 + i] = self._registers[2 * start + i]
        return 3 + 2 * count

    def _report(self, n: int, out: bytearray) -> int:
        if n != 4:
            return -ILLEGAL_VALUE
        at = 5
        for i in (VENDOR, PRODUCT_CODE, REVISION):
            if i:
                out[at] = 0x20
                at += 1
            at = _put(out, at, self._objects[i])
        out[2] = at - 3
        out[3] = SERVER_ID
        out[4] = _RUNNING
        return at

    def _identify(self, request: bytes | bytearray | memoryview, n: int, out: bytearray) -> int:
        if n < 4 or request[2] != READ_DEVICE_ID:
            return -ILLEGAL_FUNCTION
        if n != 7:
            return -ILLEGAL_VALUE
        code = request[3]
        at_object = request[4]
        if not 1 <= code <= 4:
            return -ILLEGAL_VALUE
        if code == 4:
            if at_object not in self._objects:
                return -ILLEGAL_ADDRESS
            last = at_object
        else:
            # A stream that starts at an unknown object starts at the first one; extended (3)
            # is answered with the regular objects, as there are no others.
            last = REVISION if code == 1 else APPLICATION
            if at_object > last or at_object not in self._objects:
                at_object = 0
        out[2] = READ_DEVICE_ID
        out[3] = code
        out[4] = _REGULAR
        out[5] = 0  # more follows
        out[6] = 0  # the next object
        out[7] = 0  # how many objects are here
        at = 8
        for i in range(at_object, last + 1):
            text = self._objects.get(i)
            if text is None:
                continue
            if at + 2 + len(text) > _END:
                out[5] = 0xFF
                out[6] = i
                break
            out[at] = i
            out[at + 1] = len(text)
            at = _put(out, at + 2, text)
            out[7] += 1
        return at


def _put(out: bytearray, at: int, text: bytes) -> int:
    for b in text:
        out[at] = b
        at += 1
    return at
