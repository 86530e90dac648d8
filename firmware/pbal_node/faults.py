"""Errors that were caught. A defect that a message triggers is reported, and does not end the node.

Bearer, link and housekeeping catch whatever comes out of the handling of one message or one job,
so that the next one is handled; what was caught is an event, rationed by the log, and counted.
"""

import sys

from micropython import const

_EV_DEFECT = const(21)
_ALARM = const(2)
_PRINTED = const(8)  # tracebacks on the console: printing all of a flood would block the node


class Faults:
    """`emit` of the event log; `count` since boot.

    Places, as in the event: the id of the record that was acted on, or 64 bearer, 65 sealing, 66
    slow work, 67 loading the updater, 68 a plain Modbus request, 69 a down frame, 70 a group frame,
    71 an update, 72 the meter, 73 the network.
    """

    def __init__(self, emit) -> None:
        self._emit = emit
        self.count = 0

    def note(self, place: int, error) -> None:
        """Never raises."""
        self.count += 1
        # 1 no memory, 2 flash or port, 3 a value, 4 anything else
        if isinstance(error, MemoryError):
            kind = 1
        elif isinstance(error, OSError):
            kind = 2
        elif isinstance(error, (ValueError, OverflowError, ZeroDivisionError)):
            kind = 3
        else:
            kind = 4
        try:
            if self.count <= _PRINTED:
                sys.print_exception(error)
            self._emit(_EV_DEFECT, _ALARM, place << 8 | kind, self.count)
        except Exception:  # no heap even for the report: it is counted
            pass
