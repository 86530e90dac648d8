"""Every error this package raises, as one tree.

    PbalError
    |-- LocalError               this end misused the package: a bug, or an unchecked value
    |   |-- RangeError           a value is outside its field's legal range, or of a wrong type
    |   |-- FieldError           no such field, key or object
    |   |-- SpaceError           the caller's buffer is too small, or a frame would be too long
    |   |-- CounterError         a frame counter that does not grow (it would reuse a nonce)
    |   `-- ForbiddenError       a record that may not travel this way (a Switch to a group)
    `-- RemoteError              the peer (or the line, or an attacker) misbehaved
        |-- Truncated            fewer bytes than the layout needs
        |-- TrailingBytes        bytes left over after a complete record
        |-- TooLong              longer than the protocol allows
        |-- BadVersion           a protocol version this end does not speak
        |-- BadKind              not the direction this end listens to
        |-- WrongAddress         a frame for another node
        |-- AuthError            the tag does not match: forged, damaged, or another key
        |-- ReplayError          this counter was seen before, or is below the window
        |-- UnknownRecord        a record id that is not declared
        |-- BadValue             a field outside its legal range
        |-- WrongDirection       an authentic frame with a record that may not travel this way
        |-- BadCrc               a Modbus frame whose checksum does not match
        |-- BadPdu               a Modbus PDU whose lengths or codes contradict each other
        `-- ModbusException      the server answered with a Modbus exception code

MicroPython allows an exception one base class only: no error here has two. `COUNTER` names
the field of the Health record in which a node counts a refused frame.
"""


class PbalError(Exception):
    """Root of everything raised on purpose by pbal's protocol code."""


class LocalError(PbalError):
    """This end misused the protocol; nothing was sent."""


class RangeError(LocalError):
    """A value outside its field's legal range, or of the wrong type."""


class FieldError(LocalError):
    """A field, key or object that is not declared."""


class SpaceError(LocalError):
    """A buffer too small for the result, or a result longer than a frame may be."""


class CounterError(LocalError):
    """A frame counter that does not grow; sealing with it would reuse a nonce."""


class ForbiddenError(LocalError):
    """A record that may not be sent in this direction."""


class RemoteError(PbalError):
    """The other end, the line or an attacker sent something we refuse."""

    COUNTER = "malformed"


class Truncated(RemoteError):
    """Fewer bytes than the layout needs."""


class TrailingBytes(RemoteError):
    """Bytes left over after a complete record."""


class TooLong(RemoteError):
    """Longer than the protocol allows."""


class BadVersion(RemoteError):
    """A protocol version this end does not speak."""


class BadKind(RemoteError):
    """A frame of another direction than this end listens to."""


class WrongAddress(RemoteError):
    """A frame for another node."""


class AuthError(RemoteError):
    """The tag does not match: forged, damaged or sealed with another key."""

    COUNTER = "auth_failed"


class ReplayError(RemoteError):
    """A counter already seen, or too old to tell."""

    COUNTER = "replayed"


class UnknownRecord(RemoteError):
    """A record id that is not declared, or not the one expected."""


class BadValue(RemoteError):
    """A field of a received record is outside its legal range."""


class WrongDirection(RemoteError):
    """A record that may not travel in the direction of its frame."""


class BadCrc(RemoteError):
    """A Modbus RTU frame whose checksum does not match."""

    COUNTER = "bad_crc"


class BadPdu(RemoteError):
    """A Modbus PDU whose lengths or codes contradict each other."""


class ModbusException(RemoteError):
    """A Modbus exception response; `code` is the exception code (1 illegal function, ...)."""

    def __init__(self, function: int, code: int) -> None:
        super().__init__("function %d: exception %d" % (function, code))
        self.function = function
        self.code = code
