"""A provisioned node's console asks for its secret: end to end on an emulated board."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from rigs import needs
from rigs.flash import Rig, mpremote, runs, wait_for

from pbal_controller.keys import KeyStore
from pbal_sim.chipstate import PROMPT
from pbal_sim.replboard import ReplBoard
from pbal_tools import consolelock
from pbal_tools.errors import ConsoleLocked, ExitCode
from pbal_tools.flash.repl import reach_prompt
from pbal_tools.provision.node import Node
from pbal_tools.provision.work import Wanted, provision

pytestmark = [pytest.mark.timeout(280), pytest.mark.keeps_processes]
PASSPHRASE = b"correct horse battery"
ADDRESS = 258


class Locked(Rig):
    """A board with a node that `pbal provision add` has locked."""

    def prepare(self, flashed: Path) -> None:
        (self.folder / "keys.pass").write_bytes(PASSPHRASE)
        (self.folder / "keys.pass").chmod(0o600)
        self.node = self.board(like=flashed, download=False)
        self.store_args = ("--keys", "keys.json", "--passphrase-file", "keys.pass")
        for words in (
            ("provision", "init", "--site", "7", *self.store_args),
            ("provision", "add", "-a", str(ADDRESS), "-p", self.node.url, *self.store_args),
        ):
            done = self.pbal(*words)
            assert done.code == 0, done.err
        assert "console locked" in done.out

    def store(self) -> KeyStore:
        return KeyStore.open(self.folder / "keys.json", PASSPHRASE)

    def secret(self) -> str:
        return consolelock.secret(self.store().node(ADDRESS).root, 7, ADDRESS)

    def restart(self) -> None:
        """Until the application runs."""
        self.node.press_reset()
        wait_for("it runs", lambda: runs(self.node))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, flashed: Path) -> Iterator[Locked]:
    made = Locked(tmp_path_factory.mktemp("locked"))
    try:
        made.prepare(flashed)
        yield made
    finally:
        made.close()


def say(
    board: ReplBoard,
    data: bytes,
    for_s: float,
    every_s: float = 0.0,
    words: str = "",
    times: int = 1,
) -> str:
    """Types `data`, again and again if told to, for at least so long and until `words` were heard
    so many times; what was heard.
    """
    heard = b""
    with serial.Serial(board.url, 115200, timeout=0.02) as line:
        start = time.monotonic()
        again = 0.0
        while True:
            past_s = time.monotonic() - start
            told = heard.count(words.encode()) >= times
            if past_s >= (for_s if told else needs.PATIENCE_S):
                return heard.decode(errors="replace")
            if time.monotonic() >= again:
                line.write(data)
                again = time.monotonic() + (every_s or 3600)
            heard += line.read(4096)


def test_without_the_secret_it_is_refused_in_words_and_goes_on(rig: Locked) -> None:
    rig.restart()
    resets = rig.node.resets
    for words in (
        ("flash", "-p", rig.node.url, "--app-only"),
        ("node", "status", "-p", rig.node.url, "--dark"),
    ):
        done = rig.pbal(*words)
        assert done.code == ExitCode.CONSOLE_LOCKED, done.err
        assert "console of node 24a160fffe000001 is locked" in done.err
        assert "hold the board's button" in done.err
        assert "Traceback" not in done.err
    assert runs(rig.node)
    assert rig.node.resets == resets


@pytest.mark.long
def test_with_the_key_store_all_works_and_ends_locked(rig: Locked) -> None:
    done = rig.pbal("flash", "-p", rig.node.url, "--app-only", *rig.store_args, "--json")
    assert done.code == 0, done.err
    told = rig.pbal("node", "status", "-p", rig.node.url, "--dark", *rig.store_args, "--json")
    assert told.code == 0, told.err
    assert told.json["address"] == ADDRESS
    wait_for("it runs", lambda: runs(rig.node))
    assert ">>>" not in say(rig.node, b"\r\x03\x03", 3, 0.2)
    listed = rig.pbal("provision", "list", *rig.store_args, "--json").json["nodes"]
    assert [row["console"] for row in listed] == ["locked"]


def test_ctrl_c_at_any_moment_of_a_start_gives_nothing(rig: Locked) -> None:
    for data, every_s in ((b"\r\x03\x03", 0.2), (b"\x03\x03", 0.01)):
        rig.node.press_reset()
        heard = say(rig.node, data, 9, every_s, "console locked, node 24a160000001")
        assert "pbal: console locked, node 24a160000001" in heard
        assert ">>>" not in heard
        assert rig.secret() not in heard
        wait_for("it runs", lambda: runs(rig.node))


def test_a_wrong_secret_is_told_counted_and_slowed(rig: Locked) -> None:
    rig.restart()
    wrong = b"\r" + b"0" * 64 + b"\r"
    asked = say(rig.node, b"\r\x03\x03", 0.5, 0.7, "console locked")
    assert "console locked" in asked, "it looks for no secret before"
    start = time.monotonic()
    heard = say(rig.node, wrong, 0.0, 0.3, "wrong secret", 3)
    # Without the growing pause the third would follow at once.
    tries = [line for line in heard.splitlines() if "wrong secret" in line]
    assert len(tries) == 3, heard
    assert tries[0].endswith("next in 1 s")
    assert tries[1].endswith("next in 2 s")
    assert time.monotonic() - start >= 3.0
    assert ">>>" not in heard
    (rig.folder / "wrong.key").write_text("0" * 64)
    (rig.folder / "wrong.key").chmod(0o600)
    rig.restart()
    done = rig.pbal("node", "status", "-p", rig.node.url, "--dark", "--secret-file", "wrong.key")
    assert done.code == ExitCode.CONSOLE_LOCKED
    assert "not its own" in done.err
    assert runs(rig.node)
    # At a start there is one try, and the node goes on without waiting for another.
    rig.node.press_reset()
    heard = say(rig.node, wrong, 6, 0.1, "pbal: wrong secret\r\n")
    assert "pbal: wrong secret\r\n" in heard
    assert ">>>" not in heard


def test_noise_never_unlocks(rig: Locked) -> None:
    rig.restart()
    right = rig.secret().encode()
    for noise in (
        b"\xff" * 300,
        b"\x04\x01\x02",
        right,  # without Enter, then with more before it
        b"\r\x03" + right[:-1] + b"\r",
        b"x" + right + b"\r",
        right[:30] + b"\x03" + right[30:] + b"\r",
    ):
        assert ">>>" not in say(rig.node, noise, 2)
        say(rig.node, b"\r", 0.2)
    # What came before the last Enter belonged to another line.
    assert runs(rig.node)


def test_mpremote_after_unlock_and_a_reset_locks_again(rig: Locked) -> None:
    rig.restart()  # what the tests before typed is not all read yet
    assert (
        rig.pbal("provision", "secret", str(ADDRESS), "--out", "c.key", *rig.store_args).code == 0
    )
    done = rig.pbal("node", "unlock", "-p", rig.node.url, "--dark", "--secret-file", "c.key")
    assert done.code == 0, done.err
    assert rig.secret() not in done.out + done.err
    assert rig.node.state.mode == PROMPT
    assert mpremote(rig.node.url, "exec", "print(6 * 7)").strip() == "42"
    # A plain mpremote restarts the interpreter first: the session goes on.
    plain = subprocess.run(
        [needs.require_tool("mpremote"), "connect", rig.node.url, "exec", "print(6 * 8)"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "48" in plain.stdout
    kept = json.loads(mpremote(rig.node.url, "fs", "cat", ":/cfg/console.json"))
    assert set(kept) == {"salt", "rounds", "digests"}
    assert rig.secret() not in json.dumps(kept)
    rig.restart()
    assert ">>>" not in say(rig.node, b"\r\x03\x03", 3, 0.2)


def test_a_broken_program_leaves_the_prompt_closed_and_the_way_in_open(rig: Locked) -> None:
    """The start fails, then there is none: no prompt by itself, and the secret still opens."""
    reach_prompt(rig.node.url, 60, unlock=consolelock.of_store(rig.store()))
    (rig.folder / "broken.py").write_text("raise ValueError('broken')\n")
    mpremote(rig.node.url, "fs", "cp", str(rig.folder / "broken.py"), ":/lib/pbal_node/start.py")
    mpremote(rig.node.url, "fs", "rm", ":/lib/pbal_node/start.mpy")
    rig.node.press_reset()
    heard = say(rig.node, b"\x03", 5, 0.05, "ValueError: broken")
    assert "ValueError: broken" in heard
    assert ">>>" not in heard + say(rig.node, b"\r", 3, 0.5), "it waits, and starts anew"
    reach_prompt(rig.node.url, 60, unlock=consolelock.of_store(rig.store()))
    mpremote(rig.node.url, "fs", "rm", ":/main.py")
    rig.node.press_reset()
    assert ">>>" not in say(rig.node, b"\r\x03\x03", 5, 0.2)
    done = rig.pbal("flash", "-p", rig.node.url, "--app-only", *rig.store_args)
    assert done.code == 0, done.err
    wait_for("it runs", lambda: runs(rig.node))


def test_a_cut_rotation_leaves_both_secrets(rig: Locked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cable is pulled when the key store has the new key and the node has not."""
    store, before = rig.store(), rig.secret()

    def pulled(self: Node) -> None:
        raise OSError("the cable is pulled")

    with monkeypatch.context() as patch:
        patch.setattr(Node, "commit", pulled)
        with pytest.raises(OSError, match="pulled"):
            provision(rig.node.url, store, Wanted(ADDRESS), lambda _: None)
    assert rig.secret() != before, "the key store has the new one"
    for line in (before, rig.secret()):
        rig.restart()
        reach_prompt(rig.node.url, 60, unlock=lambda _, line=line: [line])
        assert (
            len(json.loads(mpremote(rig.node.url, "fs", "cat", ":/cfg/console.json"))["digests"])
            == 2
        )
    # The same once more finishes it: then only the newest opens.
    done = rig.pbal("provision", "rotate", str(ADDRESS), "-p", rig.node.url, *rig.store_args)
    assert done.code == 0, done.err
    rig.restart()
    with pytest.raises(ConsoleLocked):
        reach_prompt(rig.node.url, 60, unlock=lambda _: [before])
    rig.restart()  # a wrong one costs a pause
    reach_prompt(rig.node.url, 60, unlock=lambda _: [rig.secret()])
    assert (
        len(json.loads(mpremote(rig.node.url, "fs", "cat", ":/cfg/console.json"))["digests"]) == 1
    )


def test_a_rotation_keeps_the_lock_and_open_is_open(rig: Locked) -> None:
    rotated = rig.pbal("provision", "rotate", str(ADDRESS), "-p", rig.node.url, *rig.store_args)
    assert rotated.code == 0, rotated.err
    assert "console locked" in rotated.out
    opened = rig.pbal("provision", "rotate", str(ADDRESS), "-p", rig.node.url, "--open-console",
                      *rig.store_args)  # fmt: skip
    assert opened.code == 0, opened.err
    assert rig.store().node(ADDRESS).console == "open"
    told = rig.pbal("node", "status", "-p", rig.node.url, "--dark", "--json")
    assert told.code == 0, told.err
    again = rig.pbal("provision", "rotate", str(ADDRESS), "-p", rig.node.url, *rig.store_args)
    assert "console open" in again.out, again.err
