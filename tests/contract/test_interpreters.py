"""One code base on two interpreters: what one says the other understands, and refuses alike."""

import json
import os
import subprocess
import sys

import pytest
from contract.strategies import any_record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rigs.needs import ROOT

from pbal_protocol import config, frames, kdf, modbus, modbus_client, records
from pbal_protocol.aead import Ccm
from pbal_protocol.errors import PbalError, RemoteError

SITE, ADDRESS = 7, 0x0105
KEY = bytes(range(32))
BASE = {"key": KEY.hex(), "site": SITE}

# The peer is one process that keeps no state between tasks, so it may serve every example.
together = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def address(kind: int) -> int:
    return 0 if kind == frames.GROUP else ADDRESS


@together
@given(st.lists(any_record, min_size=1, max_size=3), st.integers(1, 2**32 - 1))
def test_frames_sealed_on_one_open_on_the_other(peer, several, counter):
    payload = b"".join(r.encode() for r in several)[: frames.MAX_PAYLOAD]
    for kind in (frames.UP, frames.DOWN):
        ours = frames.Sealer(KEY, kind, SITE, ADDRESS).seal(counter, payload)
        task = BASE | {"kind": kind, "address": ADDRESS}
        theirs = peer("seal", counter=counter, payload=payload.hex(), **task)
        assert theirs == ours.hex()
        assert peer("open", frame=ours.hex(), **task) == payload.hex()
        assert frames.Opener(KEY, kind, SITE, ADDRESS).open(bytes.fromhex(theirs)) == payload


@together
@given(any_record)
def test_records_are_the_same_bytes_and_values(peer, record):
    raw = record.encode()
    assert peer("encode", name=record.NAME, fields=record.as_dict()) == raw.hex()
    assert peer("decode", payload=raw.hex()) == [[record.NAME, record.as_dict(), raw.hex()]]


@together
@given(st.binary(max_size=120))
def test_random_payloads_are_refused_with_the_same_error(peer, data):
    try:
        want = [[r.NAME, r.as_dict(), r.encode().hex()] for r in records.decode_all(data)]
    except RemoteError as e:
        want = {"error": type(e).__name__}
    assert peer("decode", payload=data.hex()) == want


@together
@given(any_record, st.data())
def test_damaged_payloads_are_refused_with_the_same_error(peer, record, data):
    raw = bytearray(record.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        want = [[r.NAME, r.as_dict(), r.encode().hex()] for r in records.decode_all(raw)]
    except RemoteError as e:
        want = {"error": type(e).__name__}
    assert peer("decode", payload=raw.hex()) == want


@together
@given(st.sampled_from(sorted(frames.KINDS)), st.data())
def test_damaged_frames_are_refused_with_the_same_error(peer, kind, data):
    payload = records.TimeSync(time_s=1).encode()
    frame = bytearray(frames.Sealer(KEY, kind, SITE, address(kind)).seal(77, payload))
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    frame[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteError) as caught:
        frames.Opener(KEY, kind, SITE, address(kind)).open(frame)
    found = peer("open", frame=frame.hex(), kind=kind, address=address(kind), **BASE)
    assert found == {"error": type(caught.value).__name__}


def test_a_node_never_opens_or_seals_a_switch_for_a_group(peer):
    switch = records.Switch(command_id=1, to_phase=2).encode()
    task = BASE | {"kind": frames.GROUP, "address": 0}
    sealed = peer("seal", counter=1, payload=switch.hex(), **task)
    assert sealed == {"error": "ForbiddenError"}
    header = b"\x13\0\0" + (1).to_bytes(4, "little")
    nonce = b"\3" + SITE.to_bytes(4, "little") + header[1:] + bytes(2)
    forged = header + Ccm(KEY).seal(nonce, header, switch)
    assert peer("open", frame=forged.hex(), **task) == {"error": "WrongDirection"}


def range_error(fields: dict) -> object:
    try:
        return records.Telemetry(**fields).encode().hex()
    except PbalError as e:
        return {"error": type(e).__name__}


@pytest.mark.parametrize(
    "fields",
    [
        {"switches_today": 256},
        {"switches_today": -1},
        {"switches_today": 300},
        {"va_v": 600.01},
        {"va_v": -0.01},
        {"va_v": 655.36},
        {"time_s": 2**32},
        {"time_s": 1.5},
        {"p_w": -200000.1},
        {"flags": 0x200},
        {"va": 1},
        {"phase": 4},
    ],
    ids=str,
)
def test_what_struct_would_truncate_is_refused_on_both(peer, fields):
    want = range_error(fields)
    assert want in ({"error": "RangeError"}, {"error": "FieldError"})
    assert peer("encode", name="Telemetry", fields=fields) == want


@pytest.mark.parametrize("value", ["nan", "inf", "true", "none", "text", "bytes"])
@pytest.mark.parametrize("field", ["va_v", "phase", "p_w"])
def test_what_is_no_number_is_refused_on_micropython(peer, field, value):
    assert peer("odd", field=field, value=value) == {"error": "RangeError"}


def test_a_number_is_accepted_there(peer):
    assert peer("odd", field="va_v", value="missing") == records.Telemetry().encode().hex()


@together
@given(st.floats(0, 600), st.floats(-200000, 200000))
def test_floats_round_alike(peer, va_v, p_w):
    fields = {"va_v": va_v, "p_w": p_w}
    ours = records.Telemetry(**fields).encode()
    theirs = records.Telemetry.decode(
        bytes.fromhex(peer("encode", name="Telemetry", fields=fields))
    )
    # A float's text form may lose its last bit on the way, which can turn a tie.
    assert abs(theirs.va_v - records.Telemetry.decode(ours).va_v) < 0.0101
    assert abs(theirs.p_w - records.Telemetry.decode(ours).p_w) < 0.101


@together
@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.integers(0, 65535))
def test_keys_are_derived_alike(peer, root, site, node):
    want = [key.hex() for key in (*kdf.node_keys(root, site, node), kdf.group_key(root, site))]
    assert peer("keys", root=root.hex(), site=site, address=node) == want


@together
@given(
    st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32),
    st.sampled_from([4, 6, 8, 10, 12, 14, 16]),
    st.binary(min_size=7, max_size=13),
    st.binary(max_size=100),
    st.binary(max_size=400),
)
def test_ccm_of_any_shape_is_openssls(peer, key, tag_len, nonce, aad, text):
    want = Ccm(key, tag_len).seal(nonce, aad, text).hex()
    task = {"key": key.hex(), "tag_len": tag_len, "nonce": nonce.hex()}
    assert peer("ccm", aad=aad.hex(), text=text.hex(), **task) == want


@together
@given(st.binary(max_size=300))
def test_crcs_are_the_same(peer, data):
    assert peer("crc", data=data.hex()) == modbus.crc16(data)


@together
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=40)
            | st.integers(0, 9).map(
                lambda unit: modbus_client.adu(unit, modbus_client.request_pdu(0, b"abc"))
            )
            | st.integers(0, 9).map(lambda unit: modbus_client.adu(unit, b"\4\0\0\0\x0c")),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_the_line_is_heard_alike(peer, pieces):
    rx = modbus.RtuServer(5)
    found = []
    for data, silence in pieces:
        at = 0
        while at < len(data):
            at = rx.feed(data, at, len(data))
            if rx.length:
                found.append(rx.buf[: rx.length].hex())
        if silence and rx.silence():
            found.append(rx.buf[: rx.length].hex())
    chunks = [data.hex() + ("|" if silence else "") for data, silence in pieces]
    want = [found, [rx.bad_crc, rx.malformed, rx.stale, rx.others]]
    assert peer("serve", unit=5, chunks=chunks) == want


def test_settings_are_checked_there_too(peer):
    assert peer("setting", key="dwell_s", value=1800) == 1800
    assert peer("setting", key=1, value=0) == {"error": "RangeError"}
    assert peer("setting", key="fixed", value=True) == {"error": "RangeError"}
    assert peer("setting", key=99, value=0) == {"error": "FieldError"}
    assert config.check("dwell_s", 1800) == 1800


def test_a_micropython_module_on_cpython_changes_nothing(tmp_path):
    # Adafruit's Blinka, which the radio extra brings, installs one.
    (tmp_path / "micropython.py").write_text("def const(x): return x\ndef viper(f): return f\n")
    (tmp_path / "cryptolib.py").write_text("def aes(*a): raise SystemExit('wrong cipher')\n")
    script = (
        "from pbal_protocol import aead, modbus; print(aead.Ccm.__module__, modbus.crc.__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["pbal_protocol.ccm_host", "pbal_protocol._plain"]


# -- What it costs a node -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cost(package, micropython) -> dict:
    """The figures of bench/frame_loop.py on a node's heap."""
    script = ROOT / "bench" / "frame_loop.py"
    done = micropython(script, package, 0.05, 10_000, heap="192k")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_frame_allocates_nothing(cost):
    assert cost["alloc_bytes_per_frame"] == 0
    assert cost["growth_frames"] == 10_000
    assert cost["growth_bytes"] == 0


def test_records_leave_nothing_behind(cost):
    assert cost["growth_bytes_with_records"] <= 256


def test_the_imports_leave_a_node_room(cost):
    # 64-bit bytes; an ESP32 needs about half.
    assert 10_000 < cost["import_bytes"] < 64_000


def test_the_benchmark_reports_both_sides():
    done = subprocess.run(
        [sys.executable, "-m", "bench.frame", "--json", "--seconds", "0.02", "--frames", "200"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["controller"]["interpreter"] == "cpython"
    assert result["node"]["interpreter"] == "micropython"
    for side in result.values():
        assert side["seal_open_per_s"] > 0
        assert side["encode_seal_open_decode_per_s"] > 0
    assert result["node"]["growth_frames"] == 200
