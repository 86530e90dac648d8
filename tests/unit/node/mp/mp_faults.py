"""Crashes, safe mode, garbage on the line, a stuck loop, a person at the console.

argv: boards folder; 1 for all the crash loops, else the quick ones alone.
"""

import asyncio
import time

import machine
import support
from whole import codes, house, opener, poll, run

import scenarios_broken as broken
import scenarios_crashes as crashes
from pbal_node import journal, store
from pbal_protocol import modbus_client, names


def garbage_on_both_uarts():
    async def scenario(app):
        up = opener()
        while app.selector.state != names.STATE_CLOSED:
            await asyncio.sleep_ms(50)
        seed = 1
        for _ in range(150):
            junk = bytearray(97)
            for k in range(len(junk)):
                seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
                junk[k] = seed >> 16 & 0xFF
            machine.UART.made[2].rx += junk
            machine.UART.made[1].rx += junk[:20]
            await asyncio.sleep_ms(2)
        await asyncio.sleep_ms(50)
        t = None
        for _ in range(5):
            t = t or await poll(up)
        assert t is not None and t.phase == 2
        assert house.shorts == 0 and not house.level.get(4)

    run(scenario)


def a_silence_of_minutes_ends_a_frame():
    """The chip's ticks_us wraps every 18 minutes: half of them look like the past."""

    async def scenario(app):
        up = opener()
        assert await poll(up)
        for minutes in (1, 5, 10, 13, 17, 30):
            # The beginning of a frame for us, and then nobody for a while.
            machine.UART.made[2].rx += modbus_client.adu(
                5, modbus_client.request_pdu(0, bytes(60))
            )[:20]
            await asyncio.sleep_ms(20)
            time.jump(60000 * minutes)
            assert await poll(up), minutes

    run(scenario, 7200)


def closings_into_a_high_current_are_counted():
    for count in (1, 2):

        async def scenario(app, count=count):
            while app.selector.state != names.STATE_CLOSED:
                await asyncio.sleep_ms(50)
            await asyncio.sleep_ms(3000)
            assert app.state_store.inrushes == count
            assert (names.EVENT_INRUSH, count) in codes(app)

        house.amps = 60.0
        run(scenario)
        house.amps = 3.0
    assert journal.SelectorState("/cfg/selector", store.FlashStats()).inrushes == 2


support.run(
    (
        garbage_on_both_uarts,
        a_silence_of_minutes_ends_a_frame,
        crashes.safe_mode_after_repeated_crashes,
        crashes.crashes_count_whatever_the_chip_says_of_its_reset,
        crashes.what_a_person_does_is_no_crash,
        crashes.safe_mode_survives_the_part_that_crashes,
        crashes.not_even_safe_mode_runs,
        crashes.a_crash_loop_chatters_no_contact,
        closings_into_a_high_current_are_counted,
        broken.a_board_without_a_converter_never_switches,
        broken.a_converter_that_fails_never_switches,
        broken.sensors_that_hang_at_a_rail_are_reported,
        broken.a_board_without_ports_reports_and_lives,
        broken.a_meter_that_starts_with_the_output_is_no_fault,
        broken.a_meter_that_tells_nonsense_is_a_broken_meter,
        crashes.a_crash_is_recorded_and_resets,
        crashes.a_person_at_the_console,
        broken.a_stuck_meter_loop_starves_the_watchdog,
        crashes.a_missing_board_file_is_a_crash,
    )
)
