"""The group key in a node: two keys for a while, proof only of what is in flash, any power cut."""

import gc
import struct

import support
import vfs

from pbal_node import groupkeys, store
from pbal_protocol import errors, frames, records

SITE, ADDRESS = 7, 0x0105
DAY_MS = 86400000
DEVICE = support.ram_disk()
KEYS = [bytes([i]) * 32 for i in range(6)]


def remount():
    DEVICE.dead = False
    DEVICE.muted = True
    gc.collect()
    DEVICE.muted = False
    DEVICE.cut_after = -1
    vfs.umount("/")
    support.mount(DEVICE)


def made(generation=1, key=KEYS[1]):
    """A node's keys as at a boot; the identity says `generation` and `key`."""
    slot = store.Slot("/group", store.FlashStats())
    return groupkeys.GroupKeys(SITE, ADDRESS, *groupkeys.kept(slot, SITE, generation, key), slot)


def told(generation, key=b"", challenge=99):
    return records.GroupKey(generation=generation, challenge=challenge, group_key=key)


def proves(raw, generation, key, challenge=99):
    """True when these bytes prove this generation and key to the controller."""
    r = records.GroupProof.decode(raw)
    held = frames.Sealer(key, frames.GROUP, SITE, 0)
    return (
        r.generation == generation
        and r.challenge == challenge
        and r.proof == held.proof(ADDRESS, challenge)
    )


def opens(opener, key, counter):
    frame = frames.Sealer(key, frames.GROUP, SITE, 0).seal(
        counter, records.MeasureNow(seq=1).encode()
    )
    try:
        return opener.open(frame) is not None
    except errors.RemoteError:
        return False


def a_question_is_answered_with_what_is_held():
    keys = made()
    raw = keys.order(told(1, challenge=5))
    assert proves(raw, 1, KEYS[1], 5)
    assert not proves(raw, 1, KEYS[2], 5) and not proves(raw, 1, KEYS[1], 6)
    assert keys.slow_work(0) is None


def a_key_is_in_flash_before_it_is_proven():
    keys = made()
    assert keys.order(told(2, KEYS[2])) is None
    assert keys.generation == 1, "nothing is taken while the poller waits"
    assert proves(keys.order(told(2)), 1, KEYS[1])
    raw = keys.slow_work(0)
    assert proves(raw, 2, KEYS[2])
    assert made().generation == 2 and opens(made().newest, KEYS[2], 1)
    assert keys.slow_work(0) is None, "one proof for one key"


def both_keys_open_until_the_new_one_is_used():
    keys = made(2, KEYS[2])
    assert opens(keys.newest, KEYS[2], 10)
    keys.order(told(3, KEYS[3]))
    keys.slow_work(0)
    assert opens(keys.older, KEYS[2], 11) and not opens(keys.older, KEYS[2], 10), "its own window"
    assert opens(keys.newest, KEYS[3], 5), "a new key counts from the start"
    assert not opens(keys.newest, KEYS[2], 12)
    # A key that was never used gives way to the next; the one in use stays.
    keys.order(told(4, KEYS[4]))
    keys.slow_work(1000)
    assert opens(keys.older, KEYS[2], 13) and opens(keys.newest, KEYS[4], 6)


def the_older_key_is_forgotten_after_a_day():
    keys = made(4, KEYS[4])
    keys.order(told(5, KEYS[5]))
    keys.slow_work(1000)
    keys.slow_work(1000 + DAY_MS - 1)
    assert keys.older is not None
    keys.slow_work(1000 + DAY_MS)
    assert keys.older is None


def the_same_key_again_changes_and_writes_nothing():
    keys = made()
    assert keys.generation == 5
    opens(keys.newest, KEYS[5], 50)
    keys.order(told(5, KEYS[5]))
    writes = keys._slot._stats.writes
    assert proves(keys.slow_work(0), 5, KEYS[5])
    assert keys._slot._stats.writes == writes and keys.older is None
    assert not opens(keys.newest, KEYS[5], 50), "its replay window is the one it had"


def a_wrong_length_is_refused():
    keys = made()
    for n in (1, 16, 31):
        try:
            keys.order(told(6, bytes(n)))
        except ValueError:
            continue
        raise AssertionError(n)
    assert keys.slow_work(0) is None and keys.generation == 5


def what_the_identity_says_newer_counts():
    """Provisioned again: the generation of the identity, unless flash has a newer one."""
    assert made(6, KEYS[1]).generation == 6
    assert made(4, KEYS[4]).generation == 5
    slot = store.Slot("/group", store.FlashStats())
    assert groupkeys.kept(slot, SITE + 1, 1, KEYS[1])[0] == 1, "of another site"
    slot.save(struct.pack("<I", SITE))
    assert groupkeys.kept(slot, SITE, 1, KEYS[1]) == (1, KEYS[1]), "damaged"


def a_full_flash_gives_no_proof():
    keys = made()
    before = keys.generation
    keys._slot.save = lambda payload, asked: False
    keys.order(told(9, KEYS[3]))
    assert keys.slow_work(0) is None and keys.generation == before and keys.older is None


def a_power_cut_leaves_the_old_key_or_the_new_one():
    keys = made()
    keys.order(told(7, KEYS[1]))
    assert proves(keys.slow_work(0), 7, KEYS[1])
    image = bytes(DEVICE.data)
    n = both = 0
    while True:
        DEVICE.data[:] = image
        remount()
        keys = made()
        DEVICE.cut_after = n
        keys.order(told(8, KEYS[2]))
        try:
            raw = keys.slow_work(0)
        except OSError:
            raw = None
        cut = DEVICE.dead
        remount()
        after = made()
        assert after.generation in (7, 8), after.generation
        assert opens(after.newest, KEYS[1 if after.generation == 7 else 2], 1)
        if raw is not None:
            assert after.generation == 8, "proven, and yet not kept"
        both |= 1 << (after.generation - 7)
        if not cut:
            break
        n += 1
        assert n < 200
    assert n >= 1 and both == 3, (n, both)


support.run(
    (
        a_question_is_answered_with_what_is_held,
        a_key_is_in_flash_before_it_is_proven,
        both_keys_open_until_the_new_one_is_used,
        the_older_key_is_forgotten_after_a_day,
        the_same_key_again_changes_and_writes_nothing,
        a_wrong_length_is_refused,
        what_the_identity_says_newer_counts,
        a_full_flash_gives_no_proof,
        a_power_cut_leaves_the_old_key_or_the_new_one,
    )
)
