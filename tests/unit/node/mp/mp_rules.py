"""S1..S12 on the selector and the autonomy, in virtual time; then every rule is taken away in turn,
and at least the scenario that belongs to it must fail.

argv: boards folder; of how many removals one is played (1: all; 5: each fifth).
"""

import gc
import sys

import scenarios_alone as alone
import scenarios_latching as latching
import scenarios_orders as orders
import support
from world import World

from pbal_node import drive, rules, selector

# The interpreter looks for room from the lowest block that was freed: with megabytes of garbage
# above it, the days that scenarios pass in seconds took six times as long.
gc.threshold(131072)

# (owner, attribute, what it becomes when the rule is removed, the scenario that must notice)
REMOVALS = (
    (rules, "output_dead", lambda v, n: True, orders.s1_break_before_make),
    (rules, "sensor_proves", lambda fault: True, orders.s1_a_broken_sensor_proves_nothing),
    (rules, "dead_time_over", lambda since, now, t: True, orders.s1_break_before_make),
    (rules, "may_drive", lambda driven, phase: True, orders.s1_second_output_is_never_driven),
    (
        drive.HeldDrive,
        "all_off",
        lambda self, now: setattr(self, "driven", 0),
        orders.s1_boot_drives_all_off,
    ),
    (rules, "welded", lambda dead, ms, t: False, orders.s2_welded_contact_locks_out),
    (rules, "welded", lambda dead, ms, t: False, orders.s2_weld_found_at_boot),
    (rules, "contacts_open", lambda aux: True, orders.s2_weld_to_a_dead_phase),
    (rules, "contacts_agree", lambda aux, phase: True, orders.s2_aux_contact_must_follow),
    (rules, "lockout_reason", lambda lockout: 0, orders.s2_welded_contact_locks_out),
    (rules, "in_band", lambda v, low, high: True, orders.s3_only_onto_a_good_phase),
    (rules, "target_reason", lambda v, good, low, high, need: 0, orders.s3_only_onto_a_good_phase),
    (rules, "GOOD_TIME_MIN_MS", 0, orders.s3_only_onto_a_good_phase),
    (
        rules,
        "freshness_reason",
        lambda now, latest, issued, expires: 0,
        orders.s4_only_fresh_commands,
    ),
    (rules, "is_repeat", lambda a, b: False, orders.s4_the_same_id_switches_once),
    (rules, "dwell_reason", lambda left: 0, orders.s5_dwell_and_daily_cap),
    (rules, "dwell_left_ms", lambda since, dwell: 0, orders.s5_dwell_and_daily_cap),
    (rules, "cap_reason", lambda n, cap: 0, orders.s5_dwell_and_daily_cap),
    (rules, "quiet_enough", lambda a, rated: True, orders.s6_waits_for_a_quiet_moment),
    (rules, "quiet_enough", lambda a, rated: True, orders.s6_binds_local_moves_too),
    (rules, "silence_moves", lambda ms, hours: True, orders.s7_silence_changes_nothing),
    (rules, "should_leave", lambda bad, confirm, rnd: False, alone.s8_leaves_a_sick_phase),
    (rules, "should_leave", lambda bad, confirm, rnd: bad > 0, alone.s8_leaves_a_sick_phase),
    (rules, "may_restore", lambda good, need, rnd: good > 0, alone.s9_comes_back_staggered),
    (rules, "restore_order", lambda proven, initial: 0, alone.s9_comes_back_staggered),
    (rules, "fixed_reason", lambda fixed, out: 0, alone.s10_fixed_homes_stay),
    (rules, "may_feed", lambda ages, limits: True, alone.s11_watchdog),
    (rules, "was_interrupted", lambda stage: False, alone.s12_reset_at_any_instant_of_a_transfer),
    (rules, "safe_mode_reason", lambda safe: 0, alone.safe_mode_never_switches),
    (rules, "safe_mode_reason", lambda safe: 0, alone.safe_mode_keeps_the_proven_phase),
    (
        rules,
        "safe_mode_stays_open",
        lambda safe, doubt: False,
        alone.safe_mode_closes_nothing_in_doubt,
    ),
    (
        rules,
        "safe_mode_stays_open",
        lambda safe, doubt: safe,
        alone.safe_mode_keeps_the_proven_phase,
    ),
    (
        rules,
        "closed_until_reset",
        lambda stage, proven, cold: False,
        alone.s9_a_reset_of_the_processor_is_a_short_dark,
    ),
    (
        rules,
        "closed_until_reset",
        lambda stage, proven, cold: True,
        alone.s9_a_reset_of_the_processor_is_a_short_dark,
    ),
    (
        rules,
        "closed_until_reset",
        lambda stage, proven, cold: not cold,
        alone.s9_an_outage_stays_an_outage_across_a_reset,
    ),
    (rules, "rests_open", lambda stage: False, alone.s9_an_outage_stays_an_outage_across_a_reset),
    (rules, "need_ms", lambda ms, again: ms, alone.s9_a_reset_of_the_processor_is_a_short_dark),
    (rules, "may_adopt", lambda stays, stage: False, latching.s12_a_reset_leaves_what_is_closed),
    (
        rules,
        "may_adopt",
        lambda stays, stage: stays,
        latching.s12_a_transfer_cut_short_is_not_adopted,
    ),
    (
        rules,
        "carries",
        lambda found, aux: (found or [0])[0],
        latching.s12_two_candidates_prove_nothing,
    ),
    (
        rules,
        "carries",
        lambda found, aux: (found or [0])[0],
        latching.s12_auxiliary_contacts_must_agree,
    ),
    (rules, "same_angle", lambda alike: True, latching.s12_a_reset_leaves_what_is_closed),
    (rules, "same_angle", lambda alike: True, alone.a_contact_on_another_phase_is_not_believed),
    (rules, "same_height", lambda out, v, n: True, latching.s12_a_bad_contact_is_not_adopted),
    (rules, "sensor_proves", lambda fault: True, latching.s12_a_broken_sensor_moves_nothing),
    (
        rules,
        "quiet_enough",
        lambda a, rated: True,
        latching.s6_binds_a_contact_that_nobody_can_name,
    ),
    (rules, "lockout_reason", lambda lockout: 0, latching.s2_a_locked_out_node_pulses_nothing),
    (
        selector.Selector,
        "recover",
        lambda self, now: None,
        alone.safe_mode_lets_a_failed_loop_begin_again,
    ),
)

for scenario in orders.SCENARIOS + alone.SCENARIOS:
    print(scenario.__name__)
    scenario()
# The same with latching relays, where a reset opens nothing by itself.
World.kind = "latching"
for scenario in (
    orders.s1_break_before_make,
    orders.s2_welded_contact_locks_out,
    orders.s3_only_onto_a_good_phase,
    alone.s8_leaves_a_sick_phase,
    alone.s9_comes_back_staggered,
    alone.s12_reset_at_any_instant_of_a_transfer,
    alone.a_contact_that_does_not_close_falls_back,
    alone.safe_mode_keeps_the_proven_phase,
    alone.safe_mode_closes_nothing_in_doubt,
    alone.safe_mode_lets_a_failed_loop_begin_again,
    alone.s9_an_outage_stays_an_outage_across_a_reset,
    alone.a_contact_that_does_not_close_is_tried_seldom,
):
    print("latching", scenario.__name__)
    scenario()
for scenario in latching.SCENARIOS:
    print("latching", scenario.__name__)
    scenario()
World.kind = "non-latching"

# With auxiliary contacts: everything as before, and what only they can tell.
World.has_aux = True
WITH_AUX = (
    orders.s2_weld_to_a_dead_phase,
    orders.s2_aux_contact_must_follow,
    latching.s12_auxiliary_contacts_must_agree,
)
RESTS_CLOSED = latching.SCENARIOS + (latching.s12_auxiliary_contacts_must_agree,)
World.kind = "latching"
for scenario in (
    latching.s12_auxiliary_contacts_must_agree,
    latching.s12_a_reset_leaves_what_is_closed,
):
    print("latching, aux", scenario.__name__)
    scenario()
World.kind = "non-latching"
for scenario in (
    orders.s2_weld_to_a_dead_phase,
    orders.s2_aux_contact_must_follow,
    orders.s1_break_before_make,
    orders.s2_welded_contact_locks_out,
    orders.s3_only_onto_a_good_phase,
    alone.s12_reset_at_any_instant_of_a_transfer,
    alone.a_contact_that_does_not_close_falls_back,
):
    print("aux", scenario.__name__)
    scenario()
World.has_aux = False


def on_its_board(scenario):
    World.has_aux = scenario in WITH_AUX
    World.kind = "latching" if scenario in RESTS_CLOSED else "non-latching"
    scenario()


every = int(sys.argv[2])
removals = [each for n, each in enumerate(REMOVALS) if n % every == 0]
support.must_notice(removals, on_its_board, drive.DriveError)
print("ok")
