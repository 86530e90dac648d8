"""Every record of the wire, declared once: id, direction, fields with unit and legal range.

The declarations drive both directions of the bytes (pbal_protocol.codec), `docs/wire.md`, the
type stub beside this file and the Wireshark dissector. What is released (released.json) never
changes; how to add to it is in CONTRIBUTING.md. Ids 20..29 are for firmware updates, 30..39 are
kept for addressing, 40..49 are for radios and declared in pbal_protocol.radio.records.
"""

from pbal_protocol.codec import BLOB, SECRET, Record, declare
from pbal_protocol.compat import MICROPYTHON, const
from pbal_protocol.errors import Truncated, UnknownRecord, WrongDirection

if not MICROPYTHON:
    from pbal_protocol.names import *  # noqa: F403

_U8 = const(0xFF)
_U16 = const(0xFFFF)
_U32 = const(0xFFFFFFFF)
_I32 = const(0x7FFFFFFF)

# Field groups that several records share.
_TIME = ("time_s", "I", 1, "s", 0, _U32)
_PHASE = ("phase", "B", 1, "", 0, 3)
_STATE = ("state", "B", 1, "", 0, 9)
_FLAGS = ("flags", "H", 1, "", 0, 0x01FF)
_NONCE = ("nonce", "I", 1, "", 0, _U32)
_COMMAND = ("command_id", "I", 1, "", 0, _U32)
_RESULT = ("result", "B", 1, "", 0, 4)
_VALUE = ("value", "i", 1, "", -_I32, _I32)
# At most what a small integer of the chip holds.
_GENERATION = ("generation", "I", 1, "", 1, 0x3FFFFFFF)
_CHALLENGE = ("challenge", "I", 1, "", 0, _U32)
_SWITCHES = ("lifetime_switches", "I", 1, "", 0, _U32)


class Telemetry(Record):
    ID = 1
    NAME = "Telemetry"
    DIRECTION = ("up",)
    FIELDS = (
        _TIME,
        ("va_v", "H", 100, "V", 0, 600),
        ("vb_v", "H", 100, "V", 0, 600),
        ("vc_v", "H", 100, "V", 0, 600),
        ("vout_v", "H", 100, "V", 0, 600),
        ("current_a", "I", 1000, "A", 0, 1000),
        ("p_w", "i", 10, "W", -200000, 200000),
        ("q_var", "i", 10, "var", -200000, 200000),
        ("e_import_wh", "I", 1, "Wh", 0, _U32),
        ("e_export_wh", "I", 1, "Wh", 0, _U32),
        ("freq_hz", "H", 100, "Hz", 0, 100),
        _PHASE,
        _STATE,
        _FLAGS,
        ("age_ms", "H", 1, "ms", 0, _U16),
        ("dwell_left_s", "H", 1, "s", 0, _U16),
        ("switches_today", "B", 1, "", 0, _U8),
    )


class Hello(Record):
    ID = 2
    NAME = "Hello"
    DIRECTION = ("up",)
    FIELDS = (
        ("eui", "8s", 1, "", 8, 8),
        _NONCE,
        ("boots", "I", 1, "", 0, _U32),
        ("reset_cause", "B", 1, "", 0, _U8),
        ("down_floor", "I", 1, "", 0, _U32),
        ("fw_version", "I", 1, "", 0, 0xFFFFFF),
        ("board", "H", 1, "", 0, _U16),
        _PHASE,
        _STATE,
        _FLAGS,
    )


class Switch(Record):
    ID = 3
    NAME = "Switch"
    DIRECTION = ("down",)
    FIELDS = (
        ("command_id", "I", 1, "", 1, _U32),
        ("to_phase", "B", 1, "", 1, 3),
        ("from_phase", "B", 1, "", 0, 3),
        ("issued_s", "I", 1, "s", 0, _U32),
        ("expires_s", "I", 1, "s", 0, _U32),
    )


class SwitchResult(Record):
    ID = 4
    NAME = "SwitchResult"
    DIRECTION = ("up",)
    FIELDS = (
        _COMMAND,
        ("outcome", "B", 1, "", 1, 5),
        ("reason", "B", 1, "", 0, 16),
        ("from_phase", "B", 1, "", 0, 3),
        ("to_phase", "B", 1, "", 0, 3),
        _PHASE,
        ("transfer_ms", "H", 1, "ms", 0, _U16),
        ("vout_v", "H", 100, "V", 0, 600),
        _TIME,
        _SWITCHES,
    )


class Event(Record):
    ID = 5
    NAME = "Event"
    DIRECTION = ("up",)
    FIELDS = (
        ("seq", "I", 1, "", 0, _U32),
        ("code", "B", 1, "", 1, 25),
        ("severity", "B", 1, "", 0, 2),
        _TIME,
        ("arg0", "i", 1, "", -_I32, _I32),
        ("arg1", "i", 1, "", -_I32, _I32),
    )


class EventAck(Record):
    ID = 6
    NAME = "EventAck"
    DIRECTION = ("down",)
    FIELDS = (("seq", "I", 1, "", 0, _U32),)


class Config(Record):
    ID = 7
    NAME = "Config"
    DIRECTION = ("down",)
    FIELDS = (("key", "B", 1, "", 0, _U8), _VALUE)


class ConfigGet(Record):
    ID = 8
    NAME = "ConfigGet"
    DIRECTION = ("down",)
    FIELDS = (("key", "B", 1, "", 0, _U8),)


class ConfigValue(Record):
    ID = 9
    NAME = "ConfigValue"
    DIRECTION = ("up",)
    FIELDS = (("key", "B", 1, "", 0, _U8), _VALUE, _RESULT)


class TimeSync(Record):
    ID = 10
    NAME = "TimeSync"
    DIRECTION = ("down", "group")
    FIELDS = (_TIME, ("time_ms", "H", 1, "ms", 0, 999), _NONCE)


class MeasureNow(Record):
    ID = 11
    NAME = "MeasureNow"
    DIRECTION = ("group",)
    FIELDS = (("seq", "H", 1, "", 0, _U16),)


class Health(Record):
    ID = 12
    NAME = "Health"
    DIRECTION = ("up",)
    FIELDS = (
        ("uptime_s", "I", 1, "s", 0, _U32),
        ("heap_free", "I", 1, "B", 0, _U32),
        ("heap_used_max", "I", 1, "B", 0, _U32),
        ("loop_max_ms", "H", 1, "ms", 0, _U16),
        ("bad_crc", "I", 1, "", 0, _U32),
        ("auth_failed", "I", 1, "", 0, _U32),
        ("replayed", "I", 1, "", 0, _U32),
        ("malformed", "I", 1, "", 0, _U32),
        ("expired", "I", 1, "", 0, _U32),
        ("flash_writes", "I", 1, "", 0, _U32),
        ("meter_errors", "I", 1, "", 0, _U32),
        _SWITCHES,
        _NONCE,
    )


class Ack(Record):
    ID = 13
    NAME = "Ack"
    DIRECTION = ("up",)
    FIELDS = (("counter", "I", 1, "", 0, _U32), _RESULT)


class ResultAck(Record):
    ID = 14
    NAME = "ResultAck"
    DIRECTION = ("down",)
    FIELDS = (_COMMAND,)


class StatusGet(Record):
    ID = 15
    NAME = "StatusGet"
    DIRECTION = ("down",)
    FIELDS = (("what", "B", 1, "", 1, 4),)


class GroupKey(Record):
    ID = 16
    NAME = "GroupKey"
    DIRECTION = ("down",)
    FIELDS = (_GENERATION, _CHALLENGE, ("group_key", BLOB, 1, SECRET, 0, 32))


class GroupProof(Record):
    ID = 17
    NAME = "GroupProof"
    DIRECTION = ("up",)
    FIELDS = (_GENERATION, _CHALLENGE, ("proof", "8s", 1, "", 8, 8))


class Update(Record):
    ID = 20
    NAME = "Update"
    DIRECTION = ("down",)
    FIELDS = (
        ("op", "B", 1, "", 1, 5),
        ("at", "I", 1, "B", 0, _U32),
        ("data", BLOB, 1, "", 0, 208),
    )


class UpdateStatus(Record):
    ID = 21
    NAME = "UpdateStatus"
    DIRECTION = ("up",)
    FIELDS = (
        ("digest", "8s", 1, "", 8, 8),
        ("stage", "B", 1, "", 0, 7),
        ("why", "B", 1, "", 0, 15),
        ("slot", "B", 1, "", 0, 2),
        ("next", "I", 1, "B", 0, _U32),
        ("want", "I", 1, "B", 0, _U32),
        ("running", "I", 1, "", 0, 0xFFFFFF),
    )


RECORDS: dict[int, type[Record]] = {}

for _cls in (
    Telemetry,
    Hello,
    Switch,
    SwitchResult,
    Event,
    EventAck,
    Config,
    ConfigGet,
    ConfigValue,
    TimeSync,
    MeasureNow,
    Health,
    Ack,
    ResultAck,
    StatusGet,
    GroupKey,
    GroupProof,
    Update,
    UpdateStatus,
):
    declare(_cls)
    RECORDS[_cls.ID] = _cls
del _cls

if not MICROPYTHON:
    # A node adds them only where it has a radio.
    from pbal_protocol.radio import records as _radio

    _radio.add(RECORDS)


def decode_all(
    payload: bytes | bytearray | memoryview, direction: "str | None" = None
) -> "list[Record]":
    """Return the records that fill `payload`, in order: all of them or none.

    With `direction` ("up", "down", "group") every record must be allowed that way. Raises
    Truncated (also for no bytes at all), UnknownRecord, BadValue, WrongDirection.
    """
    out = []
    at = 0
    while True:
        cls = _class_at(payload, at)
        if direction is not None and direction not in cls.DIRECTION:
            raise WrongDirection("%s in a %s frame" % (cls.NAME, direction))
        record, at = cls.decode_at(payload, at)
        out.append(record)
        if at == len(payload):
            return out


def first_foreign(
    payload: bytes | bytearray | memoryview, start: int, end: int, direction: str
) -> int:
    """Return the id of the first record that may not travel in `direction`, 0 when all may.

    Raises Truncated, UnknownRecord.
    """
    view = memoryview(payload)[start:end]
    at = 0
    while True:
        cls = _class_at(view, at)
        if direction not in cls.DIRECTION:
            return cls.ID
        at = cls.end_of(view, at)
        if at == len(view):
            return 0


def _class_at(payload: bytes | bytearray | memoryview, at: int) -> type[Record]:
    if at >= len(payload):
        raise Truncated("no record")
    cls = RECORDS.get(payload[at])
    if cls is None:
        raise UnknownRecord("id %d" % payload[at])
    return cls
