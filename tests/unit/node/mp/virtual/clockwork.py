"""asyncio in virtual time: import it before anything waits. See time.py beside this file.

The interpreter's own poll sleeps for a millisecond of real time even when it is told not to, so
the streams are asked directly; with none ready, the clock jumps to where the next task is due.
"""

import time

import asyncio.core as core


def _wait(self, dt):
    ready = [e for e in self.map.values() if e[0] is not None and e[2].any()]
    for entry in ready:
        core._task_queue.push(entry[0])
        entry[0] = None
        if entry[1] is None:
            self._dequeue(entry[2])
    if not ready and dt > 0:
        time.sleep_ms(dt)


core.IOQueue.wait_io_event = _wait
