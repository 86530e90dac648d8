"""The settings of a node that the controller may change, each with its legal range.

All values are whole numbers. A node checks a Config record against this table before it
stores it; the controller checks before it sends. The bounds keep safety.md true whatever is
asked for: a dwell can be lengthened or shortened, never switched off.
"""

from pbal_protocol.errors import FieldError, RangeError

DWELL_S = 1
DAILY_CAP = 2
BAND_LOW_DV = 3
BAND_HIGH_DV = 4
RATED_SWITCH_MA = 5
FIXED = 6
OPTED_OUT = 7
GOOD_TIME_MS = 8
DEAD_TIME_MS = 9
AUTONOMY_CONFIRM_MS = 10
AUTONOMY_SPREAD_MS = 11
RETURN_SPREAD_MS = 12
SILENT_HOURS = 13
TRIM_OUT_PPM = 14
TRIM_A_PPM = 15
TRIM_B_PPM = 16
TRIM_C_PPM = 17
TRIM_I_PPM = 18
BEND_I_PPB = 19
PLAIN_REGISTERS = 20

# (key, name, unit, low, high, default)
KEYS = (
    (DWELL_S, "dwell_s", "s", 1, 65535, 1800),
    (DAILY_CAP, "daily_cap", "", 0, 200, 6),
    (BAND_LOW_DV, "band_low_dv", "0.1 V", 800, 2300, 2070),
    (BAND_HIGH_DV, "band_high_dv", "0.1 V", 1100, 2900, 2530),
    (RATED_SWITCH_MA, "rated_switch_ma", "mA", 100, 200000, 20000),
    (FIXED, "fixed", "", 0, 1, 0),
    (OPTED_OUT, "opted_out", "", 0, 1, 0),
    (GOOD_TIME_MS, "good_time_ms", "ms", 100, 600000, 5000),
    (DEAD_TIME_MS, "dead_time_ms", "ms", 5, 10000, 100),
    (AUTONOMY_CONFIRM_MS, "autonomy_confirm_ms", "ms", 100, 600000, 3000),
    (AUTONOMY_SPREAD_MS, "autonomy_spread_ms", "ms", 0, 600000, 20000),
    (RETURN_SPREAD_MS, "return_spread_ms", "ms", 0, 3600000, 30000),
    (SILENT_HOURS, "silent_hours", "h", 0, 8760, 0),
    # Calibration: what a channel reads is multiplied by 1 + trim; the current's trim grows by
    # bend per square ampere. Bounded, because the voltages guard S1 and S3.
    (TRIM_OUT_PPM, "trim_out_ppm", "ppm", -100000, 100000, 0),
    (TRIM_A_PPM, "trim_a_ppm", "ppm", -100000, 100000, 0),
    (TRIM_B_PPM, "trim_b_ppm", "ppm", -100000, 100000, 0),
    (TRIM_C_PPM, "trim_c_ppm", "ppm", -100000, 100000, 0),
    (TRIM_I_PPM, "trim_i_ppm", "ppm", -100000, 100000, 0),
    (BEND_I_PPB, "bend_i_ppb", "ppb/A2", -1000000, 1000000, 0),
    # 1: current and power are shown also to readers without a key.
    (PLAIN_REGISTERS, "plain_registers", "", 0, 1, 0),
)


def entry(key: "int | str") -> tuple[int, str, str, int, int, int]:
    """Return (key, name, unit, low, high, default) by key or by name. Raises FieldError."""
    for row in KEYS:
        if key == row[0] or key == row[1]:
            return row
    raise FieldError("no setting %s" % key)


def check(key: "int | str", value: int) -> int:
    """Return `value` if it is legal for `key`. Raises FieldError, RangeError."""
    _key, name, _unit, low, high, _default = entry(key)
    if value is True or value is False or not isinstance(value, int):
        raise RangeError("%s: needs a whole number" % name)
    if not low <= value <= high:
        raise RangeError("%s: %d, not %d..%d" % (name, value, low, high))
    return value


def defaults() -> dict[str, int]:
    """Return every setting's default by name."""
    return {row[1]: row[5] for row in KEYS}
