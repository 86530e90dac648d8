"""`pbal frame decode` on real frames, and its answers to mistakes."""

import json
import struct
import subprocess

import pytest
from needs import ROOT, require_tool

from pbal_protocol import frames, kdf, modbus_client, records

ROOT_KEY, GROUP_KEY, SITE, ADDRESS = bytes(range(32)), bytes(range(32, 64)), 7, 0x0105
UP, DOWN = kdf.node_keys(ROOT_KEY, SITE, ADDRESS)
SWITCH = records.Switch(command_id=9, to_phase=2, from_phase=1, issued_s=5, expires_s=65)
FRAME = frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS).seal(4097, SWITCH.encode())
KEYS = ("--key", ROOT_KEY.hex(), "--site", str(SITE))


def pbal(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [require_tool("pbal"), "frame", "decode", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


def decoded(*arguments: str, stdin: str = "") -> dict:
    done = pbal(*arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_keys_the_header_is_shown():
    frame = decoded(FRAME.hex())["frame"]
    assert (frame["kind"], frame["address"], frame["counter"]) == ("down", ADDRESS, 4097)
    assert frame["authentic"] is None
    assert "records" not in frame


def test_with_keys_the_records_are_shown():
    frame = decoded(FRAME.hex(), *KEYS)["frame"]
    assert frame["authentic"] is True
    assert frame["records"] == [{"record": "Switch", **SWITCH.as_dict()}]
    text = pbal(FRAME.hex(), *KEYS).stdout
    assert "Switch" in text
    assert "expires_s" in text


def test_a_modbus_frame_is_unwrapped_and_stdin_is_read():
    adu = modbus_client.adu(5, modbus_client.request_pdu(0, FRAME))
    spaced = " ".join(f"{b:02x}" for b in adu) + "\n"
    result = decoded("-", *KEYS, stdin=spaced)
    assert result["modbus"] == {"unit": 5, "function": 100, "op_or_hints": 0}
    assert result["frame"]["records"][0]["command_id"] == 9
    assert decoded("0x" + adu[1:-2].hex(), *KEYS)["frame"]["counter"] == 4097
    assert decoded(modbus_client.adu(5, b"\xe4\1").hex())["modbus"]["exception"] == 1


def test_an_identity_file_has_the_keys(tmp_path):
    path = tmp_path / "identity.json"
    known = {"eui": "00" * 8, "site": SITE, "address": ADDRESS}
    path.write_text(json.dumps(known | {"root": ROOT_KEY.hex(), "group": GROUP_KEY.hex()}))
    assert decoded(FRAME.hex(), "--identity", str(path))["frame"]["authentic"]
    group = frames.Sealer(kdf.group_key(GROUP_KEY, SITE), frames.GROUP, SITE, 0)
    told = group.seal(3, records.MeasureNow(seq=4).encode())
    assert decoded(told.hex(), "--identity", str(path))["frame"]["records"][0]["seq"] == 4
    path.write_text("[]")
    assert pbal(FRAME.hex(), "--identity", str(path)).returncode == 3


def test_the_opened_records_go_to_a_capture_file(tmp_path):
    path = tmp_path / "out.pcap"
    decoded(FRAME.hex(), *KEYS, "--pcap", str(path))
    data = path.read_bytes()
    assert struct.unpack("<IHHiIII", data[:24])[-1] == 149
    assert data[40:] == SWITCH.encode()


def test_a_group_key_is_not_shown_nor_captured(tmp_path):
    path = tmp_path / "out.pcap"
    secret = bytes(range(100, 132))
    down = kdf.node_keys(ROOT_KEY, SITE, ADDRESS)[1]
    record = records.GroupKey(generation=2, challenge=3, group_key=secret)
    assert secret.hex() not in repr(record)
    assert repr(secret) not in repr(record)
    sealed = frames.Sealer(down, frames.DOWN, SITE, ADDRESS).seal(9, record.encode())
    done = pbal(sealed.hex(), *KEYS, "--json", "--pcap", str(path))
    found = json.loads(done.stdout)["frame"]["records"][0]
    assert found["generation"] == 2
    assert found["group_key"] == "32 bytes, not shown"
    assert secret.hex() not in done.stdout + done.stderr
    data = path.read_bytes()
    assert secret not in data
    assert len(data) == 40 + len(record.encode())


FLIPPED = FRAME[:-1] + bytes((FRAME[-1] ^ 1,))
ADU = modbus_client.adu(5, modbus_client.request_pdu(0, FRAME))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((FLIPPED.hex(), *KEYS), 6, "AuthError"),
        ((FRAME.hex(), "--key", "00" * 32, "--site", "7"), 6, "AuthError"),
        ((FRAME[:10].hex(),), 6, "Truncated"),
        ((FRAME[:3].hex(),), 6, "Truncated"),
        (("2" + FRAME.hex()[1:],), 6, "BadVersion"),
        (("14" + FRAME.hex()[2:],), 6, "BadKind"),
        ((ADU[:-1].hex() + "00",), 6, "BadCrc"),
        ((ADU[:-4].hex(),), 6, "a Modbus frame of"),
        ((FRAME.hex() + "00" * 240,), 6, "TooLong"),
        (("xyz",), 3, "not a hex digit"),
        (("123",), 3, "whole bytes"),
        (("",), 3, "no hex digits"),
        ((FRAME.hex(), "--key", "00" * 32), 3, "--site"),
        ((FRAME.hex(), "--key", "00", "--site", "7"), 3, "64 hex digits"),
        ((FRAME.hex(), "--key", "00" * 32, "--site", "-1"), 3, "site id"),
        ((FRAME.hex(), "--pcap", "/nonexistent/x"), 3, "folder"),
        ((FRAME.hex(), "--identity", "/nonexistent"), 2, "does not exist"),
    ],
)
def test_mistakes_get_their_own_exit_code(arguments, code, words):
    done = pbal(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
