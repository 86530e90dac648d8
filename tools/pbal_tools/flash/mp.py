"""mpremote as a command: scripts on the board, files to the board; nothing secret in arguments."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import CliError, NoRepl, PeerError, PortBusy, UnreachableError
from . import ports
from .run import Finished, run, tool

_CONNECTION_LOST = (
    "could not enter raw repl",
    "could not exec",
    "timeout waiting",
    "raw paste",
    "device disconnected",
    "Input/output error",
    "Connection refused",
    "Connection reset",
    "Broken pipe",
    "SerialException",
    "failed to access",
    "unpack requires a buffer",
    "index out of range",
    "reports readiness",
)


# Our scripts are correct: if the board cannot parse one, the line lost a part of it.
_GARBLED = ("SyntaxError", "IndentationError", "invalid syntax")


class Lost(UnreachableError):
    """The connection broke in the middle; trying again may help."""


class Mpremote:
    """One board at a MicroPython prompt. `silent_s` bounds the wait for each output."""

    def __init__(self, port: str, silent_s: float = 40.0) -> None:
        self.port = port
        self.silent_s = silent_s

    def script(self, code: str, total_s: float = 120.0, fresh: bool = False) -> str:
        """Runs a script on the board and returns what it printed.

        `fresh` restarts the interpreter before it (not the chip). Raises Lost, or PeerError with
        the board's own error.
        """
        with secret_file(code.encode()) as path:
            done = self._run(["run", path], total_s, fresh)
        return done.text

    def copy(
        self,
        files: list[tuple[str, bytes]],
        on_file: Callable[[str], None] = lambda path: None,
        total_s: float = 600.0,
    ) -> None:
        """Copies files (device path, content) in order, in one session.

        `on_file` is called with each path when its copying starts. Raises Lost or PeerError.
        """
        if not files:
            return
        with secret_files([content for _, content in files]) as paths:
            words: list[str] = []
            local = {}
            for (target, _), path in zip(files, paths, strict=True):
                local[path] = target
                words += ["+", "fs", "cp", "--force", path, ":" + target]

            def follow(line: str) -> None:
                parts = line.split()
                if len(parts) == 3 and parts[0] == "cp" and parts[1] in local:
                    on_file(local[parts[1]])

            self._run(words[1:], total_s, on_line=follow)

    def reset(self) -> None:
        """Restarts the chip."""
        self._run(["reset"], 30.0)

    def _run(
        self,
        words: list[str],
        total_s: float,
        fresh: bool = False,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> Finished:
        start = [] if fresh else ["resume", "+"]
        command = [*tool("mpremote"), "connect", self.port, "+", *start, *words]
        done = run(command, on_line, self.silent_s, total_s, _private())
        if done.ok:
            return done
        raise self._explain(done)

    def _explain(self, done: Finished) -> CliError:
        text = done.text
        if "it may be in use" in text:
            try:
                ports.check(self.port)
            except CliError as exc:
                return exc
            return PortBusy(f"{self.port} is in use by another program.", "Close that program.")
        if done.timed_out:
            return Lost(
                f"{self.port}: the board went silent.",
                "Check the cable and run the same command again: it goes on where it was.",
            )
        if any(word in text for word in _CONNECTION_LOST):
            return Lost(
                f"{self.port}: the connection broke off ({_short(done)}).",
                "Check the cable and run the same command again: it goes on where it was.",
            )
        if any(word in text for word in _GARBLED):
            return Lost(
                f"{self.port}: the line loses bytes: the board did not understand what was sent.",
                "Use a shorter cable or another adapter, and run the same command again.",
            )
        if "raw repl" in text:
            return NoRepl(f"{self.port}: no raw REPL.", "Press EN on the board and try again.")
        return PeerError(
            f"{self.port}: the board reported: {_short(done)}",
            "If it says no space (28), erase it: repeat with --erase.",
        )


def _short(done: Finished) -> str:
    # Keys never appear in errors: bytes literals of a failed write are removed.
    return re.sub(r"b(['\"]).*?\1", "b'...'", done.last_line())[:200]


def _private() -> dict[str, str]:
    # A person's own mpremote configuration must not change what is run here.
    return {"XDG_CONFIG_HOME": "/nonexistent"}


@contextmanager
def secret_file(content: bytes) -> Iterator[str]:
    """A path to content that is never on a disk (Linux) and gone afterwards."""
    with secret_files([content]) as paths:
        yield paths[0]


@contextmanager
def secret_files(contents: list[bytes]) -> Iterator[list[str]]:
    """Paths to contents that are never on a disk and gone afterwards."""
    handles: list[int] = []
    try:
        paths = []
        for content in contents:
            handle = os.memfd_create("pbal", os.MFD_CLOEXEC)
            handles.append(handle)
            view = memoryview(content)
            while view:
                view = view[os.write(handle, view) :]
            paths.append(f"/proc/{os.getpid()}/fd/{handle}")
        yield paths
    finally:
        for handle in handles:
            os.close(handle)
