"""Chooses the application that main.py starts. Always the factory's copy, from /lib.

There are up to three applications: the factory's in /lib, which updates never touch, and the
slots /app/a and /app/b, which they fill in turn. This module decides by /app/state.0 and .1, two
copies written in turn (layout: slots.py), so that a power cut at any instant leaves the old
decision or the new one. It uses no other module of pbal, as the fault may be in one of them.

A new slot is on trial: it has three boots to prove itself. One that cannot be imported, hangs,
crashes, has a file that is not what was signed, or does not prove itself in time, is left for
the application before it, or for the factory's.

A slot that has proven itself is left for its own failures only: crashes that the application
counted itself (shutdown.py), an import that fails, a damaged file. Resets do not count: cutting the
supply, or triggering the watchdog, must not choose what runs. What is below the minimum that
a proven release was signed with (/cfg/minimum) never runs again; the factory's is the last resort.
"""

import sys


def _own(names):
    """The interpreter's own modules, once. Each import looks for them in all folders first."""
    paths = sys.path[:]
    sys.path[:] = [p for p in paths if p == ".frozen"]
    try:
        for name in names:
            sys.modules[name] = __import__(name)
    except ImportError:
        pass  # they are in a folder
    finally:
        sys.path[:] = paths


_own(("asyncio", "binascii", "hashlib", "json", "os", "struct"))

import asyncio  # noqa: E402
import gc  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import struct  # noqa: E402
from binascii import crc32  # noqa: E402

import machine  # noqa: E402
from micropython import const  # noqa: E402

_AT_GOOD = const(0)
_AT_PREV = const(1)
_AT_TRIAL = const(2)
_AT_LEFT = const(3)
_AT_FAILED = const(4)
_AT_WHY = const(5)
_WHY_IMPORT = const(11)
_WHY_CRASHED = const(12)
_WHY_DAMAGED = const(13)
_WHY_UNPROVEN = const(14)
_CRASHES = const(8)  # a good slot that failed this often without a quiet time is given up
_TRIAL_S = const(900)  # a trial not confirmed by then is over, whatever the application does
_WDT_MS = const(60000)


def _read(path="/app/state", least=16):
    """[sequence, which copy, payload] of the newest whole copy, or None."""
    best = None
    for i in (0, 1):
        try:
            with open("%s.%d" % (path, i), "rb") as f:
                raw = f.read(64)
        except OSError:
            continue
        n = len(raw) - 4
        if n < least or struct.unpack_from("<I", raw, n)[0] != crc32(raw[:n]):
            continue
        seq = struct.unpack_from("<I", raw, 3)[0]
        if best is None or seq > best[0]:
            best = [seq, i, bytearray(raw[9:n])]
    return best


def _write(state):
    """Writes over the older copy. OSError when the flash refuses."""
    state[0] += 1
    state[1] = 1 - state[1]
    raw = struct.pack("<3sIH", b"PB1", state[0], len(state[2])) + state[2]
    with open("/app/state.%d" % state[1], "wb") as f:
        f.write(raw + struct.pack("<I", crc32(raw)))


def _whole(slot):
    """True when every file of the slot is what its manifest says."""
    buf = bytearray(512)
    view = memoryview(buf)
    folder = "/app/%s/" % " ab"[slot]
    try:
        with open(folder + "manifest") as lines:
            files = 0
            for line in lines:
                words = line.split()
                if len(words) != 3 or len(words[0]) != 64:
                    continue
                files += 1
                left = int(words[1])
                h = hashlib.sha256()
                with open(folder + words[2], "rb") as f:
                    while True:
                        n = f.readinto(buf)
                        if not n:
                            break
                        left -= n
                        h.update(view[:n])
                if left or h.digest() != bytes.fromhex(words[0]):
                    return False
    except (OSError, ValueError):
        return False
    return files > 0


def _too_old(slot):
    """True when the slot's version is below the signed minimum."""
    found = _read("/cfg/minimum", 13)
    if found is None or len(found[2]) != 4:
        return False
    version = 0
    try:
        with open("/app/%s/manifest" % " ab"[slot]) as lines:
            for line in lines:
                if line.startswith("version "):
                    for part in line[8:].split("."):
                        version = version << 8 | int(part)
                    break
    except (OSError, ValueError):
        return True
    return version < struct.unpack("<I", found[2])[0]


def _give_up(s, why):
    """The trial, or else the slot in use, is over: what was before it runs again."""
    s[_AT_FAILED] = s[_AT_TRIAL] or s[_AT_GOOD]
    s[_AT_WHY] = why
    if not s[_AT_TRIAL]:
        s[_AT_GOOD] = s[_AT_PREV]
        s[_AT_PREV] = 0
        if s[_AT_GOOD] and _too_old(s[_AT_GOOD]):
            s[_AT_GOOD] = 0
    s[_AT_TRIAL] = 0
    s[_AT_LEFT] = _CRASHES


def _choose():
    """(state, slot to run): 0 factory, 1 a, 2 b."""
    state = _read()
    if state is None:
        return None, 0
    s = state[2]
    before = bytes(s)
    try:
        if (s[_AT_TRIAL] or s[_AT_GOOD]) and s[_AT_LEFT] == 0:
            _give_up(s, _WHY_CRASHED)
        elif s[_AT_TRIAL]:
            s[_AT_LEFT] -= 1
        while (s[_AT_TRIAL] or s[_AT_GOOD]) and not _whole(s[_AT_TRIAL] or s[_AT_GOOD]):
            _give_up(s, _WHY_DAMAGED)
        if s != before:
            _write(state)
    except OSError:
        s[_AT_TRIAL] = 0  # boots that cannot be counted are not tried
    return state, s[_AT_TRIAL] or s[_AT_GOOD]


async def _guard(limit_s, slot):
    """Ends a trial that goes on for too long: the node may be unreachable. Not the next trial,
    which may have been ordered by then.
    """
    await asyncio.sleep(limit_s)
    state = _read()
    if state and state[2][_AT_TRIAL] == slot:
        _fail(state, _WHY_UNPROVEN)


def _fail(state, why):
    _give_up(state[2], why)
    try:
        _write(state)
    finally:
        machine.reset()


def _watch(slot):
    """A trial that hangs is ended by the watchdog, one that is never proven by a time limit."""
    machine.Timer(0).deinit()  # boot.py's timer: a trial has no person at the console
    machine.WDT(timeout=_WDT_MS)
    with open("/board.json") as f:
        limit_s = json.load(f).get("update", {}).get("trial_s", _TRIAL_S)
    asyncio.create_task(_guard(limit_s, slot))


def _forget(keep=""):
    """Modules of ours are loaded anew, from whatever sys.path says by then, but for `keep`.

    They are emptied: a stale pointer to a module must not keep all that was in it.
    """
    for name in list(sys.modules):
        if name.startswith("pbal_") and name != keep:
            module = sys.modules.pop(name)
            if name != __name__:
                module.__dict__.clear()
    kept = sys.modules.get(keep)
    if kept is not None and hasattr(kept, "start"):
        del kept.start
    gc.collect()


def application():
    """The entry of the application that is to run, loaded. Does not return when a slot's cannot be
    loaded: the next boot decides again.
    """
    state, slot = _choose()
    trial = slot and state[2][_AT_TRIAL]
    if slot:
        sys.path.insert(0, "/app/" + " ab"[slot])
    if trial:
        _watch(slot)
    _forget("" if slot else "pbal_node")
    try:
        main = _load()
    except Exception as e:
        if not slot:
            raise
        sys.print_exception(e)
        if trial:
            _fail(state, _WHY_IMPORT)
        _fail_once(state)
    return main


def _load():
    """The application's entry. Looked up quickly where the application knows how."""
    try:
        from pbal_node.importer import Importer
    except ImportError:  # an older one
        from pbal_node.app import main

        return main
    importer = Importer()
    importer.begin()
    try:
        from pbal_node.app import main
    finally:
        importer.end()
    return main


def _fail_once(state):
    """A proven slot that cannot be loaded: after some of these the one before it runs again."""
    if state[2][_AT_LEFT]:
        state[2][_AT_LEFT] -= 1
        try:
            _write(state)
        except OSError:
            pass
    machine.reset()
