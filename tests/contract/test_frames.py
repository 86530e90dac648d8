"""Sealed frames: nothing altered opens, nothing opens twice, and a group never switches."""

import pytest
from contract.strategies import any_record, for_direction
from hypothesis import given
from hypothesis import strategies as st

from pbal_protocol import frames, kdf, records
from pbal_protocol.aead import Ccm
from pbal_protocol.codec import BLOB
from pbal_protocol.errors import (
    AuthError,
    BadKind,
    BadVersion,
    CounterError,
    ForbiddenError,
    RangeError,
    RemoteError,
    ReplayError,
    SpaceError,
    TooLong,
    Truncated,
    UnknownRecord,
    WrongAddress,
    WrongDirection,
)

SITE, ADDRESS = 7, 0x0105
KEY = bytes(range(32))
SWITCH = records.Switch(command_id=1, to_phase=2, from_phase=1, issued_s=1, expires_s=2).encode()
TIME = records.TimeSync(time_s=1_700_000_000).encode()


def sealer(kind: int = frames.DOWN, **more) -> frames.Sealer:
    return frames.Sealer(KEY, kind, SITE, 0 if kind == frames.GROUP else ADDRESS, **more)


def opener(kind: int = frames.DOWN, **more) -> frames.Opener:
    return frames.Opener(KEY, kind, SITE, 0 if kind == frames.GROUP else ADDRESS, **more)


@given(st.lists(any_record, min_size=1, max_size=3), st.integers(1, 2**32 - 1))
def test_what_was_sealed_opens(several, counter):
    payload = b"".join(r.encode() for r in several)[: frames.MAX_PAYLOAD]
    frame = sealer().seal(counter, payload)
    assert len(frame) == len(payload) + 15
    assert frames.peek(frame) == (1, frames.DOWN, ADDRESS, counter)
    assert opener().open(frame) == payload


@given(for_direction("group"))
def test_group_records_travel_to_a_group(record):
    frame = sealer(frames.GROUP).seal(1, record.encode())
    assert opener(frames.GROUP).open(frame) == record.encode()


def test_no_bit_can_be_flipped():
    frame = sealer().seal(5, SWITCH)
    end = opener()
    for bit in range(8 * len(frame)):
        wrong = bytearray(frame)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteError):
            end.open(wrong)
        assert end.floor == 0, "a forged frame moved the window"
    assert end.open(frame) == SWITCH


def explicit(counter: int, payload: bytes, nonce: bytes) -> bytes:
    buf = bytearray(27 + len(payload))
    buf[19:-8] = payload
    assert sealer(frames.UP).seal_into(counter, buf, len(payload), 0, nonce) == len(buf)
    return bytes(buf)


@given(any_record, st.integers(1, 2**32 - 1), st.binary(min_size=12, max_size=12))
def test_a_frame_with_a_nonce_of_its_own_opens_once(record, counter, nonce):
    payload = record.encode()
    frame = explicit(counter, payload, nonce)
    assert frame[7:19] == nonce
    assert frames.peek(frame) == (1, frames.UP_EXPLICIT, ADDRESS, counter)
    end = opener(frames.UP)
    assert end.open(frame) == payload
    with pytest.raises(ReplayError):
        end.open(frame)
    with pytest.raises(ReplayError):  # one window for both kinds
        end.open(sealer(frames.UP).seal(counter, payload))


def test_no_bit_of_it_can_be_flipped_and_none_cut():
    frame = explicit(5, TIME, bytes(range(12)))
    end = opener(frames.UP)
    for bit in range(8 * len(frame)):
        wrong = bytearray(frame)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteError):
            end.open(wrong)
    for n in range(len(frame)):
        with pytest.raises(RemoteError):
            end.open(frame[:n])
    assert end.open(frame) == TIME


def test_one_counter_and_two_nonces_share_no_keystream():
    texts = [explicit(5, TIME, bytes((n,)) * 12)[19:-8] for n in (1, 2)]
    texts.append(sealer(frames.UP).seal(5, TIME)[7:-8])
    assert len(set(texts)) == 3


def test_only_what_goes_up_has_a_nonce_of_its_own():
    for kind, nonce in ((frames.DOWN, bytes(12)), (frames.GROUP, bytes(12)), (frames.UP, bytes(8))):
        with pytest.raises(RangeError):
            sealer(kind).seal_into(1, bytearray(64), 9, 0, nonce)
    with pytest.raises(SpaceError):
        sealer(frames.UP).seal_into(1, bytearray(300), 214, 0, bytes(12))
    frame = explicit(5, TIME, bytes(12))
    for kind in (frames.DOWN, frames.GROUP):
        with pytest.raises(BadKind):
            opener(kind).open(frame[:1] + bytes(2) + frame[3:] if kind == frames.GROUP else frame)


def test_what_a_flipped_bit_hits_is_told_apart():
    frame = sealer().seal(5, SWITCH)
    for at, error in ((0, BadKind), (1, WrongAddress), (3, AuthError), (9, AuthError)):
        wrong = bytearray(frame)
        wrong[at] ^= 1
        with pytest.raises(error):
            opener().open(wrong)
    with pytest.raises(BadVersion):
        opener().open(b"\x22" + frame[1:])


def test_every_shorter_frame_is_refused():
    frame = sealer().seal(5, SWITCH)
    for n in range(len(frame)):
        with pytest.raises(Truncated if n < 16 else AuthError):
            opener().open(frame[:n])
    with pytest.raises(TooLong):
        opener().open(frame + bytes(241))
    for n in range(7):
        with pytest.raises(Truncated):
            frames.peek(frame[:n])


@given(st.binary(max_size=260))
def test_random_bytes_never_open(data):
    for kind in frames.KINDS:
        with pytest.raises(RemoteError):
            opener(kind).open(data)


def test_another_key_site_address_or_direction_does_not_open():
    frame = sealer().seal(5, SWITCH)
    with pytest.raises(AuthError):
        frames.Opener(bytes(32), frames.DOWN, SITE, ADDRESS).open(frame)
    with pytest.raises(AuthError):
        frames.Opener(KEY, frames.DOWN, SITE + 1, ADDRESS).open(frame)
    with pytest.raises(WrongAddress):
        frames.Opener(KEY, frames.DOWN, SITE, ADDRESS + 1).open(frame)
    with pytest.raises(BadKind):
        opener(frames.UP).open(frame)
    # Not even with the header made to fit.
    with pytest.raises(AuthError):
        opener(frames.UP).open(b"\x11" + frame[1:])


def test_the_error_names_the_counter_of_health():
    names = {f[0] for f in records.Health.FIELDS}
    for error in (AuthError, ReplayError, Truncated, UnknownRecord, RemoteError):
        assert error.COUNTER in names


# -- The replay window ------------------------------------------------------------------------


@given(
    st.integers(0, 200),
    st.lists(st.one_of(st.integers(1, 200), st.integers(1, 2**32 - 1)), max_size=60),
)
def test_the_window_agrees_with_a_plain_model(floor, counters):
    end, seen, highest = opener(floor=floor), set(), floor
    for counter in counters:
        frame = sealer().seal(counter, SWITCH)
        fresh = counter > floor and counter not in seen and counter > highest - 64
        if fresh:
            assert end.open(frame) == SWITCH
            seen.add(counter)
            highest = max(highest, counter)
        else:
            with pytest.raises(ReplayError):
                end.open(frame)
        assert end.floor == highest


def test_a_window_may_be_filled_backwards():
    end = opener()
    for counter in range(164, 100, -1):
        end.open(sealer().seal(counter, SWITCH))
    for counter in range(1, 165):
        with pytest.raises(ReplayError):
            end.open(sealer().seal(counter, SWITCH))


@pytest.mark.parametrize("step", [1, 2, 63, 64, 65, 128, 1000])
def test_counters_that_left_the_window_leave_no_trace(step):
    end = opener()
    for counter in range(1, 65):
        end.open(sealer().seal(counter, SWITCH))
    top = 64 + step
    end.open(sealer().seal(top, SWITCH))
    for counter in range(max(65, top - 63), top):
        assert end.open(sealer().seal(counter, SWITCH)) == SWITCH
    for counter in range(1, top + 1):
        with pytest.raises(ReplayError):
            end.open(sealer().seal(counter, SWITCH))


def test_a_new_opener_from_the_stored_floor_accepts_nothing_old():
    end = opener()
    old = [sealer().seal(counter, SWITCH) for counter in (3, 70, 69)]
    for frame in old:
        end.open(frame)
    again = opener(floor=end.floor)
    for frame in old:
        with pytest.raises(ReplayError):
            again.open(frame)
    assert again.open(sealer().seal(71, SWITCH)) == SWITCH


def test_a_raised_floor_refuses_what_is_below_it():
    end = opener()
    end.open(sealer().seal(10, SWITCH))
    end.raise_floor(20)
    assert end.floor == 20
    for counter in (9, 11, 20):
        with pytest.raises(ReplayError):
            end.open(sealer().seal(counter, SWITCH))
    end.raise_floor(5)  # never lowered
    with pytest.raises(ReplayError):
        end.open(sealer().seal(6, SWITCH))
    assert end.open(sealer().seal(21, SWITCH)) == SWITCH


def test_an_opener_apart_opens_the_same_stream_with_a_window_of_its_own():
    one = opener(frames.GROUP, floor=5)
    other = one.apart()
    for counter in (3, 7, 8):
        frame = sealer(frames.GROUP, last=counter - 1).seal(counter, TIME)
        assert other.open(frame) == TIME
        with pytest.raises(ReplayError):
            other.open(frame)
        if counter > 5:
            assert one.open(frame) == TIME
        with pytest.raises(ReplayError):
            one.open(frame)
    assert other.proof(9, 1) == one.proof(9, 1)
    with pytest.raises(AuthError):
        other.open(frames.Sealer(KEY, frames.GROUP, SITE + 1, 0).seal(9, TIME))


def test_a_forged_frame_does_not_move_the_window():
    end = opener()
    far = bytearray(sealer().seal(2**31, SWITCH))
    far[-1] ^= 1
    with pytest.raises(AuthError):
        end.open(far)
    assert end.open(sealer().seal(1, SWITCH)) == SWITCH


def test_a_counter_is_never_sealed_twice():
    end = sealer(last=9)
    for counter in (0, 9):
        with pytest.raises(CounterError):
            end.seal(counter, SWITCH)
    end.seal(10, SWITCH)
    for counter in (10, 5, 2**32):
        with pytest.raises(CounterError):
            end.seal(counter, SWITCH)
    assert end.last == 10
    end.seal(2**32 - 1, SWITCH)
    with pytest.raises(CounterError):
        end.seal(2**32, SWITCH)


# -- Groups -----------------------------------------------------------------------------------

FORBIDDEN = [cls for cls in records.RECORDS.values() if "group" not in cls.DIRECTION]


@pytest.mark.parametrize("cls", FORBIDDEN, ids=lambda cls: cls.NAME)
@pytest.mark.parametrize("head", [b"", TIME], ids=["first", "behind the time"])
def test_a_group_frame_carries_nothing_else_at_either_end(cls, head):
    values = {f[0]: bytes(f[4]) if f[1] in ("8s", BLOB) else max(f[4], 0) for f in cls.FIELDS}
    payload = head + cls(**values).encode()
    with pytest.raises(ForbiddenError):
        sealer(frames.GROUP).seal(1, payload)
    # A sender that does not check: the frame is authentic and still refused, and used up.
    frame = raw_seal(frames.GROUP, 1, payload)
    end = opener(frames.GROUP)
    with pytest.raises(WrongDirection):
        end.open(frame)
    with pytest.raises(ReplayError):
        end.open(frame)


def test_a_group_frame_is_read_to_its_end():
    with pytest.raises(UnknownRecord):
        sealer(frames.GROUP).seal(1, TIME + b"\xc8")
    with pytest.raises(Truncated):
        opener(frames.GROUP).open(raw_seal(frames.GROUP, 1, TIME + TIME[:-1]))


def test_a_refused_payload_uses_no_counter():
    end = sealer(frames.GROUP)
    with pytest.raises(ForbiddenError):
        end.seal(1, SWITCH)
    assert end.last == 0
    end.seal(1, TIME)


def raw_seal(kind: int, counter: int, payload: bytes) -> bytes:
    """A frame as anybody with the key could make it."""
    address = (0 if kind == frames.GROUP else ADDRESS).to_bytes(2, "little")
    header = bytes((16 + kind,)) + address + counter.to_bytes(4, "little")
    nonce = bytes((kind,)) + SITE.to_bytes(4, "little") + header[1:] + bytes(2)
    return header + Ccm(KEY).seal(nonce, header, payload)


# -- In the caller's buffer, and misuse ----------------------------------------------------------


@given(any_record, st.integers(0, 30))
def test_in_place_is_the_same(record, room):
    payload = record.encode()
    buf = bytearray(7 + len(payload) + 8 + room)
    buf[7 : 7 + len(payload)] = payload
    n = sealer().seal_into(3, buf, len(payload))
    assert buf[:n] == sealer().seal(3, payload)
    assert not any(buf[n:])
    assert opener().open_into(buf, n) == len(payload)
    assert buf[7 : 7 + len(payload)] == payload


def test_a_frame_that_does_not_open_is_left_alone():
    buf = bytearray(sealer().seal(3, SWITCH))
    buf[-1] ^= 1
    before = bytes(buf)
    with pytest.raises(AuthError):
        opener().open_into(buf, len(buf))
    assert buf == before


def test_misuse_is_our_error():
    for payload in (b"", bytes(226)):
        with pytest.raises(SpaceError):
            sealer().seal(1, payload)
    with pytest.raises(SpaceError):
        sealer().seal_into(1, bytearray(20), 6)
    for wrong in (
        (KEY[:31], frames.UP, 1, 1),
        (KEY, 0, 1, 1),
        (KEY, frames.UP, 2**32, 1),
        (KEY, frames.UP, 1, 2**16),
        (KEY, frames.GROUP, 1, 1),
    ):
        with pytest.raises(RangeError):
            frames.Sealer(*wrong)
    with pytest.raises(RangeError):
        frames.Opener(KEY, frames.UP, 1, 1, -1)
    for key, tag in ((bytes(15), 8), (bytes(16), 5)):
        with pytest.raises(RangeError):
            Ccm(key, tag)
    for nonce in (bytes(6), bytes(14)):
        with pytest.raises(RangeError):
            Ccm(KEY).seal(nonce, b"", b"1")
    with pytest.raises(Truncated):
        Ccm(KEY).open(bytes(13), b"", bytes(7))


def test_keys_differ_by_direction_address_and_site():
    keys = {
        key
        for site in (1, 2)
        for address in (1, 256, 257)
        for key in kdf.node_keys(KEY, site, address)
    } | {kdf.group_key(KEY, site) for site in (1, 2)}
    assert len(keys) == 14
    for wrong in ((KEY[1:], 1, 1), (KEY, -1, 1), (KEY, 1, 65536)):
        with pytest.raises(RangeError):
            kdf.node_keys(*wrong)
    for length in (0, 8161):
        with pytest.raises(RangeError):
            kdf.hkdf_sha256(KEY, b"", b"", length)
