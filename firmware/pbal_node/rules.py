"""The safety contract, one small pure function per rule (S1..S12).

No state, no clock, no pins: plain numbers in, a verdict out. The selector and the autonomy call
them through the module (`rules.output_dead(...)`), so that a test can take one rule away and see
its own scenario fail. Times are milliseconds of the monotonic clock, voltages RMS volts.
Phases are 1, 2, 3; 0 means open. Reasons are the wire's SwitchResult reasons.
"""

from micropython import const

# SwitchResult reasons, as on the wire; a const with _ before it takes no room on the node.
_AT_REST = const(0)  # the journal's stages: journal.SelectorState
_UNDER_WAY = const(1)
_AT_REST_OPEN = const(2)
_FOLLOW = const(0.15)  # as high: within this share of nominal
_ALIKE = const(0.8)  # at the same angle within 37 degrees; another phase gives 0.5
_REASON_NONE = const(0)
_REASON_DWELL = const(1)
_REASON_DAILY_CAP = const(2)
_REASON_TARGET_OUT_OF_BAND = const(4)
_REASON_LOCKOUT = const(5)
_REASON_FIXED = const(6)
_REASON_EXPIRED = const(8)
_REASON_UNSYNCED = const(9)
_REASON_SAFE_MODE = const(13)
_REASON_NOT_YET_VALID = const(16)

FAILS_MOST = 2  # a contact that failed so often in a row is used when no other is left
GOOD_TIME_MIN_MS = 5000  # S3: a supply must be good for at least this time, whatever the config
GOOD_AGAIN_MS = 1000  # S9: for the phase that was closed when only the processor was reset
CLOCK_SLACK_S = const(2)  # S4: a command may be "issued" this far in our future


# S1: break before make ------------------------------------------------------------------------


def output_dead(out_v: float, nominal_v: float) -> bool:
    """S1: the output is dead below 10 % of nominal."""
    return out_v < 0.10 * nominal_v


def sensor_proves(fault: bool) -> bool:
    """S1: what a broken sensor of the output says proves nothing."""
    return not fault


def contacts_open(aux: int) -> bool:
    """S1: no auxiliary contact says "closed" (a bit per phase; -1: the board has none)."""
    return aux <= 0


def dead_time_over(dead_since_ms: int, now_ms: int, dead_time_ms: int) -> bool:
    """S1: all open and proven dead for the whole dead time."""
    return now_ms - dead_since_ms >= dead_time_ms


def opening_shown(aux: int, hidden: bool, off_for_ms: int, dead_timeout_ms: int) -> bool:
    """S1: that all contacts are open is shown by auxiliary contacts, or by the dead output; where
    it may be dead for lack of a voltage (`hidden`), only by the longest time a contact takes.
    """
    return aux >= 0 or not hidden or off_for_ms >= dead_timeout_ms


def may_drive(driven: int, phase: int) -> bool:
    """S1: a contact may be driven only while no other one is (`driven`: 0 or the driven phase)."""
    return driven == 0 or driven == phase


def same_height(out_v: float, phase_v: float, nominal_v: float) -> bool:
    """S1: the output is alive and within 15 % of nominal of the phase."""
    return abs(out_v - phase_v) <= _FOLLOW * nominal_v and not output_dead(out_v, nominal_v)


def may_hide(phase_v: float, nominal_v: float) -> bool:
    """S1: a contact that is closed to this phase leaves the output dead, or nearly so."""
    return phase_v < 0.25 * nominal_v


def same_angle(alike: float) -> bool:
    """S1: the output's wave is the phase's (`Sense.alike`), whichever way a sensor is connected."""
    return abs(alike) >= _ALIKE


# S2: welded contacts --------------------------------------------------------------------------


def welded(dead: bool, open_for_ms: int, dead_timeout_ms: int) -> bool:
    """S2: commanded open at least `dead_timeout_ms` ago, and the output is still live."""
    return not dead and open_for_ms >= dead_timeout_ms


def lockout_reason(lockout: int) -> int:
    """S2: a locked-out node moves nothing until a person on site cleared it."""
    return _REASON_LOCKOUT if lockout else _REASON_NONE


def contacts_agree(aux: int, phase: int) -> bool:
    """S2: the auxiliary contacts show the phase that is meant, and only that."""
    return aux < 0 or aux == 1 << phase - 1


def fell_open(dead: bool, aux: int, nothing_flows: bool) -> bool:
    """S2: the closed contact is open: the output is dead on a good phase, and the auxiliary
    contacts say so, or where there are none the meter.
    """
    return dead and (nothing_flows if aux < 0 else aux == 0)


def given_up(fails: int) -> bool:
    """S9: this contact failed twice in a row: another one is tried before it."""
    return fails >= FAILS_MOST


# S3: only onto a good phase -------------------------------------------------------------------


def in_band(v: float, low_v: float, high_v: float) -> bool:
    """S3: inside the voltage band, limits included."""
    return low_v <= v <= high_v


def need_ms(set_ms: int, again: bool) -> int:
    """S3: at least 5 s of good voltage; 1 s where S9 closes again what a reset opened."""
    return GOOD_AGAIN_MS if again else max(set_ms, GOOD_TIME_MIN_MS)


def target_reason(v: float, good_ms: int, low_v: float, high_v: float, need_ms: int) -> int:
    """S3: the target is in the band now and was for at least `need_ms`."""
    if not in_band(v, low_v, high_v) or good_ms < need_ms:
        return _REASON_TARGET_OUT_OF_BAND
    return _REASON_NONE


# S4: fresh commands, executed once ------------------------------------------------------------


def freshness_reason(now_s: int, latest_s: int, issued_s: int, expires_s: int) -> int:
    """S4: `now_s` is 0 while the clock is not set; nothing is fresh then. A command expires by
    `latest_s`, the latest time proven, which is later than `now_s` after the clock was set back.
    """
    if now_s == 0:
        return _REASON_UNSYNCED
    if issued_s > now_s + CLOCK_SLACK_S:
        return _REASON_NOT_YET_VALID
    if max(now_s, latest_s) >= expires_s:
        return _REASON_EXPIRED
    return _REASON_NONE


def is_repeat(command_id: int, last_command_id: int) -> bool:
    """S4: this command was taken before; answer with its first result."""
    return command_id == last_command_id


# S5: dwell and daily cap ----------------------------------------------------------------------


def dwell_left_ms(since_transfer_ms: int, dwell_ms: int) -> int:
    """S5: what remains of the dwell; `since_transfer_ms` < 0 means never transferred."""
    if since_transfer_ms < 0:
        return 0
    return max(0, dwell_ms - since_transfer_ms)


def dwell_reason(left_ms: int) -> int:
    """S5: no commanded transfer before the dwell is over."""
    return _REASON_DWELL if left_ms > 0 else _REASON_NONE


def cap_reason(switches_today: int, daily_cap: int) -> int:
    """S5: no commanded transfer above the daily cap."""
    return _REASON_DAILY_CAP if switches_today >= daily_cap else _REASON_NONE


# S6: rated current ----------------------------------------------------------------------------


def quiet_enough(current_a: float, rated_a: float) -> bool:
    """S6: the load is at or below the rated switching current."""
    return current_a <= rated_a


# S7: silence changes nothing ------------------------------------------------------------------


def silence_moves(silent_ms: int, silent_hours: int) -> bool:
    """S7: may controller silence move this home? Never, unless local balancing was opted into."""
    return silent_hours > 0 and silent_ms >= silent_hours * 3600000


# S8: local autonomy ---------------------------------------------------------------------------


def should_leave(present_bad_ms: int, confirm_ms: int, random_ms: int) -> bool:
    """S8: the present phase was out of the band for the confirmation and the random delay."""
    return present_bad_ms >= confirm_ms + random_ms


def lean(above_mean_v: float) -> int:
    """S8: the weight of a candidate phase by its voltage above the candidates' mean.

    Load lowers a phase's voltage, so the higher one has capacity: 1 V of difference between two
    shifts the choice by 5 %, and from 6 V on it stays at four to one, so that neighbours that
    decide in the same second, each on the same voltages, still spread.
    """
    return int(min(max(1000 + 200 * above_mean_v, 400), 1600))


# S9: return of power --------------------------------------------------------------------------


def may_restore(good_ms: int, need_ms: int, random_ms: int) -> bool:
    """S9: good voltage for at least 5 s, and the random cold-load delay on top."""
    return good_ms >= max(need_ms, GOOD_TIME_MIN_MS) + random_ms


def closed_until_reset(stage: int, proven_phase: int, cold_start: bool) -> bool:
    """S9: only the processor was reset, and the journal says that the proven phase was closed."""
    return stage == _AT_REST and proven_phase > 0 and not cold_start


def rests_open(stage: int) -> bool:
    """S9: the home had been opened, for an outage or because nothing could be closed."""
    return stage == _AT_REST_OPEN


def restore_order(proven_phase: int, initial_phase: int) -> int:
    """S9: the last proven phase first; a node that never closed starts with its installed one."""
    return proven_phase or initial_phase


# S10: fixed homes -----------------------------------------------------------------------------


def fixed_reason(fixed: int, opted_out: int) -> int:
    """S10: fixed and opted-out homes stay on their phase whoever commands it."""
    return _REASON_FIXED if fixed or opted_out else _REASON_NONE


# S11: watchdog --------------------------------------------------------------------------------


def may_feed(ages_ms: list, limits_ms: list) -> bool:
    """S11: every watched loop made progress within its own limit."""
    for i in range(len(ages_ms)):
        if ages_ms[i] > limits_ms[i]:
            return False
    return True


# S12: interrupted transfers -------------------------------------------------------------------


def was_interrupted(journal_stage: int) -> bool:
    """S12: the journal says a transfer had begun and does not say how it ended."""
    return journal_stage == _UNDER_WAY


def may_adopt(stays: bool, journal_stage: int) -> bool:
    """S12: contacts that stay through a reset are left alone, unless one may have been moving."""
    return stays and journal_stage != _UNDER_WAY


def carries(found: list, aux: int) -> int:
    """S12: the one phase that the output carries, 0 when that is not proven.

    `found`: the phases that it follows in height and angle; two are no proof, as two closed
    contacts look like that. Auxiliary contacts, where fitted, must say the same.
    """
    if len(found) == 1 and contacts_agree(aux, found[0]):
        return found[0]
    return 0


def safe_mode_reason(safe_mode: bool) -> int:
    """A node that keeps crashing answers, keeps its phase, and transfers nothing."""
    return _REASON_SAFE_MODE if safe_mode else _REASON_NONE


def safe_mode_stays_open(safe_mode: bool, doubt: bool) -> bool:
    """S12: in safe mode a contact in doubt is not closed: it was moving when the node crashed, or
    did not follow its command.
    """
    return safe_mode and doubt
