"""Sends on an RS-485 line: DE is raised before the first byte, and dropped when the last stop bit
has left.
"""

import time


def transmit(uart, de, view, char_us: int) -> None:
    """Send the bytes of `view`, a memoryview; `char_us`: microseconds of one character.

    Nothing else runs meanwhile: a driver that stays on for longer than t3.5 would collide with the
    next request.
    """
    ticks = time.ticks_us
    diff = time.ticks_diff
    n = len(view)
    de.value(1)
    try:
        start = ticks()
        uart.write(view)
        # Sleep until shortly before the last stop bit, then watch for it.
        wait = n * char_us - 300 - diff(ticks(), start)
        if wait > 0:
            time.sleep_us(wait)
        while not uart.txdone():
            if diff(ticks(), start) > 2 * n * char_us + 20000:
                break  # the UART never finishes: free the line rather than block it
            time.sleep_us(50)
    finally:
        de.value(0)
