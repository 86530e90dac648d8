"""Records that only radios need, declared as those of pbal_protocol.records are.

A node without a radio does not load them. One with a radio calls `add(RECORDS)`; on a computer
pbal_protocol.records does, so that the wire's page, stub and dissector have them.
"""

from pbal_protocol.codec import BLOB, Record, declare


class CompactTelemetry(Record):
    ID = 40
    NAME = "CompactTelemetry"
    DIRECTION = ("up",)
    FIELDS = (
        ("time_low_s", "H", 1, "s", 0, 0xFFFF),
        ("va_v", "H", 10, "V", 0, 600),
        ("vb_v", "H", 10, "V", 0, 600),
        ("vc_v", "H", 10, "V", 0, 600),
        ("vout_v", "H", 10, "V", 0, 600),
        ("current_a", "H", 50, "A", 0, 1000),
        ("p_kw", "h", 100, "kW", -200, 200),
        ("phase", "B", 1, "", 0, 3),
        ("state", "B", 1, "", 0, 9),
        ("flags", "H", 1, "", 0, 0x01FF),
        ("age_s", "B", 10, "s", 0, 25),
        ("dwell_left_min", "B", 1, "min", 0, 255),
        ("switches_today", "B", 1, "", 0, 255),
        ("heard_snr_db", "b", 4, "dB", -31, 31),
        ("missed", "B", 1, "", 0, 255),
    )


class TelemetryGet(Record):
    ID = 41
    NAME = "TelemetryGet"
    DIRECTION = ("down",)
    FIELDS = (("every", "B", 1, "", 0, 255),)


class Beacon(Record):
    ID = 42
    NAME = "Beacon"
    DIRECTION = ("group",)
    FIELDS = (
        ("time_s", "I", 1, "s", 0, 0xFFFFFFFF),
        ("time_ms", "H", 1, "ms", 0, 999),
        ("round", "H", 1, "", 0, 0xFFFF),
        ("map_version", "B", 1, "", 0, 255),
        ("repair", "B", 1, "", 0, 255),
        ("shape", "8s", 1, "", 8, 8),
        ("heard", BLOB, 1, "", 0, 32),
    )


class SlotAssign(Record):
    ID = 43
    NAME = "SlotAssign"
    DIRECTION = ("down",)
    FIELDS = (
        ("map_version", "B", 1, "", 0, 255),
        ("slot", "B", 1, "", 0, 255),
        ("begin_us", "I", 1, "us", 0, 0xFFFFFFFF),
        ("sf", "B", 1, "", 7, 12),
    )


ALL = (CompactTelemetry, TelemetryGet, Beacon, SlotAssign)

for _cls in ALL:
    declare(_cls)
del _cls


def add(known: dict[int, type[Record]]) -> None:
    """Make these records known to pbal_protocol.records.RECORDS."""
    for cls in ALL:
        known[cls.ID] = cls
