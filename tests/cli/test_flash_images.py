"""Which MicroPython image `pbal flash` takes: checked, pinned, downloaded once and kept."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest
from rigs.flash import Rig

from pbal_sim.romloader import stand_in_image
from pbal_tools.errors import ExitCode

pytestmark = pytest.mark.timeout(240)
BOARD = "esp32-devkitc"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (stand_in_image("esp32s3"), "is for the esp32s3"),
        (b"<html>not found</html>" * 100, "a web page"),
        (b"\xe9\x01", "only 2 bytes"),
        (b"\xff" * 0x1000 + stand_in_image(), "--offset 0"),
        (b"\xe9" + b"\x00" * 4096, "0 segments"),
        (stand_in_image()[:-5000], "cut short"),
        (stand_in_image()[:2000] + b"?" + stand_in_image()[2001:], "checksum"),
    ],
)
def test_wrong_images_are_refused_before_anything_is_written(
    rig: Rig, content: bytes, words: str
) -> None:
    board = rig.board()
    (rig.folder / "wrong.bin").write_bytes(content)
    done = rig.pbal("flash", "--port", board.url, "--image", "wrong.bin")
    assert done.code == ExitCode.WRONG_IMAGE
    assert words in done.err
    assert "Traceback" not in done.err
    assert board.flash.data[0x1000] == 0xFF


def pinned_board(rig: Rig, url: str, sha256: str) -> dict[str, str]:
    boards = rig.folder / "boards"
    boards.mkdir(exist_ok=True)
    text = (Path(__file__).parents[2] / "boards" / f"{BOARD}.toml").read_text()
    if "\n[flash]" in text:
        head, _, rest = text.partition("\n[flash]")
        text = head + ("\n[" + rest.split("\n[", 1)[1] if "\n[" in rest else "\n")
    text += f'\n[flash]\nimage_url = "{url}"\nimage_sha256 = "{sha256}"\n'
    (boards / f"{BOARD}.toml").write_text(text)
    return {"PBAL_BOARDS": str(boards)}


@pytest.mark.long
def test_the_pinned_image_is_downloaded_checked_and_kept(rig: Rig) -> None:
    content = stand_in_image()
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/image.bin"
        board = rig.board()
        wrong = rig.pbal("flash", "--port", board.url, env=pinned_board(rig, url, "0" * 64))
        assert wrong.code == ExitCode.WRONG_IMAGE
        assert "pinned is " + "0" * 64 in wrong.err
        env = pinned_board(rig, url, hashlib.sha256(content).hexdigest())
        done = rig.pbal("flash", "--port", board.url, "--no-stub", "--json", env=env)
        assert done.code == 0, done.err
        assert len(asked) == 2
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    # Without the network the kept one serves; without that, the error says how to help oneself.
    board.press_reset(download=True)
    again = rig.pbal("flash", "--port", board.url, "--no-stub", "--again", "--json", env=env)
    assert again.code == 0, again.err
    offline = rig.pbal("flash", "--port", board.url, env={**env, "XDG_CACHE_HOME": "/nowhere"})
    assert offline.code == ExitCode.UNREACHABLE
    assert "--image FILE" in offline.err


@pytest.mark.long
def test_an_image_pinned_on_this_computer_is_taken_from_then_on(rig: Rig, flashed: Path) -> None:
    board = rig.board(like=flashed, download=False)  # no boot loader: each call ends there
    port = ("flash", "--port", board.url, "--json")
    sha256 = hashlib.sha256(stand_in_image()).hexdigest()
    other = rig.pbal(*port, "-i", "image.bin", "--sha256", "0" * 64)
    assert other.code == ExitCode.WRONG_IMAGE
    assert sha256 in other.json["error"]
    bare = rig.pbal(*port, "-i", "http://127.0.0.1:9/image.bin")
    assert bare.code == ExitCode.INPUT
    assert "--sha256" in bare.json["remedy"]
    assert "pins no MicroPython image" in rig.pbal(*port).json["error"]
    pinned = rig.pbal(*port, "-i", "image.bin", "--sha256", sha256.upper(), "--pin")
    assert pinned.code == ExitCode.NO_BOOTLOADER, pinned.err
    (rig.folder / "image.bin").unlink()
    again = rig.pbal(*port)
    assert again.code == ExitCode.NO_BOOTLOADER, again.err
    assert again.json["boards"][0]["image"] == sha256
    next((rig.folder / "cache").rglob("*.bin")).write_bytes(b"spoilt")
    spoilt = rig.pbal(*port)
    assert spoilt.code == ExitCode.INPUT
    assert "--pin" in spoilt.json["remedy"]
