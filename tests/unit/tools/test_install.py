"""Installing on a board: what is copied, in which order, and what is believed."""

import hashlib
import json
from typing import Any

import pytest

from pbal_tools.errors import CheckFailed, PeerError, SelfTestFailed
from pbal_tools.flash import device, install, repl
from pbal_tools.flash.mp import Lost, Mpremote

MPY = b"M\x06\x00\x1f"
WANT = {
    "/boot.py": b"boot",
    "/lib/pbal_node/app.mpy": MPY + b"app",
    "/main.py": b"main",
}


class Board(Mpremote):
    """A board that keeps its files in a dictionary and remembers what happened to it."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        super().__init__("/dev/ttyTEST")
        self.files = dict(files or {})
        self.story: list[str] = []
        self.tests: list[Any] = [["crypto", True, "ok"], ["analog", True, "ok"]]
        self.mpy = 6
        self.version = "1.24.1"
        self.spoil: set[str] = set()

    def script(self, code: str, total_s: float = 120.0, fresh: bool = False) -> str:
        if code == device.PROBE:
            return "noise\n@I" + json.dumps({
                "name": "micropython", "version": self.version, "machine": "x", "mpy": self.mpy,
                "id": "24a160000001", "free": 1, "total": 2, "identity": False,
                "main": "/main.py" in self.files,
            })  # fmt: skip
        if code in (device.LIST, device.LIST_MAIN):
            lines = [
                f"@F {len(c)} {hashlib.sha256(c).hexdigest()} {p}"
                for p, c in self.files.items()
                if code == device.LIST or p == "/main.py"
            ]
            return "\n".join([*lines, "@D /lib", "@E"])
        if "os.remove" in code and "for p in" in code:
            names: list[str] = eval(code.split("for p in ")[1].split(":\n")[0])
            for name in names:
                self.files.pop(name, None)
                self.story.append(f"remove {name}")
            return "@E"
        if "os.mkdir" in code:
            return "@E"
        self.story.append("self-test")
        return "@T" + json.dumps(self.tests)

    def copy(self, files: Any, on_file: Any = None, total_s: float = 600.0) -> None:
        for path, content in files:
            self.files[path] = content[:-1] if path in self.spoil else content
            self.story.append(f"copy {path}")

    def reset(self) -> None:
        self.story.append("reset")


@pytest.fixture(autouse=True)
def no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repl, "reach_prompt", lambda *args, **kwargs: "")
    monkeypatch.setattr(repl, "listen", lambda *args, **kwargs: "")


def bring(board: Board, monkeypatch: pytest.MonkeyPatch) -> install.Installed:
    monkeypatch.setattr(install, "Mpremote", lambda port: board)
    return install.install(board.port, "b", "0.1.0", WANT, lambda w, s: None, lambda w: None)


def test_main_goes_first_and_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board({"/main.py": b"main", "/lib/pbal_node/app.mpy": b"old"})
    bring(board, monkeypatch)
    assert board.story == [
        "remove /main.py", "reset", "copy /lib/pbal_node/app.mpy", "copy /boot.py", "self-test",
        "copy /main.py", "reset",
    ]  # fmt: skip
    assert board.files == WANT


def test_nothing_is_copied_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(WANT)
    assert bring(board, monkeypatch).copied == []
    assert board.story == ["self-test", "reset"]


def test_what_would_shadow_the_application_goes_and_what_is_not_ours_stays() -> None:
    names = ("/lib/pbal_node/app.py", "/lib/urequests.py", "/old.py", "/data.txt")
    have = dict.fromkeys(names, (0, ""))
    _, stale = install.differences(WANT, have)
    assert stale == ["/lib/pbal_node/app.py", "/lib/urequests.py", "/old.py"]


def test_an_update_slot_does_not_outlive_what_is_flashed() -> None:
    slot = ["/app/a/manifest", "/app/state.0"]
    _, stale = install.differences(WANT, dict.fromkeys([*WANT, *slot], (0, "")))
    assert stale == slot


@pytest.mark.parametrize("path", sorted(WANT))
def test_a_file_that_is_not_as_it_was_sent_is_noticed(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board()
    board.spoil = {path}
    with pytest.raises(CheckFailed, match=path):
        bring(board, monkeypatch)


def test_a_file_that_a_poor_line_spoiled_once_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board()
    board.spoil = {"/boot.py"}
    told: list[str] = []
    monkeypatch.setattr(install, "Mpremote", lambda port: board)

    def note(words: str) -> None:
        told.append(words)
        board.spoil = set()

    install.install(board.port, "b", "0.1.0", WANT, lambda w, s: None, note)
    assert board.files == WANT
    assert board.story.count("copy /boot.py") == 2
    assert board.story.count("copy /lib/pbal_node/app.mpy") == 1
    assert "not on the board as they were sent" in told[0]


def test_a_board_that_fails_where_it_matters_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board()
    board.tests = [["crypto", False, "wrong result"], ["analog", True, ""]]
    with pytest.raises(SelfTestFailed, match="wrong result"):
        bring(board, monkeypatch)
    assert "/main.py" not in board.files


def test_a_missing_sensor_is_an_error_but_the_node_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    board.tests = [["crypto", True, ""], ["analog", False, "OSError: 5"]]
    with pytest.raises(SelfTestFailed, match="OSError: 5"):
        bring(board, monkeypatch)
    assert board.files == WANT
    assert board.story[-1] == "reset"


@pytest.mark.parametrize("said", ["Traceback (most recent call last):\nValueError: x", ">>> "])
def test_a_node_that_does_not_stay_up_is_noticed(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repl, "listen", lambda *args, **kwargs: said)
    with pytest.raises(SelfTestFailed, match="does not stay up"):
        bring(Board(), monkeypatch)


def test_an_application_for_another_micropython_is_not_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board()
    board.mpy = 5
    with pytest.raises(PeerError, match=r"loads \.mpy version 5"):
        bring(board, monkeypatch)
    board.mpy, board.version = 6, "1.23.0"
    with pytest.raises(PeerError, match=r"1\.23\.0 is older than 1\.24"):
        bring(board, monkeypatch)
    assert board.story == []


def test_a_break_is_gone_over_three_times_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    tries = []

    def broken(*args: Any, **kwargs: Any) -> None:
        tries.append(1)
        raise Lost("the connection broke off", "try again")

    monkeypatch.setattr(board, "copy", broken)
    with pytest.raises(Lost):
        bring(board, monkeypatch)
    assert len(tries) == install.TRIES


def test_a_poor_line_that_gets_ahead_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    want = {f"/lib/x/{n}.mpy": MPY + bytes((n,)) for n in range(9)} | {"/main.py": b"main"}
    board = Board()
    monkeypatch.setattr(install, "Mpremote", lambda port: board)

    def one_only(files: Any, on_file: Any = None, total_s: float = 0.0) -> None:
        Board.copy(board, files[:1])
        if len(files) > 1:
            raise Lost("the connection broke off", "try again")

    monkeypatch.setattr(board, "copy", one_only)
    install.install(board.port, "b", "0.1.0", want, lambda w, s: None, lambda w: None)
    assert board.files == want


def test_the_eui_of_a_mac() -> None:
    info = install.NodeInfo("1", "m", "24a160000001", 6, 0, 0, False, False)
    assert info.eui == "24a160fffe000001"
