"""Storm's multilang protocol, the part of a bolt: JSON over standard input and output.

A message is one JSON value and a line "end". Standard output belongs to it: nothing else may print.
https://storm.apache.org/releases/2.8.3/Multilang-protocol.html
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

Process = Callable[[Sequence[Any]], Iterable[Sequence[Any]]]
_LEVELS = {"debug": 1, "info": 2, "warning": 3, "error": 4}
_LONGEST = 64_000_000  # of one message, bytes


class Shell:
    """The worker at the other end of two pipes."""

    def __init__(self, into: BinaryIO, out: BinaryIO) -> None:
        self._in, self._out = into, out

    def read(self) -> Any:
        """The next message. Raises EOFError when the worker is gone, ValueError for no message."""
        lines: list[bytes] = []
        size = 0
        while line := self._in.readline(_LONGEST):
            if line.strip() == b"end":
                return json.loads(b"".join(lines))
            lines.append(line)
            size += len(line)
            if size > _LONGEST:
                raise ValueError("a message of the worker has no end")
        raise EOFError

    def send(self, message: dict[str, Any]) -> None:
        """Send one message."""
        self._out.write(json.dumps(message, separators=(",", ":")).encode() + b"\nend\n")
        self._out.flush()

    def log(self, text: str, level: str = "info") -> None:
        """Into the worker's log."""
        self.send({"command": "log", "msg": text, "level": _LEVELS[level]})


def run(shell: Shell, process: Process) -> None:
    """Be a bolt until the worker is gone. `process`: a tuple's values -> the values to emit.

    A tuple is acknowledged when all that came of it is emitted, anchored to it; where that fails
    it is failed, and comes again.
    """
    hello = shell.read()
    pid = os.getpid()
    Path(hello["pidDir"], str(pid)).touch()
    shell.send({"pid": pid})
    while True:
        try:
            message = shell.read()
        except EOFError:
            return
        if not isinstance(message, dict):
            continue  # the tasks that an emitted tuple went to
        if message.get("stream") == "__heartbeat":
            shell.send({"command": "sync"})
            continue
        one = message["id"]
        try:
            made = list(process(message["tuple"]))
        except Exception as error:  # of any kind: the tuple comes again, the bolt stays
            shell.send({"command": "error", "msg": f"{type(error).__name__}: {error}"})
            shell.send({"command": "fail", "id": one})
            continue
        for values in made:
            shell.send({
                "command": "emit", "tuple": list(values), "anchors": [one], "need_task_ids": False,
            })  # fmt: skip
        shell.send({"command": "ack", "id": one})
