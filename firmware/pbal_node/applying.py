"""Takes a setting: checks it for this board and this moment, stores and uses it. Loaded on demand.

The wire's ranges (pbal_protocol.config) fit all boards and all mains. This refuses what
must not be set in this home, even by a holder of the node's keys: a band that lets it close onto a
harmful voltage, or onto none; a current at which it never leaves a sick phase, or a false one;
waits that keep it without power; calibrations with which no contact follows its phase.
"""

from micropython import const

from pbal_node import rules
from pbal_protocol import config as keys
from pbal_protocol.errors import PbalError

_LOW = const(0.70)  # of nominal: below, a home is better without power
_HIGH = const(1.15)  # of nominal: above, appliances fail
_RATED_LEAST_MA = const(2000)  # few homes ever draw less: below it they would never move
_GOOD_MOST_MS = const(300000)
_DEAD_MOST_MS = const(5000)  # every transfer interrupts the home's supply for so long
_WAIT_MOST_MS = const(300000)  # each part of the wait on a sick phase
_RETURN_MOST_MS = const(900000)  # the random wait after an outage
_MOST_PPM = const(100000)  # what the current may be corrected by up to the rated current, in all
_SAME = const(0.10)  # output and closed phase agree within this share of nominal
_NEAR = const(0.13)  # and the other phases of the transformer within this
_METER = const(0.05)  # a meter with a sensor of its own is calibrated by its maker
_ALIVE = const(0.5)

_RESULT_OK = const(0)
_RESULT_UNKNOWN_KEY = const(1)
_RESULT_OUT_OF_RANGE = const(2)
_RESULT_REFUSED = const(3)
_RESULT_FLASH_ERROR = const(4)


def legal(key: int, value, marked=()) -> bool:
    """True when the wire allows the value, and it does not clear a mark that was set on site."""
    try:
        keys.check(key, value)
    except PbalError:
        return False
    return value != 0 or key not in marked


def take(s, key: int, value: int) -> int:
    """RESULT_*: the setting is in flash and in use, or why not. REFUSED: not now."""
    config = s.config
    if not config.has(key):
        return _RESULT_UNKNOWN_KEY
    if not legal(key, value, s.marked):
        return _RESULT_OUT_OF_RANGE
    if config.get(key) == value:
        return _RESULT_OK
    if keys.TRIM_OUT_PPM <= key <= keys.TRIM_C_PPM:
        why = trim_result(s, key - keys.TRIM_OUT_PPM, value)
    else:
        why = _RESULT_OK if plausible(s, key, value) else _RESULT_OUT_OF_RANGE
    if why:
        return why
    if not s.stats.may():
        return _RESULT_REFUSED
    if not config.set(key, value):
        return _RESULT_FLASH_ERROR
    apply(s)
    return _RESULT_OK


def plausible(s, key: int, value: int) -> bool:
    """True when a legal value makes sense on this board."""
    nominal = s.limits.nominal_v
    if key == keys.BAND_LOW_DV:
        return value >= 10 * _LOW * nominal
    if key == keys.BAND_HIGH_DV:
        return value <= 10 * _HIGH * nominal
    if key == keys.RATED_SWITCH_MA:
        return value >= _RATED_LEAST_MA
    if key == keys.GOOD_TIME_MS:
        return value <= _GOOD_MOST_MS
    if key == keys.DEAD_TIME_MS:
        return value <= _DEAD_MOST_MS
    if key in (keys.AUTONOMY_CONFIRM_MS, keys.AUTONOMY_SPREAD_MS):
        return value <= _WAIT_MOST_MS
    if key == keys.RETURN_SPREAD_MS:
        return value <= _RETURN_MOST_MS
    if key in (keys.TRIM_I_PPM, keys.BEND_I_PPB):
        trim = value if key == keys.TRIM_I_PPM else s.config.get(keys.TRIM_I_PPM)
        bend = value if key == keys.BEND_I_PPB else s.config.get(keys.BEND_I_PPB)
        return abs(trim) + abs(bend) * s.limits.rated_a**2 / 1000 <= _MOST_PPM
    return True


def trim_result(s, c: int, value: int) -> int:
    """RESULT_* of a calibration of a voltage: 0 the output, 1..3 its phase.

    The channel's corrected reading is compared with the others' present ones: near enough, or at
    least nearer than before. While nothing is closed only a smaller correction is accepted.
    """
    before = s.config.get(keys.TRIM_OUT_PPM + c)
    phase = s.report.phase()
    v = s.sense.v
    nominal = s.limits.nominal_v
    if not phase or v[c] < _ALIVE * nominal:
        return _RESULT_OK if abs(value) < abs(before) else _RESULT_REFUSED
    now = v[c]
    then = now * (1000000 + value) / (1000000 + before)
    for other in (1, 2, 3) if c == 0 else (0,):
        if v[other] >= _ALIVE * nominal:
            share = _SAME if phase in (c, other) else _NEAR
            if not _nearer(now, then, v[other], share * nominal):
                return _RESULT_OUT_OF_RANGE
    r = s.meter.reading
    if c in (0, phase) and s.meter.independent and r.ok:
        if not _nearer(now, then, r.v, _METER * nominal):
            return _RESULT_OUT_OF_RANGE
    low, high = s.supply.low_v, s.supply.high_v
    if c and rules.in_band(now, low, high) and not rules.in_band(then, low, high):
        return _RESULT_OUT_OF_RANGE  # after an outage no contact would close onto this phase
    return _RESULT_OK


def _nearer(now: float, then: float, other: float, enough: float) -> bool:
    off = abs(then - other)
    return off <= enough or off <= abs(now - other)


def apply(s) -> None:
    """Copy the settings to where they are used; the board's own limits still apply."""
    get = s.config.get
    lim = s.limits
    lim.dwell_ms = get(keys.DWELL_S) * 1000
    lim.daily_cap = get(keys.DAILY_CAP)
    lim.fixed = get(keys.FIXED)
    lim.opted_out = get(keys.OPTED_OUT)
    lim.good_time_ms = get(keys.GOOD_TIME_MS)
    lim.rated_a = min(s.board_rated_a, get(keys.RATED_SWITCH_MA) / 1000)
    # A band without the nominal voltage would keep a home open for good after an outage (S3).
    nominal = lim.nominal_v
    s.supply.low_v = min(max(get(keys.BAND_LOW_DV) / 10, _LOW * nominal), 0.95 * nominal)
    s.supply.high_v = max(min(get(keys.BAND_HIGH_DV) / 10, _HIGH * nominal), 1.05 * nominal)
    s.timing.dead_time_ms = max(s.board_dead_ms, get(keys.DEAD_TIME_MS))
    own = s.autonomous
    own.confirm_ms = get(keys.AUTONOMY_CONFIRM_MS)
    own.spread_ms = get(keys.AUTONOMY_SPREAD_MS)
    own.return_spread_ms = get(keys.RETURN_SPREAD_MS)
    own.good_time_ms = lim.good_time_ms
    own.silent_hours = get(keys.SILENT_HOURS)
    for c in range(4):
        s.sense.trim(c, get(keys.TRIM_OUT_PPM + c))
    s.meter.trim(get(keys.TRIM_OUT_PPM), get(keys.TRIM_I_PPM), get(keys.BEND_I_PPB))
