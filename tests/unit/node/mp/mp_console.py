"""The way in and its end: boot.py's window, Ctrl-C in the application, a prompt left alone."""

import asyncio
import gc
import random
import sys

import machine
import support
from keyboard import ASKS, BOOT, COILS, NOISE, boot, house, turns, typed

import scenarios_locked as locked
from pbal_node import app as app_module
from pbal_node import shutdown


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
        locked.the_window_of_a_locked_node_takes_the_secret_and_the_button,
        a_damaged_board_file_leaves_a_way_in,
        a_prompt_left_alone_restarts_the_node,
        a_person_who_works_is_not_cut_short_but_noise_is,
        the_running_application_takes_a_request_and_no_noise,
        locked.a_broken_program_of_a_locked_node_does_not_end_at_the_prompt,
        locked.a_lock_that_cannot_be_read_locks,
        locked.a_locked_node_that_runs_takes_the_secret_only,
        a_person_stops_a_node_at_any_moment,
        the_contacts_open_before_anything_is_loaded,
    )
)
