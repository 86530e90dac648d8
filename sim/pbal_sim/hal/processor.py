"""The ESP32's speed for a node in virtual time: the work of its interpreter takes time.

    chip = processor.Processor(time.sleep_us)  # how the virtual clock moves
    chip.slow_down()  # every function of pbal_node and pbal_protocol that is loaded by now

Each call of a function of the node costs the chip's time for a call and its share of the work
inside; a loop in machine code or in C has a cost of its own for each byte. So a run is the same on
every computer and under every load, and code that does less costs less. `CALL_US` was fitted to a
sealed poll of 217 bytes, the cost of "fill" to a plain Modbus read; docs/twin.md compares the model
with the other measurements.

A collection costs the chip's own pause, also one that the interpreter would begin by itself: the
model collects when as much garbage was made as the chip has room for (`garbage_bytes`).

Code that is not the node's (the simulated wire, sensors, a test) runs between `pause` and `resume`.
This module runs on MicroPython; it imports nothing of the node.
"""

import gc
import sys

from micropython import const

CALL_US = 110  # a call of a function of the node, with its share of the code inside
STEP_US = 250  # asyncio takes the next task: queue, poll of the streams, resume (assumed)
LOOK_US = 12  # time.ticks_us() and the arithmetic around it (assumed)
COLLECTION_US = 12000  # gc.collect() with the application loaded (measured)
GARBAGE_BYTES = 100000  # 70 kB free on the chip, 1.45 times as much here (tests/rigs/node_heap.py)

# Functions with a cost of their own: (microseconds, nanoseconds per byte or sample, the argument
# that has their number).
_PRICES = {
    "copy": (15, 100, 4),
    "_count": (15, 0, 0),
    "xor": (15, 150, 6),
    "crc": (15, 200, 2),
    "seal_at": (60, 1000, 5),  # AES in C
    "open_at": (60, 1000, 5),
    "accumulate": (40, 3000, 5),
    "window": (60, 25000, 1),  # plain Python for each sample
    "sample_out": (600, 0, 0),  # its loop over the samples
    "fill": (1500, 0, 0),  # twelve registers in one loop
}
_ROOTS = ("pbal_node", "pbal_protocol")
_CALLS_A_LOOK = const(400)  # reading the heap's state is slow here


class _Collector:
    """Stands in for `gc` in the node's modules: a collection costs its pause."""

    def __init__(self, processor) -> None:
        self._processor = processor
        self.mem_alloc = gc.mem_alloc
        self.mem_free = gc.mem_free

    def collect(self) -> None:
        self._processor.collect()

    def threshold(self, amount: int = -1) -> None:
        """Does nothing: the model decides when the interpreter would collect."""


class Processor:
    """`advance(us)` moves the virtual clock. `slower`: so many times slower than the chip.
    `garbage_bytes`: garbage between two collections, in this interpreter's bytes.

    `busy_us` is the time charged so far, `collections` how many there were; `count`, when it is a
    dict, tells how often each function was called.
    """

    def __init__(
        self,
        advance,
        slower: float = 1.0,
        collection_us: int = COLLECTION_US,
        garbage_bytes: int = GARBAGE_BYTES,
    ) -> None:
        self._advance = advance
        self._percent = int(100 * slower)
        self.collection_us = collection_us
        self.garbage_bytes = garbage_bytes
        self.collections = 0
        self.busy_us = 0
        self.count = None
        self._depth = 0
        self._seen = {}
        self._calls = 0  # since the heap's state was last read
        self._live = 0  # bytes in use after the last collection
        self._overhead = 0  # bytes that the model itself left since then
        self._own = [0] * 16  # bytes that the model allocates for a call with so many arguments
        self._gc = _Collector(self)
        self.others_garbage = lambda: 0  # garbage since the last collection, not the node's
        self.after_collection = lambda: None

    # charging -----------------------------------------------------------------------------------

    def charge(self, us: int) -> None:
        """The chip was busy for so long."""
        if self._depth:
            return
        us = us * self._percent // 100  # whole numbers: a float would be garbage of the model
        self.busy_us += us
        self._advance(us)
        self._calls += 1
        if self._calls >= _CALLS_A_LOOK:
            self._calls = 0
            own = self._overhead + self.others_garbage()
            if gc.mem_alloc() - self._live - own > self.garbage_bytes:
                self.collect()

    def collect(self) -> None:
        """A collection and its pause."""
        gc.collect()
        self._live = gc.mem_alloc()
        self._overhead = 0
        self.after_collection()
        self.collections += 1
        us = self.collection_us * self._percent // 100
        self.busy_us += us
        self._advance(us)

    def pause(self) -> None:
        """What follows is not the node's; may be nested."""
        self._depth += 1

    def resume(self) -> None:
        """The node goes on."""
        self._depth -= 1

    # the functions ------------------------------------------------------------------------------

    def slow_down(self) -> None:
        """Charge for every function of the node that is loaded; again after more was loaded."""
        if not self._seen:
            gc.threshold(-1)
            self._measure_itself()
        for name in list(sys.modules):
            if name.split(".")[0] in _ROOTS:
                self._module(sys.modules[name])

    def _measure_itself(self) -> None:
        """The bytes that the model itself allocates for each call."""
        nothing = self._slow("nothing", lambda *args: None)
        bare = lambda *args: None  # noqa: E731
        self._depth += 1
        for n in range(10):
            args = [0] * n
            cost = []
            for f in (nothing, bare):
                before = gc.mem_alloc()
                for _ in range(50):
                    f(*args)
                cost.append((gc.mem_alloc() - before) // 50)
            self._own[n] = cost[0] - cost[1]
        self._depth -= 1
        self._live = gc.mem_alloc()
        self._overhead = 0

    def _module(self, module) -> None:
        if hasattr(module, "gc"):
            module.gc = self._gc
        for key in dir(module):
            value = getattr(module, key)
            if isinstance(value, type):
                if id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._class(value)
            elif callable(value) and not isinstance(value, type):
                made = self._slow(key, value)
                if made is not None:
                    setattr(module, key, made)

    def _class(self, cls) -> None:
        # A test's fakes and the interpreter's own classes cannot or need not be changed.
        try:
            own = cls.__dict__
        except AttributeError:
            return
        for key in list(own):
            made = self._slow(key, own[key])
            if made is not None:
                try:
                    setattr(cls, key, made)
                except (AttributeError, TypeError):
                    return

    def _slow(self, name: str, function):
        """The function at the chip's speed; None for anything else, or a slowed one."""
        if id(function) in self._seen or name in ("__new__", "const"):
            made = self._seen.get(id(function))
            return made if made is not function else None
        if type(function).__name__ not in ("function", "closure", "generator"):
            return None
        us, each, at = _PRICES.get(name, (CALL_US, 0, 0))
        charge = self.charge
        own = self._own

        def slow(*args, **named):
            charge(us + each * args[at] // 1000 if each else us)
            self._overhead += own[len(args)]
            if self.count is not None:
                self.count[name] = self.count.get(name, 0) + 1
            return function(*args, **named)

        self._seen[id(function)] = slow
        self._seen[id(slow)] = slow
        return slow
