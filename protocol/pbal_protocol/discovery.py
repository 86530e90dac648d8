"""Finding nodes that have no address yet: the plain broadcasts and their answers.

They all wait at unit 247 and know no key, so nothing here is sealed, and nothing here can switch,
set or read anything: a node can be asked to say its EUI, be given a unit to be read at until it is
reset, and be made to blink. Function 100 to unit 0, like a group frame, with ops of their own:

    FIND   flags(1) | bits(1) | prefix(8)    asks the waiting nodes whose EUI begins with these bits
    PLACE  eui(8) | unit(1)                  this node listens at this unit (247: it waits again)
    BLINK  eui(8) | seconds(1)               this node blinks

A node answers each with `00 | 64 | 80+op | 09 | eui(8) | unit(1) | CRC`, a broadcast, so that no
other waiting node takes it for a request. The searcher listens for the whole window: one answer,
several, or any other bytes mean at least one node. A node that hears another begin stays silent.
"""

from pbal_protocol.compat import const
from pbal_protocol.modbus import BROADCAST, PBAL, UNPROVISIONED, seal_adu

OP_FIND, OP_PLACE, OP_BLINK = 2, 3, 4
ANSWER = 0x80  # added to the op in an answer
FLAG_RESTART = 1  # FIND: all nodes that were placed wait again

SLOTS = 4  # an answer begins in one of these slots, drawn at random each time
SLOT_US = 3000
WINDOW_MS = 60  # after the request every answer has ended, also of a node that is busy measuring

_EUI = const(8)
_BODY = const(9)
_FIND = const(10)


def find_pdu(bits: int, prefix: bytes, restart: bool = False) -> bytes:
    """Return FIND for the EUIs that begin with the first `bits` bits of `prefix` (8 bytes)."""
    return bytes((PBAL, OP_FIND, _FIND, FLAG_RESTART if restart else 0, bits)) + prefix


def place_pdu(eui: bytes, unit: int) -> bytes:
    """Return PLACE: the node `eui` listens at `unit`."""
    return bytes((PBAL, OP_PLACE, _BODY)) + eui + bytes((unit,))


def blink_pdu(eui: bytes, seconds: int) -> bytes:
    """Return BLINK: the node `eui` blinks for so many seconds (0 ends it)."""
    return bytes((PBAL, OP_BLINK, _BODY)) + eui + bytes((seconds,))


def matches(eui: bytes, bits: int, prefix: bytes) -> bool:
    """Return whether `eui` begins with the first `bits` bits of `prefix`."""
    whole = bits >> 3
    if eui[:whole] != prefix[:whole]:
        return False
    rest = bits & 7
    return rest == 0 or (eui[whole] ^ prefix[whole]) >> (8 - rest) == 0


def answer_into(buf: bytearray, op: int, eui: bytes, unit: int) -> int:
    """Write the answer ADU to `op` into `buf`; return its length."""
    buf[0] = BROADCAST
    buf[1] = PBAL
    buf[2] = ANSWER | op
    buf[3] = _BODY
    buf[4 : 4 + _EUI] = eui
    buf[4 + _EUI] = unit
    return seal_adu(buf, 5 + _EUI)


def legal_unit(unit: int) -> bool:
    """Return whether a node may be placed at `unit`: 1..246, or 247 to wait again."""
    return 1 <= unit <= UNPROVISIONED
