"""`pbal frame decode` on real frames, and its answers to mistakes."""

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
from unittest import mock

import pytest
from rigs.needs import ROOT, require_tool

from pbal_protocol import frames, kdf, modbus_client, records
from pbal_tools import wirebytes
from pbal_tools.cli import main
from pbal_tools.errors import InputError

ROOT_KEY, GROUP_KEY, SITE, ADDRESS = bytes(range(32)), bytes(range(32, 64)), 7, 0x0105
UP, DOWN = kdf.node_keys(ROOT_KEY, SITE, ADDRESS)
SWITCH = records.Switch(command_id=9, to_phase=2, from_phase=1, issued_s=5, expires_s=65)
FRAME = frames.Sealer(DOWN, frames.DOWN, SITE, ADDRESS).seal(4097, SWITCH.encode())
KEYS = ("--key-file", "KEY", "--site", str(SITE))


@pytest.fixture(autouse=True)
def key_files(tmp_path, monkeypatch):
    """Files that the arguments of these tests name by what they hold."""
    for name, text in (("KEY", ROOT_KEY.hex()), ("ZEROS", "00" * 32), ("SHORT", "00")):
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("KEY_FILES", str(tmp_path))


def command(arguments: tuple[str, ...]) -> list[str]:
    folder = os.environ["KEY_FILES"]
    files = ("KEY", "ZEROS", "SHORT", "OTHER")
    return ["pbal", "frame", "decode", *(f"{folder}/{a}" if a in files else a for a in arguments)]


def pbal(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """The command as it is started, within this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", command(arguments)),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(ROOT),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return subprocess.CompletedProcess(
        sys.argv, int(ended.value.code or 0), out.getvalue(), err.getvalue()
    )


def process(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [require_tool("pbal"), *command(arguments)[1:]],
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
    text = process(FRAME.hex(), *KEYS).stdout
    assert "Switch" in text
    assert "expires_s" in text


def test_a_frame_with_a_nonce_of_its_own_is_opened():
    payload = records.Ack(counter=4097).encode()
    buf = bytearray(27 + len(payload))
    buf[19:-8] = payload
    frames.Sealer(UP, frames.UP, SITE, ADDRESS).seal_into(5, buf, len(payload), 0, bytes(12))
    frame = decoded(buf.hex(), *KEYS)["frame"]
    assert (frame["kind"], frame["sealed_bytes"]) == ("up, with a nonce of its own", len(payload))
    assert frame["records"][0]["counter"] == 4097
    assert pbal(buf[:27].hex(), *KEYS).returncode == 6


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
        ((FRAME.hex(), "--key-file", "ZEROS", "--site", "7"), 6, "AuthError"),
        ((FRAME[:10].hex(),), 6, "Truncated"),
        ((FRAME[:3].hex(),), 6, "Truncated"),
        (("2" + FRAME.hex()[1:],), 6, "BadVersion"),
        (("15" + FRAME.hex()[2:],), 6, "BadKind"),
        ((ADU[:-1].hex() + "00",), 6, "BadCrc"),
        ((ADU[:-4].hex(),), 6, "a Modbus frame of"),
        ((FRAME.hex() + "00" * 240,), 6, "TooLong"),
        (("xyz",), 3, "not a hex digit"),
        (("123",), 3, "whole bytes"),
        (("",), 3, "no hex digits"),
        ((FRAME.hex(), "--key-file", "ZEROS"), 3, "--site"),
        ((FRAME.hex(), "--key-file", "SHORT", "--site", "7"), 3, "64 hex digits"),
        ((FRAME.hex(), "--key-file", "ZEROS", "--site", "-1"), 3, "site id"),
        ((FRAME.hex(), "--pcap", "/nowhere/x"), 3, "folder"),
        ((FRAME.hex(), "--key", "ab" * 32, "--site", "7"), 3, "not taken from the command line"),
        ((FRAME.hex(), "--group", "ab" * 32, "--site", "7"), 3, "--group-file FILE"),
        ((FRAME.hex(), "--key-file", "/nowhere", "--site", "7"), 3, "cannot be read"),
        (("-", "--key-file", "-", "--site", "7"), 3, "one thing only"),
        (("--key-file", "-", "--group-file", "-", "00"), 3, "one thing only"),
        ((FRAME.hex(), "--identity", "/nowhere"), 2, "does not exist"),
    ],
)
def test_mistakes_get_their_own_exit_code(arguments, code, words):
    done = pbal(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "ab" * 32 not in done.stderr


def test_a_process_ends_with_it_as_well():
    found = process("-", *KEYS, "--json", stdin=FRAME.hex())
    assert json.loads(found.stdout)["frame"]["authentic"] is True
    done = process(FLIPPED.hex(), *KEYS, "--json")
    assert done.returncode == 6
    assert json.loads(done.stdout)["exit_code"] == 6
    assert "AuthError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_comes_from_a_file_a_pipe_or_stdin(tmp_path):
    frame = decoded(FRAME.hex(), "--key-file", "-", "--site", "7", stdin=ROOT_KEY.hex() + "\n")
    assert frame["frame"]["authentic"] is True
    read_end, write_end = os.pipe()
    os.write(write_end, ROOT_KEY.hex().encode())
    os.close(write_end)
    try:
        done = subprocess.run(
            [require_tool("pbal"), "frame", "decode", FRAME.hex(), "--json", "--site", "7",
             "--key-file", f"/dev/fd/{read_end}"],
            pass_fds=(read_end,), capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    finally:
        os.close(read_end)
    assert json.loads(done.stdout)["frame"]["authentic"] is True
    group = frames.Sealer(kdf.group_key(GROUP_KEY, SITE), frames.GROUP, SITE, 0)
    told = group.seal(3, records.MeasureNow(seq=4).encode()).hex()
    found = decoded(told, "--group-file", "-", "--site", "7", stdin=GROUP_KEY.hex())
    assert found["frame"]["records"][0]["seq"] == 4


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "OTHER"
    path.write_text(ROOT_KEY.hex())
    for mode in (0o640, 0o604):
        path.chmod(mode)
        done = pbal(FRAME.hex(), "--key-file", "OTHER", "--site", "7")
        assert done.returncode == 3
        assert "chmod 600" in done.stderr


# -- what adapters deliver beside a frame -----------------------------------------------------

READ = modbus_client.adu(9, bytes.fromhex("0400010003"))
ANSWER = modbus_client.adu(9, bytes.fromhex("040608fd08f20907"))
REFUSAL = modbus_client.adu(17, bytes.fromhex("8402"))
OURS = modbus_client.adu(5, modbus_client.request_pdu(0, FRAME))


def split(data: bytes) -> tuple[list[bytes], list[bytes]]:
    found = wirebytes.modbus_frames(data)
    assert found is not None, data.hex()
    return list(found.frames), list(found.stray)


@pytest.mark.parametrize("frame", [READ, ANSWER, REFUSAL, OURS], ids=lambda f: f.hex()[:8])
@pytest.mark.parametrize("before", [b"", b"\0", b"\xff", b"\0\0\xfe"])
@pytest.mark.parametrize("behind", [b"", b"\0", b"\0\0\0", b"\xff\0"])
def test_stray_bytes_beside_a_frame(frame, before, behind):
    found, stray = split(before + frame + behind)
    assert found == [frame]
    assert stray == [gap for gap in (before, behind) if gap]


def test_frames_that_came_in_one_piece():
    assert split(READ + ANSWER) == ([READ, ANSWER], [])
    assert split(b"\0" + OURS + b"\xff" + READ + REFUSAL + b"\0") == (
        [OURS, READ, REFUSAL],
        [b"\0", b"\xff", b"\0"],
    )
    # So much beside a frame is no accident of a line: something else was captured.
    assert wirebytes.modbus_frames(bytes(40) + READ + bytes(40)) is None


def test_stray_bytes_are_shown_beside_the_frame():
    result = decoded((b"\0" + REFUSAL + b"\0\0").hex())
    assert result["modbus"] == {"unit": 17, "function": 4, "exception": 2}
    assert result["stray"] == ["00", "0000"]
    result = decoded((READ + ANSWER + b"\0").hex())
    assert [part["modbus"]["unit"] for part in result["parts"]] == [9, 9]
    assert result["parts"][1]["modbus"]["data"] == "0608fd08f20907"
    shown = pbal((READ + OURS + b"\xfe").hex(), *KEYS)
    assert shown.returncode == 0, shown.stderr
    for words in ("unit 9", "unit 5", "Switch", "belong to no frame", "fe"):
        assert words in shown.stdout


def test_a_function_nobody_knows_the_length_of_is_one_frame():
    odd = modbus_client.adu(17, bytes.fromhex("410102030405060708090a0b0c0d0e0f"))
    assert split(odd) == ([odd], [])


@pytest.mark.parametrize(
    "text",
    [
        "0x9 0x4 0x0 0x1 0x0 0x3 0xe0 0x83",
        "9 4 0 1 0 3 e0 83",
        "0x09,0x04,0x00,0x01,0x00,0x03,0xe0,0x83",
        "09:04:00:01:00:03:e0:83",
        "0904-0001-0003-e083",
        "0X090X04 0001 0x0003e083",
    ],
)
def test_bytes_as_programs_log_them(text):
    assert wirebytes.parse_hex(text) == READ


def test_a_digit_that_is_missing_is_not_guessed():
    for text in ("904", "09 400 01", "0x123"):
        with pytest.raises(InputError, match="whole bytes"):
            wirebytes.parse_hex(text)
