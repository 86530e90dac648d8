"""Updates on a real file system: a power cut at every block operation from the first chunk to the
confirmation leaves an application that runs, and the update goes on where it was.
"""

import asyncio
import gc
import hashlib
import os
import sys

import machine
import support
import vfs

from pbal_node import counters, shutdown, slots, start, store, update
from pbal_protocol import records

delivery = support.own("pbal_node", "delivery")
ota = support.own("pbal_protocol", "ota")
DEVICE = support.ram_disk()
OLD = {"pbal_node/app.mpy": b"old app" * 300, "pbal_node/same.mpy": b"unchanged" * 200}
NEW = {
    "pbal_node/app.mpy": b"new app" * 400,
    "pbal_node/deep/more.mpy": b"m" * 1500,
    "pbal_node/same.mpy": OLD["pbal_node/same.mpy"],
    "pbal_protocol/x.py": b"# small",
}
KEY = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
SIGNED = bytes.fromhex(
    "c61601400f5b800f5789a595ea89817330843fb54a17a8286c0319717da615ea"
    "1c49b119cedebcc74c1a50bc9a2ae4508cb433c76bb8bd13166ba634e89b4007"
)


def hexed(data):
    return "".join(["%02x" % b for b in data])


def manifest(files, version="0.2.0", boards="1", extra=""):
    text = "pbal-app 1\nversion %s\nboards %s\nfiles %d %d\n%s" % (
        version,
        boards,
        len(files),
        sum([len(f) for f in files.values()]),
        extra,
    )
    for path in sorted(files):
        text += "%s %d %s\n" % (hexed(hashlib.sha256(files[path]).digest()), len(files[path]), path)
    return text.encode()


def stream_of(files, text):
    return text + b"".join([files[p] for p in sorted(files)])


class Log:
    def __init__(self):
        self.seen = []

    def emit(self, code, severity, a0=0, a1=0):
        self.seen.append((code, a0, a1))


class Selector:
    busy = False


class App:
    """What the updater asks of the application."""

    def __init__(self):
        self.log = Log()
        self.selector = Selector()

    def current(self):
        return 1.0

    def updater(self, place, key=b"k" * 32, cls=update.Updater):
        return cls(key, place, 1, self.selector, self, self.log, None)


class Trusting(update.Updater):
    """The signature has tests of its own; here "good" is one."""

    async def _check_signature(self):
        await self.breathe()
        if self._signature != b"good" * 16:
            raise update.Refused(2)


class Reset(Exception):
    pass


def reset():
    raise Reset


machine.reset = reset


def remount():
    """The power comes back: what the device holds now is all there is."""
    DEVICE.dead = False
    DEVICE.muted = True
    gc.collect()  # files that the cut left open write nothing any more
    DEVICE.muted = False
    DEVICE.cut_after = -1
    vfs.umount("/")
    support.mount(DEVICE)


def boot():
    """What start.py does; (which slot runs, its Slots)."""
    while "/app/a" in sys.path or "/app/b" in sys.path:
        sys.path.pop(0)
    _state, slot = start._choose()
    if slot:
        sys.path.insert(0, "/app/" + " ab"[slot])
    return slot, slots.Slots(store.FlashStats())


class Controller:
    """Brings one release to one updater until a stage is reached; counts bytes."""

    def __init__(self, files, text=None, signature=b"good" * 16):
        self.text = text or manifest(files)
        self.stream = stream_of(files, self.text)
        self.digest = hashlib.sha256(self.text).digest()
        self.signature = signature
        self.sent = 0

    def offer(self, updater):
        updater.order(records.Update(op=1, at=len(self.text), data=self.digest + self.signature))
        return updater.status()

    async def bring(self, updater, stages=(3, 7), turns=4000):
        self.offer(updater)
        for n in range(turns):
            s = updater.status()
            if s.digest == self.digest[:8] and s.stage in stages:
                return s
            if s.want:
                piece = self.stream[s.next : s.next + min(200, s.want)]
                self.sent += len(piece)
                updater.order(records.Update(op=2, at=s.next, data=piece))
            # Emptying a slot takes real time, however quick this computer is.
            await asyncio.sleep_ms(0 if s.want or n % 8 else 1)
        raise AssertionError("no end: %r" % updater.status())


def run(place, work):
    """Run `work(updater, app)` beside the updater's loop."""

    async def main():
        app = App()
        updater = app.updater(place, cls=Trusting)
        task = asyncio.create_task(updater.run())
        try:
            return await work(updater, app)
        finally:
            task.cancel()
            try:
                await task
            except (asyncio.CancelledError, Reset):
                pass

    return asyncio.run(main())


def install(fresh=True):
    """The factory application in /lib and nothing else."""
    if fresh:
        remount()
        vfs.umount("/")
        support.mount(DEVICE, True)
    for folder in ("/cfg", "/lib", "/lib/pbal_node"):
        store.makedirs(folder)
    for path in OLD:
        with open("/lib/" + path, "wb") as f:
            f.write(OLD[path])
    return bytes(DEVICE.data)


def whole_update(controller):
    """One life of the node: as far as it gets. Returns the slot that is confirmed."""
    slot, place = boot()
    if place.on_trial and not place.prove(60000, 2000, True, True, Log().emit):
        assert DEVICE.dead
        raise OSError
    if slot and place.s[0] == slot:
        return slot

    async def work(updater, app):
        s = await controller.bring(updater)
        if s.stage != 3:
            assert DEVICE.dead, s  # it gave up because the flash is gone
            raise OSError
        updater.slots.begin_trial(updater.slot, True)

    run(place, work)
    return 0


def every_cut_resumes_and_ends_in_the_new_application():
    image = install()
    controller = Controller(NEW)
    n = 0
    cuts = 0
    most = 0
    full = len(controller.stream) - len(NEW["pbal_node/same.mpy"])
    while True:
        DEVICE.data[:] = image
        remount()
        DEVICE.cut_after = n
        controller.sent = 0
        lives = 0
        cut = False
        while True:
            lives += 1
            assert lives < 8
            try:
                done = whole_update(controller)
            except OSError:
                done = 0
            if DEVICE.dead:
                assert not cut
                cut = True
                remount()
                # At any instant something whole is there to run.
                slot, place = boot()
                if slot:
                    assert start._whole(slot)
                assert place.s[2] in (0, 1) and place.s[0] in (0, 1)
                continue
            if done:
                break
        for path in NEW:
            with open("/app/a/" + path, "rb") as f:
                assert f.read() == NEW[path], path
        most = max(most, controller.sent)
        cuts += cut
        if not cut:
            break
        n += 1
    # Nothing that was on flash is sent again: at most what was not yet written, and one file
    # that was being closed.
    print("  cuts", cuts, "stream", full, "most sent", most)
    assert cuts > 40
    assert controller.sent == full
    assert most <= full + 2 * 1024


def unsigned_foreign_old_and_large_ones_are_refused():
    install()
    for controller, why in (
        (Controller(NEW, signature=b"evil" * 16), 2),
        (Controller(NEW, manifest(NEW, boards="2 3")), 4),
        (Controller(NEW, manifest(NEW, version="0.1.0")), 5),
        (Controller(NEW, manifest(NEW, version="0.0.9")), 5),
        (Controller(NEW, b"pbal-app 1\nversion 1\n"), 3),
        (Controller(NEW, b"x" * 300), 3),
        (Controller(NEW, manifest(NEW).replace(b"pbal_node/app", b"pbal_node/..")), 3),
        (Controller(NEW, manifest(NEW).replace(b"pbal_node/app", b"boot/pbal_app")), 3),
        (Controller(NEW, manifest(NEW)[:-40]), 3),
        (Controller(NEW, manifest(NEW).replace(b"files 4 ", b"files 4 90")), 6),
    ):
        _slot, place = boot()

        async def work(updater, app, controller=controller, why=why):
            s = await controller.bring(updater)
            assert (s.stage, s.why) == (7, why), (s, why)
            assert app.log.seen == [(19, why, 1)], app.log.seen
            assert updater.order(records.Update(op=4, data=controller.digest[:8])) != 0

        run(place, work)
        assert boot()[0] == 0
        assert sorted(os.listdir("/lib/pbal_node")) == ["app.mpy", "same.mpy"]


def downgrades_need_a_signature_that_says_so():
    install()
    _slot, place = boot()

    async def work(updater, app):
        old = Controller(NEW, manifest(NEW, version="0.0.9", extra="downgrade\n"))
        assert (await old.bring(updater)).stage == 3

    run(place, work)


def only_the_release_key_signs():
    """The node's own check. KEY is the public key of the private one 00 01 .. 1f (RFC 8032), SIGNED
    its signature of `ota.signed` over the digest of manifest(NEW), by another implementation.
    """
    for signature, stage, why in (
        (SIGNED, 3, 0),
        (SIGNED[:-1] + b"\x01", 7, 2),
        (b"\x00" + SIGNED[1:], 7, 2),
        (b"good" * 16, 7, 2),
    ):
        install()
        _slot, place = boot()

        async def main(place=place, signature=signature):
            updater = App().updater(place, KEY)
            task = asyncio.create_task(updater.run())
            s = await Controller(NEW, signature=signature).bring(updater)
            task.cancel()
            return s.stage, s.why

        assert asyncio.run(main()) == (stage, why), signature
        assert ("app" in os.listdir("/")) == (stage == 3)


def no_key_no_update():
    install()
    _slot, place = boot()

    async def main():
        updater = App().updater(place, b"")
        task = asyncio.create_task(updater.run())
        s = await Controller(NEW).bring(updater)
        task.cancel()
        assert (s.stage, s.why) == (7, 1), s

    asyncio.run(main())
    assert "app" not in os.listdir("/")


def a_flipped_bit_is_asked_for_again_and_then_refused():
    install()
    _slot, place = boot()

    async def work(updater, app):
        c = Controller(NEW)
        good = c.stream
        c.stream = good[:-1] + bytes([good[-1] ^ 1])
        s = await c.bring(updater)
        assert (s.stage, s.why) == (7, 7), s
        # The same release again is still refused, until somebody says abort.
        c.stream = good
        assert (await c.bring(updater)).stage == 7
        updater.order(records.Update(op=5, data=c.digest[:8]))
        while updater.status().stage != 0:
            await asyncio.sleep_ms(0)
        assert (await c.bring(updater)).stage == 3

    run(place, work)


def stray_chunks_change_nothing():
    install()
    _slot, place = boot()

    async def work(updater, app):
        c = Controller(NEW)
        s = await c.bring(updater, (2,))
        here = s.next
        for at in (here + 1, here + 500, 4000000000):
            updater.order(records.Update(op=2, at=at, data=b"x" * 200))
        assert updater.status().next == here
        piece = c.stream[here : here + 150]
        updater.order(records.Update(op=2, at=here, data=piece))
        assert updater.status().next == here + 150
        # A repeated chunk with more behind it gives only what is new.
        updater.order(records.Update(op=2, at=here, data=c.stream[here : here + 200]))
        assert updater.status().next == here + 200
        assert (await c.bring(updater)).stage == 3

    run(place, work)


def another_release_takes_the_place_of_an_unfinished_one():
    install()
    _slot, place = boot()

    async def work(updater, app):
        first = Controller(NEW)
        await first.bring(updater, (2,))
        while delivery.size_of("/app/a/pbal_node/deep/more.mpy") < 0:
            s = updater.status()
            if s.want:
                piece = first.stream[s.next : s.next + min(200, s.want)]
                updater.order(records.Update(op=2, at=s.next, data=piece))
            await asyncio.sleep_ms(0)
        other = dict(NEW)
        other["pbal_node/app.mpy"] = b"another"
        del other["pbal_node/deep/more.mpy"]
        second = Controller(other, manifest(other, version="0.3.0"))
        assert (await second.bring(updater)).stage == 3
        assert updater.status().digest == second.digest[:8]
        with open("/app/a/pbal_node/app.mpy", "rb") as f:
            assert f.read() == b"another"
        assert "deep" not in os.listdir("/app/a/pbal_node")  # nothing of the first is left

    run(place, work)


def ready(controller=None):
    install()
    _slot, place = boot()
    c = controller or Controller(NEW)

    async def work(updater, app):
        assert (await c.bring(updater)).stage == 3

    run(place, work)
    assert place.begin_trial(1, True)
    return c


def the_commit_waits_while_contacts_move():
    install()
    _slot, place = boot()

    async def work(updater, app):
        c = Controller(NEW)
        await c.bring(updater)
        app.selector.busy = True
        updater.order(records.Update(op=4, data=c.digest[:8]))
        await asyncio.sleep_ms(20)
        s = updater.status()
        assert (s.stage, s.why) == (3, 9) and place.s[2] == 0, s
        assert updater.order(records.Update(op=4, data=b"another!")) != 0
        app.selector.busy = False
        updater.order(records.Update(op=4, data=c.digest[:8]))
        await asyncio.sleep_ms(20)
        assert updater.status().stage == 4 and place.s[2] == 1
        assert (17, 0x100, 0x200) in app.log.seen

    run(place, work)


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


def proven(files, version, slot, extra=""):
    """A release in that slot, on trial and proven."""
    c = Controller(files, manifest(files, version=version, extra=extra))
    _slot, place = boot()

    async def work(updater, app):
        s = await c.bring(updater)
        assert s.stage == 3, s

    run(place, work)
    assert place.begin_trial(slot, True)
    assert boot()[0] == slot
    return c


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


def the_same_parser_as_the_makers():
    head = ota.Head()
    lines = manifest(NEW).decode().split("\n")
    rest = [line for line in lines if line and not head.line(line)]
    assert head.files == len(rest) == 4 and head.version == 0x200


support.run(
    [
        every_cut_resumes_and_ends_in_the_new_application,
        unsigned_foreign_old_and_large_ones_are_refused,
        downgrades_need_a_signature_that_says_so,
        only_the_release_key_signs,
        no_key_no_update,
        a_flipped_bit_is_asked_for_again_and_then_refused,
        stray_chunks_change_nothing,
        another_release_takes_the_place_of_an_unfinished_one,
        the_commit_waits_while_contacts_move,
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
        the_same_parser_as_the_makers,
    ]
)
