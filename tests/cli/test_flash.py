"""`pbal flash` with the real esptool and the real mpremote against emulated boards.

The boards answer the ROM loader's protocol and then a real MicroPython interpreter's prompt, on
pseudo-terminals, TCP sockets and an RFC 2217 server whose DTR and RTS reset them.
"""

import hashlib
import json
import signal
import socket
import time
from pathlib import Path

import pytest
import serial
from rigs import needs
from rigs.flash import Rig, mpremote

from pbal_build import build_files
from pbal_sim.replboard import ReplBoard
from pbal_sim.romloader import stand_in_image
from pbal_tools.errors import ExitCode
from pbal_tools.flash.repl import reach_prompt

from .conftest import FirstFlash

pytestmark = pytest.mark.timeout(240)
BOARD = "esp32-devkitc"


def at_prompt(rig: Rig, flashed: Path, port: str = "pty") -> ReplBoard:
    """A flashed board that shows its prompt: one that is just starting may lose mpremote's first
    Ctrl-C, and mpremote waits for ever.
    """
    board = rig.board(like=flashed, download=False, port=port)
    reach_prompt(board.url, 60)
    return board


def test_a_new_board_has_every_file_and_its_image(rig: Rig, first_flash: FirstFlash) -> None:
    (report,) = first_flash.told["boards"]
    want = build_files(BOARD)
    assert report["mac"] == "24:a1:60:00:00:01"
    assert report["eui"] == "24a160fffe000001"
    assert sorted(report["files"]["copied"]) == sorted(want)
    assert report["files"]["copied"][-1] == "/main.py"
    assert report["files"]["verified"] == len(want)
    assert all(item["ok"] for item in report["self_test"])
    assert {"heap", "flash", "crypto", "contacts", "modules"} <= {
        item["name"] for item in report["self_test"]
    }
    assert first_flash.err == ""
    image = stand_in_image()
    assert first_flash.flash.read_bytes()[0x1000 : 0x1000 + len(image)] == image
    # Asked of the board again, with nothing of ours in between.
    board = rig.board(like=first_flash.flash, download=False)
    reach_prompt(board.url, 60)
    told = mpremote(board.url, "fs", "sha256sum", "/lib/pbal_node/version.mpy", "/main.py")
    assert hashlib.sha256(want["/lib/pbal_node/version.mpy"]).hexdigest() in told
    assert hashlib.sha256(want["/main.py"]).hexdigest() in told


def test_a_flashed_board_is_left_alone_and_says_so(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)
    first = rig.pbal("flash", "--port", board.url, "--app-only", "--json")
    assert first.code == 0, first.err
    (report,) = first.json["boards"]
    assert report["files"]["copied"] == []
    assert report["files"]["verified"] == len(build_files(BOARD))
    assert board.sessions_flashed == 0


def test_changed_missing_and_stale_files_are_put_right(rig: Rig, flashed: Path) -> None:
    board = at_prompt(rig, flashed)
    spoil = (
        "import os\n"
        "with open('/lib/pbal_node/version.mpy','wb') as f: f.write(b'old')\n"
        "os.remove('/lib/pbal_protocol/kdf.mpy')\n"
        "with open('/lib/pbal_node/version.py','w') as f: f.write('VERSION = 1')\n"
        "os.mkdir('/cfg') if 'cfg' not in os.listdir('/') else 0\n"
        "with open('/cfg/keep','w') as f: f.write('mine')\n"
    )
    mpremote(board.url, "exec", spoil)
    done = rig.pbal("flash", "--port", board.url, "--app-only", "--json")
    assert done.code == 0, done.err
    files = done.json["boards"][0]["files"]
    assert sorted(files["copied"]) == [
        "/lib/pbal_node/version.mpy", "/lib/pbal_protocol/kdf.mpy", "/main.py"
    ]  # fmt: skip
    assert files["removed"] == ["/lib/pbal_node/version.py"]
    assert "mine" in mpremote(board.url, "exec", "print(open('/cfg/keep').read())")


@pytest.mark.long
def test_stub_socket_and_text_output(rig: Rig) -> None:
    board = rig.board(port="tcp", stub="runs", noise=b"\xff\x00\xfegarbage\r\n")
    done = rig.pbal("flash", "--port", board.url, "--image", "image.bin")
    assert done.code == 0, done.err
    assert "every hash verified on the board" in done.out
    assert "self-test crypto" in done.out
    assert "next: pbal provision" in done.out
    assert "writing" in done.err


@pytest.mark.long
def test_control_lines_reset_the_board_and_a_silent_stub_is_done_without(
    rig: Rig, flashed: Path
) -> None:
    # It runs its program at first: only DTR and RTS can bring it into the boot loader and back.
    (rig.folder / "small.bin").write_bytes(stand_in_image(size=6000))
    board = rig.board(
        port="rfc2217", like=flashed, stub="silent", download=False, leave_download=False
    )
    done = rig.pbal("flash", "--port", board.url, "--image", "small.bin", "--no-erase", timeout=200)
    assert done.code == 0, done.out + done.err
    assert "does not run the flasher stub: going on without it" in done.err
    assert bytes(board.flash.data[0x1000:0x2000]) == stand_in_image(size=6000)[:0x1000]


@pytest.mark.long
@pytest.mark.parametrize("words", [(), ("--no-stub",)])
def test_an_adapter_that_cannot_do_the_faster_rate(rig: Rig, words: tuple[str, ...]) -> None:
    board = rig.board(port="rfc2217", stub="runs", fastest=115200)
    done = rig.pbal(
        "flash", "--port", board.url, "--image", "image.bin", "--no-erase", *words, timeout=200
    )
    assert done.code == 0, done.err
    assert "dead at 460800 baud" in done.err
    assert "--baud 115200" in done.err


@pytest.mark.long
def test_a_loader_that_refuses_the_stub_is_served_without_it(rig: Rig, flashed: Path) -> None:
    (rig.folder / "small.bin").write_bytes(stand_in_image(size=6000))
    args = ("flash", "-i", "small.bin", "--no-erase", "--before", "no-reset", "--after", "no-reset")
    board = rig.board(port="tcp", like=flashed, stub="refuses")
    done = rig.pbal(*args, "--port", board.url)
    assert done.code == 0, done.err
    assert "going on without it" in done.err
    # One that is lost in it cannot be reset through this port: it says so, and what to do.
    lost = rig.board("lost", port="tcp", like=flashed, stub="silent")
    failed = rig.pbal(*args, "--port", lost.url, "--json")
    assert failed.code == ExitCode.CHECK_FAILED, failed.err
    assert "--no-stub" in failed.json["boards"][0]["remedy"]


def test_a_pulled_cable_is_taken_up_where_it_was(rig: Rig) -> None:
    port = f"pty:{rig.folder}/ttyUSB0"
    board = rig.board(port=port)
    args = ("flash", "--port", board.url, "--image", "image.bin", "--no-stub", "--json")
    # Pulled while the application is copied, and put back by somebody within the minute.
    running = rig.start(*args)
    deadline = time.monotonic() + needs.PATIENCE_S
    while board.sessions_flashed == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    board.cut_after = 60_000
    while board.mode != "unplugged" and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(1.5)
    board.plug_in()
    out, err = running.communicate(timeout=120)
    assert running.returncode == 0, out + err
    # Pulled and left out: an error that says so; the next call goes on, without the image.
    mpremote(board.url, "exec", "import os\nfor i in os.listdir('/lib/pbal_node'):\n"
             " i.endswith('.mpy') and os.remove('/lib/pbal_node/' + i)")  # fmt: skip
    board.cut_after = 30_000
    lost = rig.pbal(*args, "--repl-timeout", "5")
    assert lost.code == ExitCode.PORT_MISSING, lost.err
    board.plug_in()
    again = rig.pbal(*args)
    assert again.code == 0, again.err
    copied = again.json["boards"][0]["files"]["copied"]
    assert copied
    assert len(copied) < len(build_files(BOARD)) // 2 + 8
    assert board.sessions_flashed == 1


@pytest.mark.long
def test_a_cable_pulled_while_the_image_is_written(rig: Rig) -> None:
    board = rig.board(port=f"pty:{rig.folder}/ttyUSB0", cut_after=20_000)
    args = ("flash", "--port", board.url, "--image", "image.bin", "--no-stub", "--json")
    lost = rig.pbal(*args)
    assert lost.code in (ExitCode.UNREACHABLE, ExitCode.PORT_MISSING), lost.err
    assert lost.err.count("\n") == 2
    board.plug_in(download=True)
    again = rig.pbal(*args)
    assert again.code == 0, again.err


LOOPS = {
    "sleeps": "import time\nwhile True:\n    time.sleep(1)\n",
    # Were it to catch KeyboardInterrupt, the next one might meet it where it just did, and end it.
    "swallows": "import micropython\nmicropython.kbd_intr(-1)\nprint('main.py runs')\n"
    "while True:\n    pass\n",
}


def test_a_looping_main_is_interrupted(rig: Rig, flashed: Path) -> None:
    board = at_prompt(rig, flashed)
    (rig.folder / "loop.py").write_text(LOOPS["sleeps"])
    mpremote(board.url, "fs", "cp", str(rig.folder / "loop.py"), ":/main.py")
    board.press_reset()
    done = rig.pbal("flash", "--port", board.url, "--app-only", "--json")
    assert done.code == 0, done.err
    assert done.json["boards"][0]["files"]["copied"][-1] == "/main.py"


@pytest.mark.long
def test_a_main_that_swallows_interrupts_is_caught_while_it_starts(rig: Rig, flashed: Path) -> None:
    board = at_prompt(rig, flashed, port="rfc2217")
    (rig.folder / "loop.py").write_text(LOOPS["swallows"])
    mpremote(board.url, "fs", "cp", str(rig.folder / "loop.py"), ":/main.py")
    board.press_reset()
    board.until_said(b"main.py runs")  # past boot.py's window
    done = rig.pbal("flash", "--port", board.url, "--app-only", timeout=150)
    assert done.code == 0, done.err
    assert "resetting the board and interrupting its start" in done.err


def test_no_prompt_is_an_error_that_says_what_to_do(rig: Rig, flashed: Path) -> None:
    board = at_prompt(rig, flashed)
    (rig.folder / "loop.py").write_text(LOOPS["swallows"])
    mpremote(board.url, "fs", "cp", str(rig.folder / "loop.py"), ":/main.py")
    board.press_reset()
    board.until_said(b"main.py runs")
    done = rig.pbal("flash", "--port", board.url, "--app-only", "--repl-timeout", "8")
    assert done.code == ExitCode.NO_REPL
    assert "press the board's EN" in done.err
    assert "Press EN on the board" in done.err


@pytest.mark.long
def test_several_boards_at_once_one_of_them_wrong(rig: Rig, flashed: Path) -> None:
    macs = [bytes.fromhex(f"24a16000000{n}") for n in (1, 2)]
    for n, mac in enumerate(macs):
        rig.board(
            f"b{n}", like=flashed, port=f"pty:{rig.folder}/ttyUSB{n}", mac=mac, download=False
        )
    done = rig.pbal("flash", "--all", "--port", f"{rig.folder}/ttyUSB*", "--app-only", "--json")
    assert done.code == 0, done.err
    assert [r["mac"][-2:] for r in done.json["boards"]] == ["01", "02"]
    missing = f"{rig.folder}/ttyUSB7"
    mixed = rig.pbal(
        "flash", "--port", rig.boards[0].url, "--port", missing, "--app-only", "--json"
    )
    assert mixed.code == ExitCode.PORT_MISSING
    assert [r["ok"] for r in mixed.json["boards"]] == [True, False]
    assert "1 of 2 boards failed" in mixed.err


def test_wrong_chip(rig: Rig) -> None:
    board = rig.board(chip="esp32s3")
    done = rig.pbal("flash", "--port", board.url, "--image", "image.bin", "--no-stub")
    assert done.code == ExitCode.WRONG_CHIP
    assert "ESP32-S3" in done.err
    assert board.flash.data[0x1000] == 0xFF


def test_no_boot_loader(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)
    done = rig.pbal("flash", "--port", board.url, "--image", "image.bin")
    assert done.code == ExitCode.NO_BOOTLOADER
    assert "hold BOOT" in done.err


def test_port_errors_have_codes_of_their_own(rig: Rig) -> None:
    image = ("--image", "image.bin")
    missing = rig.pbal("flash", "--port", "/dev/ttyUSB77", *image)
    assert missing.code == ExitCode.PORT_MISSING
    board = rig.board()
    with serial.Serial(board.url, exclusive=True):
        busy = rig.pbal("flash", "--port", board.url, *image)
    assert busy.code == ExitCode.PORT_BUSY
    assert "Close" in busy.err
    refused = rig.pbal("flash", "--port", "socket://127.0.0.1:9", "--app-only",
                       "--repl-timeout", "3")  # fmt: skip
    assert refused.code == ExitCode.PORT_MISSING
    nothing = rig.pbal("flash", *image)
    assert nothing.code in (ExitCode.PORT_MISSING, ExitCode.INPUT)
    for done in (missing, busy):
        assert len(done.err.strip().splitlines()) <= 4, done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_flash_ends_at_once_and_leaves_no_tool_behind(
    rig: Rig, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"socket://127.0.0.1:{silent.getsockname()[1]}"
        running = rig.start("flash", "-p", url, "-i", "image.bin", "--no-stub", "--json")
        silent.settimeout(60)
        connection, _ = silent.accept()  # esptool is there and waits for an answer
        with connection:
            running.send_signal(number)
            out, err = running.communicate(
                timeout=needs.PATIENCE_S
            )  # its own patience would be minutes
    assert running.returncode == ExitCode.INTERRUPTED
    assert json.loads(out)["error"] == "Interrupted."
    assert "goes on from here" in err
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if url in _words(p)]


def _words(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


@pytest.mark.long
def test_a_board_of_ones_own_is_checked_and_put_on_the_node(rig: Rig, flashed: Path) -> None:
    street = (Path(__file__).parents[2] / "boards" / f"{BOARD}.toml").read_text()
    own = rig.folder / "own.toml"
    own.write_text(street.replace(f'name = "{BOARD}"', 'name = "own"').replace("a = 18", "a = 12"))
    board = rig.board(like=flashed, download=False)
    refused = rig.pbal("flash", "-b", "own.toml", "-p", board.url, "--app-only")
    assert refused.code == ExitCode.REFUSED
    assert "strapping pin GPIO12" in refused.err
    own.write_text(own.read_text().replace("a = 12", "a = 21"))
    done = rig.pbal("flash", "-b", "own.toml", "-p", board.url, "--app-only", "--json")
    assert done.code == 0, done.err
    assert "/board.json" in done.json["boards"][0]["files"]["copied"]
    told = mpremote(board.url, "exec", "print(open('/board.json').read())")
    assert '"own"' in told
