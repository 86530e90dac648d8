"""Modbus RTU: frames end where the function code says, whatever else is on the line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from pbal_protocol import modbus, modbus_client, records, stock
from pbal_protocol.errors import BadCrc, BadPdu, ModbusException, RangeError, SpaceError, Truncated

UNIT = 5
POLL = modbus_client.adu(UNIT, modbus_client.request_pdu(modbus.OP_POLL, bytes(range(60))))
READ = modbus_client.adu(UNIT, bytes.fromhex("040000000c"))


def feed(rx: modbus.RtuServer, data: bytes) -> list[bytes]:
    """Everything the decoder finds in one read."""
    found, at = [], 0
    while at < len(data):
        at = rx.feed(data, at, len(data))
        if rx.length:
            found.append(bytes(rx.buf[: rx.length]))
    return found


@given(st.binary(max_size=300))
def test_the_crc_is_pymodbus_crc(data):
    swapped = FramerRTU.compute_CRC(data)
    assert modbus.crc16(data) == (swapped >> 8 | (swapped & 0xFF) << 8)
    assert modbus.crc16(data + b"xyz", len(data)) == modbus.crc16(data)


def test_an_adu_is_unit_pdu_and_crc():
    assert modbus_client.adu(2, b"\x07") == b"\x02\x07\x41\x12"
    assert modbus_client.split_adu(b"\x02\x07\x41\x12") == (2, b"\x07")
    with pytest.raises(BadCrc):
        modbus_client.split_adu(b"\x02\x07\x41\x13")
    with pytest.raises(Truncated):
        modbus_client.split_adu(b"\x02\x07\x41")
    with pytest.raises(SpaceError):
        modbus_client.adu(1, bytes(254))


def test_silence_is_three_and_a_half_characters():
    assert modbus.silence_us(9600) == 4010
    assert modbus.silence_us(19200) == 2005
    assert modbus.silence_us(115200) == 1750


requests = st.sampled_from(
    [
        bytes.fromhex(text)
        for text in (
            "0100130013",
            "03006b0003",
            "040000000c",
            "0500acff00",
            "07",
            "0f0013000a02cd01",
            "100001000204000a0102",
            "11",
            "170003000600 0e00030600ff00ff00ff".replace(" ", ""),
            "2b0e0100",
        )
    ]
) | st.binary(max_size=240).map(lambda body: modbus_client.request_pdu(modbus.OP_POLL, body))


@given(requests, st.data())
def test_a_request_is_found_however_it_is_cut(pdu, data):
    frame = modbus_client.adu(UNIT, pdu)
    rx = modbus.RtuServer(UNIT)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(frame) - 1))))
    pieces = [frame[a:b] for a, b in zip([0, *cuts], [*cuts, len(frame)], strict=True)]
    for piece in pieces[:-1]:
        assert feed(rx, piece) == []
    assert feed(rx, pieces[-1]) == [frame]


@given(requests)
def test_byte_at_a_time(pdu):
    frame = modbus_client.adu(UNIT, pdu)
    rx = modbus.RtuServer(UNIT)
    for _ in range(2):
        found = [f for i in range(len(frame)) for f in feed(rx, frame[i : i + 1])]
        assert found == [frame]


@given(st.lists(st.binary(max_size=300) | st.just(POLL) | st.none(), max_size=20))
def test_noise_never_breaks_the_decoder(pieces):
    rx = modbus.RtuServer(UNIT)
    for piece in pieces:
        if piece is None:
            rx.silence()
        else:
            for frame in feed(rx, piece):
                assert frame[0] in (UNIT, 0)
                modbus_client.split_adu(frame)
    assert len(rx.buf) == 256
    # After one silence it hears again.
    rx.silence()
    assert feed(rx, POLL) == [POLL]


@given(st.integers(0, 8 * len(POLL) - 1))
def test_a_damaged_request_is_never_served(bit):
    wrong = bytearray(POLL)
    wrong[bit // 8] ^= 1 << bit % 8
    rx = modbus.RtuServer(UNIT)
    assert feed(rx, wrong) == []
    assert not rx.silence()
    assert feed(rx, POLL) == [POLL]


def test_incomplete_is_not_invalid():
    rx = modbus.RtuServer(UNIT)
    assert feed(rx, POLL[:-1]) == []
    assert (rx.bad_crc, rx.malformed) == (0, 0)
    assert feed(rx, POLL[-1:]) == [POLL]
    feed(rx, POLL[:-1])
    assert not rx.silence()
    assert (rx.bad_crc, rx.malformed) == (0, 1)
    feed(rx, POLL[:-1] + b"\0")
    assert (rx.bad_crc, rx.malformed) == (1, 1)


def test_after_a_bad_crc_only_a_silence_helps():
    rx = modbus.RtuServer(UNIT)
    assert feed(rx, POLL[:-1] + b"\0" + POLL) == []
    rx.silence()
    assert feed(rx, POLL) == [POLL]


def test_a_length_beyond_the_protocol_is_not_waited_for():
    rx = modbus.RtuServer(UNIT)
    feed(rx, bytes((UNIT, 100, 0, 251)))
    assert rx.malformed == 1
    assert feed(rx, bytes(1000)) == []


@given(st.lists(st.sampled_from([1, 2, 6, 247]), max_size=6), st.booleans(), st.booleans())
def test_others_conversations_are_skipped(units, silences, dead):
    """Requests to others and their answers (or none), then a poll for us, all in one read."""
    rx = modbus.RtuServer(UNIT)
    line = b""
    for unit in units:
        parts = [modbus_client.adu(unit, modbus_client.request_pdu(0, bytes(20)))]
        if not dead:
            parts.append(modbus_client.adu(unit, modbus_client.response_pdu(1, bytes(80))))
        for part in parts:
            if silences:
                assert feed(rx, part) == []
                assert not rx.silence()
            else:
                line += part
    assert feed(rx, line + POLL) == [POLL]
    assert rx.others == len(units) * (1 if dead else 2)
    assert (rx.bad_crc, rx.malformed) == (0, 0)


def test_a_stock_tools_conversation_with_another_is_skipped():
    rx = modbus.RtuServer(UNIT)
    other = modbus_client.adu(9, bytes.fromhex("040000000c"))
    answer = modbus_client.adu(9, b"\x04\x18" + bytes(24))
    assert feed(rx, other + answer + READ) == [READ]
    refusal = modbus_client.adu(9, b"\x84\x02")
    assert feed(rx, other + refusal + READ) == [READ]
    # The answer to 43/14 has no length that can be told: it ends with the silence.
    feed(
        rx,
        modbus_client.adu(9, bytes.fromhex("2b0e0100"))
        + modbus_client.adu(9, b"\x2b\x0e\1\1\0\0\0"),
    )
    rx.silence()
    assert feed(rx, READ) == [READ]


def test_frames_for_others_are_not_kept():
    rx = modbus.RtuServer(UNIT)
    feed(rx, modbus_client.adu(9, modbus_client.request_pdu(0, b"\xee" * 200)))
    assert 0xEE not in rx.buf


def test_a_request_that_is_not_the_last_came_too_late():
    rx = modbus.RtuServer(UNIT)
    next_poll = modbus_client.adu(6, modbus_client.request_pdu(0, bytes(20)))
    assert feed(rx, POLL + next_poll) == []
    assert rx.stale == 1
    assert feed(rx, POLL + POLL) == [POLL]
    assert rx.stale == 2


def test_a_broadcast_is_served_wherever_it_stands():
    rx = modbus.RtuServer(UNIT)
    group = modbus_client.adu(0, modbus_client.request_pdu(modbus.OP_GROUP, bytes(30)))
    assert feed(rx, group + group + POLL) == [group, group, POLL]


def test_a_function_of_unknown_length_ends_with_the_silence():
    rx = modbus.RtuServer(UNIT)
    frame = modbus_client.adu(UNIT, b"\x41abcdef")
    assert feed(rx, frame) == []
    assert rx.wants_silence()
    assert rx.silence()
    assert bytes(rx.buf[: rx.length]) == frame
    assert not rx.silence()
    feed(rx, frame[:-1] + b"\0")
    assert not rx.silence()
    assert rx.bad_crc == 1
    assert feed(rx, bytes((UNIT, 0x41)) + bytes(300)) == []
    assert rx.malformed == 1


# -- Function 100 -------------------------------------------------------------------------------


@given(st.binary(max_size=240), st.integers(0, 255))
def test_function_100_carries_a_frame_both_ways(frame, first):
    assert modbus_client.parse_pdu(modbus_client.request_pdu(first, frame)) == (first, frame)
    assert modbus_client.parse_pdu(modbus_client.response_pdu(first, frame)) == (first, frame)


def test_function_100_is_strict():
    with pytest.raises(SpaceError):
        modbus_client.request_pdu(0, bytes(241))
    for wrong in (b"\x64\0\1", b"\x64\0\0\0", b"\x65\0\0", b"\x64\0\xf1" + bytes(241)):
        with pytest.raises(BadPdu):
            modbus_client.parse_pdu(wrong)
    for short in (b"", b"\x64", b"\x64\0"):
        with pytest.raises(Truncated):
            modbus_client.parse_pdu(short)
    with pytest.raises(ModbusException) as caught:
        modbus_client.parse_pdu(b"\xe4\1")
    assert caught.value.code == 1
    assert modbus_client.exception_pdu(100, 1) == b"\xe4\1"


@given(st.binary(max_size=260))
def test_random_pdus_raise_nothing_but_remote_errors(data):
    try:
        op, frame = modbus_client.parse_pdu(data)
    except (BadPdu, Truncated, ModbusException):
        return
    assert modbus_client.request_pdu(op, frame) == data


# -- What stock tools are answered, read by pymodbus --------------------------------------------


def ask(request: bytes, identity: dict[int, bytes] | None = None) -> bytes:
    """The PDU a node answers."""
    node = stock.Stock(identity or {i: f"object {i}".encode() for i in range(7)})
    out = bytearray(256)
    frame = modbus_client.adu(UNIT, request)
    n = node.respond(frame, len(frame), records.Telemetry(va_v=230.1, p_w=-1.5), out)
    return modbus_client.split_adu(bytes(out[:n]))[1]


def test_pymodbus_reads_the_identification_in_pieces():
    from pymodbus.pdu.mei_message import ReadDeviceInformationResponse

    identity = {i: bytes((65 + i,)) * 60 for i in range(7)}
    found: dict[int, bytes] = {}
    at, turns = 0, 0
    while turns < 9:
        turns += 1
        pdu = ask(bytes((0x2B, 0x0E, 2, at)), identity)
        assert len(pdu) <= 253
        response = ReadDeviceInformationResponse()
        response.decode(pdu[1:])
        found |= response.information
        if not response.more_follows:
            break
        at = response.next_object_id
    assert found == identity
    assert turns == 3


def test_pymodbus_reads_the_registers():
    from pymodbus.pdu.register_message import ReadInputRegistersResponse

    response = ReadInputRegistersResponse()
    response.decode(ask(bytes.fromhex("040000000c"))[1:])
    assert response.registers[:2] == [1, 2301]
    assert response.registers[6:8] == [0xFFFF, 0x10000 - 15]


def test_registers_show_the_nearest_value_that_fits():
    node = stock.Stock({0: b"a", 1: b"b", 2: b"c"})
    out = bytearray(256)
    reading = records.Telemetry(current_a=900.0, va_v=float("nan"), p_w=-150000.0)
    node.respond(READ, len(READ), reading, out)
    assert out[5:7] == b"\0\0"
    assert out[13:15] == b"\xff\xff"
    assert int.from_bytes(out[15:19], "big", signed=True) == -1500000


def test_without_a_reading_there_is_a_failure_not_a_zero():
    node = stock.Stock({0: b"a", 1: b"b", 2: b"c"})
    out = bytearray(256)
    n = node.respond(READ, len(READ), None, out)
    assert modbus_client.split_adu(bytes(out[:n]))[1] == b"\x84\4"


@given(st.binary(min_size=1, max_size=250))
def test_any_request_gets_a_well_formed_answer(request):
    pdu = ask(request)
    assert pdu[0] & 0x7F == request[0] & 0x7F
    if request[0] not in (4, 17, 43):
        assert pdu == bytes((request[0] | 0x80, 1))


def test_an_identity_has_bounds():
    for wrong in ({0: b"a"}, {0: b"a", 1: b"b", 2: bytes(61)}, {0: b"", 1: b"", 2: b"", 7: b""}):
        with pytest.raises(RangeError):
            stock.Stock(wrong)
    with pytest.raises(SpaceError):
        stock.Stock({0: b"a", 1: b"b", 2: b"c"}).respond(READ, len(READ), None, bytearray(255))
