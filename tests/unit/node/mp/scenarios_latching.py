"""Latching relays: what is closed stays closed through a reset.

Run by mp_rules.py.
"""

from world import PowerCut, World

from pbal_protocol import names
from pbal_protocol.names import STATE_CLOSED as CLOSED
from pbal_protocol.names import STATE_LOCKOUT as LOCKED_OUT


def latched(phase=1, **limits):
    """A home at rest on this phase."""
    w = World(**limits)
    w.settle()
    w.limits.dwell_ms = 0
    if phase != 1:
        w.order(99, phase)
        w.finish(99)
    return w


def s12_a_reset_leaves_what_is_closed():
    for phase in (1, 2, 3):
        for crossed in (0, 1, 2, 3):
            for cold, safe_mode in ((False, False), (True, False), (False, True)):
                w = latched(phase)
                w.crossed = crossed
                w.limit_changes = {"safe_mode": safe_mode}
                moves = w.moves
                w.boot(cold)
                assert w.sel.phase == 0 and w.sel.state == 0, "told before it was proven"
                at = w.now
                w.until(lambda w=w: w.sel.state == CLOSED, 200)
                assert w.sel.phase == phase and w.drive.driven == phase
                if crossed == 0 and phase == 1:
                    print("  adopted %d ms after boot" % (w.now - at))
                w.run(120000)
                assert w.moves == moves and w.pulses == 0 and w.contact[phase] and not w.dark
                w.safe()


def s12_what_is_measured_counts():
    """Not what flash remembers: somebody moved the contact, or the flash is another board's."""
    w = latched(2)
    w.state.proven = 3
    w.state.save()
    w.boot()
    w.run(1000)
    assert w.sel.state == CLOSED and w.sel.phase == 2 and w.state.proven == 2
    w.boot()
    assert w.state.proven == 2
    w.latch[2] = 0  # shaken open
    w.run(100)
    w.boot(cold=False)
    w.run(1000)
    assert w.sel.phase == 0
    w.settle()
    assert w.sel.phase == 2 and w.contact[2]
    w.safe()


def s12_two_candidates_prove_nothing():
    """Two closed contacts make their phases alike; so do two phases that are fed by one."""
    w = latched(2)
    w.angle = [0, 0, 0, 120]
    w.boot(cold=False)
    w.run(1900)
    assert w.sel.state == 0 and w.contact[2] and w.pulses == 0
    w.until(lambda: sum(w.contact) == 0, 2000)
    w.settle()
    assert w.sel.phase == 2
    w.safe()


def s12_a_bad_contact_is_not_adopted():
    """At the right angle, and far too low: what does not follow in both is in doubt."""
    w = latched(1)
    w.bad_contact = 0.4
    w.boot(cold=False)
    w.until(lambda: sum(w.contact) == 0, 4000)
    w.run(20000)
    assert w.sel.state != CLOSED and sum(w.contact) == 0
    w.safe()


def s12_auxiliary_contacts_must_agree():
    w = latched(1)
    w.closed = lambda: 3 if w.contact[1] else 0  # another one says that it is closed as well
    w.boot(cold=False)
    w.run(1900)
    assert w.sel.state == 0 and w.sel.phase == 0
    w.until(lambda: sum(w.contact) == 0, 2000)
    w.safe()


def s12_a_broken_sensor_moves_nothing():
    """To open what can not be proven dead would leave the home dark for good."""
    for name in ("broken", "blind"):
        w = latched(2)
        setattr(w, name, True)
        w.boot(cold=False)
        w.run(60000)
        assert w.sel.state == 0 and w.sel.phase == 0 and w.contact[2] and w.pulses == 0
        assert not w.sel.busy, "looks in a hurry for ever"
        assert w.order(1, 3).reason and not w.sel.restore(2, w.now)
        setattr(w, name, False)
        w.run(3000)
        assert w.sel.state == CLOSED and w.sel.phase == 2 and w.pulses == 0
        w.safe()


def s6_binds_a_contact_that_nobody_can_name():
    for amps in (60.0, -1.0):
        w = latched(2)
        w.angle = [0, 0, 0, 120]
        w.amps = amps
        w.boot(cold=False)
        w.run(4500)
        assert w.contact[2] and w.pulses == 0
        if amps > 0:
            w.run(60000)
            assert w.contact[2]
        w.amps = 10.0 if amps > 0 else -1.0
        w.until(lambda w=w: w.contact[2] == 0, 1500)
        w.settle()
        w.safe()


def s2_a_locked_out_node_pulses_nothing():
    w = latched(1)
    w.welded = 1
    w.order(1, 2)
    w.finish(1)
    assert w.sel.state == LOCKED_OUT
    w.run(100)
    w.boot(cold=False)
    w.run(60000)
    assert w.sel.state == LOCKED_OUT and w.pulses == 0 and w.contact[1]
    w.safe()


def s12_a_transfer_cut_short_is_not_adopted():
    """The new contact is closed, and its pulse was cut: all off, then the last proven phase."""
    w = latched(1)
    w.order(1, 2)
    w.until(lambda: w.contact[2])
    w.boot(cold=False)
    w.settle()
    assert w.sel.phase == 1 and w.contact[1]
    assert w.happened(names.EVENT_TRANSFER_INTERRUPTED) == [
        (names.EVENT_TRANSFER_INTERRUPTED, 1, 2)
    ]
    w.safe()


def s12_reset_upon_reset():
    """A second reset while the first one's all-off is under way."""
    for breaks in (False, True):
        for cut in range(0, 330, 10):
            for again in (0, 5, 20, 45, 60, 80):
                w = latched(1)
                w.pulses_break = breaks
                w.order(1, 2)
                for ms in (cut, again):
                    w.cut_at = w.now + ms + 5
                    try:
                        w.run(ms + 10)
                    except PowerCut:
                        pass
                    w.cut_at = -1
                    w.boot(cold=False)
                w.settle()
                assert sum(w.contact) == 1 and w.contact[w.sel.phase]
                w.safe()


def s5_s8_go_on_after_a_reset():
    w = latched(1)
    w.limits.dwell_ms = 1800000
    w.random = 0.1
    w.volts[1] = 190.0
    w.until(lambda: w.sel.phase > 1, 60000)
    there = w.sel.phase
    assert w.sel.autonomous
    left = w.sel.dwell_left_ms(w.now)
    w.boot(cold=False)
    w.settle()
    assert w.sel.phase == there and w.sel.autonomous
    assert left - 5000 < w.sel.dwell_left_ms(w.now) <= left
    w.run(6000)
    assert w.order(1, 5 - there).reason == names.REASON_DWELL
    w.volts = [0.0, 230.0, 230.0, 230.0]
    w.volts[there] = 190.0
    w.until(lambda: w.sel.phase not in (0, there), 60000)
    w.safe()


SCENARIOS = (
    s12_a_reset_leaves_what_is_closed,
    s12_what_is_measured_counts,
    s12_two_candidates_prove_nothing,
    s12_a_bad_contact_is_not_adopted,
    s12_a_broken_sensor_moves_nothing,
    s6_binds_a_contact_that_nobody_can_name,
    s2_a_locked_out_node_pulses_nothing,
    s12_a_transfer_cut_short_is_not_adopted,
    s12_reset_upon_reset,
    s5_s8_go_on_after_a_reset,
)
