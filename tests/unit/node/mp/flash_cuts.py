"""A file system in memory as '/', and its power cut at every operation on a block."""

import gc

import support
import vfs

DEVICE = support.ram_disk()


def remount():
    """The power comes back: what the device holds now is all there is."""
    DEVICE.dead = False
    DEVICE.muted = True
    gc.collect()  # files that the cut left open write nothing any more
    DEVICE.muted = False
    DEVICE.cut_after = -1
    vfs.umount("/")
    support.mount(DEVICE)


def cut_everywhere(prepare, act, check):
    """Run act() with the power cut at its n-th block operation, for every n; check() after each.

    Returns how many instants there were.
    """
    prepare()
    image = bytes(DEVICE.data)
    n = 0
    while True:
        DEVICE.data[:] = image
        remount()
        DEVICE.cut_after = n
        try:
            act()
            cut = DEVICE.dead
        except OSError:
            cut = True
        DEVICE.cut_after = -1
        finished = not cut
        remount()
        check(finished)
        if finished and not cut:
            return n
        n += 1
        assert n < 500
