"""S4, the clock: what moves site time, how far, and by what time a command expires.

At its end the rules are taken away one by one; the scenario that belongs to a rule must fail.
"""

import os
import random

import support

from pbal_node import clock, counters, store
from pbal_node.clock import Monotonic, SiteClock
from pbal_node.version import BUILD_S

support.ram_disk()
T = 1800000000
HOUR = 3600000
LAST = 0xFFFFFFFF


class Node:
    """A clock in virtual time, with a controller that answers when it is asked to."""

    def __init__(self, floor_s=0, synced=True):
        self.ms = 0
        self.moves = []
        mono = Monotonic(lambda: self.ms, lambda a, b: a - b)
        self.clock = SiteClock(mono, 77, floor_s, lambda s, ahead: self.moves.append((s, ahead)))
        self.nonce = 77
        if synced:
            assert self.answer()

    def true_ms(self):
        return T * 1000 + self.ms

    def answer(self, off_ms=0, late_ms=20):
        """A Hello, and the controller's answer, whose time is off by so much."""
        self.nonce += 1
        self.clock.ask(self.nonce)
        ms = self.true_ms() + off_ms
        self.ms += late_ms
        return self.clock.set(ms // 1000, ms % 1000, self.nonce, True)

    def group(self, off_ms=0, unicast=False):
        """A group frame, or one for this node that answers no nonce."""
        ms = self.true_ms() + off_ms
        return self.clock.set(ms // 1000, ms % 1000, 0, unicast)

    def error_ms(self):
        return self.clock.now_ms() - self.true_ms()


def set_by_an_answer_to_our_own_nonce_only():
    n = Node(synced=False)
    c = n.clock
    assert not n.group() and not c.set(T, 0, 76, True) and not c.set(T, 0, 77, False)
    assert not c.synced and c.now_s() == 0 and c.refused == 3
    assert c.set(T, 500, 77, True) and c.now_ms() == T * 1000 + 500
    n.ms += 5000
    assert c.now_s() == T + 5
    assert not c.set(T - 600, 0, 77, True), "two answers to one question"
    # Somebody on the line keeps the answer for later.
    assert not n.answer(-600000, late_ms=5001), "an answer that was held back"
    old = c.ask(91)
    n.ms += 1000
    c.ask(92)
    assert not c.set(T - 600, 0, old, True), "an answer to an older Hello"
    n.ms += 4999
    assert c.set(T - 600, 0, 92, True) and c.now_s() == T - 600, "the site's time was wrong"


def hellos_in_a_row_do_not_undo_the_question():
    """Anybody can make a node say Hello: an answer that is on its way still counts."""
    n = Node(synced=False)
    asked = n.clock.ask(5)
    for k in range(10):
        n.ms += 50
        assert n.clock.ask(100 + k) == asked
    assert n.clock.set(T, 0, asked, True)
    assert n.clock.ask(7) == 7, "answered: the next question is a new one"
    n.ms += 1000
    assert n.clock.ask(8) == 8
    # The time for the answer runs from the first of them.
    n.ms += 900
    assert n.clock.ask(9) == 8
    n.ms += 4200
    assert not n.clock.set(T - 600, 0, 8, True)


def no_time_that_cannot_be():
    for bad in (0, 1, BUILD_S - 1, BUILD_S + 20 * 366 * 86400, LAST):
        n = Node(synced=False)
        assert not n.clock.set(bad, 0, 77, True) and not n.clock.synced, bad
        n = Node()
        n.clock.ask(5)
        for nonce, unicast in ((5, True), (0, True), (0, False)):
            n.clock.set(bad, 999, nonce, unicast)
            assert abs(n.error_ms()) < 100, bad
    # And the latest one that is believed runs on for years within a record.
    n = Node(synced=False)
    assert n.clock.set(BUILD_S + 631151999, 999, 77, True)
    n.ms += 10 * 365 * 24 * HOUR
    assert n.clock.now_s() < LAST and n.clock.latest_s() < LAST


def group_time_moves_within_a_band():
    """However many, however small the steps: the band is around the last proven answer."""
    for step in (-1850, 1850, -100, 1):
        n = Node()
        worst = 0
        for _ in range(400):
            n.ms += 1000
            n.group(n.error_ms() + step)
            worst = max(worst, abs(n.error_ms()))
        assert worst <= 2000 + 400000 // 5000 + 20, (step, worst)
    for unicast in (False, True):
        n = Node()
        for off in (86400000, -86400000, 400 * 86400000, 3000, -3000):
            assert not n.group(off, unicast), off
        assert abs(n.error_ms()) <= 20 and n.clock.refused == 5
        assert n.group(1500, unicast) and n.error_ms() == 1500


def the_band_follows_the_crystal():
    """A node whose crystal is 150 ppm off is kept right by group time, while that counts."""
    n = Node()
    n.ms += 5 * HOUR
    drift = 5 * HOUR * 150 // 1000000  # what its crystal is behind by now
    assert n.group(drift) and n.error_ms() == drift


def group_time_alone_is_not_enough():
    n = Node()
    n.ms += 6 * HOUR + 1000
    assert n.clock.wants_answer()
    assert not n.group(100) and abs(n.error_ms()) <= 20
    assert n.answer() and n.group(100)


def asks_for_answers_by_itself():
    n = Node()
    asked = []
    for _ in range(36 * 12):
        n.ms += 300000
        if n.clock.wants_answer():
            asked.append(n.ms // 60000)
            n.answer()
    assert asked[0] <= 10 and asked[4] <= 60, asked[:6]
    gaps = [b - a for a, b in zip(asked[8:], asked[9:])]  # noqa: B905
    assert set(gaps) == {60}, gaps
    lone = Node(synced=False)
    lone.ms += 5000
    assert lone.clock.wants_answer()
    lone.clock.ask(9)
    assert not lone.clock.wants_answer(), "not at every poll"


def commands_expire_by_the_latest_time():
    """Set back by a year, by an hour, by ten seconds: what expired stays expired."""
    for back_ms in (365 * 24 * HOUR, HOUR, 10000):
        n = Node()
        n.ms += HOUR
        latest = n.clock.now_s()
        assert n.answer(-back_ms) and n.clock.now_s() < latest
        assert n.clock.latest_s() >= latest
        for _ in range(20):  # a burst of answers changes nothing
            n.ms += 1000
            n.answer(-back_ms)
        assert n.clock.latest_s() >= latest
        assert n.moves[-1][0] <= -back_ms // 1000 + 1 and n.moves[-1][1] >= back_ms // 1000 - 1
    n = Node(T + 86400)
    assert n.clock.now_s() < T + 60 and n.clock.latest_s() == T + 86400
    assert n.moves and n.moves[0][1] > 86000, n.moves


def proven_time_gives_way_to_a_long_run_only():
    n = Node(T + 10 * 365 * 86400)
    ahead = n.clock.latest_s()
    for minute in range(59):
        n.ms += 60000
        n.answer()
        assert n.clock.latest_s() == ahead, minute
    n.ms += 120000
    n.answer()
    assert n.clock.latest_s() == n.clock.now_s() and n.clock.settled_s
    # Answers that do not agree begin a new run; a long silence proves nothing.
    n = Node(T + 86400)
    for k in range(30):
        n.ms += 360000
        n.answer(3000 * k)
    assert n.clock.latest_s() == T + 86400 and not n.clock.settled_s
    n = Node(T + 86400)
    n.ms += 5 * HOUR
    n.answer()
    assert n.clock.latest_s() == T + 86400


def a_wrong_clock_for_minutes_raises_nothing():
    n = Node()
    for _ in range(20):
        n.ms += 360000
        n.answer()
    settled = n.clock.settled_s
    assert settled > T + 3600
    for _ in range(50):  # the Pi is a year ahead for 50 minutes
        n.ms += 60000
        n.answer(365 * 86400000)
    assert n.clock.settled_s == settled
    for _ in range(61):
        n.ms += 61000
        n.answer()
    assert T < n.clock.settled_s < T + 86400 and n.clock.latest_s() == n.clock.now_s()


def random_frames_stay_in_the_band():
    random.seed(7)
    for _ in range(200):
        n = Node()
        proven_ms = n.ms
        for _ in range(60):
            n.ms += random.choice((1, 1000, 60000, HOUR))
            off = random.choice((1, -1)) * random.getrandbits(random.choice((8, 12, 20, 30)))
            if random.getrandbits(3) == 0:
                n.answer()
                proven_ms = n.ms
            else:
                n.group(off, random.getrandbits(1))
            assert abs(n.error_ms()) <= 2020 + (n.ms - proven_ms) // 5000


def flash_keeps_what_was_proven():
    for i in (0, 1):
        try:
            os.remove("/f.%d" % i)
        except OSError:
            pass
    stats = store.FlashStats()
    f = counters.Floors("/f", stats)
    f.keep(0)
    assert stats.writes == 0
    f.keep(T)
    for s in range(0, 86400, 500):
        f.keep(T + s)
    assert stats.writes <= 5, "proven time wears the flash"
    assert counters.Floors("/f", stats).proven_s >= T + 64800
    f.keep(T - 1000)
    assert counters.Floors("/f", stats).proven_s == T - 1000


def a_group_frame_counts_once_also_over_a_reset():
    stats = store.FlashStats()
    f = counters.Floors("/g", stats)
    assert f.accept_group(0, 1, 0, 0) and f.accept_group(0, 256, 0, 1000)
    assert stats.writes == 1
    assert counters.Floors("/g", stats).of(0) >= 256
    # Counters that jump wear nothing: one write in ten minutes.
    taken = [f.accept_group(0, k * 1000, 0, k * 1000) for k in range(2, 3600)]
    assert stats.writes <= 8 and sum(taken) < 10
    ms = 10**9
    assert f.accept_group(0, LAST - 5, T, ms) and f.group == LAST
    assert f.accept_group(0, LAST, T, ms), "the last one"
    again = counters.Floors("/g", stats)
    assert again.of(0) == LAST and again.proven_s == T
    assert again.of(1) == 0, "a new key begins at zero"
    assert again.accept_group(1, 5, 0, 0) and again.proven_s == T
    assert counters.Floors("/g", stats).of(1) >= 5 and counters.Floors("/g", stats).of(0) == 0


def nor_is_one_taken_again_when_the_newest_copy_rots():
    """The older copy has the floor of before: what the lost one allowed was used, too."""
    for rot in range(0, 21 * 8, 7):
        for i in (0, 1):
            try:
                os.remove("/r.%d" % i)
            except OSError:
                pass
        stats = store.FlashStats()
        f = counters.Floors("/r", stats)
        used = 0
        for n in range(3):
            used = f.of(0) + 1
            assert f.accept_group(0, used, 0, n * 600000)
            used = f.of(0)  # up to here without another write
        newest = 1 - f._slot._next
        with open("/r.%d" % newest, "r+b") as file:
            raw = bytearray(file.read())
            raw[rot // 8] ^= 1 << rot % 8
            file.seek(0)
            file.write(raw)
        again = counters.Floors("/r", stats)
        assert used <= again.of(0) <= used + 1024, (rot, used, again.of(0))


SCENARIOS = (
    set_by_an_answer_to_our_own_nonce_only,
    hellos_in_a_row_do_not_undo_the_question,
    no_time_that_cannot_be,
    group_time_moves_within_a_band,
    the_band_follows_the_crystal,
    group_time_alone_is_not_enough,
    asks_for_answers_by_itself,
    commands_expire_by_the_latest_time,
    proven_time_gives_way_to_a_long_run_only,
    a_wrong_clock_for_minutes_raises_nothing,
    random_frames_stay_in_the_band,
    flash_keeps_what_was_proven,
    a_group_frame_counts_once_also_over_a_reset,
    nor_is_one_taken_again_when_the_newest_copy_rots,
)


def always(*_):
    return True


def believe(self, base, other, apart):
    return True


# (owner, attribute, what it becomes when the rule is removed, the scenario that must notice)
REMOVALS = (
    (clock, "plausible", always, no_time_that_cannot_be),
    (clock, "agrees", always, group_time_moves_within_a_band),
    (clock, "agrees", always, random_frames_stay_in_the_band),
    (clock, "agrees", always, proven_time_gives_way_to_a_long_run_only),
    (clock, "agrees", lambda a, b, apart: abs(a - b) <= 2000, the_band_follows_the_crystal),
    (SiteClock, "latest_s", SiteClock.now_s, commands_expire_by_the_latest_time),
    (SiteClock, "_settled", always, proven_time_gives_way_to_a_long_run_only),
    (SiteClock, "_settled", always, a_wrong_clock_for_minutes_raises_nothing),
    (SiteClock, "_settled", lambda self, now: False, a_wrong_clock_for_minutes_raises_nothing),
    (SiteClock, "wants_answer", lambda self: False, group_time_alone_is_not_enough),
    (counters.Floors, "accept_group", always, a_group_frame_counts_once_also_over_a_reset),
    (counters.Floors, "keep", lambda self, s: None, flash_keeps_what_was_proven),
)

for scenario in SCENARIOS:
    print(scenario.__name__)
    scenario()
support.must_notice(REMOVALS)
print("ok")
