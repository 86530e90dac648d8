"""Counters in flash: none is given out twice, whatever becomes of the flash.

Run by mp_store.py.
"""

import os

from flash_cuts import cut_everywhere

from pbal_node import counters, events, journal, store


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


SCENARIOS = (
    counters_never_repeat,
    down_floor_never_falls,
    a_damaged_copy_gives_no_counter_twice,
    a_flash_that_was_set_back_gives_no_counter_twice,
    a_counter_that_is_a_nonce_is_never_used_twice,
    a_radio_s_short_frames_never_repeat_a_nonce_and_wait_for_minutes_only,
    what_is_sealed_before_the_time_is_proven_is_apart,
    what_is_asked_for_is_rationed,
    counters_end_and_never_wrap,
)
