"""From the settings to the rules: every limit arrives where it is enforced, and the board's binds.

The rules themselves are tested in mp_rules.py; here the application is put together and not run.
"""

import asyncio
import json
import os
import sys
import time

import machine
import support

ROOT = bytes(range(32))

# boot.py lies beside the package, wherever that was found.
BOOT = [p for p in sys.path if p.endswith("/firmware")][0] + "/boot.py"
support.ram_disk()
BOOT = "/host" + BOOT

from pbal_node import app as app_module  # noqa: E402
from pbal_node import counters, store  # noqa: E402
from pbal_node.bearers import rs485  # noqa: E402
from pbal_node.watchdog import Watchdog  # noqa: E402
from pbal_protocol import modbus, modbus_client  # noqa: E402
from pbal_protocol import names as wire  # noqa: E402

keys = support.own("pbal_protocol", "config")  # the application empties its own
house = machine.house


def make(identity=None, **config):
    """The application on a fresh boot."""
    support.install_board("esp32-devkitc", **config)
    known = {
        "eui": "010203fffe040506",
        "site": 7,
        "address": 0x0105,
        "root": ROOT.hex(),
        "group": ROOT.hex(),
        "phase": 1,
    }
    known.update(identity or {})
    support.write_file("/cfg/identity.json", json.dumps(known))
    return app_module.App()


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
    link = app.link
    tried = ((keys.TRIM_OUT_PPM, -90000), (keys.TRIM_B_PPM, 80000), (keys.TRIM_A_PPM, 80000))
    for key, value in tried:  # in one go, before anything is measured again
        link._set(key, value)
    get = app.settings.config.get
    assert get(keys.TRIM_OUT_PPM) == -90000 and get(keys.TRIM_B_PPM) == 0
    assert get(keys.TRIM_A_PPM) == 0  # nor could the home move there
    # What brings them nearer is taken, from however far.
    app.sense.v[:] = [190.0, 231.0, 240.0, 229.0]
    link._set(keys.TRIM_B_PPM, -50000)
    link._set(keys.TRIM_OUT_PPM, 0)
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


def a_damaged_identity_costs_the_link_and_no_power():
    """JSON that is whole, and not an identity: the node starts, unheard, and serves its home."""
    damaged = (
        {"root": "zz" * 32},
        {"root": "00"},
        {"root": None},
        {"group": "0" * 63},
        {"eui": "zz"},
        {"site": "7"},
        {"site": -5},
        {"address": "5"},
        {"address": 1 << 40},
    )
    for changes in damaged:
        app = make(changes)
        assert app.link is None and app.bearers[0].rx.unit == 247, changes
    for phase in ("b", 9, None):
        assert make({"phase": phase}).autonomy._initial == 0
    assert make({"root": None, "fixed": True}).limits.fixed, "what is marked on site still binds"
    support.install_board("esp32-devkitc")
    for text in ("[1]", '"x"', "null", "5"):
        support.write_file("/cfg/identity.json", text)
        assert app_module.App().link is None
    assert make().link


def an_identity_copied_from_another_chip_seals_nothing():
    """Its own chip may run beside this one: one key, and the same counters."""
    app = make({"fixed": True})
    assert app.link and app.finder is None
    kept = machine.unique_id
    machine.unique_id = lambda: b"\x01\x02\x03\x04\x05\x07"
    try:
        app = make({"fixed": True})
    finally:
        machine.unique_id = kept
    assert app.link is None and app.bearers[0].rx.unit == 247
    assert app.finder.eui.hex() == "010203fffe040507", "found by its own EUI"
    assert app.limits.fixed and app.autonomy._initial == 1, "the home is what it was"
    with open("/log/missing.txt") as f:
        assert f.read() == "identity"
    make()


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


def an_identity_marks_a_home_as_fixed():
    for name in ("fixed", "opted_out"):
        app = make({name: True})
        assert getattr(app.limits, name) == 1, name
        now = app.now_ms()
        app.clock.set(1800000000, 0, app.clock.nonce, True)
        r = app.selector.command(1, app.selector.phase, 2, 1800000000, 1800000060, now)
        assert r.reason == wire.REASON_FIXED, r.reason
        # Nobody takes that back from afar.
        key = keys.FIXED if name == "fixed" else keys.OPTED_OUT
        assert app.settings.take(key, 0) == wire.RESULT_OUT_OF_RANGE
        assert app.settings.config.get(key) == 1
        app.settings.apply()
        assert getattr(app.limits, name) == 1


def a_cold_start_is_staggered_and_a_warm_one_is_not():
    house.cause = machine.PWRON_RESET
    assert make().autonomy._stagger
    house.cause = machine.SOFT_RESET
    assert not make().autonomy._stagger
    house.cause = machine.PWRON_RESET


def outputs_are_off_before_anything_else():
    """boot.py and the application, each by itself, whatever the last program left driven (S1)."""
    with open(BOOT) as f:
        text = f.read()
    text = text[: text.index("\n_boot(globals())")]  # its functions: the rest waits for a person
    for start in ("boot.py", "app"):
        for pin in house.coils:
            house.level[pin] = 1
        house.level[4] = 1
        if start == "boot.py":
            names = {}
            exec(text + "\n_outputs_off()\n", names)
        else:
            make()
        assert [house.level[pin] for pin in sorted(house.coils)] == [0, 0, 0], start
        assert house.level[4] == 0, start + " left the RS-485 driver on"
    with open(BOOT) as f:
        assert "\n        board = _outputs_off()\n" in f.read(), "boot.py does not do it"


def only_a_long_press_clears_a_lockout():
    app = make()
    app.state_store.lockout = 2
    app.selector.boot(app.now_ms())
    assert app.selector.state == wire.STATE_LOCKOUT
    pin = app.button.number
    house.level[pin] = 0
    app._poll_button(1000)
    app._poll_button(5900)
    house.level[pin] = 1  # let go too early
    app._poll_button(6000)
    house.level[pin] = 0
    app._poll_button(7000)
    app._poll_button(11900)
    assert app.selector.state == wire.STATE_LOCKOUT and app.state_store.lockout == 2
    app._poll_button(12000)
    assert app.selector.state != wire.STATE_LOCKOUT and app.state_store.lockout == 0
    house.level[pin] = 1


def commands_expire_by_proven_time():
    """What flash remembers of site time reaches the selector; a clock behind it runs nothing."""
    t = 1800000000
    counters.Floors("/cfg/floors", store.FlashStats()).keep(t + 7200)
    app = make()
    assert app.clock.set(t, 0, app.clock.nonce, True) and app.clock.now_s() == t
    assert app.clock.latest_s() == t + 7200
    order = (app.selector.phase, 2, t, t + 60, app.now_ms())
    assert app.selector.command(1, *order).reason == wire.REASON_EXPIRED
    moved = [e[4:] for e in support.newest(app.log) if e[1] == wire.EVENT_CLOCK_MOVED]
    assert moved == [(0, 7200)] or moved == [(0, 7199)], moved
    os.remove("/cfg/floors.0")


def the_groups_floor_survives_a_reset():
    app = make()
    generation = app.link.groups.generation
    assert app.floors.accept_group(generation, 700, 0, app.now_ms())
    assert make().link.groups.newest.floor == app.floors.of(generation) >= 700


def every_hello_asks_with_a_nonce_of_its_own():
    app = make()
    asked = []
    for _ in range(3):
        asked.append(app.report.hello(0).nonce)
        time.sleep_ms(1000)
    assert len(set(asked)) == 3 and app.clock.nonce == asked[2]


def a_transfer_waits_for_a_current_zero_where_the_board_can():
    app = make()
    assert app.selector.at_zero == app.measuring.at_zero


def a_bearer_without_progress_starts_anew():
    """S11: progress is a turn of the loop, not an empty port; a loop without one is started anew,
    with its port opened again, and nothing is reset.
    """
    app = make()
    bearer = app.bearers[0]
    assert isinstance(bearer, rs485.Rs485)
    uart, watch = bearer._uart, bearer._watch

    async def scenario():
        task = asyncio.create_task(bearer.run())
        await asyncio.sleep_ms(20)
        assert bearer.alive(20000), "idle, and there is nothing to do"
        loop = watch._task
        uart.rx = b"x"
        watch.turns += 1
        assert bearer.alive(30000), "it made a turn, though bytes wait"
        assert bearer.alive(38000), "not yet"
        assert not bearer.alive(39000), "bytes wait, and no turn for 9 s"
        inits = uart.inits
        uart.rx = b""
        await asyncio.sleep_ms(1500)
        assert uart.inits == inits + 1 and bearer.reopened == 1, "the port is not opened again"
        assert watch._task not in (None, loop), "the loop is not started again"
        assert not task.done()
        # A loop that is stuck in what it does, with nothing to read.
        assert bearer.alive(50000)
        bearer._parked = False
        assert bearer.alive(58000) and not bearer.alive(59000)
        await asyncio.sleep_ms(2500)
        assert bearer.reopened == 2 and watch._task is not None
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    asyncio.run(scenario())
    assert house.resets == 0 and (wire.EVENT_DEFECT, 64 << 8 | 2) in [
        (e[1], e[4]) for e in support.newest(app.log)
    ]


def a_port_out_of_order_is_opened_again():
    """S11: it says that bytes are there and gives none, or it fails."""

    def fails(uart, buf):
        raise OSError(5)

    real = machine.UART.readinto
    for broken in (lambda uart, buf: None, fails):
        app = make()
        bearer = app.bearers[0]
        uart = bearer._uart
        uart.rx = b"x"

        async def scenario(bearer=bearer, uart=uart):
            task = asyncio.create_task(bearer.run())
            await asyncio.sleep_ms(1000)
            assert uart.inits == 1 and bearer.reopened == 1
            # Again and again, ever more slowly: bytes keep coming.
            for _ in range(300):
                uart.rx = b"x"
                await asyncio.sleep_ms(1000)
            assert 6 <= bearer.reopened <= 14, bearer.reopened
            assert not task.done()
            machine.UART.readinto = real
            uart.rx = b""
            await asyncio.sleep_ms(61000)
            uart.tx = b""
            uart.rx = modbus_client.adu(5, modbus_client.request_pdu(0))
            await asyncio.sleep_ms(100)
            assert uart.tx, "it does not answer again"
            task.cancel()

        machine.UART.readinto = broken
        try:
            asyncio.run(scenario())
        finally:
            machine.UART.readinto = real
        assert house.resets == 0


def an_error_in_the_bearer_ends_nothing():
    """S11: whatever a frame made of it, the application goes on and the bearer answers again."""
    app = make()
    bearer = app.bearers[0]
    real = bearer._serve

    def broken(buf, n):
        bearer._serve = real
        raise KeyError("a defect")

    bearer._serve = broken

    async def ask():
        bearer._uart.tx = b""
        bearer._uart.rx += modbus_client.adu(5, modbus_client.request_pdu(0))
        await asyncio.sleep_ms(1500)
        return bearer._uart.tx

    async def scenario():
        task = asyncio.create_task(bearer.run())
        await asyncio.sleep_ms(20)
        assert await ask() == b""
        assert await ask(), "the next one gets no answer"
        assert not task.done() and bearer.reopened == 0
        task.cancel()

    asyncio.run(scenario())


def only_progress_feeds_from_the_start_on():
    """boot.py feeds from a timer, for a person at the console: no longer."""
    house.timer = machine.WDT().feed
    app = make()

    async def start():
        task = asyncio.create_task(app.run())
        await asyncio.sleep_ms(50)
        task.cancel()

    asyncio.run(start())
    assert house.timer is None, "a timer feeds the watchdog whatever the loops do"
    fed = house.fed
    assert app.watchdog.poll(app.now_ms()) and house.fed == fed + 1, "it feeds no hardware"


def every_loop_can_starve_the_watchdog():
    fed = []
    for stuck in ("metering", "selector"):
        w = Watchdog(lambda: fed.append(1), app_module._WATCHED, 0)
        for n in app_module._WATCHED:
            if n != stuck:
                w.beat(n, 15000)
        assert not w.poll(15000), stuck
    assert not fed and sorted(app_module._WATCHED) == ["metering", "selector"]
    assert max(app_module._WATCHED.values()) < 15000, "the hardware's own time"


support.run(
    (
        settings_reach_the_limits,
        settings_that_come_later_bind_at_once,
        the_board_s_own_limits_bind,
        plain_registers_withhold_what_the_home_draws,
        no_band_shuts_the_nominal_voltage_out,
        no_calibration_makes_the_closed_phase_unfit,
        settings_are_plausible_on_this_board,
        a_damaged_identity_costs_the_link_and_no_power,
        an_identity_copied_from_another_chip_seals_nothing,
        an_identity_marks_a_home_as_fixed,
        a_cold_start_is_staggered_and_a_warm_one_is_not,
        outputs_are_off_before_anything_else,
        only_a_long_press_clears_a_lockout,
        commands_expire_by_proven_time,
        the_groups_floor_survives_a_reset,
        every_hello_asks_with_a_nonce_of_its_own,
        a_transfer_waits_for_a_current_zero_where_the_board_can,
        a_bearer_without_progress_starts_anew,
        a_port_out_of_order_is_opened_again,
        an_error_in_the_bearer_ends_nothing,
        only_progress_feeds_from_the_start_on,
        every_loop_can_starve_the_watchdog,
    )
)
