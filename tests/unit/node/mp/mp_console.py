"""The way in and its end: boot.py's window, Ctrl-C in the application, a prompt left alone."""

import asyncio
import gc
import json
import os
import random
import select
import sys
import time

import machine
import support

BOOT = [p for p in sys.path if p.endswith("/firmware")][0] + "/boot.py"
support.ram_disk()
BOOT = "/host" + BOOT
support.install_board("esp32-devkitc", return_spread_ms=0)
support.install_identity(7, 0x0105, bytes(32), b"\x11" * 32, phase=2)

from pbal_node import app as app_module  # noqa: E402
from pbal_node import console, lock, shutdown  # noqa: E402

house = machine.house
COILS = (18, 19, 23)

# What tools send, and what noise sends. A text read of the last ones would wait for more.
ASKS = (b"\r\x03", b"\x03\x03", b"\r\x03\x03", b"\r\x03\r\x01", b"\x03\x03\x03\x03")
NOISE = (
    b"",
    b"\x03",
    b"\r",
    b"a",
    b"\x03a\x03",
    b"\xc3",
    b"\xff" * 40,
    b"\xe2\x82",
    b"\x01",
    b"\x04",
    # More than two bytes that happen to be right: dense noise has them every eight minutes.
    b"\xc3\r\x03",
    b"x\r\r\x03",
    b"\x03\x03\xff",
    b"\x80\x03\x03" * 20,
    b"\r\r\r\r",
)


async def nothing():
    pass


# The interpreter stamps the first task by its own clock: let virtual time take that step now.
asyncio.run(nothing())


class Keys:
    """A console on which `data` was typed; also the poll object and sys.stdin."""

    POLLIN = 1

    def __init__(self, data):
        self.data = data
        self.buffer = self.stdin = self

    def __getattr__(self, name):
        return getattr(sys, name)

    def poll(self, ms=None):
        if self.data is None or ms is None:
            return self  # select.poll(); or the end of a file, which is always there
        if not self.data:
            time.sleep_ms(ms)
        return [self] if self.data else []

    def register(self, what, how):
        pass

    def read(self, n):
        assert n == 1, "a read of more waits"
        if self.data is None:
            return b""
        key = self.data[:1]
        self.data = self.data[1:]
        return key


def boot(data):
    """boot.py with `data` typed; True when it keeps main.py from starting."""
    with open(BOOT) as f:
        code = compile(f.read(), "boot.py", "exec")
    keys = Keys(data)
    names = {"__name__": "__main__"}
    house.timer = None
    for pin in COILS:
        house.level[pin] = 1
    sys.modules["select"] = sys.modules["sys"] = keys
    try:
        exec(code, names)
        asked = False
    except KeyboardInterrupt:
        asked = True
    finally:
        sys.modules["select"], sys.modules["sys"] = select, sys
    assert [house.level[pin] for pin in COILS] == [0, 0, 0]
    assert house.timer, "nothing watches"
    assert list(names) == ["__name__"], "left behind: %r" % names
    return asked


def the_window_takes_a_request_and_no_noise():
    house.level[0] = 1
    for data in ASKS:
        assert boot(data), data
    for data in NOISE:
        assert not boot(data), data
    assert not boot(None), "no console"
    house.level[0] = 0  # the button held
    assert boot(b"")
    house.level[0] = 1


def a_damaged_board_file_leaves_a_way_in():
    with open("/board.json") as f:
        text = f.read()
    for broken in ("", "[]", "{", '{"selector": 3}'):
        support.write_file("/board.json", broken)
        for pin in COILS:
            house.level[pin] = 0  # what is not known cannot be switched off
        with open(BOOT) as f:
            assert "except Exception as e:" in f.read()
        real, house.level = house.level, Levels()
        try:
            assert boot(b"\r\x03\x03") and not boot(b"")
        finally:
            house.level = real
    support.write_file("/board.json", text)


class Levels(dict):
    """No pin was ever driven."""

    def __getitem__(self, pin):
        return 0


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


def turns(asked, most=400):
    """How many turns until it gives the prompt; None if never."""
    for n in range(most):
        if asked():
            return n
    return None


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


def tick(used):
    """One call of the timer, two seconds after the last, with `used` bytes of heap in use."""
    Gc.used = used
    house.timer(None)


class Gc:
    used = 0

    def mem_alloc(self):
        return Gc.used


def prompts():
    """Both places that look after a prompt, with a heap that the test moves."""
    real = gc
    sys.modules["gc"] = Gc()
    try:
        boot(b"\r\x03")
    finally:
        sys.modules["gc"] = real
    yield "boot.py"
    shutdown._care(machine.WDT(), Gc().mem_alloc, machine.reset)
    yield "shutdown.py"


def ticks_to_reset(used):
    """How many calls of the timer until it resets the chip; the heap in use is used(n)."""
    for n in range(5000):
        fed = house.fed
        try:
            tick(used(n))
        except machine.ResetError:
            return n
        assert house.fed == fed + 1, "cut short by the watchdog"
    return None


def a_prompt_left_alone_restarts_the_node():
    for where in prompts():
        assert 290 <= ticks_to_reset(lambda n: 7) <= 310, where


def a_person_who_works_is_not_cut_short_but_noise_is():
    for where in prompts():
        # Something is copied now and then, for an hour; then the cable is pulled.
        n = ticks_to_reset(lambda n: n // 250 if n < 1800 else 9)
        assert 1800 + 200 <= n <= 1800 + 310, (where, n)
    for where in prompts():
        assert 3500 <= ticks_to_reset(lambda n: n) <= 3700, where


def the_running_application_takes_a_request_and_no_noise():
    for data in ASKS:
        asked, _keys = typed(data)
        assert turns(asked, 2) is not None, data
    for data in NOISE:
        asked, _keys = typed(data)
        assert turns(asked, 9) is None, data
    asked, keys = typed(b"\r\x03\r\x01")
    assert asked() and keys.data == b"\x01", "what a tool sends next is the prompt's"
    # In pieces, as it comes.
    asked, keys = typed(b"\r")
    assert not asked()
    keys.data = b"\x03"
    assert not asked() and asked()
    # Noise just before, or just behind, makes it noise; a second later it is a request again.
    asked, keys = typed(b"\xff")
    assert not asked()
    keys.data = b"\r\x03\x03"
    assert turns(asked, 3) is None
    keys.data = b"\r\x03\x03"
    assert asked()
    # A tool that goes on asking gets in, whatever came before.
    asked, keys = typed(b"\xff" * 200)
    for _ in range(9):
        keys.data += b"\r\x03\x03" * 2
        if asked():
            break
    else:
        raise AssertionError("never let in")
    # An hour of dense noise, half of it the right bytes, and of one byte at a time.
    for many, some in ((60, b"\x03\x03\r\x00\x80\xff"), (1, bytes(range(256)))):
        asked, keys = typed(b"\xff")
        assert not asked()
        random.seed(many)
        for _ in range(7200):
            keys.data = bytes([random.choice(some) for _ in range(many)])
            assert not asked(), many
    # A flood holds nothing up.
    asked, keys = typed(b"x" * 500)
    assert not asked() and len(keys.data) > 400
    asked, keys = typed(None)
    assert not asked()
    keys.data = b"\r\x03"
    assert not asked(), "it looks at a console that is not there"


def typed(data, emit=None):
    """(what the application asks, the keys) with `data` typed."""
    keys = console.select = console.sys = Keys(data)
    asked = console.console(emit)
    console.select, console.sys = select, sys
    return with_keys(asked, keys), keys


def with_keys(asked, keys):
    """It reads sys.stdin of its module each time."""

    def ask():
        console.sys = keys
        try:
            return asked()
        finally:
            console.sys = sys

    return ask


def ask(app):
    app.console, _keys = typed(b"\r\x03\x03\r\x03\x03")


def stopped(during, after_ms=0):
    """main() in which a person asks for the prompt once `during(app)` is true."""
    real = app_module.App.run

    async def run(self):
        async def person():
            while not during(self):
                await asyncio.sleep_ms(20)
            await asyncio.sleep_ms(after_ms)
            ask(self)

        asyncio.create_task(person())
        await real(self)

    app_module.App.run = run
    asyncio.new_event_loop()
    house.timer = None
    try:
        app_module.main()
        raise AssertionError("main() came back")
    except KeyboardInterrupt:
        pass
    finally:
        app_module.App.run = real
    assert sum([house.level.get(p, 0) for p in COILS]) == 0, "a contact is closed at the prompt"
    assert house.timer, "nothing watches the prompt"


def a_person_stops_a_node_at_any_moment():
    """Whatever its contacts do just then."""
    for phase in (0, 1, 2, 3):
        for ms in (0, 30, 300, 700):

            def now(app, phase=phase):
                if phase and not app.drive.driven:
                    app.drive.on(phase, app.now_ms())
                return True

            stopped(now, ms)


def the_contacts_open_before_anything_is_loaded():
    """Also when what would be loaded is broken: the watchdog then restarts the chip."""

    class Broken:
        def __getattr__(self, name):
            raise MemoryError

    parent = sys.modules["pbal_node"]
    sys.modules["pbal_node.shutdown"] = parent.shutdown = Broken()
    try:
        for error in (KeyboardInterrupt, RuntimeError("broken")):
            real = app_module.App._housekeeping

            async def fails(self, error=error):
                await asyncio.sleep_ms(100)
                self.drive.on(2, self.now_ms())
                self.drive.busy = True  # at rest it may stay until the reset
                raise error

            app_module.App._housekeeping = fails
            asyncio.new_event_loop()
            try:
                app_module.main()
                raise AssertionError
            except (MemoryError, machine.ResetError):
                pass
            finally:
                app_module.App._housekeeping = real
            assert sum([house.level.get(p, 0) for p in COILS]) == 0, error
    finally:
        sys.modules["pbal_node.shutdown"] = parent.shutdown = shutdown


support.run(
    (
        the_window_takes_a_request_and_no_noise,
        the_window_of_a_locked_node_takes_the_secret_and_the_button,
        a_damaged_board_file_leaves_a_way_in,
        a_prompt_left_alone_restarts_the_node,
        a_person_who_works_is_not_cut_short_but_noise_is,
        the_running_application_takes_a_request_and_no_noise,
        a_broken_program_of_a_locked_node_does_not_end_at_the_prompt,
        a_lock_that_cannot_be_read_locks,
        a_locked_node_that_runs_takes_the_secret_only,
        a_person_stops_a_node_at_any_moment,
        the_contacts_open_before_anything_is_loaded,
    )
)
