"""asyncio in virtual time: import it before anything waits. See time.py beside this file.

The interpreter's own poll sleeps for a millisecond of real time even when it is told not to, so
the streams are asked directly; with none ready, the clock jumps to where the next task is due, or
to where a stream that knows (`due_us`) gets its next bytes.

The interpreter's queue of tasks gives a task without a time of its own the computer's clock. The
event loop therefore counts from far above that clock: such a task is due at once, and how fast the
computer is changes nothing.
"""

import time

import asyncio.core as core

charge = None  # charge(us): a processor that takes its time, see sim/pbal_sim/hal/processor.py
step_us = 0  # what one turn of the event loop costs it

_BASE_MS = 1 << 40
core.ticks = lambda: _BASE_MS + time.mono_us() // 1000
core.ticks_diff = lambda a, b: a - b
core.ticks_add = lambda a, b: a + b


def _readable(stream):
    """A UART says how many bytes it has; a ThreadSafeFlag answers only as the poll asks."""
    any_ = getattr(stream, "any", None)
    return any_() if any_ else stream.ioctl(3, 1)


def _wait(self, dt):
    if charge:
        charge(step_us)
    ready = [e for e in self.map.values() if e[0] is not None and _readable(e[2])]
    for entry in ready:
        core._task_queue.push(entry[0], core.ticks())
        entry[0] = None
        if entry[1] is None:
            self._dequeue(entry[2])
    if ready or dt <= 0:
        return
    us = 1000 * dt
    for e in self.map.values():
        due_us = getattr(e[2], "due_us", None)
        if due_us:
            us = min(us, max(due_us(), 1))
    time.sleep_us(us)


core.IOQueue.wait_io_event = _wait
