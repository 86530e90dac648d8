"""S1..S12 on the selector and the autonomy, in virtual time; then every rule is taken away in turn,
and at least the scenario that belongs to it must fail.
"""

import support
from world import TIMING, PowerCut, World

from pbal_node import drive, journal, rules, selector, watchdog
from pbal_protocol import names
from pbal_protocol.names import DONE, EXPIRED, FAILED
from pbal_protocol.names import STATE_CLOSED as CLOSED
from pbal_protocol.names import STATE_LOCKOUT as LOCKED_OUT
from pbal_protocol.names import STATE_OPEN as OPEN
from pbal_protocol.names import STATE_SAFE as SAFE


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
    w.skip(36 * 3600000)
    assert w.moves == moves and w.sel.phase == 1


def s8_leaves_a_sick_phase():
    w = World()
    w.settle()
    w.random = 0.5
    w.volts[1] = 190.0
    w.run(2000)  # a dip shorter than the confirmation
    w.volts[1] = 230.0
    w.run(30000)
    assert w.sel.phase == 1, "a short dip moved the home"
    w.volts = [0.0, 190.0, 212.0, 235.0]
    at = w.now
    w.until(lambda: w.sel.phase == 3, 60000)
    assert w.now - at >= 3000 + 10000, "no random delay"
    assert w.happened(names.EVENT_AUTONOMOUS_TRANSFER) == [(names.EVENT_AUTONOMOUS_TRANSFER, 1, 3)]
    w.volts[1] = 230.0
    w.run(60000)
    assert w.sel.phase == 3, "the return is the controller's business"
    w.safe()


def s9_comes_back_staggered():
    w = World(dwell_ms=0)
    w.settle()
    w.order(1, 2)
    w.finish(1)
    w.random = 0.9
    w.settings.return_spread_ms = 20000
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert w.sel.state == OPEN and sum(w.contact) == 0
    w.volts = [0.0, 230.0, 230.0, 230.0]
    at = w.now
    w.until(lambda: sum(w.contact) == 1, 60000)
    assert 5000 + 18000 <= w.now - at < 5000 + 18000 + 1000, w.now - at
    w.settle()
    assert w.sel.phase == 2, "not the last proven phase"
    w.safe()


def s9_takes_a_healthy_phase_when_its_own_stays_dead():
    w = World()
    w.settle()
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    w.volts = [0.0, 0.0, 0.0, 231.0]
    w.until(lambda: w.sel.state == CLOSED, 60000)
    assert w.sel.phase == 3
    w.volts = [0.0, 230.0, 230.0, 230.0]
    w.run(30000)
    assert w.order(1, 1).reason == names.REASON_DWELL, "it went elsewhere: it stays there (S5)"
    w.boot()
    w.settle()
    assert w.order(2, 1).reason == names.REASON_DWELL, "a reset must not shorten the dwell"
    w.skip(1800000)
    assert w.order(3, 1).reason == 0


def s10_fixed_homes_stay():
    for name in ("fixed", "opted_out"):
        w = World(**{name: 1})
        w.settle()
        assert w.order(1, 2).reason == names.REASON_FIXED
        w.volts[1] = 190.0
        w.run(120000)
        assert w.sel.phase == 1 and w.contact[1]
        w.volts = [0.0, 0.0, 0.0, 0.0]
        w.run(60000)
        w.volts = [0.0, 0.0, 230.0, 230.0]  # its own phase stays dead: so does the home
        w.run(60000)
        assert w.sel.state == OPEN and sum(w.contact) == 0
        w.volts[1] = 230.0
        w.settle()
        assert w.sel.phase == 1


def s11_watchdog():
    fed = []
    w = watchdog.Watchdog(lambda: fed.append(1), {"a": 100, "b": 100, "c": 100}, 0)
    for stuck in ("a", "b", "c"):
        for n in ("a", "b", "c"):
            w.beat(n, 1000)
        assert w.poll(1050)
        for n in ("a", "b", "c"):
            if n != stuck:
                w.beat(n, 1150)
        count = len(fed)
        assert not w.poll(1150) and len(fed) == count, stuck


def s12_reset_at_any_instant_of_a_transfer():
    for cut in range(0, 330, 15):
        w = World()
        w.settle()
        w.order(1, 2)
        w.cut_at = w.now + cut + 5
        try:
            w.finish(1)
            done = True
        except PowerCut:
            done = w.sel.phase == 2
        w.cut_at = -1
        began = w.state.stage
        w.boot(cold=False)
        w.settle()
        w.safe()
        assert sum(w.contact) == 1
        if began:
            code = names.EVENT_TRANSFER_INTERRUPTED
            assert w.happened(code) == [(code, 1, 2)], cut
            r = [r for r in w.sel.outbox if r.command_id == 1][-1]
            assert r.outcome == FAILED and r.reason == names.REASON_INTERRUPTED
            assert w.sel.phase == 1
        else:
            assert w.sel.phase == (2 if done else 1)
        moves = w.moves
        w.order(1, 2)
        w.run(2000)
        assert w.moves == moves or not (began or done), "the command was executed twice"


def s12_journal_comes_first():
    w = World()
    w.settle()
    moves = w.moves
    save = w.state.save
    w.state.save = lambda asked=False: False  # flash refuses
    w.order(1, 2)
    w.run(3000)
    assert w.moves == moves and w.contact[1], "moved without a journal"
    w.state.save = save


def safe_mode_never_switches():
    w = World(safe_mode=True)
    w.run(60000)
    assert w.moves == 0, "nothing was ever proven here"
    w = World()
    w.settle()
    w.limits.safe_mode = True
    assert w.order(1, 2).reason == names.REASON_SAFE_MODE
    moves = w.moves
    w.volts[1] = 190.0
    w.run(60000)
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert w.moves == moves and w.contact[1], "only S12 acts in safe mode"


def safe_mode_keeps_the_proven_phase():
    w = World()
    w.settle()
    w.order(1, 2)
    w.finish(1)
    w.limit_changes = {"safe_mode": True}
    drives = len(w.drives)
    w.boot(cold=False)
    w.run(3000)
    assert w.sel.state == CLOSED and w.sel.phase == 2 and w.contact[2]
    assert len(w.drives) - drives <= 1
    w.safe()
    drives = len(w.drives)
    w.boot()  # after an outage: by the rules of a return
    w.volts[2] = 0.0
    w.run(60000)
    if w.kind != "latching":  # whose contact stays, so power comes back by itself
        assert len(w.drives) == drives and w.sel.state == OPEN, "another phase than the proven one"
        w.volts[2] = 230.0
        w.run(4000)
        assert not w.contact[2]
    w.volts[2] = 230.0
    w.run(10000)
    assert w.sel.state == CLOSED and w.sel.phase == 2 and w.contact[2]
    w.safe()


def safe_mode_closes_nothing_in_doubt():
    """The node died while a contact was moving, or the contact does not do as it is told."""
    w = World()
    w.settle()
    w.order(1, 2)
    w.until(lambda: w.sel.state == 6)  # CLOSING
    w.limit_changes = {"safe_mode": True}
    drives = len(w.drives)
    w.boot(cold=False)
    w.run(600000)
    assert w.sel.state == SAFE and len(w.drives) == drives and sum(w.contact) == 0
    assert w.happened(names.EVENT_TRANSFER_INTERRUPTED)
    w.safe()
    w.limit_changes = {}
    w.boot()  # out of safe mode
    w.settle()
    w.limit_changes = {"safe_mode": True}
    w.latch = [0, 0, 0, 0]  # a latching one was shaken open
    w.stuck_open = 1
    drives = len(w.drives)
    w.boot(cold=False)
    w.run(600000)
    assert w.sel.state == SAFE and len(w.drives) == drives + 1, len(w.drives) - drives
    w.safe()


def safe_mode_lets_a_failed_loop_begin_again():
    w = World()
    w.settle()
    w.limits.safe_mode = True
    moves = w.moves
    w.sel.recover(w.now)
    w.run(1000)
    assert w.moves == moves and w.contact[1], "a contact at rest was moved"
    w.limits.safe_mode = False
    w.order(1, 2)
    w.until(lambda: w.sel.state == 6)  # CLOSING
    w.limits.safe_mode = True
    w.sel.recover(w.now)
    w.run(60000)
    assert w.sel.state == SAFE and sum(w.contact) == 0
    w.safe()


def s9_a_reset_of_the_processor_is_a_short_dark():
    """No outage: neither 5 s nor a random delay, whatever they are set to."""
    w = World()
    w.settle()
    w.random = 0.9
    w.order(1, 2)
    w.finish(1)
    w.limit_changes = {"good_time_ms": 9000}
    at = w.now
    w.boot(cold=False)
    w.settle()
    assert w.sel.phase == 2 and w.now - at < 2000, w.now - at
    print("  closed and proven %d ms after boot" % (w.now - at))
    w.safe()
    w.limit_changes = {}
    w.boot(cold=True)
    at = w.now
    w.settle()
    assert w.now - at > 5900
    print("  after a power-on: %d ms, 900 of them the random delay" % (w.now - at))


def s9_an_outage_stays_an_outage_across_a_reset():
    w = World()
    w.settle()
    w.random = 0.9
    # Opened for want of a supply, then reset, before it returns or after; or reset, and the supply
    # is away then.
    for opened, back in ((True, False), (True, True), (False, False)):
        w.volts = [0.0, 0.0, 0.0, 0.0]
        if opened:
            w.until(lambda: w.sel.state == OPEN, 60000)
        if back:
            w.volts = [0.0, 230.0, 230.0, 230.0]
            w.run(2000)
        w.boot(cold=False)
        w.run(0 if back else 5000)
        w.volts = [0.0, 230.0, 230.0, 230.0]
        at = w.now
        w.until(lambda: sum(w.contact), 60000)
        assert w.now - at >= 5000 + 900, w.now - at
        w.settle()
        w.safe()
    w.volts = [0.0, 190.0, 230.0, 230.0]  # a sick phase is no outage, and not closed onto
    w.boot(cold=False)
    if w.kind != "latching":
        w.run(4000)
        assert not w.contact[1]


def a_contact_that_does_not_close_is_tried_seldom():
    """Where there is no other healthy phase: mp_contacts.py has the rest."""
    w = World()
    w.settle()
    w.volts = [0.0, 230.0, 0.0, 0.0]
    w.stuck_open = 1
    w.latch = [0, 0, 0, 0]
    w.boot()
    drives = len(w.drives)
    w.skip(3600000)
    assert 5 <= len(w.drives) - drives <= 12, len(w.drives) - drives
    w.safe()


def a_return_refused_for_a_passing_reason_is_soon_tried_again():
    """What kept the home dark is over: no rest that was meant for a bad contact follows."""
    # A sensor of the output that proves nothing while the first return is tried, ...
    for fault in ("blind", "broken"):
        w = World()
        w.settle()
        setattr(w, fault, True)
        w.latch = [0, 0, 0, 0]
        w.boot(cold=False)
        w.run(20000)
        assert w.sel.state == OPEN and not sum(w.contact)
        writes = w.stats.writes
        w.run(60000)
        assert w.stats.writes == writes, "flash is worn by trying"
        setattr(w, fault, False)
        w.sel.sense_fault = False  # as the application says, a reading later
        at = w.now
        w.until(lambda w=w: w.sel.state == CLOSED)
        assert w.now - at < 3000, w.now - at
        w.safe()
    # ... a flash that refuses the journal, ...
    w = World()
    w.settle()
    w.latch = [0, 0, 0, 0]
    w.boot(cold=False)
    save = w.state.save
    w.state.save = lambda asked=False: False
    w.run(10000)
    assert not sum(w.contact)
    w.state.save = save
    at = w.now
    w.until(lambda: w.sel.state == CLOSED)
    assert w.now - at < 3000, w.now - at
    # ... and an output that is not proven dead in time: nothing was driven, so nothing is worn.
    w = World()
    w.settle()
    w.latch = [0, 0, 0, 0]
    w.boot(cold=True)
    w.until(lambda: w.sel.state == 4 and w.sel._goal)
    w.blind = True
    w.run(6000)
    assert w.sel.state == OPEN and w.sel.sense_fault
    w.blind = False
    w.sel.sense_fault = False
    at = w.now
    w.until(lambda: w.sel.state == CLOSED)
    assert w.now - at < 3000, w.now - at
    w.safe()


def a_contact_on_another_phase_is_not_believed():
    """Coils or sensors connected crosswise: the output follows, but not the phase meant."""
    w = World()
    w.settle()
    w.angle = [0, 0, 120, -120]  # as all the time: nobody cares which is which
    w.real_alike = lambda: [0.0, -0.5, -0.5, 1.0] if w.contact[2] else [0.0, 1.0, -0.5, -0.5]
    w.order(1, 2)
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_LIVE and w.sel.phase == 1
    w.safe()


# Latching relays: what is closed stays closed through a reset.


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


def a_contact_that_does_not_close_falls_back():
    w = World()
    w.settle()
    w.stuck_open = 2
    w.order(1, 2)
    r = w.finish(1)
    assert r.outcome == FAILED and r.reason == names.REASON_NOT_LIVE and r.phase == 1
    w.safe()


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
    s8_leaves_a_sick_phase,
    s9_comes_back_staggered,
    s9_takes_a_healthy_phase_when_its_own_stays_dead,
    s10_fixed_homes_stay,
    s11_watchdog,
    s12_reset_at_any_instant_of_a_transfer,
    s12_journal_comes_first,
    safe_mode_never_switches,
    safe_mode_keeps_the_proven_phase,
    safe_mode_closes_nothing_in_doubt,
    safe_mode_lets_a_failed_loop_begin_again,
    s9_a_reset_of_the_processor_is_a_short_dark,
    s9_an_outage_stays_an_outage_across_a_reset,
    a_contact_that_does_not_close_falls_back,
    a_contact_that_does_not_close_is_tried_seldom,
    a_return_refused_for_a_passing_reason_is_soon_tried_again,
    a_contact_on_another_phase_is_not_believed,
)
LATCHING = (
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

# (owner, attribute, what it becomes when the rule is removed, the scenario that must notice)
REMOVALS = (
    (rules, "output_dead", lambda v, n: True, s1_break_before_make),
    (rules, "sensor_proves", lambda fault: True, s1_a_broken_sensor_proves_nothing),
    (rules, "dead_time_over", lambda since, now, t: True, s1_break_before_make),
    (rules, "may_drive", lambda driven, phase: True, s1_second_output_is_never_driven),
    (
        drive.HeldDrive,
        "all_off",
        lambda self, now: setattr(self, "driven", 0),
        s1_boot_drives_all_off,
    ),
    (rules, "welded", lambda dead, ms, t: False, s2_welded_contact_locks_out),
    (rules, "welded", lambda dead, ms, t: False, s2_weld_found_at_boot),
    (rules, "contacts_open", lambda aux: True, s2_weld_to_a_dead_phase),
    (rules, "contacts_agree", lambda aux, phase: True, s2_aux_contact_must_follow),
    (rules, "lockout_reason", lambda lockout: 0, s2_welded_contact_locks_out),
    (rules, "in_band", lambda v, low, high: True, s3_only_onto_a_good_phase),
    (rules, "target_reason", lambda v, good, low, high, need: 0, s3_only_onto_a_good_phase),
    (rules, "GOOD_TIME_MIN_MS", 0, s3_only_onto_a_good_phase),
    (rules, "freshness_reason", lambda now, latest, issued, expires: 0, s4_only_fresh_commands),
    (rules, "is_repeat", lambda a, b: False, s4_the_same_id_switches_once),
    (rules, "dwell_reason", lambda left: 0, s5_dwell_and_daily_cap),
    (rules, "dwell_left_ms", lambda since, dwell: 0, s5_dwell_and_daily_cap),
    (rules, "cap_reason", lambda n, cap: 0, s5_dwell_and_daily_cap),
    (rules, "quiet_enough", lambda a, rated: True, s6_waits_for_a_quiet_moment),
    (rules, "quiet_enough", lambda a, rated: True, s6_binds_local_moves_too),
    (rules, "silence_moves", lambda ms, hours: True, s7_silence_changes_nothing),
    (rules, "should_leave", lambda bad, confirm, rnd: False, s8_leaves_a_sick_phase),
    (rules, "should_leave", lambda bad, confirm, rnd: bad > 0, s8_leaves_a_sick_phase),
    (rules, "may_restore", lambda good, need, rnd: good > 0, s9_comes_back_staggered),
    (rules, "restore_order", lambda proven, initial: 0, s9_comes_back_staggered),
    (rules, "fixed_reason", lambda fixed, out: 0, s10_fixed_homes_stay),
    (rules, "may_feed", lambda ages, limits: True, s11_watchdog),
    (rules, "was_interrupted", lambda stage: False, s12_reset_at_any_instant_of_a_transfer),
    (rules, "safe_mode_reason", lambda safe: 0, safe_mode_never_switches),
    (rules, "safe_mode_reason", lambda safe: 0, safe_mode_keeps_the_proven_phase),
    (rules, "safe_mode_stays_open", lambda safe, doubt: False, safe_mode_closes_nothing_in_doubt),
    (rules, "safe_mode_stays_open", lambda safe, doubt: safe, safe_mode_keeps_the_proven_phase),
    (
        rules,
        "closed_until_reset",
        lambda stage, proven, cold: False,
        s9_a_reset_of_the_processor_is_a_short_dark,
    ),
    (
        rules,
        "closed_until_reset",
        lambda stage, proven, cold: True,
        s9_a_reset_of_the_processor_is_a_short_dark,
    ),
    (
        rules,
        "closed_until_reset",
        lambda stage, proven, cold: not cold,
        s9_an_outage_stays_an_outage_across_a_reset,
    ),
    (rules, "rests_open", lambda stage: False, s9_an_outage_stays_an_outage_across_a_reset),
    (rules, "need_ms", lambda ms, again: ms, s9_a_reset_of_the_processor_is_a_short_dark),
    (rules, "may_adopt", lambda stays, stage: False, s12_a_reset_leaves_what_is_closed),
    (rules, "may_adopt", lambda stays, stage: stays, s12_a_transfer_cut_short_is_not_adopted),
    (rules, "carries", lambda found, aux: (found or [0])[0], s12_two_candidates_prove_nothing),
    (rules, "carries", lambda found, aux: (found or [0])[0], s12_auxiliary_contacts_must_agree),
    (rules, "same_angle", lambda alike: True, s12_a_reset_leaves_what_is_closed),
    (rules, "same_angle", lambda alike: True, a_contact_on_another_phase_is_not_believed),
    (rules, "same_height", lambda out, v, n: True, s12_a_bad_contact_is_not_adopted),
    (rules, "sensor_proves", lambda fault: True, s12_a_broken_sensor_moves_nothing),
    (rules, "quiet_enough", lambda a, rated: True, s6_binds_a_contact_that_nobody_can_name),
    (rules, "lockout_reason", lambda lockout: 0, s2_a_locked_out_node_pulses_nothing),
    (
        selector.Selector,
        "recover",
        lambda self, now: None,
        safe_mode_lets_a_failed_loop_begin_again,
    ),
)

for scenario in SCENARIOS:
    print(scenario.__name__)
    scenario()
# The same with latching relays, where a reset opens nothing by itself.
World.kind = "latching"
for scenario in (
    s1_break_before_make,
    s2_welded_contact_locks_out,
    s3_only_onto_a_good_phase,
    s8_leaves_a_sick_phase,
    s9_comes_back_staggered,
    s12_reset_at_any_instant_of_a_transfer,
    a_contact_that_does_not_close_falls_back,
    safe_mode_keeps_the_proven_phase,
    safe_mode_closes_nothing_in_doubt,
    safe_mode_lets_a_failed_loop_begin_again,
    s9_an_outage_stays_an_outage_across_a_reset,
    a_contact_that_does_not_close_is_tried_seldom,
):
    print("latching", scenario.__name__)
    scenario()
for scenario in LATCHING:
    print("latching", scenario.__name__)
    scenario()
World.kind = "non-latching"

# With auxiliary contacts: everything as before, and what only they can tell.
World.has_aux = True
WITH_AUX = (
    s2_weld_to_a_dead_phase,
    s2_aux_contact_must_follow,
    s12_auxiliary_contacts_must_agree,
)
LATCHING += (s12_auxiliary_contacts_must_agree,)
World.kind = "latching"
for scenario in (s12_auxiliary_contacts_must_agree, s12_a_reset_leaves_what_is_closed):
    print("latching, aux", scenario.__name__)
    scenario()
World.kind = "non-latching"
for scenario in (
    s2_weld_to_a_dead_phase,
    s2_aux_contact_must_follow,
    s1_break_before_make,
    s2_welded_contact_locks_out,
    s3_only_onto_a_good_phase,
    s12_reset_at_any_instant_of_a_transfer,
    a_contact_that_does_not_close_falls_back,
):
    print("aux", scenario.__name__)
    scenario()
World.has_aux = False


def on_its_board(scenario):
    World.has_aux = scenario in WITH_AUX
    World.kind = "latching" if scenario in LATCHING else "non-latching"
    scenario()


support.must_notice(REMOVALS, on_its_board, drive.DriveError)
print("ok")
