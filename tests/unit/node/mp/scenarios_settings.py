"""Settings arrive where they bind, and none binds that would harm the home. Run by mp_wiring.py."""

import json

from wiring import keys, make

from pbal_protocol import modbus
from pbal_protocol import names as wire


def settings_reach_the_limits():
    app = make(
        dwell_s=77,
        daily_cap=3,
        band_low_dv=2100,
        band_high_dv=2500,
        good_time_ms=9000,
        autonomy_confirm_ms=1234,
        autonomy_spread_ms=2345,
        return_spread_ms=3456,
        silent_hours=5,
    )
    lim, own = app.limits, app.autonomy.settings
    assert (lim.dwell_ms, lim.daily_cap, lim.good_time_ms) == (77000, 3, 9000)
    assert (app.supply.low_v, app.supply.high_v) == (210.0, 250.0)
    assert (own.confirm_ms, own.spread_ms, own.return_spread_ms) == (1234, 2345, 3456)
    assert (own.good_time_ms, own.silent_hours) == (9000, 5)
    assert app.selector.limits is lim and not lim.fixed and not lim.opted_out


def settings_that_come_later_bind_at_once():
    app = make(dwell_s=60)
    for key, value in (
        (keys.DWELL_S, 600),
        (keys.DAILY_CAP, 2),
        (keys.FIXED, 1),
        (keys.OPTED_OUT, 1),
        (keys.BAND_LOW_DV, 2150),
    ):
        assert app.settings.config.set(key, value)
    app.settings.apply()
    lim = app.limits
    assert (lim.dwell_ms, lim.daily_cap, lim.fixed, lim.opted_out) == (600000, 2, 1, 1)
    assert app.supply.low_v == 215.0
    again = make()  # and after a reset
    assert again.limits.fixed and again.limits.opted_out and again.limits.daily_cap == 2
    for key, value in ((keys.FIXED, 0), (keys.OPTED_OUT, 0), (keys.DWELL_S, 1800)):
        assert app.settings.config.set(key, value)


def the_board_s_own_limits_bind():
    """No setting makes a contact quicker or stronger than its board file says (S1, S6)."""
    app = make(dead_time_ms=5, rated_switch_ma=63000)
    with open("/board.json") as f:
        board = json.load(f)
    assert app.timing.dead_time_ms == board["selector"]["dead_time_ms"] > 5
    assert app.limits.rated_a == board["limits"]["rated_switch_a"] < 63
    app = make(dead_time_ms=2000, rated_switch_ma=5000)
    assert app.timing.dead_time_ms == 2000 and app.limits.rated_a == 5.0


def plain_registers_withhold_what_the_home_draws():
    app = make()

    def ask(first, count):
        adu = bytearray(8)
        adu[:6] = bytes((5, 4, 0, first, 0, count))
        modbus.seal_adu(adu, 6)
        app.bearers[0]._plain(adu, 8)
        return bytes(app.bearers[0]._tx[1:3])

    refused = b"\x84\x02"
    assert ask(0, 5) == b"\x04\x0a" and ask(8, 4) == b"\x04\x08"
    for first in range(12):
        for count in range(1, 13 - first):
            touched = first <= 7 and first + count > 5
            assert (ask(first, count) == refused) == touched, (first, count)
    assert app.settings.config.set(keys.PLAIN_REGISTERS, 1)
    assert ask(0, 12) == b"\x04\x18"
    assert app.settings.config.set(keys.PLAIN_REGISTERS, 0)
    assert ask(6, 2) == refused
    app.bearers[0]._link = None  # as on a node without keys
    assert ask(0, 12) == b"\x04\x18"


def no_band_shuts_the_nominal_voltage_out():
    """Settings that are legal one by one, and would keep each home open after an outage."""
    for low, high in ((2300, 1100), (800, 1100), (2300, 2900), (2300, 2310)):
        app = make()
        assert app.settings.config.set(keys.BAND_LOW_DV, low) and app.settings.config.set(
            keys.BAND_HIGH_DV, high
        )
        app.settings.apply()
        assert app.supply.low_v <= 218.5 and app.supply.high_v >= 241.4, (low, high)
    assert app.settings.config.set(keys.BAND_LOW_DV, 2070) and app.settings.config.set(
        keys.BAND_HIGH_DV, 2530
    )


def no_calibration_makes_the_closed_phase_unfit():
    """Legal one by one, 20 % together: no contact would follow its phase any more."""
    app = make()
    app.selector.state = wire.STATE_CLOSED
    app.selector.phase = 2
    app.sense.v[:] = [230.0, 231.0, 230.0, 229.0]

    def order(key, value):
        assert app.settings.order(key, value, 1)
        app.settings.take_next(app.log.emit, app.faults)

    tried = ((keys.TRIM_OUT_PPM, -90000), (keys.TRIM_B_PPM, 80000), (keys.TRIM_A_PPM, 80000))
    for key, value in tried:  # in one go, before anything is measured again
        order(key, value)
    get = app.settings.config.get
    assert get(keys.TRIM_OUT_PPM) == -90000 and get(keys.TRIM_B_PPM) == 0
    assert get(keys.TRIM_A_PPM) == 0  # nor could the home move there
    # What brings them nearer is taken, from however far.
    app.sense.v[:] = [190.0, 231.0, 240.0, 229.0]
    order(keys.TRIM_B_PPM, -50000)
    order(keys.TRIM_OUT_PPM, 0)
    assert get(keys.TRIM_B_PPM) == -50000 and get(keys.TRIM_OUT_PPM) == 0
    for key, _value in tried:
        assert app.settings.config.set(key, 0)
    app.settings.apply()
    # A phase without a voltage, and a home that is open, have nothing to be judged by: calibrations
    # are taken back, but not made.
    app.sense.v[:] = [230.0, 100.0, 230.0, 229.0]
    take = app.settings.take
    assert take(keys.TRIM_A_PPM, 1000) == wire.RESULT_REFUSED
    assert take(keys.TRIM_C_PPM, 30000) == wire.RESULT_OK
    app.selector.state = wire.STATE_OPEN
    assert take(keys.TRIM_OUT_PPM, -1000) == take(keys.TRIM_C_PPM, 31000) == wire.RESULT_REFUSED
    assert take(keys.TRIM_C_PPM, 10000) == wire.RESULT_OK == take(keys.TRIM_C_PPM, 0)
    # A meter that came calibrated is believed, and no phase is calibrated out of the band.
    app.selector.state = wire.STATE_CLOSED
    app.sense.v[:] = [231.0, 230.0, 230.0, 240.0]
    assert take(keys.TRIM_C_PPM, 60000) == wire.RESULT_OUT_OF_RANGE
    r = app.meter.reading
    r.ok, r.v = True, 231.0
    assert (
        take(keys.TRIM_OUT_PPM, 60000) == take(keys.TRIM_B_PPM, -60000) == wire.RESULT_OUT_OF_RANGE
    )
    assert take(keys.TRIM_OUT_PPM, 40000) == take(keys.TRIM_OUT_PPM, 0) == wire.RESULT_OK
    r.ok = False


def settings_are_plausible_on_this_board():
    """What is legal on the wire, and would harm the home or keep it dark."""
    app = make()
    take = app.settings.take
    get = app.settings.config.get
    for key, bad, good in (
        (keys.BAND_LOW_DV, 1600, 1620),
        (keys.BAND_HIGH_DV, 2650, 2640),
        (keys.RATED_SWITCH_MA, 1900, 2000),
        (keys.GOOD_TIME_MS, 300001, 300000),
        (keys.DEAD_TIME_MS, 5001, 5000),
        (keys.AUTONOMY_CONFIRM_MS, 300001, 300000),
        (keys.AUTONOMY_SPREAD_MS, 300001, 300000),
        (keys.RETURN_SPREAD_MS, 900001, 900000),
        (keys.BEND_I_PPB, -1000000, -10000),
        (keys.TRIM_I_PPM, -100000, -90000),
    ):
        before = get(key)
        if key == keys.BEND_I_PPB:
            assert take(keys.RATED_SWITCH_MA, 20000) == wire.RESULT_OK
        assert take(key, bad) == wire.RESULT_OUT_OF_RANGE and get(key) == before, key
        assert take(key, good) == wire.RESULT_OK and get(key) == good, key
    assert take(keys.BEND_I_PPB, -30000) == wire.RESULT_OUT_OF_RANGE  # not beside that trim
    # What an older program left in flash binds no further than that.
    assert app.settings.config.set(keys.BAND_HIGH_DV, 2900)
    assert app.settings.config.set(keys.BAND_LOW_DV, 800)
    app.settings.apply()
    assert app.supply.high_v == 264.5 and app.supply.low_v == 161.0
    # The ration says that it is not for ever.
    app.stats._left = 0
    assert take(keys.DWELL_S, 700) == wire.RESULT_REFUSED and get(keys.DWELL_S) == 1800
    assert app.log.pending[-1][1] == wire.EVENT_WRITES_REFUSED
    app.stats._left = 9
    for key in app.settings.config.keys():
        support_defaults = {row[0]: row[5] for row in keys.KEYS}
        assert app.settings.config.set(key, support_defaults[key])
        app.stats._left = 9
