"""A contact that falls open, or does not close: what follows, for how long, and with which proof.

At the end each rule is taken away, and a scenario that belongs to it must fail.
"""

import support
from world import World

from pbal_node import contacts, rules
from pbal_protocol import names
from pbal_protocol.names import FAILED
from pbal_protocol.names import STATE_CLOSED as CLOSED
from pbal_protocol.names import STATE_LOCKOUT as LOCKED_OUT

FAULT = names.EVENT_CONTACT_FAULT
FELL, NOT_CLOSED = 1, 2


class Meter:
    """Lives from the output (`independent`), or is a current transformer on it."""

    def __init__(self, world, independent):
        self.w = world
        self.independent = independent
        self.reading = self
        self.works = True
        self.ok = False
        self.at_ms = -1
        self.v = self.current_a = 0.0

    def read(self):
        w = self.w
        live = w.real_out() > 60
        self.ok = self.works and (live or not self.independent)
        if self.ok:
            self.at_ms = w.now
            self.v = w.real_out()
            self.current_a = w.amps if live else 0.0


def home(independent=True, phase=1, **limits):
    """Closed for a while, with a meter that is read each second."""
    w = World(**limits)
    meter = w.sel.meter = Meter(w, independent)
    measure = w._measure

    def both():
        measure()
        meter.read()

    w._measure = both
    w.settle()
    w.limits.dwell_ms = 0
    if phase != 1:
        w.order(99, phase)
        w.finish(99)
    w.run(8000)
    return w


def drop(w, phase=None):
    """The armature falls, for whatever reason; told to close again, it does."""
    p = phase or w.sel.phase
    w.stuck_open = p
    w.run(100)
    w.stuck_open = 0
    w.latch[p] = 0
    w.coil[p] = 0  # its wire is off until somebody drives it anew
    assert not sum(w.contact)


def it_is_closed_again_on_the_same_phase():
    for independent, amps, most in ((True, 3.0, 8000), (False, 3.0, 8000), (False, 0.1, 64000)):
        w = home(independent, 2)
        w.amps = amps
        w.run(2000)
        drives, today = len(w.drives), w.sel.switches_today()
        drop(w)
        at = w.now
        w.until(lambda w=w: sum(w.contact), 90000)
        assert w.now - at < most, w.now - at
        w.run(2000)
        assert w.sel.state == CLOSED and w.sel.phase == 2 and w.drives[drives:] == [2]
        assert w.happened(FAULT) == [(FAULT, 2, FELL)]
        assert w.happened(names.EVENT_POWER_RETURN)[-1][1:] == (2, 2)
        assert w.sel.switches_today() == today and not w.sel.autonomous
        assert w.sel.contacts.fails == [0, 0, 0, 0]
        w.safe()


def the_second_time_another_phase_is_taken():
    w = home()
    drop(w)
    w.until(lambda: w.sel.state == CLOSED and w.contact[1])
    w.run(3000)
    drop(w)
    w.until(lambda: w.sel.state == CLOSED and sum(w.contact))
    assert w.sel.phase != 1 and len(w.happened(FAULT)) == 2
    w.run(60000)
    assert sum(w.contact) == 1
    w.safe()
    # A day later it gets its second chance again.
    w.order(5, 1)
    w.finish(5)
    assert w.sel.phase == 1 and w.sel.contacts.fails[1] == 0
    w.skip(86400000)
    w.run(3000)
    drives = len(w.drives)
    drop(w)
    w.until(lambda: w.sel.state == CLOSED and sum(w.contact))
    assert w.drives[drives:] == [1]
    w.safe()


def one_that_does_not_close_again_is_left():
    """One try, then another phase, each with its event and its proof."""
    w = home()
    drives = len(w.drives)
    w.stuck_open = 1
    w.until(lambda: w.sel.state == CLOSED and w.sel.phase > 1)
    assert w.drives[drives:] == [1, w.sel.phase], w.drives[drives:]
    assert w.happened(FAULT) == [(FAULT, 1, FELL), (FAULT, 1, NOT_CLOSED)]
    assert w.happened(names.EVENT_POWER_RETURN)[-1][1:] == (0, w.sel.phase)
    w.run(600000)
    assert len(w.drives) == drives + 2
    w.safe()


def a_fixed_home_waits_for_its_own():
    w = home(fixed=1)
    w.stuck_open = 1
    w.skip(3600000)
    assert not sum(w.contact) and set(w.drives) == {1} and len(w.drives) <= 14, w.drives
    w.stuck_open = 0
    w.until(lambda: w.sel.state == CLOSED, 700000)
    assert w.sel.phase == 1
    w.safe()


def a_broken_sensor_is_no_fallen_contact():
    """Its wire is off: it shows what a dead output shows. The meter says that something flows."""
    for independent in (True, False):
        w = home(independent)
        moves = w.moves
        w.real_out = lambda w=w: 0.0
        live = w.sel.meter
        live.read = lambda m=live, w=w: (
            setattr(m, "ok", True) or setattr(m, "at_ms", w.now) or setattr(m, "current_a", 0.5)
        )
        w.run(120000)
        assert w.moves == moves and w.contact[1] and not w.happened(FAULT)
    # Nor where nobody else can say anything.
    w = home()
    w.sel.meter = None
    moves = w.moves
    drop(w)
    w.run(120000)
    assert w.moves == moves and not w.happened(FAULT)


def a_meter_that_fails_alone_moves_nothing():
    w = home()
    moves = w.moves
    w.sel.meter.works = False
    w.run(120000)
    assert w.moves == moves and w.contact[1] and not w.happened(FAULT)


def a_dead_phase_is_no_fallen_contact():
    w = home()
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert not w.happened(FAULT)
    w.volts = [0.0, 230.0, 230.0, 230.0]
    w.until(lambda: w.sel.state == CLOSED and sum(w.contact))
    w.run(10000)
    assert not w.happened(FAULT)
    w.safe()


def one_that_holds_after_all_is_a_weld():
    """It opened by half: the output is alive again when the dead time has begun."""
    w = home()
    drop(w)
    w.until(lambda: w.sel.state == 5)  # DEAD_TIME
    w.welded = 1
    w.run(3000)
    assert w.sel.state == LOCKED_OUT and sum(w.coil) == 0 and w.shorts == 0
    w.run(60000)
    assert w.sel.state == LOCKED_OUT


def its_phase_must_be_good():
    """S3 holds for closing again, too."""
    w = home()
    drop(w)
    w.until(lambda: w.sel.state == 4)  # OPENING
    w.volts[1] = 190.0
    w.until(lambda: w.sel.state == CLOSED and sum(w.contact), 60000)
    assert w.sel.phase > 1
    w.safe()


def in_safe_mode_nothing_follows():
    w = home()
    w.limits.safe_mode = True
    moves = w.moves
    drop(w)
    w.run(120000)
    assert w.moves == moves


def a_waiting_command_need_not_wait():
    """The home that waited for less load has none any more."""
    for independent in (True, False):
        w = home(independent)
        w.amps = 60.0
        w.run(2000)
        w.order(1, 2, life_s=600)
        w.run(2000)
        drop(w, 1)
        w.amps = -1.0 if independent else 0.0
        r = w.finish(1)
        assert r.phase == 2 and w.contact[2]
        # A transformer sees no current at once: that is quiet enough, whatever the contact did.
        assert w.happened(FAULT) == ([(FAULT, 1, FELL)] if independent else [])
        w.safe()


def after_an_outage_another_phase_is_taken():
    for kind in (1, 2):
        w = World()
        w.settle()
        w.stuck_open = kind
        w.state.proven = kind
        w.state.save()
        w.latch = [0, 0, 0, 0]
        w.boot()
        drives = len(w.drives)
        at = w.now
        w.until(lambda w=w: w.sel.state == CLOSED, 60000)
        assert w.now - at < 42000, w.now - at
        assert w.drives[drives:] == [kind, kind, w.sel.phase] and w.sel.phase != kind
        assert w.happened(FAULT) == [(FAULT, kind, NOT_CLOSED)] * 2
        assert w.happened(names.EVENT_POWER_RETURN)[-1][1:] == (0, w.sel.phase)
        w.run(600000)
        assert len(w.drives) == drives + 3
        w.safe()


def where_none_closes_all_are_tried_seldom():
    w = World()
    w.settle()
    w.latch = [0, 0, 0, 0]
    physics = w._physics

    def none():
        coil, latch = w.coil, w.latch
        w.coil = w.latch = [0, 0, 0, 0]
        physics()
        w.coil, w.latch = coil, latch

    w._physics = none
    w.boot()
    drives = len(w.drives)
    w.skip(3600000)
    tried = w.drives[drives:]
    assert set(tried) == {1, 2, 3} and 6 <= len(tried) <= 16, tried
    w._physics = physics
    w.until(lambda: w.sel.state == CLOSED, 700000)
    w.safe()


def a_working_contact_ends_the_row():
    w = World()
    w.settle()
    w.limits.dwell_ms = 0
    w.stuck_open = 2
    for n in (1, 2, 3):
        w.order(n, 2)
        r = w.finish(n)
        assert r.outcome == FAILED and r.phase == 1 and w.sel.contacts.fails[2] == n
    w.random = 0.0
    w.volts = [0.0, 190.0, 230.0, 228.0]  # S8 passes it over ...
    w.until(lambda: w.sel.phase == 3, 60000)
    w.stuck_open = 0
    w.volts = [0.0, 230.0, 230.0, 230.0]
    w.run(8000)
    w.order(9, 2)  # ... until a command has shown that it closes
    w.finish(9)
    assert w.sel.phase == 2 and w.sel.contacts.fails[2] == 0
    w.safe()


def with_aux(scenario):
    World.has_aux = True
    try:
        scenario()
    finally:
        World.has_aux = False


def auxiliary_contacts_decide():
    w = home()
    w.sel.meter = None
    drop(w)
    at = w.now
    w.until(lambda: w.sel.state == CLOSED and sum(w.contact))
    assert w.now - at < 3000 and w.happened(FAULT) == [(FAULT, 1, FELL)], w.now - at
    w.safe()
    # They say closed: then it is the sensor, whatever the meter says.
    w = home()
    moves = w.moves
    w.closed = lambda: 1
    w.real_out = lambda: 0.0
    w.run(120000)
    assert w.moves == moves and not w.happened(FAULT)


SCENARIOS = (
    it_is_closed_again_on_the_same_phase,
    the_second_time_another_phase_is_taken,
    one_that_does_not_close_again_is_left,
    a_fixed_home_waits_for_its_own,
    a_broken_sensor_is_no_fallen_contact,
    a_meter_that_fails_alone_moves_nothing,
    a_dead_phase_is_no_fallen_contact,
    one_that_holds_after_all_is_a_weld,
    its_phase_must_be_good,
    in_safe_mode_nothing_follows,
    a_waiting_command_need_not_wait,
    after_an_outage_another_phase_is_taken,
    where_none_closes_all_are_tried_seldom,
    a_working_contact_ends_the_row,
)
REMOVALS = (
    (rules, "fell_open", lambda dead, aux, still: False, it_is_closed_again_on_the_same_phase),
    (rules, "fell_open", lambda dead, aux, still: dead, a_broken_sensor_is_no_fallen_contact),
    (rules, "given_up", lambda fails: False, after_an_outage_another_phase_is_taken),
    (rules, "given_up", lambda fails: fails > 0, after_an_outage_another_phase_is_taken),
    (rules, "output_dead", lambda v, n: True, a_meter_that_fails_alone_moves_nothing),
    (
        contacts.Contacts,
        "once_more",
        lambda self, phase, now: True,
        the_second_time_another_phase_is_taken,
    ),
    (contacts.Contacts, "failed", lambda self, phase: True, one_that_does_not_close_again_is_left),
    (contacts.Contacts, "closed", lambda self, phase: None, a_working_contact_ends_the_row),
    (rules, "target_reason", lambda v, good, low, high, need: 0, its_phase_must_be_good),
    (rules, "welded", lambda dead, ms, t: False, one_that_holds_after_all_is_a_weld),
    (rules, "safe_mode_reason", lambda safe: 0, in_safe_mode_nothing_follows),
)

for kind in ("non-latching", "latching"):
    World.kind = kind
    for scenario in SCENARIOS:
        print(kind, scenario.__name__)
        scenario()
    print(kind, "with auxiliary contacts")
    with_aux(auxiliary_contacts_decide)
World.kind = "non-latching"
support.must_notice(REMOVALS)
print("ok")
