"""What is in flash survives a power cut at every block operation, as the old value or the new."""

import gc
import os

import support
import vfs

from pbal_node import counters, events, journal, store

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


def slot_keeps_old_or_new():
    stats = store.FlashStats()
    old, new = b"old value" * 9, b"the new value" * 9

    def prepare():
        store.Slot("/slot", stats).save(b"older")
        s = store.Slot("/slot", stats)
        s.load()
        s.save(old)

    def act():
        s = store.Slot("/slot", stats)
        assert s.load() == old
        if not s.save(new):
            raise OSError

    def check(finished):
        got = store.Slot("/slot", stats).load()
        assert got == new or (got == old and not finished), got

    assert cut_everywhere(prepare, act, check) >= 2


def counters_never_repeat():
    used = set()

    def prepare():
        c = counters.Counters("/counters", store.FlashStats())
        used.add(c.next_up())

    def act():
        c = counters.Counters("/counters", store.FlashStats())
        for _ in range(3):
            n = c.next_up()
            if n == 0:
                raise OSError
            assert n not in used, n
            used.add(n)

    def check(finished):
        c = counters.Counters("/counters", store.FlashStats())
        n = c.next_up()
        assert n not in used, n

    cut_everywhere(prepare, act, check)


def down_floor_never_falls():
    accepted = [0]

    def prepare():
        assert counters.Counters("/down", store.FlashStats()).accept_down(10)

    def act():
        c = counters.Counters("/down", store.FlashStats())
        n = c.down_floor + 5
        if not c.accept_down(n):
            raise OSError
        accepted[0] = n

    def check(finished):
        floor = counters.Counters("/down", store.FlashStats()).down_floor
        assert floor >= accepted[0], (floor, accepted)
        accepted[0] = 0

    cut_everywhere(prepare, act, check)


def a_damaged_copy_gives_no_counter_twice():
    """The newest copy rots, any bit of it: what it had reserved may be in use."""
    for rot in range(0, 26 * 8, 5):
        for i in (0, 1):
            try:
                os.remove("/rot.%d" % i)
            except OSError:
                pass
        stats = store.FlashStats()
        c = counters.Counters("/rot", stats)
        floor = used = 0
        for last in ("up", "down") if rot % 2 else ("down", "up"):
            if last == "up":
                for _ in range(3 * 4096 - 10):  # the last reservation is in one copy only
                    used = c.next_up()
            else:
                for floor in (1, 300, 600, 900):
                    assert c.accept_down(floor)
        newest = 1 - c._slot._next
        with open("/rot.%d" % newest, "r+b") as f:
            raw = bytearray(f.read())
            raw[rot // 8] ^= 1 << rot % 8
            f.seek(0)
            f.write(raw)
        again = counters.Counters("/rot", stats)
        assert again.damaged == 1
        n = again.next_up()
        assert used < n <= used + 300000, (rot, used, n)
        assert again.down_floor >= floor
    places = []
    for _ in range(4):
        for i in (0, 1):
            with open("/rot.%d" % i, "wb") as f:
                f.write(b"nothing that is known")
        places.append(counters.Counters("/rot", stats).next_up() >> 20)
    assert min(places) > 0x3FF and len(set(places)) > 1, places


def a_flash_that_was_set_back_gives_no_counter_twice():
    """An old copy of the flash is written back: from the next proven time on, all are new."""
    stats = store.FlashStats()
    t = 1790000000
    c = counters.Counters("/back", stats)
    assert c.next_up()
    old = []
    for i in (0, 1):
        try:
            with open("/back.%d" % i, "rb") as f:
                old.append((i, f.read()))
        except OSError:
            pass
    used = []
    for hour in range(3):  # polled four times a second, the most that a controller does by default
        c.follow(t + 3600 * hour)
        used += [c.next_up() for _ in range(14400)]
    assert used == sorted(set(used)) and used[0] == (t - 1735689600) * 6 + 1
    assert used[-1] < (t + 3 * 3600 - 1735689600) * 6, "ahead of the clock"
    c.follow(t)
    assert used[-1] < c.next_up() <= used[-1] + 2, "never down"
    again = counters.Counters("/back", stats)
    assert again.next_up() > used[-1] + 1, "what was reached is in flash"
    for i, raw in old:
        with open("/back.%d" % i, "wb") as f:
            f.write(raw)
    if len(old) == 1:
        os.remove("/back.%d" % (1 - old[0][0]))
    again = counters.Counters("/back", stats)
    again.follow(t + 3 * 3600 + 10)
    assert again.next_up() > used[-1] + 1
    again.follow(0)
    again.follow(0xFFFFFFFF)
    assert 0 < again.next_up() < 1 << 31, "a time that is none moves nothing"


def a_counter_that_is_a_nonce_is_never_used_twice():
    """Starts that are ahead of the clock, polls faster than it, and a flash that is set back to
    what it was before: what is sealed with a counter alone is new, the rest has its own nonce.
    """
    stats = store.FlashStats()
    t = 1790000000
    alone = set()

    def life(start_s, seconds, per_s):
        c = counters.Counters("/alone", stats)
        assert c.wants_nonce(0) and c.wants_nonce(start_s), "time is not proven"
        c.next_up()
        c.follow(start_s)
        drawn = 0
        for s in range(seconds):
            for _ in range(100 if 100 <= s < 110 else per_s):
                if c.wants_nonce(start_s + s):
                    drawn += 1
                    c.next_up()
                    continue
                n = c.next_up()
                assert n not in alone
                alone.add(n)
        return drawn

    assert life(t, 60, 1) == 1, "the first follows the clock closely"
    image = {}
    for i in (0, 1):
        try:
            with open("/alone.%d" % i, "rb") as f:
                image[i] = f.read()
        except OSError:
            pass
    before = len(alone)
    assert 300 < life(t + 20000, 300, 1) < 1000, "polled faster than the clock goes, for 10 s"
    assert len(alone) > before + 150
    assert life(t + 20300, 90, 4) == 360, "the last start's reserve is ahead of the clock"
    for _ in range(3):
        for i in (0, 1):
            try:
                os.remove("/alone.%d" % i)
            except OSError:
                pass
        for i in image:
            with open("/alone.%d" % i, "wb") as f:
                f.write(image[i])
        before = len(alone)
        life(t + 20400, 300, 1)
        assert len(alone) > before + 150
        t += 310


def a_radio_s_short_frames_never_repeat_a_nonce_and_wait_for_minutes_only():
    """Starts right after a proven time, crash loops, and a flash that was set back each time: what
    has no room for a nonce is sealed below the clock only.
    """
    now_s = [0]
    stats = store.FlashStats(lambda: now_s[0] * 1000)
    for i in (0, 1):
        try:
            os.remove("/near.%d" % i)
        except OSError:
            pass
    alone = set()

    def life(start_s, seconds, every_s):
        """Sends each `every_s`; proven at its start and each hour. How often it was silent."""
        c = counters.Counters("/near", stats)
        c.keep_near()
        assert c.wants_nonce(start_s), "time is not proven"
        for _ in range(4):
            c.next_up()  # Hellos with a nonce
        c.follow(start_s)
        silent = 0
        for s in range(0, seconds, every_s):
            now_s[0] = start_s + s - 1789990000
            if s and s % 3600 == 0:
                c.follow(start_s + s)
            c.prepare(96, 0)
            if c.wants_nonce(start_s + s):
                silent += 1
                continue
            n = c.next_up()
            assert n not in alone, n
            alone.add(n)
        return silent

    t = 1790000000
    assert life(t, 1200, 5) <= 1
    writes = stats.writes
    assert life(t + 1300, 86400, 5) <= 25, "one after each proven time"
    assert stats.writes - writes < 100, stats.writes - writes  # a day's wear
    t += 90000
    for _ in range(12):
        life(t, 30, 1)
        image = {}
        for i in (0, 1):
            with open("/near.%d" % i, "rb") as f:
                image[i] = f.read()
        for k in range(4):
            for i in image:
                with open("/near.%d" % i, "wb") as f:
                    f.write(image[i])
            life(t + 40 + 60 * k, 50, 1)
        assert life(t + 300, 400, 1) < 180, "171 s are reserved ahead"
        t += 700


def what_is_sealed_before_the_time_is_proven_is_apart():
    """Whatever was sealed with a proven time since the copy was made, in the numbers that follow:
    a flash that was set back meets none of it, and itself by chance only.
    """
    stats = store.FlashStats()
    for i in (0, 1):
        try:
            os.remove("/apart.%d" % i)
        except OSError:
            pass
    c = counters.Counters("/apart", stats)
    c.follow(1790000000)
    assert c.next_up()
    image = {}
    for i in (0, 1):
        try:
            with open("/apart.%d" % i, "rb") as f:
                image[i] = f.read()
        except OSError:
            pass
    c = counters.Counters("/apart", stats)
    c.follow(1790000000)
    used = set([c.next_up() for _ in range(20000)])
    starts = []
    for _ in range(12):
        for i in (0, 1):
            try:
                os.remove("/apart.%d" % i)
            except OSError:
                pass
        for i in image:
            with open("/apart.%d" % i, "wb") as f:
                f.write(image[i])
        c = counters.Counters("/apart", stats)
        early = [c.next_up() for _ in range(8)]
        assert not [n for n in early if n % 4] and not [n for n in used if n % 4 == 0]
        starts.append(early[0])
    assert len(set(starts)) > 8, starts


def what_is_asked_for_is_rationed():
    """Settings, counters that jump, keys, acknowledgements together; what safety needs is not."""
    now = [0]
    stats = store.FlashStats(lambda: now[0])
    said = []
    log = events.EventLog("/r", store.Slot("/ra", stats), lambda: now[0], lambda: 7, stats)
    stats.emit = lambda *a: said.append(a)
    config = store.Config("/rc", stats, {1: 0}, {}, lambda key, value: True)
    c = counters.Counters("/rn", stats)
    floors = counters.Floors("/rf", stats)
    state = journal.SelectorState("/rs", stats)
    for n in range(1, 101):
        assert config.set(1, n), "commissioning goes at full speed"
    counter = 0
    while c.accept_down(counter + 300):
        counter += 300
        assert counter < 300 * 200
    assert 250 <= stats.writes <= 260, stats.writes
    assert not config.set(1, 0) and config.get(1) == 100
    now[0] = 50000
    assert not floors.accept_group(1, 5000, 0, now[0]) and not c.accept_down(counter + 600)
    assert c.accept_down(counter), "what needs no write goes on"
    log.emit(4, 0)
    log.ack(log.newest)
    assert not state.save(True) and state.save() and c.save() and c._reserve()
    assert [a[0] for a in said] == [25] and stats.refused >= 4, said
    now[0] += 4 * 60000  # three of these have to be earned first
    assert not config.set(1, 0)
    now[0] += 4 * 60000
    assert config.set(1, 0)
    day = stats.writes
    for minute in range(1440):
        now[0] += 60000
        for n in range(3):
            config.set(1, minute * 3 + n)
    assert 1380 <= stats.writes - day <= 1440 + 256, stats.writes - day
    assert len(said) == 1, "told once ..."
    now[0] += 70 * 60000
    for n in range(80):
        config.set(1, n)
    assert len(said) == 2, "... each time"


def counters_end_and_never_wrap():
    last = 0xFFFFFFFF
    stats = store.FlashStats()
    c = counters.Counters("/end", stats)
    c.up_ceiling = last - 5000
    c.down_floor = last - 300
    assert c.save()
    c = counters.Counters("/end", stats)
    c._up = c.up_ceiling
    c._proven = True
    given = []
    for _ in range(5010):
        c.prepare(96, c.down_floor)
        n = c.next_up()
        if n:
            given.append(n)
    assert given == [n for n in range(last - 4999, given[-1] + 1) if n % 4], (len(given), given[-1])
    assert given[-1] > last - 4
    assert c.up_ceiling == last and c.next_up() == 0 and c.spent == 3
    assert c.down_floor == last and c.accept_down(last), "the last of them may still be heard"
    writes = stats.writes
    c.prepare(96, last)
    assert stats.writes == writes, "nothing is left to reserve"
    c = counters.Counters("/end", stats)
    assert c.next_up() == 0 and c.spent == 3 and c.down_floor == last


def config_keeps_old_or_new():
    legal = lambda key, value: 0 <= value <= 100  # noqa: E731
    defaults = {1: 10, 2: 20}

    def open_config():
        return store.Config("/config", store.FlashStats(), defaults, {}, legal)

    def prepare():
        assert open_config().set(1, 55)

    def act():
        if not open_config().set(2, 77):
            raise OSError

    def check(finished):
        c = open_config()
        assert c.get(1) == 55
        assert c.get(2) == 77 or (c.get(2) == 20 and not finished)
        c._slot.save(b'{"1": 101, "2": 30}')
        c = open_config()
        assert c.get(1) == 10 and c.get(2) == 30, "what is not legal is not taken from flash either"

    cut_everywhere(prepare, act, check)


def selector_state_keeps_old_or_new():
    def prepare():
        s = journal.SelectorState("/sel", store.FlashStats())
        s.proven = 1
        assert s.save()

    def act():
        s = journal.SelectorState("/sel", store.FlashStats())
        s.stage, s.stage_from, s.stage_to, s.stage_command = 1, 1, 3, 99
        for i in range(10):
            s.remember(journal.Result(i + 1, 2, 0, 1, 2, 2, 170, 2301, 5, 6))
        if not s.save():
            raise OSError

    def check(finished):
        s = journal.SelectorState("/sel", store.FlashStats())
        assert s.proven == 1
        if finished:
            assert s.stage and s.stage_command == 99
            assert len(s.results) == journal.RESULTS_KEPT and s.find(10).vout_dv == 2301
        else:
            assert s.stage in (0, 1)

    cut_everywhere(prepare, act, check)


def damaged_slots_are_refused():
    stats = store.FlashStats()
    s = store.Slot("/bad", stats)
    s.save(b"one")
    s.save(b"two")
    for i in (0, 1):
        path = "/bad.%d" % i
        with open(path, "rb") as f:
            good = f.read()
        for k in range(len(good)):
            with open(path, "wb") as f:
                f.write(good[:k] + bytes((good[k] ^ 0x10,)) + good[k + 1 :])
            got = store.Slot("/bad", stats).load()
            assert got == (b"two" if i == 0 else b"one"), (i, k, got)
            with open(path, "wb") as f:
                f.write(good[:k])
            assert store.Slot("/bad", stats).load() == (b"two" if i == 0 else b"one")
        with open(path, "wb") as f:
            f.write(good)


def event_log_survives():
    now = [0]

    def open_log():
        stats = store.FlashStats()
        return events.EventLog("/ev", store.Slot("/ack", stats), lambda: now[0], lambda: 7, stats)

    def prepare():
        log = open_log()
        for i in range(5):
            log.emit(i + 1, 1, i, -i)

    def act():
        log = open_log()
        assert [e[0] for e in log.pending] == [1, 2, 3, 4, 5]
        log.emit(9, 2, 1, 2)
        if log._stats.errors:
            raise OSError

    def check(finished):
        log = open_log()
        seqs = [e[0] for e in log.pending]
        assert seqs in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]), seqs
        assert finished <= (len(seqs) == 6)
        log.emit(10, 1)  # and it goes on, without a hole in what can be read
        assert [e[0] for e in open_log().pending] == seqs + [seqs[-1] + 1]

    cut_everywhere(prepare, act, check)


def event_log_turns_over_and_acknowledges():
    now = [0]
    stats = store.FlashStats(lambda: now[0])
    log = events.EventLog("/turn", store.Slot("/turnack", stats), lambda: now[0], lambda: 7, stats)
    for i in range(3 * events.SEGMENT):
        now[0] += 300000
        log.emit(1 + i % 16, 0, i)
    assert len(log.pending) == events.PENDING
    stored = sorted([e[0] for i in (0, 1) for e in log.read(i)])
    assert stored[-1] == 3 * events.SEGMENT
    assert stored == list(range(stored[0], stored[-1] + 1)) and len(stored) > events.SEGMENT
    log.ack(3 * events.SEGMENT - 2)
    assert len(log.pending) == 2
    again = events.EventLog(
        "/turn", store.Slot("/turnack", stats), lambda: now[0], lambda: 7, stats
    )
    assert [e[4] for e in again.pending] == [382, 383]
    # A flickering fault does not wear the flash.
    writes = stats.writes
    for _ in range(1000):
        now[0] += 100
        again.emit(6, 1)
    assert stats.writes - writes <= 6 and again.dropped >= 994


def a_backlog_is_told_from_its_beginning():
    """More than memory holds: nothing is skipped, whatever resets come in between."""
    now = [0]

    def open_log():
        stats = store.FlashStats()
        return events.EventLog("/bk", store.Slot("/bkack", stats), lambda: now[0], lambda: 7, stats)

    many = 2 * events.SEGMENT - 20
    log = open_log()
    for i in range(many):
        now[0] += 300000
        log.emit(1 + i % 16, 0, i)
        if i % 37 == 36:
            log = open_log()
    told = []
    while log.pending:
        assert len(log.pending) <= events.PENDING
        told += [e[0] for e in log.pending]
        log.forget(told[-1])  # at once; the flash follows
        log.ack(told[-1])
        if len(told) % 3 == 0:
            log = open_log()
        if len(told) < 60:
            now[0] += 300000
            log.emit(3, 0, 0)  # what happens meanwhile waits behind it
    assert told == list(range(1, log.newest + 1)), told
    # What flash did not take cannot be told later: it counts as lost, and no more.
    for i in range(events.PENDING + 5):
        now[0] += 300000
        if i == events.PENDING:
            log._path = "/no/such/folder"
        log.emit(1 + i % 16, 0, i)
    assert log.dropped == 5 and len(log.pending) == events.PENDING
    log.ack(log.newest)
    assert log.pending == []
    log.emit(9, 0)
    assert len(log.pending) == 1


def torn_tail_is_cut_off():
    stats = store.FlashStats()

    def open_log():
        return events.EventLog("/torn", store.Slot("/tornack", stats), lambda: 0, lambda: 7, stats)

    open_log().emit(1, 0, 11)
    with open("/torn.0", "ab") as f:
        f.write(b"\x01\x02\x03")
    log = open_log()
    log.emit(2, 0, 22)
    log.emit(3, 0, 33)
    assert [e[4] for e in open_log().pending] == [11, 22, 33]
    assert 3 * 19 == os.stat("/torn.0")[6]


support.run(
    (
        slot_keeps_old_or_new,
        counters_never_repeat,
        down_floor_never_falls,
        a_damaged_copy_gives_no_counter_twice,
        a_flash_that_was_set_back_gives_no_counter_twice,
        a_counter_that_is_a_nonce_is_never_used_twice,
        a_radio_s_short_frames_never_repeat_a_nonce_and_wait_for_minutes_only,
        what_is_sealed_before_the_time_is_proven_is_apart,
        what_is_asked_for_is_rationed,
        counters_end_and_never_wrap,
        config_keeps_old_or_new,
        selector_state_keeps_old_or_new,
        damaged_slots_are_refused,
        event_log_survives,
        event_log_turns_over_and_acknowledges,
        a_backlog_is_told_from_its_beginning,
        torn_tail_is_cut_off,
    )
)
