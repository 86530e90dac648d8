"""A console with a lock: it opens for its secret and for nothing else. Run by mp_console.py."""

import gc
import json
import os
import sys

import machine
import support
from keyboard import ASKS, BOOT, NOISE, boot, house, turns, typed

from pbal_node import console, lock

# As pbal_tools.consolelock makes it (tests/unit/tools/test_consolelock.py has the same digest).
SECRET = b"5a" * 32
LOCK = {
    "salt": "00ff",
    "rounds": 1000,
    "digests": ["621dcea76dcaed5ff3f24239b9909e1f38dfb5e63ad70f24ca0f96a8acb66db5"],
}
NO_DIGEST = '{"salt": "x", "rounds": 1, "digests": 3}'
ENDLESS = json.dumps(dict(LOCK, rounds=1000000000))


def locked(text=None):
    """From here on the node has a lock."""
    support.write_file("/main.py", "")  # without it boot.py waits for the secret for ever
    support.write_file("/cfg/console.json", text or json.dumps(LOCK))


def the_window_of_a_locked_node_takes_the_secret_and_the_button():
    house.level[0] = 1
    locked()
    try:
        for data in ASKS + NOISE:
            assert not boot(data), data
        for before in (b"", b"\r\x03", b"\r\x03\x03\r", b"x\r"):
            assert boot(before + SECRET + b"\r"), before
        for wrong in (b"0" * 64, SECRET[:-1], SECRET + b"5", SECRET[:9] + b"\x03" + SECRET[9:]):
            assert not boot(wrong + b"\r"), wrong
        assert not boot(SECRET), "without Enter"
        twice = b"0" * 64 + b"\r" + SECRET + b"\r"
        for before in (b"", b"\r\x03\x03"):
            assert not boot(before + twice), "one try for each start"
        os.remove("/main.py")
        assert boot(twice), "without a program it waits for the secret"
        locked()
        house.level[0] = 0
        assert boot(b"")
        house.level[0] = 1
        for damaged in ("{", "[]", "{}", "7", NO_DIGEST, ENDLESS):
            locked(damaged)
            assert not boot(b"\r\x03" + SECRET + b"\r"), damaged
            assert not boot(b"\r\x03\x03"), damaged
        os.remove("/cfg/console.json")
        os.mkdir("/cfg/console.json")  # a file that cannot be read
        assert not boot(b"\r\x03\x03")
    finally:
        os.remove("/cfg/console.json")


class Broken:
    """In place of pbal_node.start."""

    @staticmethod
    def application():
        raise ValueError("broken")


def main_restarts():
    """main.py with a program that is broken; whether the chip restarts instead of the prompt."""
    with open(BOOT.replace("boot.py", "main.py")) as f:
        code = compile(f.read(), "main.py", "exec")
    kept = sys.modules.get("pbal_node.start")
    sys.modules["pbal_node.start"] = Broken
    try:
        exec(code, {"__name__": "__main__"})
    except machine.ResetError:
        return True
    finally:
        gc.threshold(-1)
        sys.modules.pop("pbal_node.start")
        if kept:
            sys.modules["pbal_node.start"] = kept
    return False


def a_broken_program_of_a_locked_node_does_not_end_at_the_prompt():
    resets = machine.house.resets
    assert not main_restarts()
    locked()
    try:
        assert main_restarts()
    finally:
        os.remove("/cfg/console.json")
    machine.house.resets = resets


class Worn:
    """A flash that does not read: whether there is a lock nobody knows."""

    @staticmethod
    def stat(path):
        raise OSError(5)


def a_lock_that_cannot_be_read_locks():
    console.os = Worn
    try:
        for data in ASKS:
            asked, _keys = typed(data)
            assert turns(asked, 20) is None, data
    finally:
        console.os = os


def a_locked_node_that_runs_takes_the_secret_only():
    locked()
    try:
        for data in ASKS + NOISE:
            asked, _keys = typed(data)
            assert turns(asked, 20) is None, data
        for before in (b"", b"\r\x03", b"\xff" * 500 + b"\r", b"x\x03"):
            asked, keys = requested(before + SECRET + b"\r\x01")
            assert turns(asked) is not None, before
            assert keys.data == b"\x01", "what follows is the prompt's"
        for wrong in (SECRET[:-1], SECRET + b"5", SECRET[:9] + b"\x03" + SECRET[9:]):
            asked, _keys = requested(wrong + b"\r")
            assert turns(asked, 20) is None, wrong
        asked, _keys = typed(SECRET + b"\r")
        assert turns(asked, 20) is None, "before anybody asked for the prompt"
        # Where there is no room for the lock's code, nothing happens; later there may be.
        asked, keys = typed(b"\r\x03\x03")
        sys.modules["pbal_node.lock"] = NoRoom()
        assert not asked()
        sys.modules["pbal_node.lock"] = lock
        keys.data = b"\r\x03\x03"
        assert not asked()
        keys.data = SECRET + b"\r"
        assert turns(asked) is not None
        # Wrong ones cost a pause that doubles, in which the right one counts for nothing either;
        # the first, the tenth ... are events.
        told = []
        asked, keys = requested(b"", lambda *what: told.append(what))
        checks = []
        for n in range(600):
            if not keys.data:
                keys.data = b"0" * 64 + b"\r"
            was = house_said(asked)
            if was:
                checks.append(n)
        pauses = [b - a for a, b in zip(checks, checks[1:])]  # noqa: B905
        assert all([b > a for a, b in zip(pauses[:5], pauses[1:6])]), pauses  # noqa: B905
        assert max(pauses) <= 128 + 8, pauses
        assert [a for a in told if a[0] != 9 or a[3] != 1] == [], told
        assert [a[2] for a in told] == [1, 10], told
        keys.data = b"\r" + SECRET + b"\r"
        assert turns(asked, 3) is None
        while keys.data:
            assert not asked()
        for _ in range(140):
            assert not asked()
        keys.data = b"\r" + SECRET + b"\r"
        assert turns(asked) is not None
        locked(ENDLESS)
        asked, keys = requested(SECRET + b"\r")
        assert turns(asked, 20) is None
        keys.data = b"x"
        assert not asked() and not keys.data, "a try that does not end"
        locked("{")
        asked, _keys = requested(SECRET + b"\r")
        assert turns(asked, 20) is None, "a damaged lock opens for nobody"
    finally:
        os.remove("/cfg/console.json")


def requested(data, emit=None):
    """As typed(), on a locked node that was asked for the prompt before."""
    asked, keys = typed(b"\r\x03\x03", emit)
    assert not asked()
    keys.data = data
    return asked, keys


class NoRoom:
    """A module that finds no room."""

    def __getattr__(self, name):
        raise MemoryError


def house_said(asked):
    """True when the node told of a wrong secret in this turn."""
    said = []
    lock.print = lambda *words: said.append(words[0])
    try:
        assert not asked()
    finally:
        del lock.print
    return [words for words in said if "wrong secret" in words]
