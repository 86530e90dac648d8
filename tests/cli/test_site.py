"""`pbal site`: the file by itself, against keys, a controller's status, and a live bus."""

import http.server
import json
import os
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs import needs
from rigs.flash import Rig

from pbal_controller.config import files as config_files
from pbal_controller.keys import KeyStore
from pbal_protocol import records
from pbal_tools import sitefile
from pbal_tools.errors import ExitCode, InputError
from pbal_tools.site import diff

GOOD = """
[site]
id = 7
name = "North Street"

[transformer]
rated_kva = 250

[[feeder]]
name = "F1"
rated_a = 200

[bus.north]
port = "/dev/ttyUSB0"
feeder = "F1"

[[home]]
address = 1
name = "Mill Lane 1"
bus = "north"
feeder = "F1"
phase = "A"
eui = "24a160fffe000001"

[[home]]
address = 2
name = "Surgery"
bus = "north"
phase = "B"
fixed = true
"""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    (tmp_path / "site.toml").write_text(GOOD)
    yield made
    made.close()


def test_show_and_check_a_good_file(rig: Rig) -> None:
    shown = rig.pbal("site", "show", "site.toml")
    assert shown.code == 0, shown.err
    assert "Mill Lane 1" in shown.out
    assert "2 homes; A 1, B 1, C 0" in shown.out
    checked = rig.pbal("site", "check", "site.toml", "--json")
    assert checked.json["ok"] is True
    assert checked.json["compared"] == ["file"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("address = 2", "address = 1", "two homes have address 1"),
        ("address = 2", "address = 257", "both unit 1"),
        ("address = 2", "address = 248", "unit 248"),
        ('bus = "north"\nphase', 'bus = "south"\nphase', "not declared (north)"),
        ('feeder = "F1"\nphase', 'feeder = "F9"\nphase', "feeder 'F9'"),
        ('phase = "A"', 'phase = "D"', "home[0].phase"),
        ("fixed = true", "fixd = true", 'home[1].fixd: is not a known key; did you mean "fixed"?'),
        ("id = 7\n", "", "site.id: is missing"),
        ("rated_kva = 250", "rated_kva = -1", "transformer.rated_kva"),
        ("eui = ", 'board = "x"\neui = "24a1"\n#', "home[0].eui"),
        ("[site]", "[site", "broken"),
    ],
)
def test_mistakes_name_the_key(rig: Rig, old: str, new: str, words: str) -> None:
    assert old in GOOD
    (rig.folder / "site.toml").write_text(GOOD.replace(old, new, 1))
    done = rig.pbal("site", "check", "site.toml")
    assert done.code == ExitCode.INPUT
    assert words in done.err, done.err


def test_the_file_reads_back_as_it_was_written() -> None:
    site = sitefile.validate(tomllib.loads(GOOD), "x")
    assert sitefile.validate(tomllib.loads(sitefile.dump(site)), "y") == site


def test_the_controller_accepts_what_is_generated(rig: Rig) -> None:
    done = rig.pbal("site", "controller", "site.toml", "--out", "pbal.toml", "--keys", "k.json",
                    "--json")  # fmt: skip
    assert done.code == 0, done.err
    made = config_files.load(rig.folder / "pbal.toml", environ={})
    assert [(h.address, h.name, h.fixed, h.bus) for h in made.home] == [
        (1, "Mill Lane 1", False, "north"), (2, "Surgery", True, "north")
    ]  # fmt: skip
    assert made.transformer.rated_kva == 250
    assert made.keys.file == rig.folder / "k.json"
    again = rig.pbal("site", "controller", "site.toml", "--out", "pbal.toml")
    assert again.code == ExitCode.INPUT
    assert "--overwrite" in again.err


def test_import_from_a_spreadsheet(rig: Rig) -> None:
    (rig.folder / "homes.csv").write_text(
        "\ufeffaddress;name;phase;fixed;feeder;eui\n"
        '1;"Lane 1; rear";1;;F1;24-A1-60-FF-FE-00-00-01\n\n0x102;Surgery "B";b;yes;F2;\n'
    )
    args = ("site", "import", "homes.csv", "--site", "9", "--bus", "n=socket://h:1",
            "--name", "Süd", "--rated-kva", "160", "--out", "new.toml", "--json")  # fmt: skip
    done = rig.pbal(*args)
    assert done.code == 0, done.err
    made = sitefile.load(rig.folder / "new.toml")
    assert made.site.name == "Süd"
    assert [(h.address, h.name, h.phase, h.fixed, h.feeder) for h in made.home] == [
        (1, "Lane 1; rear", "A", False, "F1"), (258, 'Surgery "B"', "B", True, "F2")
    ]  # fmt: skip
    assert made.home[0].eui == "24a160fffe000001"
    assert rig.pbal(*args).code == ExitCode.INPUT
    (rig.folder / "homes.csv").write_text("address,name\n1,x\n1,y\n")
    twice = rig.pbal(*args, "--overwrite")
    assert "line 3: address 1 is also in line 2" in twice.err


def test_differences_from_the_key_store(tmp_path: Path) -> None:
    site = sitefile.validate(tomllib.loads(GOOD), "x")
    store = KeyStore.create(tmp_path / "k", b"12345678", 7, log2_n=10)
    store.add(1, "24a160fffe000009")
    store.add(3, "24a160fffe000003")
    found = {(d.level, d.address, d.text) for d in diff.against_keys(site, store)}
    assert ("error", 2, "has no key") in found
    assert ("warning", 3, "has a key but is not in the site file") in found
    assert any(level == "error" and a == 1 and "EUI" in text for level, a, text in found)
    store.revoke(1)
    assert any("revoked" in d.text for d in diff.against_keys(site, store))


def status(**homes: dict[str, Any]) -> dict[str, Any]:
    base = {"bus": "north", "alive": True, "flags": [], "quarantined": ""}
    one = {**base, "address": 1, "name": "Mill Lane 1", "hello": {"eui": "24a160fffe000001"}}
    two = {**base, "address": 2, "name": "Surgery", "flags": ["fixed"]}
    items = [{**one, **homes.get("one", {})}, {**two, **homes.get("two", {})}]
    return {"site": {"id": 7}, "homes": items}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"one": {"alive": False}}, "does not answer"),
        ({"two": {"flags": []}}, "not marked fixed"),
        ({"one": {"flags": ["lockout"]}}, "is locked out: a contact welded"),
        ({"one": {"bus": "south"}}, "there on south"),
        ({"one": {"address": 5}}, "is not in the site file"),
        ({"one": {"hello": {"eui": "24a160fffe000007"}}}, "swapped"),
        ({"one": {"quarantined": "disagrees"}}, "quarantined"),
    ],
)
def test_differences_from_the_controller(change: dict[str, Any], words: str) -> None:
    site = sitefile.validate(tomllib.loads(GOOD), "x")
    assert diff.against_controller(site, status()) == []
    found = diff.against_controller(site, status(**change))
    assert any(words in d.text + d.remedy and d.level == "error" for d in found), found


def test_the_controller_is_asked_over_http(rig: Rig) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = status(one={"hello": None})
            if self.path.startswith("/api/homes/"):
                data = {"hello": {"eui": "24A160FFFE000008"}}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(data).encode())

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        done = rig.pbal("site", "check", "site.toml", "--controller", url, "--json")
        assert done.code == ExitCode.CHECK_FAILED
        (only,) = done.json["differences"]
        assert "24A160FFFE000008" in only["text"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    gone = rig.pbal("site", "check", "site.toml", "--controller", url)
    assert gone.code == ExitCode.UNREACHABLE


SERVER = """
import asyncio, sys
from pymodbus.datastore import ModbusSequentialDataBlock, ModbusDeviceContext, ModbusServerContext
from pymodbus.server import StartAsyncSerialServer
def node(flags):
    words = [1, 2301, 2302, 2303, 2301, 150, 0, 345, 5000, 1, 2, flags]
    return ModbusDeviceContext(ir=ModbusSequentialDataBlock(1, words))
devices = {1: node(0), 2: node(int(sys.argv[2])), 9: node(0)}
asyncio.run(StartAsyncSerialServer(ModbusServerContext(devices=devices, single=False),
    port=sys.argv[1], baudrate=115200, parity="N", stopbits=1, framer="rtu"))
"""


def test_a_live_bus_is_scanned_with_a_stock_driver(rig: Rig, tmp_path: Path) -> None:
    import select
    import sys
    import tty

    ends = [os.openpty() for _ in range(2)]
    for _, child in ends:
        tty.setraw(child)
    stop = threading.Event()

    def carry() -> None:
        sides = (ends[0][0], ends[1][0])
        while not stop.is_set():
            for fd in select.select(sides, [], [], 0.1)[0]:
                os.write(sides[1 - sides.index(fd)], os.read(fd, 1024))

    thread = threading.Thread(target=carry)
    thread.start()
    ours, theirs = os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    server = subprocess.Popen([sys.executable, "-c", SERVER, theirs, "0"])
    try:
        text = GOOD.replace("/dev/ttyUSB0", ours) + '\n[[home]]\naddress = 3\nbus = "north"\n'
        (rig.folder / "site.toml").write_text(
            text.replace("[bus.north]", "[bus.north]\nanswer_timeout_ms = 300")
        )
        args = ("site", "check", "site.toml", "--scan", "--json")
        done = rig.pbal(*args)
        for _ in range(5):  # the server takes a moment to open its port
            if done.json["heard"]["north"]:
                break
            done = rig.pbal(*args)
        assert done.code == ExitCode.CHECK_FAILED
        assert [h["unit"] for h in done.json["heard"]["north"]] == [1, 2]
        assert done.json["heard"]["north"][0]["v"] == [230.1, 230.2, 230.3]
        found = {(d["address"], d["text"]) for d in done.json["differences"]}
        assert (3, "unit 3 does not answer") in found
        assert (2, "must never be moved, but the node is not marked fixed") in found
    finally:
        server.terminate()
        server.wait(needs.PATIENCE_S)
        stop.set()
        thread.join()
        for pair in ends:
            for fd in pair:
                os.close(fd)


def test_bus_differences() -> None:
    site = sitefile.validate(tomllib.loads(GOOD), "x")
    one = diff.Heard(1, 1, 2, 0, 230.0, 230.0, 230.0)
    found = diff.against_bus(site, "north", {1: one, 2: None, 9: one, 247: one, 10: None})
    texts = [d.text for d in found]
    assert "unit 2 does not answer" in texts
    assert "unit 9 answers, but no home has it" in texts
    assert "an unprovisioned node answers, but no home has it" in texts
    assert len(found) == 3


def test_what_a_node_says_of_itself_is_compared() -> None:
    rows = '\n[[home]]\naddress = 3\nbus = "north"\n' + (
        'name = "Inn"\nphase = "A"\nboard = "esp32-devkitc"\n'
    )
    site = sitefile.validate(tomllib.loads(GOOD + rows), "x")

    def found(*, flags: int = 0, phase: int = 1, **more: str) -> list[tuple[str, str]]:
        heard = diff.Heard(3, phase, 2, flags, 230.0, 230.0, 230.0, **more)
        told = diff.against_bus(site, "north", {3: heard})
        return [(d.level, d.text) for d in told if d.address == 3]

    assert found(board="esp32-devkitc", name="Inn") == []
    assert found(phase=3) == [("note", "is on phase C, the file says A")]
    assert found(phase=0) == [("warning", "the home is open: it has no supply")]
    assert found(flags=records.FLAG_LOCKOUT) == [("error", "is locked out: a contact welded")]
    assert found(board="lilygo-t3")[0][0] == "error"
    assert found(name="Mill")[0] == ("warning", "the node is called 'Mill', here 'Inn'")
    fixed = sitefile.validate(tomllib.loads(GOOD + rows + "fixed = true\n"), "x")
    heard = diff.Heard(3, 2, 2, records.FLAG_FIXED, 230.0, 230.0, 230.0)
    (only,) = [d for d in diff.against_bus(fixed, "north", {3: heard}) if d.address == 3]
    assert (only.level, only.text) == ("error", "is on phase B, the file says A")


def test_no_file_says_how_to_make_one(rig: Rig) -> None:
    done = rig.pbal("site", "check", "nowhere.toml")
    assert done.code == ExitCode.INPUT
    assert "pbal site import" in done.err
    with pytest.raises(InputError):
        sitefile.load(rig.folder)
