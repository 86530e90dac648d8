"""Records: bytes and values, ranges, and nothing outside the error tree."""

import math

import pytest
from contract.strategies import any_record
from hypothesis import given
from hypothesis import strategies as st

from pbal_protocol import config, records
from pbal_protocol.codec import BLOB, Record, declare
from pbal_protocol.errors import (
    BadValue,
    FieldError,
    PbalError,
    RangeError,
    RemoteError,
    SpaceError,
    TrailingBytes,
    Truncated,
    UnknownRecord,
    WrongDirection,
)

ALL = list(records.RECORDS.values())
NUMBERS = [(cls, f) for cls in ALL for f in cls.FIELDS if f[1] not in ("8s", BLOB)]
IDS = [f"{cls.NAME}.{f[0]}" for cls, f in NUMBERS]


class Chunk(Record):
    """A record with a blob; the wire has none yet, the codec is ready for it."""

    ID = 250
    NAME = "Chunk"
    DIRECTION = ("down",)
    FIELDS = (("offset", "I", 1, "", 0, 1000), ("data", BLOB, 1, "", 1, 100))


declare(Chunk)


def test_ids_are_the_ones_that_were_given_out():
    given_out = "Telemetry Hello Switch SwitchResult Event EventAck Config ConfigGet ConfigValue "
    given_out += "TimeSync MeasureNow Health Ack ResultAck StatusGet GroupKey GroupProof"
    updates = [(20, "Update"), (21, "UpdateStatus")]
    radio = list(enumerate(["CompactTelemetry", "TelemetryGet", "Beacon", "SlotAssign"], 40))
    assert [(c.ID, c.NAME) for c in ALL] == [*enumerate(given_out.split(), 1), *updates, *radio]


def test_only_time_measure_now_and_beacons_may_go_to_a_group():
    group = [cls.NAME for cls in ALL if "group" in cls.DIRECTION]
    assert group == ["TimeSync", "MeasureNow", "Beacon"]


def test_the_whole_answer_fits_a_frame():
    # Telemetry, Hello and a result together, as after a reset in the middle of a transfer.
    sizes = [records.Telemetry.SIZE, records.Hello.SIZE, records.SwitchResult.SIZE]
    assert sum(sizes) <= 200


@given(any_record)
def test_every_record_survives_the_wire(record):
    raw = record.encode()
    again = type(record).decode(raw)
    assert again == record
    assert again.encode() == raw
    assert hash(again) == hash(record)
    assert records.decode_all(raw) == [record]


@given(st.lists(any_record, min_size=1, max_size=5), st.integers(0, 9))
def test_records_in_a_row_survive_in_order(several, offset):
    buf = bytearray(600)
    end = offset
    for record in several:
        end += record.encode_into(buf, end)
    assert records.decode_all(bytes(buf[offset:end])) == several
    assert records.decode_all(memoryview(buf)[offset:end]) == several
    assert not any(buf[:offset])
    assert not any(buf[end:])


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_remote_errors(data):
    try:
        found = records.decode_all(data)
    except RemoteError:
        return
    assert b"".join(r.encode() for r in found) == data


@given(any_record, st.data())
def test_damaged_records_raise_nothing_but_remote_errors(record, data):
    raw = bytearray(record.encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    try:
        found = records.decode_all(raw)
    except RemoteError:
        return
    assert b"".join(r.encode() for r in found) == raw


@given(any_record)
def test_every_shorter_record_is_truncated(record):
    raw = record.encode()
    for n in range(len(raw)):
        with pytest.raises(Truncated):
            type(record).decode(raw[:n])
        with pytest.raises(Truncated):
            records.decode_all(raw[:n])


@given(any_record, st.binary(min_size=1, max_size=3))
def test_bytes_after_a_record_are_told_apart(record, tail):
    with pytest.raises(TrailingBytes):
        type(record).decode(record.encode() + tail)


def test_another_record_is_not_this_one():
    with pytest.raises(UnknownRecord):
        records.Switch.decode(records.EventAck(seq=1).encode())
    with pytest.raises(UnknownRecord):
        records.decode_all(b"\xc8\x00")


def filled(cls: type[Record]) -> dict:
    """Legal values for every field."""
    return {f[0]: bytes(f[4]) if f[1] in ("8s", BLOB) else max(f[4], 0) for f in cls.FIELDS}


@pytest.mark.parametrize(("cls", "field"), NUMBERS, ids=IDS)
def test_both_ends_of_every_range(cls, field):
    name, _code, divisor, _unit, low, high = field
    for value in (low, high):
        record = cls(**filled(cls) | {name: value})
        assert getattr(cls.decode(record.encode()), name) == value
    step = 1 if divisor == 1 else 1 / divisor
    for value in (low - step, high + step, 2**40, -(2**40)):
        with pytest.raises(RangeError):
            cls(**filled(cls) | {name: value}).encode()


@pytest.mark.parametrize(("cls", "field"), NUMBERS, ids=IDS)
def test_what_is_no_number_is_refused(cls, field):
    for value in (math.nan, math.inf, -math.inf, True, False, None, "1", b"1"):
        with pytest.raises(RangeError):
            cls(**filled(cls) | {field[0]: value}).encode()


WIDTHS = {"B": 1, "b": 1, "H": 2, "h": 2, "I": 4, "i": 4}


def layout(cls: type[Record]) -> dict[str, tuple[int, int, bool]]:
    """Offset, width and signedness of each number, counted here and not by the codec."""
    at, out = 1, {}
    for name, code, *_ in cls.FIELDS:
        width = 8 if code == "8s" else 0 if code == BLOB else WIDTHS[code]
        out[name] = (at, width, code in "bhi")
        at += width
    return out


@pytest.mark.parametrize(("cls", "field"), NUMBERS, ids=IDS)
def test_what_is_received_is_checked_too(cls, field):
    name, _code, divisor, _unit, low, high = field
    at, width, signed = layout(cls)[name]
    least, most = (
        (-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1) if signed else (0, 2 ** (8 * width) - 1)
    )
    for raw in (low * divisor - 1, high * divisor + 1):
        if least <= raw <= most:
            data = bytearray(cls(**filled(cls)).encode())
            data[at : at + width] = raw.to_bytes(width, "little", signed=signed)
            with pytest.raises(BadValue):
                cls.decode(data)


def test_a_float_is_rounded_to_the_nearest_step():
    for value, want in ((230.104, 230.10), (230.106, 230.11), (0.004, 0.0)):
        raw = records.Telemetry(va_v=value).encode()
        assert records.Telemetry.decode(raw).va_v == want
    assert records.Telemetry.decode(records.Telemetry(p_w=-0.06).encode()).p_w == -0.1


def test_a_float_is_refused_where_steps_are_whole():
    # 1.7e9 seconds do not fit the 32-bit floats of a board.
    with pytest.raises(RangeError):
        records.Telemetry(time_s=1.7e9).encode()


def test_numpy_numbers_are_numbers():
    numpy = pytest.importorskip("numpy")
    want = records.Switch(command_id=7, to_phase=2).encode()
    assert records.Switch(command_id=numpy.int64(7), to_phase=numpy.uint8(2)).encode() == want
    assert (
        records.Telemetry(va_v=numpy.float64(1.5)).encode() == records.Telemetry(va_v=1.5).encode()
    )
    with pytest.raises(RangeError):
        records.Switch(command_id=numpy.int64(-1), to_phase=2).encode()
    with pytest.raises(RangeError):
        records.Switch(command_id=numpy.True_, to_phase=2).encode()


def test_a_switch_without_a_target_cannot_be_sent():
    with pytest.raises(RangeError):
        records.Switch(command_id=1).encode()


def test_a_misspelt_field_is_found():
    with pytest.raises(FieldError):
        records.Telemetry(va=230)


def test_an_eui_has_eight_bytes():
    for wrong in (b"", bytes(7), bytes(9), "12345678"):
        with pytest.raises(RangeError):
            records.Hello(eui=wrong).encode()


def test_a_buffer_too_small_is_found_before_anything_is_written():
    record = records.Switch(command_id=1, to_phase=1)
    buf = bytearray(record.SIZE)
    for off in (1, -1, 100):
        with pytest.raises(SpaceError):
            record.encode_into(buf, off)
    assert not any(buf)
    assert record.encode_into(buf, 0) == record.SIZE


def test_directions_are_checked_when_asked_for():
    raw = records.TimeSync(time_s=1).encode() + records.Switch(command_id=1, to_phase=1).encode()
    assert len(records.decode_all(raw, "down")) == 2
    for direction in ("up", "group"):
        with pytest.raises(WrongDirection):
            records.decode_all(raw, direction)


@given(st.integers(0, 1000), st.binary(min_size=1, max_size=100))
def test_a_record_may_end_in_a_blob(offset, data):
    record = Chunk(offset=offset, data=data)
    raw = record.encode()
    assert raw == bytes((250,)) + offset.to_bytes(4, "little") + bytes((len(data),)) + data
    assert Chunk.decode(raw) == record
    buf = bytearray(200)
    assert record.encode_into(buf, 3) == len(raw)
    assert buf[3 : 3 + len(raw)] == raw
    for n in range(len(raw)):
        with pytest.raises(Truncated):
            Chunk.decode(raw[:n])
    with pytest.raises(TrailingBytes):
        Chunk.decode(raw + b"\0")


def test_a_blob_has_a_legal_length_too():
    for data in (b"", bytes(101)):
        with pytest.raises(RangeError):
            Chunk(offset=1, data=data).encode()
    with pytest.raises(BadValue):
        Chunk.decode(bytes((250, 0, 0, 0, 0, 0)))


def test_as_dict_and_repr_show_every_field():
    hello = records.Hello(eui=b"\1\2\3\4\5\6\7\10", boots=3)
    assert hello.as_dict()["eui"] == "0102030405060708"
    assert list(hello.as_dict()) == [f[0] for f in records.Hello.FIELDS]
    assert "boots=3" in repr(hello)
    assert repr(hello).startswith("Hello(")


def test_records_of_another_kind_are_not_equal():
    assert records.EventAck(seq=1) != records.ResultAck(command_id=1)
    assert records.EventAck(seq=1) != 1


@pytest.mark.parametrize("row", config.KEYS, ids=lambda row: row[1])
def test_settings_have_ranges(row):
    key, name, _unit, low, high, default = row
    assert config.check(key, low) == low
    assert config.check(name, high) == high
    assert low <= default <= high
    assert config.defaults()[name] == default
    for wrong in (low - 1, high + 1, True, 1.0, None, "1"):
        with pytest.raises(RangeError):
            config.check(key, wrong)
    # What a setting may be, a Config record can carry.
    assert records.Config.decode(records.Config(key=key, value=high).encode()).value == high


def test_an_unknown_setting_is_not_a_range_error():
    for wrong in (0, 99, 255, "dwell"):
        with pytest.raises(FieldError):
            config.check(wrong, 1)


def test_the_tree_has_two_branches():
    for error in (Truncated, BadValue, UnknownRecord):
        assert issubclass(error, RemoteError)
    for error in (RangeError, FieldError, SpaceError):
        assert issubclass(error, PbalError)
        assert not issubclass(error, RemoteError)
