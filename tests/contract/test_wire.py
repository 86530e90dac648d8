"""docs/wire.md, the type stub and the Wireshark dissector say what the declarations say."""

import json
import subprocess
from pathlib import Path

import pytest
from rigs.needs import ROOT, require_tool

from pbal_protocol import frames, kdf, modbus_client, records
from pbal_protocol.codec import BLOB
from pbal_tools import pcap, wiredoc, wiretexts

DISSECTOR = ROOT / "protocol" / "dissector" / "pbal.lua"
UP, DOWN = kdf.node_keys(bytes(32), 7, 0x0105)
READING = records.Telemetry(
    time_s=1_700_000_000,
    va_v=230.12,
    current_a=4.321,
    p_w=-987.6,
    phase=2,
    state=records.STATE_CLOSED,
    flags=records.FLAG_FIXED | records.FLAG_UNSYNCED,
)


def test_the_generated_files_are_up_to_date():
    assert wiredoc.stale(ROOT) == [], "run python -m pbal_tools.wiredoc"


def test_an_old_file_is_noticed(tmp_path: Path, capsys):
    for name, text in wiredoc.outputs().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert wiredoc.main(["--check", "--root", str(tmp_path)]) == 0
    page = tmp_path / "docs" / "wire.md"
    page.write_text(page.read_text().replace("0.01 V", "0.1 V", 1))
    assert wiredoc.main(["--check", "--root", str(tmp_path)]) == 1
    assert "docs/wire.md is out of date" in capsys.readouterr().err
    assert wiredoc.main(["--root", str(tmp_path)]) == 0
    assert wiredoc.stale(tmp_path) == []


def test_every_record_and_field_has_words_and_every_word_a_field():
    assert set(wiretexts.RECORDS) == {cls.NAME for cls in records.RECORDS.values()}
    used = {f[0] for cls in records.RECORDS.values() for f in cls.FIELDS}
    assert set(wiretexts.FIELDS) == used


def test_every_number_of_the_wire_has_a_name():
    for cls in records.RECORDS.values():
        for name, _code, _divisor, _unit, low, high in cls.FIELDS:
            if name in ("state", "outcome", "reason", "code", "severity", "result", "what"):
                assert set(range(low, high + 1)) == set(wiredoc.ENUMS[name])
            if name == "flags":
                assert sum(wiredoc.FLAGS) == high


def test_the_page_has_every_record_with_its_size():
    page = (ROOT / "docs" / "wire.md").read_text()
    for cls in records.RECORDS.values():
        section = page.split(f"### {cls.ID} {cls.NAME}\n")[1].split("\n### ")[0]
        assert f"{cls.SIZE} bytes" in section
        for field in cls.FIELDS:
            assert f" {field[0]} " in section


# -- tshark ---------------------------------------------------------------------------------------


def tshark(capture: Path, *options: str) -> str:
    """What the real tshark makes of a capture, with our dissector."""
    program = require_tool("tshark")
    done = subprocess.run(
        [program, "-n", "-X", f"lua_script:{DISSECTOR}", "-r", str(capture), *options],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # Wireshark says what is wrong with a script on stderr and goes on without it.
    assert "pbal.lua" not in done.stderr, done.stderr
    return done.stdout


def packets(capture: Path) -> list[dict]:
    """The dissected fields of every packet, as tshark's JSON layers."""
    out = tshark(capture, "-T", "json", "--no-duplicate-keys")
    return [packet["_source"]["layers"] for packet in json.loads(out)]


def write(path: Path, link: int, data: list[bytes]) -> Path:
    assert pcap.write(path, link, [(1_700_000_000 + i / 10, d) for i, d in enumerate(data)])
    return path


def test_tshark_reads_a_segment(tmp_path):
    frame = frames.Sealer(DOWN, frames.DOWN, 7, 0x0105).seal(
        4097, records.Switch(command_id=1, to_phase=2).encode()
    )
    answer = frames.Sealer(UP, frames.UP, 7, 0x0105).seal(12, READING.encode())
    poll = modbus_client.adu(5, modbus_client.request_pdu(0, frame))
    line = [
        poll,
        modbus_client.adu(5, modbus_client.response_pdu(3, answer)),
        modbus_client.adu(5, modbus_client.request_pdu(0)),
        poll[:-1] + bytes((poll[-1] ^ 1,)),
        modbus_client.adu(5, b"\xe4\1"),
        modbus_client.adu(9, bytes.fromhex("040000000c")),
    ]
    seen = packets(write(tmp_path / "bus.pcap", pcap.BUS, line))
    assert [p["pbal_bus"]["pbal_bus.unit"] for p in seen] == ["5"] * 5 + ["9"]
    assert [p["pbal_bus"]["pbal_bus.crc_ok"] for p in seen] == ["1", "1", "1", "0", "1", "1"]
    first, second = seen[0]["pbal"], seen[1]["pbal"]
    assert first["pbal.kind"] == str(frames.DOWN)
    assert first["pbal.counter"] == "4097"
    assert first["pbal.address"] == "0x0105"
    assert first["pbal.tag"].replace(":", "") == frame[-8:].hex()
    assert second["pbal.kind"] == str(frames.UP)
    assert second["pbal.ciphertext"].replace(":", "") == answer[7:-8].hex()
    assert seen[1]["pbal_bus"]["pbal_bus.op"] == "0x03"
    assert all("pbal" not in p for p in seen[2:])
    assert seen[4]["pbal_bus"]["pbal_bus.exception"] == "1"
    info = tshark(tmp_path / "bus.pcap", "-T", "fields", "-e", "_ws.col.Info").splitlines()
    assert "unit 5 pbal" in info[0]
    assert "down address 0x0105 counter 4097, 15 bytes sealed" in info[0]
    assert "input registers" in info[5]


def test_tshark_reads_every_record(tmp_path):
    """Every field of every record, at both ends of its range, has the value that was packed."""
    made = []
    for cls in records.RECORDS.values():
        for end in (4, 5):
            values = {
                f[0]: bytes(range(f[end])) if f[1] in ("8s", BLOB) else f[end] for f in cls.FIELDS
            }
            made.append(cls(**values))
    capture = write(tmp_path / "payload.pcap", pcap.PAYLOAD, [r.encode() for r in made])
    seen = packets(capture)
    assert len(seen) == len(made)
    checked = 0
    for record, layers in zip(made, seen, strict=True):
        tree = layers["pbal_payload"]
        assert "expert" not in json.dumps(tree)
        inside = tree["pbal.record_tree"]
        for name, code, _divisor, unit, *_ in record.FIELDS:
            shown = inside[f"pbal.{record.NAME.lower()}.{name}"]
            if code in ("8s", BLOB):
                assert shown == ":".join(f"{b:02x}" for b in getattr(record, name))
            else:
                number = int(shown, 16) if shown.startswith("0x") else float(shown)
                assert number == pytest.approx(getattr(record, name), abs=1e-6), (name, unit)
            checked += 1
    assert checked == 2 * sum(len(cls.FIELDS) for cls in records.RECORDS.values())


def test_tshark_shows_units_names_and_flags(tmp_path):
    payload = READING.encode() + records.EventAck(seq=9).encode()
    text = tshark(write(tmp_path / "one.pcap", pcap.PAYLOAD, [payload]), "-V")
    for words in (
        "va_v: 230.12 V",
        "p_w: -987.6 W",
        "state: CLOSED (2)",
        "phase: B (2)",
        "FIXED",
        "UNSYNCED",
        "Record: EventAck (6)",
        "seq: 9",
    ):
        assert words in text
    assert "LOCKOUT" not in text


@pytest.mark.parametrize(
    ("link", "data", "words"),
    [
        (pcap.PAYLOAD, READING.encode()[:-1], "Record cut short"),
        (pcap.PAYLOAD, b"\xc8\0", "Unknown record"),
        (pcap.PAYLOAD, bytes.fromhex("0f09"), "Value outside its legal range"),
        (pcap.SEALED, bytes(15), "Truncated"),
        (pcap.SEALED, b"\x24" + bytes(30), "Unknown version or kind"),
        (pcap.BUS, bytes(8), "CRC does not match"),
        (pcap.BUS, modbus_client.adu(1, b"\x64\0\x09" + bytes(8)), "Length does not match"),
    ],
)
def test_tshark_points_at_what_is_wrong(tmp_path, link, data, words):
    assert words in tshark(write(tmp_path / "bad.pcap", link, [data]), "-V")
