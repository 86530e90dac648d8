"""From the settings to the rules: every limit arrives where it is enforced, and the board's binds.

The rules themselves are tested in mp_rules.py; here the application is put together and not run.
"""

import os
import time

import machine
import support
from wiring import BOOT, app_module, house, keys, make

import scenarios_progress as progress
import scenarios_settings as settings
from pbal_node import counters, store
from pbal_protocol import names as wire


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


support.run(
    (
        settings.settings_reach_the_limits,
        settings.settings_that_come_later_bind_at_once,
        settings.the_board_s_own_limits_bind,
        settings.plain_registers_withhold_what_the_home_draws,
        settings.no_band_shuts_the_nominal_voltage_out,
        settings.no_calibration_makes_the_closed_phase_unfit,
        settings.settings_are_plausible_on_this_board,
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
        progress.a_bearer_without_progress_starts_anew,
        progress.a_port_out_of_order_is_opened_again,
        progress.an_error_in_the_bearer_ends_nothing,
        progress.only_progress_feeds_from_the_start_on,
        progress.every_loop_can_starve_the_watchdog,
    )
)
