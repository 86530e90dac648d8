"""S1 to S7: what a home does with an order, and what keeps two phases apart while it does it.

Run by mp_rules.py.
"""

from world import TIMING, World

from pbal_node import drive, journal
from pbal_protocol import names
from pbal_protocol.names import DONE, EXPIRED, FAILED
from pbal_protocol.names import STATE_CLOSED as CLOSED
from pbal_protocol.names import STATE_LOCKOUT as LOCKED_OUT
from pbal_protocol.names import STATE_OPEN as OPEN


def s1_break_before_make():
    w = World()
    w.settle()
    assert w.sel.phase == 1
    for slow in (0, 250):
        w.decay_ms = slow
        w.limits.dwell_ms = 0
        to = 2 if w.sel.phase == 1 else 1
        w.order(10 + slow, to)
        r = w.finish(10 + slow)
        assert r.outcome == DONE and w.sel.phase == to and w.contact[to], r.reason
        assert 100 <= r.transfer_ms < 300, r.transfer_ms
    w.safe()


def s1_second_output_is_never_driven():
    w = World()
    w.settle()
    try:
        w.drive.on(2, w.now)
    except drive.DriveError:
        pass
    w.safe()


def s1_boot_drives_all_off():
    w = World()
    w.coil[2] = 1  # what the last program left on
    w.drive = drive.HeldDrive([w_pin for w_pin in w.drive._pins], 1)
    assert sum(w.coil) == 0


def s1_boot_opens_whatever_the_state():
    """Also a locked-out node, and one in safe mode, that finds a coil driven."""
    for lockout, safe_mode in ((0, False), (2, False), (0, True)):
        w = World()
        w.settle()
        w.state.lockout = lockout
        w.limits.safe_mode = safe_mode
        w.coil[3] = 1
        w.sel.boot(w.now)
        assert sum(w.coil) == 0, (lockout, safe_mode)


def s1_output_that_comes_back_in_the_dead_time():
    """Proven dead, then live again (a contact that bounced back): nothing may close."""
    w = World()
    w.settle()
    w.order(1, 2)
    w.until(lambda: w.sel.state == 5)  # DEAD_TIME
    drives = len(w.drives)
    w.welded = 1
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_DEAD, (r.outcome, r.reason)
    assert len(w.drives) == drives and w.sel.state == LOCKED_OUT and w.shorts == 0


def s1_a_broken_sensor_proves_nothing():
    """The output's sensor hangs at a rail or gives nothing: it is not dead, it is unknown."""
    for name in ("broken", "blind"):
        w = World()
        w.settle()
        w.welded = 1  # and this is what would be met
        w.order(1, 2)
        w.run(10)
        setattr(w, name, True)
        r = w.finish(1)
        assert r.outcome == FAILED and r.reason == names.REASON_NOT_DEAD, (
            name,
            r.outcome,
            r.reason,
        )
        w.run(60000)
        assert len(w.drives) == 1 and w.sel.sense_fault and w.sel.state == OPEN
        assert w.happened(names.EVENT_SENSE_FAULT)
        w.safe()
        w.boot()  # nor after a reset
        w.run(60000)
        assert len(w.drives) == 1
        w.safe()


def s2_welded_contact_locks_out():
    w = World()
    w.settle()
    w.welded = 1
    w.order(1, 2)
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_DEAD, (r.outcome, r.reason)
    assert w.sel.state == LOCKED_OUT and w.happened(names.EVENT_WELDED)
    before = len(w.drives)
    w.limits.dwell_ms = 0
    assert w.order(2, 3).reason == names.REASON_LOCKOUT
    w.run(20000)
    w.boot()
    assert w.sel.state == LOCKED_OUT
    w.run(20000)
    assert not w.sel.restore(2, w.now) and not w.sel.release(w.now)
    assert not w.sel.local_transfer(2, w.now)
    w.run(1000)
    assert len(w.drives) == before, "a locked-out node drove a contact"
    w.safe()
    w.welded = 0
    w.run(100)
    assert w.sel.clear_lockout(w.now)
    w.settle()
    w.safe()


def s2_judged_by_readings_not_by_the_clock():
    """A node that was busy while its contacts moved has few readings: one of them, late and noisy,
    is no welded contact, and a contact that nobody looked at did not fail to close.
    """
    w = World().settle()
    w.order(1, 2)
    w.until(lambda: w.sel.state == 4)  # OPENING
    w.blind = True
    w.run(650)
    w.out_v, w.out_at_ms = 230.0, w.now  # a spike
    w.sel.poll(w.now)
    assert w.sel.state == 4, "locked out by one reading"
    w.blind = False
    w.until(lambda: w.sel.state == 6)  # CLOSING
    w.blind = True
    w.run(600)
    assert w.sel.state == 6 and sum(w.contact) == 1, "opened though nobody looked"
    w.blind = False
    r = w.finish(1)
    assert r.outcome == DONE and w.sel.phase == 2 and not w.state.lockout
    # But not for ever: what stays unproven is opened.
    w = World().settle()
    w.order(1, 2)
    w.until(lambda: w.sel.state == 6)
    w.blind = True
    w.run(1600)
    assert w.sel.state != 6 and sum(w.contact) == 0
    w.safe()


def s2_weld_found_at_boot():
    w = World()
    w.settle()
    w.welded = 1
    w.run(100)
    w.boot()
    w.run(3000)
    assert w.sel.state == LOCKED_OUT and w.sel.phase == 1 and sum(w.coil) == 0


def s2_weld_to_a_dead_phase():
    """The output is dead although a contact holds: when its phase comes back, two would meet."""
    w = World()
    w.settle()
    w.welded = 1
    w.volts[1] = 0.0
    w.run(60000)
    w.volts[1] = 230.0
    w.run(5000)
    w.safe()
    assert w.sel.state == LOCKED_OUT and w.sel.phase == 1, (w.sel.state, w.sel.phase)


def s2_aux_contact_must_follow():
    """The output follows, but the contact that should be closed says that it is not."""
    w = World()
    w.settle()
    w.closed = lambda: 1 if w.contact[1] else 0
    w.order(1, 2)
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_LIVE and w.sel.phase == 1
    w.safe()


def s3_only_onto_a_good_phase():
    w = World()
    w.settle()
    for v in (206.0, 254.0, 0.0):
        w.volts[2] = v
        w.run(6000)
        assert w.order(int(v) + 1, 2).reason == names.REASON_TARGET_OUT_OF_BAND
    w.limits.good_time_ms = 100  # no setting gets below 5 s
    w.volts[2] = 230.0
    w.run(3000)
    assert w.order(900, 2).reason == names.REASON_TARGET_OUT_OF_BAND
    w.run(3000)
    w.order(901, 2)
    w.run(30)
    w.volts[2] = 150.0  # it fails while all is open: back to where we were
    r = w.finish(901)
    assert r.outcome == FAILED and w.sel.phase == 1 and w.contact[1], (r.outcome, r.reason)
    w.safe()


def s3_again_after_waiting_and_at_the_return():
    w = World()
    w.settle()
    w.amps = 60.0
    w.order(1, 2)
    w.run(2000)
    w.volts[2] = 190.0  # the target fails while the command waits for less load
    w.run(2000)
    moves = w.moves
    w.amps = 5.0
    r = w.finish(1)
    assert r.reason == names.REASON_TARGET_OUT_OF_BAND and w.moves == moves, "opened for nothing"
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert w.sel.state == OPEN
    w.volts[3] = 230.0
    w.run(3000)
    assert not w.sel.restore(3, w.now), "3 s of good voltage are not 5"
    w.volts[3] = 190.0
    w.run(8000)
    assert not w.sel.restore(3, w.now)
    w.safe()


def s4_only_fresh_commands():
    w = World()
    w.settle()
    assert w.order(1, 2, life_s=0).outcome == EXPIRED
    assert w.order(2, 2, issued=30).reason == names.REASON_NOT_YET_VALID
    w.synced = False
    assert w.order(3, 2).reason == names.REASON_UNSYNCED
    w.synced = True
    assert w.order(4, 2, from_phase=3).reason == names.REASON_WRONG_PHASE
    assert w.order(5, 1).reason == names.REASON_ALREADY_THERE
    w.run(2000)
    assert w.sel.phase == 1 and w.moves == 1


def s4_the_same_id_switches_once():
    w = World(dwell_ms=0)
    w.settle()
    w.order(7, 2, life_s=600)
    first = w.finish(7)
    w.order(8, 1, life_s=600)
    w.finish(8)
    moves = w.moves
    again = w.order(7, 2, life_s=600)
    w.run(3000)
    assert w.moves == moves and w.sel.phase == 1
    assert again is first or again.outcome == DONE
    w.boot()  # and across a reset
    w.settle()
    moves = w.moves
    again = w.order(7, 2, life_s=600)
    w.run(3000)
    assert w.moves == moves and again.outcome == DONE and again.to_phase == 2


def s4_results_nobody_fetches_are_bounded():
    w = World()
    w.settle()
    for n in range(1, 40):
        w.order(n, 1)  # ALREADY_THERE
    assert len(w.sel.outbox) == journal.RESULTS_KEPT and w.sel.outbox[-1].command_id == 39


def s5_dwell_and_daily_cap():
    w = World()
    w.settle()
    w.order(1, 2)
    w.finish(1)
    assert w.order(2, 1).reason == names.REASON_DWELL
    w.boot()
    w.settle()
    assert w.order(3, 1).reason == names.REASON_DWELL, "a reset must not shorten the dwell"
    w.skip(1800000)
    w.limits.daily_cap = 3
    w.limits.dwell_ms = 1000
    for i in (4, 5):
        r = w.order(i, 3 - w.sel.phase)
        assert not r.reason, r.reason
        w.finish(i)
        w.run(2000)
    assert w.order(6, 3).reason == names.REASON_DAILY_CAP
    assert w.state.lifetime == 5  # 2 boots, 3 commands
    w.skip(86400000)
    assert w.order(7, 3).reason == 0


def s6_waits_for_a_quiet_moment():
    w = World()
    w.settle()
    w.amps = 60.0
    w.order(1, 2, life_s=20)
    w.run(10000)
    assert w.sel.phase == 1 and w.contact[1]
    w.amps = -1.0  # the meter is silent: not known to be quiet
    w.run(1000)
    assert w.contact[1]
    w.amps = 10.0
    assert w.finish(1).outcome == DONE
    w.limits.dwell_ms = 0
    w.amps = 60.0
    w.order(2, 1, life_s=5)
    r = w.finish(2)
    assert r.outcome == EXPIRED and r.reason == names.REASON_OVER_CURRENT and w.sel.phase == 2


def s6_a_phase_that_dies_meanwhile_is_quiet():
    """While a command waits, S8 does: the home must not stay dark until the command expires."""
    w = World()
    w.settle()
    w.amps = 60.0
    w.order(1, 2, life_s=3600)
    w.run(3000)
    w.volts[1] = 0.0
    w.amps = -1.0  # the meter behind the contacts has no supply
    at = w.now
    assert w.finish(1).outcome == DONE and w.sel.phase == 2
    assert w.now - at < 5000, w.now - at
    w.safe()


def s6_opens_near_a_current_zero():
    w = World()
    w.settle()
    asked = []

    def at_zero(release_ms):
        asked.append((release_ms, w.contact[1]))
        return w.now

    w.sel.at_zero = at_zero
    w.order(1, 2)
    w.finish(1)
    assert asked == [(TIMING["release_ms"], 1)], "not asked, or after the contact had opened"


def s6_binds_local_moves_too():
    w = World()
    w.settle()
    w.amps = 60.0
    w.volts[1] = 190.0
    w.run(60000)
    assert w.sel.phase == 1 and w.contact[1], "opened above the rated current"
    w.amps = 10.0
    w.until(lambda: w.sel.phase != 1 and w.sel.state == CLOSED, 60000)
    w.amps = -1.0  # the meter fails: no reason to stay on a sick phase
    w.volts[w.sel.phase] = 190.0
    w.volts[1] = 230.0
    before = w.sel.phase
    w.until(lambda: w.sel.phase != before and w.sel.state == CLOSED, 120000)
    w.safe()


def s7_silence_changes_nothing():
    w = World()
    w.settle()
    w.volts = [0.0, 221.0, 235.0, 236.0]
    moves = w.moves
    for _ in range(36):
        w.skip(3600000)
        assert w.moves == moves and w.sel.phase == 1


SCENARIOS = (
    s1_break_before_make,
    s1_second_output_is_never_driven,
    s1_boot_drives_all_off,
    s1_boot_opens_whatever_the_state,
    s1_output_that_comes_back_in_the_dead_time,
    s1_a_broken_sensor_proves_nothing,
    s2_welded_contact_locks_out,
    s2_judged_by_readings_not_by_the_clock,
    s2_weld_found_at_boot,
    s3_only_onto_a_good_phase,
    s3_again_after_waiting_and_at_the_return,
    s4_only_fresh_commands,
    s4_the_same_id_switches_once,
    s4_results_nobody_fetches_are_bounded,
    s5_dwell_and_daily_cap,
    s6_waits_for_a_quiet_moment,
    s6_a_phase_that_dies_meanwhile_is_quiet,
    s6_opens_near_a_current_zero,
    s6_binds_local_moves_too,
    s7_silence_changes_nothing,
)
