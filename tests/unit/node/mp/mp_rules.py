"""S1..S12 on the selector and the autonomy, in virtual time; then every rule is taken away in turn,
and at least the scenario that belongs to it must fail.
"""

from world import TIMING, PowerCut, World

from pbal_node import drive, rules, store, watchdog
from pbal_node.selector import CLOSED, LOCKED_OUT, OPEN
from pbal_protocol import names
from pbal_protocol.names import DONE, EXPIRED, FAILED


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
    assert len(w.sel.outbox) == store.RESULTS_KEPT and w.sel.outbox[-1].command_id == 39


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
    w.volts = [0.0, 0.0, 0.0, 0.0]
    w.run(60000)
    assert w.sel.state == OPEN and sum(w.contact) == 0
    w.volts = [0.0, 230.0, 230.0, 230.0]
    at = w.now
    w.until(lambda: sum(w.contact) == 1, 60000)
    assert w.now - at >= 5000 + 900, w.now - at
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
    w.state.save = lambda: False  # flash refuses
    w.order(1, 2)
    w.run(3000)
    assert w.moves == moves and w.contact[1], "moved without a journal"
    w.state.save = save


def safe_mode_never_switches():
    w = World(safe_mode=True)
    w.run(60000)
    assert w.moves == 0 and w.order(1, 2).reason == names.REASON_SAFE_MODE


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
    a_contact_that_does_not_close_falls_back,
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
)

for scenario in SCENARIOS:
    print(scenario.__name__)
    scenario()
# The same with latching relays, where a reset opens nothing by itself.
World.kind = "latching"
for scenario in (
    s1_break_before_make,
    s2_welded_contact_locks_out,
    s2_weld_found_at_boot,
    s3_only_onto_a_good_phase,
    s8_leaves_a_sick_phase,
    s9_comes_back_staggered,
    s12_reset_at_any_instant_of_a_transfer,
    a_contact_that_does_not_close_falls_back,
):
    print("latching", scenario.__name__)
    scenario()
World.kind = "non-latching"

# With auxiliary contacts: everything as before, and what only they can tell.
World.has_aux = True
WITH_AUX = (s2_weld_to_a_dead_phase, s2_aux_contact_must_follow)
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

for owner, name, removed, scenario in REMOVALS:
    kept = getattr(owner, name)
    setattr(owner, name, removed)
    World.has_aux = scenario in WITH_AUX
    try:
        scenario()
    except (AssertionError, drive.DriveError):
        pass
    else:
        raise AssertionError("%s passes without %s" % (scenario.__name__, name))
    finally:
        setattr(owner, name, kept)
print("ok")
