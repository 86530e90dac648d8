"""What somebody who uses pbal for the first time runs into: said in words, at once."""

import asyncio
import io
import json
import logging
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rigs.waiting import until
from typer.testing import CliRunner

from pbal_controller.keys import KeyStore
from pbal_controller.loops import Supervisor
from pbal_host import counted
from pbal_tools import cli, sim, streetoptions
from pbal_tools.board import model
from pbal_tools.errors import InputError
from pbal_tools.flash import choose
from pbal_tools.flash import image as images
from pbal_tools.picture import Picture
from pbal_tools.streetoptions import RunOptions
from pbal_tools.view import render


def taken() -> socket.socket:
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    held.listen()
    return held


# -- ports ---------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with taken() as held:
        port = held.getsockname()[1]
        with pytest.raises(InputError, match=f"Port {port} cannot be used") as caught:
            streetoptions.check(RunOptions(port=port))
        assert "--port" in caught.value.remedy
        monkeypatch.setattr(streetoptions, "USUAL_PORT", port)
        assert streetoptions.default_port() == 0
    assert streetoptions.default_port() == port


async def test_what_lies_outside_is_logged_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def port_taken(beat: Any) -> None:
        raise OSError("http: 127.0.0.1:8480 cannot be used (Address already in use); set http.port")

    async def broken(beat: Any) -> None:
        raise ZeroDivisionError("ours")

    supervisor = Supervisor()
    supervisor.add("http", port_taken)
    supervisor.add("defect", broken)
    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(supervisor.run())
        await until(lambda: {r.__dict__["loop"] for r in caplog.records} == {"http", "defect"})
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    found = {record.loop: record for record in caplog.records}  # type: ignore[attr-defined]
    assert not found["http"].exc_info
    assert "set http.port" in found["http"].why  # type: ignore[attr-defined]
    assert found["defect"].exc_info, "a defect of ours keeps its traceback"


# -- the screen ----------------------------------------------------------------------------


def test_the_page_s_address_is_whole_at_80_by_24() -> None:
    picture = Picture("pbal · a street", stage="running", url="http://127.0.0.1:48480")
    picture.footer = "loads from 19:00, x4 · decides every 5 s (street: 60 s) · Ctrl-C ends it"
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=False)
    console.print(render(picture, 80, 24), height=24)
    lines = out.getvalue().splitlines()
    assert len(lines) <= 24
    (line,) = [text for text in lines if "monitor" in text]
    assert "page http://127.0.0.1:48480 " in line
    assert "pbal monitor --url http://127.0.0.1:48480" in line
    assert "Ctrl-C ends it" in lines[-1]


async def test_a_fault_is_announced_without_a_live_picture() -> None:
    said: list[str] = []
    picture = Picture("x", stage="running")
    stop = asyncio.Event()
    task = asyncio.create_task(stop.wait())
    telling = asyncio.create_task(sim.tell(picture, task, said.append))  # type: ignore[arg-type]
    await until(lambda: said)
    picture.fault = "a contact of the first home welds"
    await until(lambda: any("fault: a contact of the first home welds" in line for line in said))
    stop.set()
    await telling


def test_one_home_is_one_home() -> None:
    assert [counted(n, "home") for n in (0, 1, 2)] == ["0 homes", "1 home", "2 homes"]


# -- options -------------------------------------------------------------------------------


def run(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words))


def test_a_picture_is_an_svg(tmp_path: Path) -> None:
    done = run("sim", "run", "--headless", "--picture", str(tmp_path / "x.jpg"))
    assert isinstance(done.exception, InputError)
    assert "SVG" in done.exception.message


def test_profiles_with_more_homes_than_the_street_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "p.csv"
    file.write_text("time,home_01,home_02,home_03\n0,1,2,3\n60,1,2,3\n")

    async def nothing(*args: Any, **more: Any) -> Any:
        return SimpleNamespace(result={})

    monkeypatch.setattr(sim, "play", nothing)
    done = run("sim", "run", "--headless", "--homes", "2", "--profiles", str(file))
    assert done.exit_code == 0, done.output
    assert "has 3 homes, the first 2 are used" in done.stderr
    assert "are used" not in run("sim", "run", "--homes", "3", "--profiles", str(file)).stderr


@pytest.mark.parametrize("words", [("-h",), ("sim", "-h"), ("sim", "run", "-h"), ("flash", "-h")])
def test_short_help(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_the_list_of_nodes_takes_names_from_the_site(tmp_path: Path) -> None:
    store = KeyStore.create(tmp_path / "keys.json", b"passphrase", 7, log2_n=10)
    store.add(12, "a4cf12fffe000011")
    secret = tmp_path / "keys.pass"
    secret.write_text("passphrase\n")
    secret.chmod(0o600)
    (tmp_path / "homes.csv").write_text("address,name\n12,Mill Lane 12\n")
    (tmp_path / "site.toml").write_text(
        '[site]\nid = 7\n[bus.a]\nport = "/dev/ttyUSB0"\n'
        '[[home]]\naddress = 12\nbus = "a"\nname = "Mill Lane 12"\n'
    )
    words = ("provision", "list", "--keys", str(store.path), "--passphrase-file", str(secret))
    for file in ("homes.csv", "site.toml"):
        done = run(*words, "--names", str(tmp_path / file))
        assert "Mill Lane 12" in done.stdout, done.output
        assert "1 node\n" in done.stdout
    assert json.loads(run(*words, "--json").stdout)["nodes"][0]["name"] == ""


# -- which board, which image ---------------------------------------------------------------


def test_no_board_is_taken_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PBAL_BOARD", raising=False)
    done = run("flash", "--port", "socket://127.0.0.1:1", "--app-only")
    assert isinstance(done.exception, InputError)
    assert "Which board" in done.exception.message
    assert "esp32-s3" in done.exception.remedy


def test_on_a_terminal_the_board_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(choose, "_interactive", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO("99\nesp32-s3\n"))
    assert choose.board(False) == "esp32-s3"
    told = capsys.readouterr().err
    assert "'99' is not in the list" in told
    assert "lilygo-t3" in told
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    assert choose.board(False) == model.names()[0]
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(InputError, match="No board"):
        choose.board(False)


def test_an_image_that_fits_is_offered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, other = tmp_path / "good.bin", tmp_path / "other.bin"
    for path in (good, other):
        path.write_bytes(b"x")

    def check(path: Path, *more: Any) -> images.Image:
        if path == other:
            raise InputError("another chip")
        return images.Image(path, "ab" * 32, 1, 0, True)

    monkeypatch.setattr(images, "check", check)
    monkeypatch.setattr(choose, "FOLDERS", (tmp_path,))
    monkeypatch.setattr(choose, "_interactive", lambda: True)
    data = model.load("esp32-devkitc")
    for typed, chosen in (("1\n", str(good)), ("\n", ""), ("7\n", "")):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        assert choose.image(data, tmp_path / "pins.json", False) == chosen
    told = capsys.readouterr().err
    assert "good.bin" in told
    assert "other.bin" not in told
