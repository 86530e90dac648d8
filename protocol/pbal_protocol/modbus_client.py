"""Modbus PDUs and whole frames as a client builds and parses them, function 100 included.

Not in modbus.py, because a node, which answers into a buffer of its own, has no room for them.
"""

from pbal_protocol.compat import const
from pbal_protocol.errors import BadCrc, BadPdu, ModbusException, SpaceError, Truncated
from pbal_protocol.modbus import MAX_BODY, crc16, seal_adu

_PBAL = const(100)


def adu(unit: int, pdu: bytes | bytearray) -> bytes:
    """Return unit, PDU and CRC: what goes on the line."""
    buf = bytearray(len(pdu) + 3)
    buf[0] = unit
    buf[1 : 1 + len(pdu)] = pdu
    seal_adu(buf, 1 + len(pdu))
    return bytes(buf)


def split_adu(frame: bytes | bytearray | memoryview) -> tuple[int, bytes]:
    """Return (unit, PDU) of a whole frame. Raises Truncated, BadCrc."""
    n = len(frame)
    if n < 4:
        raise Truncated("%d bytes of frame" % n)
    if crc16(frame, n - 2) != frame[n - 2] | frame[n - 1] << 8:
        raise BadCrc("%d bytes" % n)
    return frame[0], bytes(frame[1 : n - 2])


# -- Function 100: PDUs that carry one sealed frame, or nothing ------------------------------


def request_pdu(op: int, frame: bytes | bytearray | memoryview = b"") -> bytes:
    """Return the PDU 64 | op | len | sealed frame. Raises SpaceError."""
    if len(frame) > MAX_BODY:
        raise SpaceError("body: %d bytes" % len(frame))
    return bytes((_PBAL, op, len(frame))) + bytes(frame)


def response_pdu(flags: int, frame: bytes | bytearray | memoryview = b"") -> bytes:
    """Return the PDU 64 | flags | len | sealed frame. Raises SpaceError."""
    return request_pdu(flags, frame)


def parse_pdu(pdu: bytes | bytearray | memoryview) -> tuple[int, bytes]:
    """Return (op or flags, sealed frame) of a function 100 PDU of either direction.

    Raises ModbusException for an exception response, Truncated, BadPdu.
    """
    if len(pdu) >= 2 and pdu[0] == _PBAL | 0x80:
        raise ModbusException(_PBAL, pdu[1])
    if len(pdu) < 3:
        raise Truncated("%d bytes of PDU" % len(pdu))
    if pdu[0] != _PBAL:
        raise BadPdu("function %d" % pdu[0])
    if pdu[2] != len(pdu) - 3 or pdu[2] > MAX_BODY:
        raise BadPdu("%d bytes of body, %d announced" % (len(pdu) - 3, pdu[2]))
    return pdu[1], bytes(pdu[3:])


def exception_pdu(function: int, code: int) -> bytes:
    """Return the exception response to `function`."""
    return bytes((function | 0x80, code))
