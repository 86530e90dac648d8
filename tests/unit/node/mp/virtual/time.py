"""`time` in virtual time: the clock moves only when somebody waits or looks at it, so that a day
takes seconds. With this folder on the path asyncio's frozen code and the node's modules import it.
"""

from utime import *  # noqa: F403

# Just below the wrap of the ESP32's ticks_ms (2**30 ms, 12.4 days): the soak passes it.
_PERIOD = 1 << 30
_us = (_PERIOD - 3600000) * 1000
_look_us = 3  # what a call costs: a loop that waits for a tick ends


def look_costs(us):
    """What asking for the time costs from now on."""
    global _look_us
    _look_us = us


def ticks_us():
    global _us
    _us += _look_us
    return _us % _PERIOD


def ticks_ms():
    return _us // 1000 % _PERIOD


def ticks_diff(a, b):
    return ((a - b + _PERIOD // 2) & (_PERIOD - 1)) - _PERIOD // 2


def ticks_add(a, b):
    return (a + b) % _PERIOD


def sleep_us(us):
    global _us
    _us += max(us, 0)


def sleep_ms(ms):
    sleep_us(1000 * ms)


def sleep(s):
    sleep_us(int(1000000 * s))


def mono_us():
    return _us


def jump(ms):
    """Nothing happens for so long."""
    sleep_us(1000 * ms)
