"""After an update: a release is on trial, proven, or gives way to one that ran before.

Run by mp_update.py.
"""

import asyncio
import os

import machine
import support
from updating import (
    DEVICE,
    NEW,
    Controller,
    Log,
    Reset,
    boot,
    install,
    manifest,
    proven,
    ready,
    remount,
    run,
)

from pbal_node import counters, shutdown, slots, start, store


def three_boots_then_back():
    c = ready()
    for _ in range(3):
        slot, place = boot()
        assert slot == 1 and place.on_trial and place.planned
    slot, place = boot()
    assert slot == 0 and place.s[4] == 1 and place.s[5] == 12
    log = Log()
    place.tell(log.emit)
    place.tell(log.emit)
    assert log.seen == [(19, 12, 1)]
    slot, place = boot()
    place.tell(log.emit)
    assert slot == 0 and len(log.seen) == 1

    async def work(updater, app):
        s = await c.bring(updater)
        assert (s.stage, s.why, s.slot) == (7, 12, 0), s

    run(place, work)


def boots_that_cannot_be_counted_are_not_tried():
    """A flash that is full or worn out: else a trial that fails would be tried for ever."""
    ready()
    kept = start._write

    def refuses(state):
        raise OSError(28)

    start._write = refuses
    try:
        assert boot()[0] == 0
    finally:
        start._write = kept
    assert boot()[0] == 1


def a_trial_is_watched():
    """One that hangs by the watchdog, one that runs and is never proven by its board's limit."""
    ready()
    boot()
    support.write_file("/board.json", '{"update": {"trial_s": 0}}')
    machine.house.wdt_ms = 0
    machine.house.timer = print  # boot.py's, which would feed the watchdog for a person

    async def hangs():
        start._watch(1)
        await asyncio.sleep_ms(20)

    loop = asyncio.get_event_loop()
    loop.set_exception_handler(lambda *_: None)  # the reset, which ends the guard's task
    asyncio.run(hangs())
    loop.set_exception_handler(None)
    assert machine.house.wdt_ms == 60000 and machine.house.timer is None
    assert bytes(start._read()[2][:6]) == b"\x00\x00\x00\x08\x01\x0e"  # left as unproven


def a_damaged_file_is_not_run():
    ready()
    with open("/app/a/pbal_node/app.mpy", "wb") as f:
        f.write(b"new app" * 399 + b"new apq")
    slot, place = boot()
    assert slot == 0 and place.s[5] == 13


def a_confirmed_slot_that_rots_or_crashes_gives_way():
    ready()
    _slot, place = boot()
    log = Log()
    assert not place.prove(1000, 2000, True, True, log.emit)  # too early
    assert not place.prove(3000, 2000, False, True, log.emit)  # nobody spoke to it
    assert not place.prove(3000, 2000, True, False, log.emit)  # it meters no more
    assert place.prove(3000, 2000, True, True, log.emit)
    assert log.seen == [(18, 0x100, 1)]
    for _ in range(40):
        assert boot()[0] == 1  # resets from outside, of whatever kind, are no crashes
    for _ in range(8):
        slot, place = boot()
        assert slot == 1
        place.crashed()
    slot, place = boot()
    assert slot == 0 and place.s[5] == 12
    place.crashed()  # the factory's has nothing to give way to
    assert boot()[0] == 0
    # After a quiet time the count starts again.
    ready()
    boot()[1].prove(3000, 2000, True, True, log.emit)
    for _ in range(20):
        slot, place = boot()
        assert slot == 1
        place.crashed()
        place.stable()
    os.remove("/app/a/pbal_protocol/x.py")
    assert boot()[0] == 0


def the_second_update_takes_the_other_slot_and_keeps_the_first():
    ready()
    boot()[1].prove(3000, 2000, True, True, Log().emit)
    other = dict(NEW)
    other["pbal_node/app.mpy"] = b"third"
    c = Controller(other, manifest(other, version="0.3.0"))
    slot, place = boot()
    assert slot == 1

    async def work(updater, app):
        assert updater.status().stage == 6
        assert (await c.bring(updater)).stage == 3
        assert c.sent == len(c.text) + 5  # the rest is copied from slot a

    run(place, work)
    assert place.begin_trial(2, True)
    slot, place = boot()
    assert slot == 2
    place.prove(3000, 2000, True, True, Log().emit)
    assert bytes(place.s[:2]) == b"\x02\x01"
    # While slot a is filled again it is nothing to go back to.
    fourth = Controller(NEW, manifest(NEW, version="0.4.0"))
    slot, place = boot()

    async def begin(updater, app):
        await fourth.bring(updater, (2,))

    image = bytes(DEVICE.data)
    run(place, begin)
    assert bytes(place.s[:2]) == b"\x02\x00"
    DEVICE.data[:] = image
    remount()
    os.remove("/app/b/pbal_node/app.mpy")
    assert boot()[0] == 1  # the one before, not the factory's


def only_the_application_s_own_failure_counts():
    """shutdown.py notes a crash of a slot; start.py one that cannot be loaded."""
    ready()
    boot()[1].prove(3000, 2000, True, True, Log().emit)
    boot()
    for n in range(8):
        assert start._read()[2][3] == 8 - n
        shutdown.crashed(ValueError("own"))
        counters.Counters("/cfg/counters", store.FlashStats()).settle()
    assert boot()[0] == 0
    ready()
    boot()[1].prove(3000, 2000, True, True, Log().emit)
    for _ in range(8):
        assert boot()[0] == 1
        try:
            start._fail_once(start._read())
        except Reset:
            pass
    assert boot()[0] == 0 and start._read()[2][5] == 12


class Full(store.Slot):
    """A flash with no room for the minimum, and some for the state."""

    def save(self, payload, asked=False):
        return self._path != "/cfg/minimum" and store.Slot.save(self, payload, asked)


def no_release_proves_itself_whose_minimum_is_not_on_flash():
    install()
    proven(NEW, "0.4.0", 1, "minimum 0.3.0\n")
    slots.Slot = Full
    try:
        _slot, place = boot()
        assert not place.prove(3000, 2000, True, True, Log().emit)
    finally:
        slots.Slot = store.Slot
    slot, place = boot()
    assert slot == 1 and place.on_trial and slots.minimum() == 0
    assert place.prove(3000, 2000, True, True, Log().emit) and slots.minimum() == 0x300


def nothing_below_the_signed_minimum_runs_again():
    install()
    proven(NEW, "0.2.0", 1)
    boot()[1].prove(3000, 2000, True, True, Log().emit)
    assert slots.minimum() == 0
    newer = dict(NEW)
    newer["pbal_node/app.mpy"] = b"newer"
    proven(newer, "0.4.0", 2, "minimum 0.3.0\n")
    assert slots.minimum() == 0, "a trial raises nothing"
    slot, place = boot()
    DEVICE.cut_after = 0
    assert not place.prove(3000, 2000, True, True, Log().emit) and DEVICE.dead
    remount()
    slot, place = boot()
    assert place.on_trial and slot == 2
    assert place.prove(3000, 2000, True, True, Log().emit)
    assert slots.minimum() == 0x300
    # What is older is not taken, whatever it says, and however well it is signed.
    for version, why in (("0.2.9", 5), ("0.3.0", 0)):
        c = Controller(NEW, manifest(NEW, version=version, extra="downgrade\n"))
        _slot, place = boot()

        async def work(updater, app, c=c, why=why):
            s = await c.bring(updater)
            assert (s.stage, s.why) == (7 if why else 3, why), s

        run(place, work)
    _slot, place = boot()
    assert place.begin_trial(1, True)
    assert boot()[1].prove(3000, 2000, True, True, Log().emit)
    assert slots.minimum() == 0x300, "a release that asks for less lowers nothing"
    # It crashes: the one before it is below the minimum, so the factory's is what is left.
    install()
    proven(NEW, "0.2.0", 1)
    boot()[1].prove(3000, 2000, True, True, Log().emit)
    for minimum, back_to in (("0.2.0", 1), ("0.2.1", 0)):
        image = bytes(DEVICE.data)
        proven(newer, "0.4.0", 2, "minimum %s\n" % minimum)
        assert boot()[1].prove(3000, 2000, True, True, Log().emit)
        for _ in range(8):
            slot, place = boot()
            assert slot == 2
            place.crashed()
        assert boot()[0] == back_to, minimum
        DEVICE.data[:] = image
        remount()


def a_trials_clock_ends_no_other_trial():
    """It runs on after the trial was confirmed, and the next release may be ordered meanwhile."""
    ready()
    slot, place = boot()
    assert slot == 1

    async def out(slot):
        try:
            await start._guard(0, slot)
        except Reset:
            return True
        return False

    place.prove(3000, 2000, True, True, Log().emit)
    assert not asyncio.run(out(1))
    assert place.begin_trial(2, True)
    assert not asyncio.run(out(1)) and start._read()[2][2] == 2
    assert asyncio.run(out(2)) and bytes(start._read()[2][2:6]) == b"\x00\x08\x02\x0e"


SCENARIOS = [
    three_boots_then_back,
    boots_that_cannot_be_counted_are_not_tried,
    a_trial_is_watched,
    a_damaged_file_is_not_run,
    a_confirmed_slot_that_rots_or_crashes_gives_way,
    the_second_update_takes_the_other_slot_and_keeps_the_first,
    only_the_application_s_own_failure_counts,
    no_release_proves_itself_whose_minimum_is_not_on_flash,
    nothing_below_the_signed_minimum_runs_again,
    a_trials_clock_ends_no_other_trial,
]
