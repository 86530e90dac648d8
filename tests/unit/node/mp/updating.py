"""The rig of mp_update.py: a flash that may lose its power, an updater, and who brings releases."""

import asyncio
import hashlib
import sys

import machine
import support
import vfs
from flash_cuts import DEVICE, remount

from pbal_node import slots, start, store, update
from pbal_protocol import records

OLD = {"pbal_node/app.mpy": b"old app" * 300, "pbal_node/same.mpy": b"unchanged" * 200}
NEW = {
    "pbal_node/app.mpy": b"new app" * 400,
    "pbal_node/deep/more.mpy": b"m" * 1500,
    "pbal_node/same.mpy": OLD["pbal_node/same.mpy"],
    "pbal_protocol/x.py": b"# small",
}


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


def ready(controller=None):
    install()
    _slot, place = boot()
    c = controller or Controller(NEW)

    async def work(updater, app):
        assert (await c.bring(updater)).stage == 3

    run(place, work)
    assert place.begin_trial(1, True)
    return c


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
