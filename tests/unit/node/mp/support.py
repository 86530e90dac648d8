"""Helpers of the tests that run on MicroPython: a RAM disk as '/', board files, tiny asserts.

argv: test file, then the folder with board.json files made by the runner.
"""

import gc
import json
import os
import sys

import vfs

BOARDS = sys.argv[1] if len(sys.argv) > 1 else ""


_GONE = OSError(5)  # made once: files are also closed while the heap is locked


class RamBlocks:
    """A block device in memory (4 kB erase blocks, the ESP32's), which can lose its power.

    After `cut_after` more block writes or erases it stops in the middle of one: the first half of
    the bytes arrives, every later operation fails.
    """

    SIZE = 4096

    def __init__(self, blocks=64):
        self.data = bytearray(blocks * self.SIZE)
        self.cut_after = -1
        self.dead = False
        self.muted = False  # accept everything, keep nothing
        self.writes = 0

    def _power(self):
        if self.dead:
            raise _GONE
        if self.muted:
            return False
        self.writes += 1
        if self.cut_after >= 0:
            if self.cut_after == 0:
                self.dead = True
            self.cut_after -= 1
        return not self.dead

    def readblocks(self, block, buf, off=0):
        if self.dead:
            raise _GONE
        if self.muted:
            return
        at = block * self.SIZE + off
        buf[:] = self.data[at : at + len(buf)]

    def writeblocks(self, block, buf, off=None):
        at = block * self.SIZE + (off or 0)
        whole = self._power()
        if self.muted:
            return
        n = len(buf) if whole else len(buf) // 2
        self.data[at : at + n] = buf[:n]
        if not whole:
            raise _GONE

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // self.SIZE
        if op == 5:
            return self.SIZE
        if op == 6:
            whole = self._power()
            if self.muted:
                return 0
            at = arg * self.SIZE
            n = self.SIZE if whole else self.SIZE // 2
            self.data[at : at + n] = b"\xff" * n
            if not whole:
                raise _GONE
            return 0
        return 0


def mount(device, fresh=False):
    """Mount the device at '/', formatting it first when `fresh`."""
    if fresh:
        vfs.VfsLfs2.mkfs(device, progsize=32, readsize=32, lookahead=32)
    vfs.mount(vfs.VfsLfs2(device, progsize=32, readsize=32, lookahead=32), "/")


def _keep_host():
    """What is imported from the host stays reachable under /host."""
    for i in range(len(sys.path)):
        if sys.path[i].startswith("/"):
            sys.path[i] = "/host" + sys.path[i]
    for name in ("pbal_protocol", "pbal_node"):
        if name in sys.modules and sys.modules[name].__path__[0] == "/":
            sys.modules[name].__path__ = "/host" + sys.modules[name].__path__
    vfs.umount("/")
    vfs.mount(vfs.VfsPosix("/"), "/host")


def ram_disk():
    """A fresh littlefs RAM disk as '/'."""
    _keep_host()
    device = RamBlocks()
    mount(device, True)
    os.chdir("/")
    return device


def host_folder(path):
    """An empty folder of the host as '/': costs no heap, so that budgets can be measured."""
    _keep_host()
    vfs.mount(vfs.VfsPosix(path), "/")
    os.chdir("/")


def write_file(path, text):
    folder = path.rsplit("/", 1)[0]
    if folder:
        try:
            os.mkdir(folder)
        except OSError:
            pass
    with open(path, "w") as f:
        f.write(text)


def install_board(name, **config):
    """The board file as /board.json, with settings that override the defaults."""
    with open("/host" + BOARDS + "/" + name + ".json") as f:
        board = json.load(f)
    board["config"] = config
    write_file("/board.json", json.dumps(board))


def install_identity(site, address, root, group, **more):
    """/cfg/identity.json as provisioning writes it; the keys are bytes."""
    known = {
        "eui": "010203fffe040506",
        "site": site,
        "address": address,
        "root": root.hex(),
        "group": group.hex(),
    }
    known.update(more)
    write_file("/cfg/identity.json", json.dumps(known))


def own(package, name):
    """A module for the test alone: the application empties what it needs once a boot."""
    parent = __import__(package + "." + name)
    module = sys.modules.pop(package + "." + name)
    delattr(parent, name)
    return module


def newest(log):
    """A node's latest events, oldest first; what waits to be told begins with the oldest."""
    return sorted([entry for i in (0, 1) for entry in log.read(i)])[-16:]


def own_share(before, mode):
    """What the test takes of the heap since `before`: virtual time, fake hardware and its own
    objects, which no node carries. With `mode` "share" it is all that is printed.
    """
    gc.collect()
    ours = gc.mem_alloc() - before
    if mode == "share":
        print(json.dumps({"ours": ours}))
        print("ok")
        sys.exit()
    return ours


async def until(what, seconds=20):
    """What `what()` gives once it is true."""
    import asyncio  # not every file needs it, and some measure the heap

    for _ in range(seconds * 100):
        found = what()
        if found:
            return found
        await asyncio.sleep_ms(10)
    raise AssertionError("waited in vain for %s s" % seconds)


def run(tests):
    """Run the given functions; prints each name, so that a failure names its test."""
    for test in tests:
        print(test.__name__)
        test()
    print("ok")


def must_notice(removals, run=lambda scenario: scenario(), also=AssertionError):
    """Takes every rule away in turn; the scenario that belongs to it must fail.

    `removals`: (owner, attribute, what it becomes without the rule, scenario). `run(scenario)`
    plays one. `also`: an error that counts as failing, beside AssertionError.
    """
    for owner, name, removed, scenario in removals:
        kept = getattr(owner, name)
        setattr(owner, name, removed)
        try:
            run(scenario)
        except (AssertionError, also):
            pass
        else:
            raise AssertionError("%s passes without %s" % (scenario.__name__, name))
        finally:
            setattr(owner, name, kept)
