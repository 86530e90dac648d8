"""`pbal node` on an emulated board's console, with the node's own modules answering."""

import http.server
import itertools
import json
import math
import threading
import time
from pathlib import Path

import pytest
from rigs import needs
from rigs.flash import Rig, mpremote

from pbal_sim.replboard import ReplBoard
from pbal_tools.errors import ExitCode
from pbal_tools.node import wave

pytestmark = pytest.mark.timeout(240)
# 400 V of mains for 1 V at the pin; phases A, B, C and the output on B.
MAINS = {36: (0.575, 0.0), 39: (0.5725, -120.0), 34: (0.5775, 120.0), 35: (0.5725, -120.0)}


def test_without_consent_to_darkness_nothing_is_touched(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)
    for words in (
        ("status",), ("events",), ("config", "get"), ("config", "set", "daily_cap", "3"),
        ("reboot",), ("scope",), ("clear-lockout", "--replaced"),
    ):  # fmt: skip
        done = rig.pbal("node", *words, "--port", board.url)
        assert done.code == ExitCode.REFUSED, words
        assert "--dark" in done.err
    assert board.resets == 1


def _started_again(board: ReplBoard) -> None:
    """The board sees its control lines move a moment after the command has let go of them."""
    end_s = time.monotonic() + needs.PATIENCE_S
    while board.resets < 2 and time.monotonic() < end_s:
        time.sleep(0.02)
    assert board.resets == 2


def test_status_and_events(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)
    on_site = ("--port", board.url, "--dark", "--json")
    told = rig.pbal("node", "status", *on_site)
    assert told.code == 0, told.err
    assert told.json["board"] == "esp32-devkitc"
    assert told.json["provisioned"] is False
    assert told.json["boots"] >= 1
    _started_again(board)
    events = rig.pbal("node", "events", *on_site).json
    assert events[0]["name"] == "boot"
    assert [e["seq"] for e in events] == sorted(e["seq"] for e in events)
    again = rig.pbal("node", "reboot", *on_site)
    assert again.json["restarted"] is True


def test_settings_are_read_back_exported_and_imported(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)
    on_site = ("--port", board.url, "--dark")
    done = rig.pbal("node", "config", "set", "daily_cap", "4", *on_site, "--json")
    assert done.code == 0, done.err
    assert done.json == {"name": "daily_cap", "before": 6, "now": 4}
    # Kept over a restart of the chip, and logged.
    board.press_reset()
    assert rig.pbal("node", "config", "get", "daily_cap", *on_site, "--json").json == {
        "daily_cap": 4
    }
    events = rig.pbal("node", "events", *on_site, "--json").json
    assert ("config-changed", 2, 4) in [(e["name"], e["arg0"], e["arg1"]) for e in events]
    out = rig.pbal("node", "config", "export", "c.json", *on_site)
    assert out.code == 0, out.err
    other = rig.board("other", like=flashed, download=False)
    there = ("--port", other.url, "--dark", "--json")
    moved = rig.pbal("node", "config", "import", "c.json", *there)
    assert moved.code == 0, moved.err
    assert moved.json["changed"] == {"daily_cap": [6, 4]}
    assert (
        rig.pbal("node", "config", "get", *there).json
        == json.loads((rig.folder / "c.json").read_text())["settings"]
    )


def test_bad_settings_are_refused_before_the_node_is_stopped(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)
    on_site = ("--port", board.url, "--dark")
    for words, said in (
        (("set", "colour", "1"), "no setting colour"),
        (("set", "daily_cap", "999"), "not 0..200"),
        (("get", "colour"), "no setting colour"),
    ):
        done = rig.pbal("node", "config", *words, *on_site)
        assert done.code == ExitCode.INPUT
        assert said in done.err
    (rig.folder / "bad.json").write_text('{"format": "pbal-node-config/1", "settings": {"x": 1}}')
    assert rig.pbal("node", "config", "import", "bad.json", *on_site).code == ExitCode.INPUT
    (rig.folder / "bad.json").write_text("[]")
    assert rig.pbal("node", "config", "import", "bad.json", *on_site).code == ExitCode.INPUT
    assert board.resets == 1


def test_a_lockout_is_cleared_only_by_somebody_who_replaced_the_relay(
    rig: Rig, flashed: Path
) -> None:
    board = rig.board(like=flashed, download=False)
    weld = (
        "from pbal_node.journal import SelectorState\nfrom pbal_node.store import FlashStats\n"
        "s = SelectorState('/cfg/selector', FlashStats())\ns.lockout = 2\ns.save()\n"
    )
    mpremote(board.url, "exec", weld)
    on_site = ("--port", board.url, "--dark", "--json")
    unsure = rig.pbal("node", "clear-lockout", *on_site)
    assert unsure.code == ExitCode.INPUT
    assert "join two phases" in unsure.err
    assert rig.pbal("node", "status", *on_site).json["lockout_phase"] == 2
    done = rig.pbal("node", "clear-lockout", "--replaced", *on_site)
    assert done.json == {"was_locked_out": True, "phase": 2}
    assert rig.pbal("node", "status", *on_site).json["lockout_phase"] == 0
    events = rig.pbal("node", "events", *on_site).json
    assert "lockout-cleared" in [e["name"] for e in events]


def test_the_scope_shows_the_supply(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False, analog=MAINS)
    done = rig.pbal("node", "scope", "--port", board.url, "--dark", "--json", "--count", "5")
    assert done.code == 0, done.err
    # A busy computer stops the interpreter for milliseconds and tears a record: take the least
    # torn, and look at its crests, which stay where they are.
    records = [json.loads(line) for line in done.out.splitlines()]
    assert len(records) == 5
    best = min(records, key=lambda r: max(b - a for a, b in itertools.pairwise(r["t_s"])))
    volts = best["volts"]
    for name, rms in (("va", 230.0), ("vb", 229.0), ("vc", 231.0), ("vout", 229.0)):
        assert max(volts[name]) == pytest.approx(rms * math.sqrt(2), rel=0.04)
        assert best["rms_v"][name] == pytest.approx(rms, rel=0.2)
    # The output follows phase B: the same wave, not merely the same size.
    same = sum(abs(a - b) for a, b in zip(volts["vout"], volts["vb"], strict=True))
    other = sum(abs(a - b) for a, b in zip(volts["vout"], volts["va"], strict=True))
    assert same < other / 5
    drawn = rig.pbal("node", "scope", "--port", board.url, "--dark", "--count", "1")
    assert "V rms" in drawn.out
    assert any(0x2800 < ord(c) < 0x2900 for c in drawn.out)


def test_the_drawing_is_the_curve() -> None:
    times = [n / 1000 for n in range(200)]
    values = [300 * math.sin(2 * math.pi * 10 * t) for t in times]
    assert wave.rms(times, values) == pytest.approx(300 / math.sqrt(2), rel=0.01)
    # Samples that come unevenly count for the time they stand for.
    uneven = [n for n in range(200) if n < 60 or n % 3 == 0]
    some = wave.rms([times[n] for n in uneven], [values[n] for n in uneven])
    assert some == pytest.approx(300 / math.sqrt(2), rel=0.02)
    lines = wave.plot(times, values, 300, 40, 4)
    assert [len(line) for line in lines] == [40] * 4
    # Two cycles: the top line is drawn around both crests and empty around the troughs.
    crest, trough = lines[0][5], lines[0][15]
    assert crest != "\u2800"
    assert trough == "\u2800"
    assert lines[3][15] != "\u2800"


def test_through_the_controller_without_the_console(rig: Rig) -> None:
    home = {"address": 12, "name": "Mill Lane", "alive": True, "phase": 2, "state": "closed",
            "age_s": 0.4, "flags": ["fixed"], "settings": {"1": 1800, "2": 6}}  # fmt: skip
    # As Journal.recent_events gives them: newest first.
    event = {"boots": 3, "code": 1, "severity": 0, "node_time_s": 1800000000, "arg0": 2, "arg1": 3,
             "received_s": 1800000001.5}  # fmt: skip
    log = [
        {"address": 12, "seq": 2, **event, "code": 14, "severity": 2},
        {"address": 13, "seq": 1, **event},
        {"address": 12, "seq": 1, **event},
    ]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = {"/api/homes/12": home, "/api/events": {"events": log}}
            self.send_response(200 if self.path in known else 404)
            self.end_headers()
            self.wfile.write(json.dumps(known.get(self.path, {"error": "no home"})).encode())

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert "phase B" in rig.pbal("node", "status", "12", "-c", url).out
        told = rig.pbal("node", "events", "12", "-c", url, "--json").json
        assert [(e["seq"], e["name"], e["severity"]) for e in told] == [
            (1, "boot", "info"), (2, "watchdog", "alarm"),
        ]  # fmt: skip
        assert told[0]["time_s"] == 1800000000
        assert "2027-01-15 08:00:00" in rig.pbal("node", "events", "12", "-c", url).out
        got = rig.pbal("node", "config", "get", "-a", "12", "-c", url, "--json")
        assert got.json == {"dwell_s": 1800, "daily_cap": 6}
        assert rig.pbal("node", "status", "99", "-c", url).code == ExitCode.INPUT
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert rig.pbal("node", "status", "12", "-c", url).code == ExitCode.UNREACHABLE
    assert rig.pbal("node", "status", "12").code == ExitCode.INPUT
