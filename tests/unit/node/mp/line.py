"""A line with the timing of every byte, into a UART with the chip's buffers; in virtual time.

`talk(line)` is a generator that says what is on the wire: bytes are sent, an int is so many
microseconds of silence, and LISTEN waits for the node's answer as a master does; what it yields
gives the answer, or b"" when none began in time.
"""

import time

LISTEN = "listen"
_ANSWER_US = 60000  # a master waits so long for an answer to begin
_FULL = 120  # of the 128 bytes in the chip's UART: the driver takes them at so many ...
_IDLE_CHARS = 7  # ... or after so long a silence (ESP-IDF's defaults)


class Line:
    """One end of the wire is `uart` (see fake/machine.py), whose `rx` is the driver's buffer.

    `full`: bytes at which the driver takes them out of the UART; 1 is a driver that takes each.
    """

    def __init__(self, uart, baud=115200, rxbuf=1024, full=_FULL):
        self.uart = uart
        self.char_us = 11000000 // baud  # 95 instead of 95.5: whole numbers leave no garbage
        self.room = rxbuf
        self._full = full
        self.t_us = time.mono_us()  # until here the line's past is known
        self._last_us = self.t_us  # the end of the last byte
        self._talk = iter(())
        self._data = b""
        self._at = 0
        self._fifo = b""
        self._listening = False
        self.sent = 0
        self.garbage = 0  # bytes that this line left on the heap
        self.lost = 0  # bytes that found no room
        self.collisions = 0  # the node spoke while somebody else did
        self.answer = b""
        self._answer_us = 0
        uart.line = self

    def say(self, talk):
        """From now on this is on the wire."""
        self.catch_up()
        self._talk = talk(self)
        self._data = b""
        self._at = 0
        self._listening = False
        self.t_us = time.mono_us()

    def quiet(self):
        self.say(lambda line: iter(()))

    # the node's side ----------------------------------------------------------------------------

    def transmitted(self, data):
        """The node begins to send."""
        self.catch_up()
        now = time.mono_us()
        if self._at < len(self._data) and self.t_us <= now:
            self.collisions += 1
        self.answer += data
        self._answer_us = now + len(data) * self.char_us

    def catch_up(self):
        """What has crossed the wire by now is in the UART."""
        now = time.mono_us()
        uart = self.uart
        while True:
            if self._at < len(self._data):
                n = min((now - self.t_us) // self.char_us, len(self._data) - self._at)
                if n <= 0:
                    break
                if self.t_us >= self._idle_us():
                    self._take(len(self._fifo))
                self._fifo += self._data[self._at : self._at + n]
                self.garbage += 2 * n + len(self._fifo) + 96
                self._at += n
                self.sent += n
                self.t_us += n * self.char_us
                self._last_us = self.t_us
                if len(self._fifo) >= self._full:
                    self._take(len(self._fifo) // self._full * self._full)
                continue
            if self._listening:
                if self.answer and self._answer_us <= now:
                    self.t_us = self._answer_us
                elif not self.answer and now - self.t_us >= _ANSWER_US:
                    self.t_us += _ANSWER_US
                else:
                    break
                self._listening = False
            if self.t_us > now:
                break
            try:
                item = next(self._talk)
            except StopIteration:
                self._data = b""
                self._at = 0
                break
            if item is LISTEN:
                self.answer = b""
                self._listening = True
            elif isinstance(item, int):
                self.t_us += item
            else:
                self._data = item
                self._at = 0
        # A silence hands over what the FIFO still holds.
        if self._fifo and now >= self._idle_us():
            self._take(len(self._fifo))
        if len(uart.rx) > self.room:
            self.lost += len(uart.rx) - self.room
            uart.rx = uart.rx[: self.room]

    def _idle_us(self):
        """When the UART gives up waiting for more."""
        return self._last_us + _IDLE_CHARS * self.char_us

    def _take(self, n):
        uart = self.uart
        uart.rx += self._fifo[:n]
        self._fifo = self._fifo[n:]
        self.garbage += len(uart.rx) + n + 128

    def due_us(self):
        """How long until the node can see something new, at least."""
        now = time.mono_us()
        left = len(self._data) - self._at
        if self._fifo and self._idle_us() > now:
            due = self._idle_us()
            if left > 0:
                due = min(
                    due, self.t_us + max(min(self._full - len(self._fifo), left), 1) * self.char_us
                )
        elif left > 0:
            due = self.t_us + min(self._full, left) * self.char_us
        elif self._listening:
            due = self._answer_us if self.answer else self.t_us + _ANSWER_US
        else:
            due = self.t_us
        return due - now + 1 if due > now else 1000
