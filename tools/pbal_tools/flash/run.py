"""Runs esptool and mpremote as commands, with their output as it comes and every wait bounded.

esptool is GPL and is never imported; mpremote would block for ever on a silent terminal, so a
silent tool is ended here.
"""

import contextlib
import os
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ExitCode, UnreachableError
from ..extras import require

_running: set[int] = set()
_running_lock = threading.Lock()
_ended = threading.Event()
_echoing = threading.Event()


@dataclass(frozen=True)
class Finished:
    """How a tool ended. `timed_out` is "silent" or "late" if it was ended by us, else empty."""

    code: int
    text: str
    timed_out: str = ""

    @property
    def ok(self) -> bool:
        """True if the tool reports success."""
        return self.code == 0 and not self.timed_out

    def last_line(self, default: str = "no reason given") -> str:
        """The last line that is not empty, for an error message."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        return lines[-1] if lines else default


class Ended(UnreachableError):
    """The user pressed Ctrl-C: no more work is begun."""

    exit_code = ExitCode.INTERRUPTED


def still_wanted() -> None:
    """For loops that wait: raises Ended once `end_all` was called."""
    if _ended.is_set():
        raise Ended("Interrupted.", "Run the same command again: it goes on where it was.")


def end_like_ctrl_c() -> None:
    """From now on a closed terminal or a `kill` ends the command as Ctrl-C does: the tools it runs
    are ended and the node is restarted, instead of both being left as they are.
    """

    def ended(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, ended)


def echo_tools() -> None:
    """From now on the tools' command lines and all of their output appear on standard error, for
    -v.

    Only for work in which no key is handled.
    """
    _echoing.set()


def _echo(words: str) -> None:
    if _echoing.is_set():
        print(words, file=sys.stderr, flush=True)


def tool(module: str) -> list[str]:
    """The command line that starts a tool of the `flash` extra.

    Raises MissingError.
    """
    require("flash", module)
    return [sys.executable, "-m", module]


def run(
    command: list[str],
    on_line: Callable[[str], None] = lambda line: None,
    silent_s: float = 60.0,
    total_s: float = 600.0,
    env: dict[str, str] | None = None,
) -> Finished:
    """Runs a command to its end.

    `on_line` sees each line (ended by \\n or \\r) of standard output and error together. A tool
    that says nothing for `silent_s`, or takes longer than `total_s`, is ended.
    """
    still_wanted()
    _echo("+ " + shlex.join(command))
    surroundings = dict(os.environ, PYTHONUNBUFFERED="1", COLUMNS="200", NO_COLOR="1", TERM="dumb")
    surroundings.update(env or {})
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=surroundings,
        start_new_session=True,
    )
    with _running_lock:
        _running.add(process.pid)
    try:
        return _follow(process, on_line, silent_s, total_s)
    finally:
        with _running_lock:
            _running.discard(process.pid)
        _end(process)


def _follow(
    process: subprocess.Popen[bytes],
    on_line: Callable[[str], None],
    silent_s: float,
    total_s: float,
) -> Finished:
    assert process.stdout is not None
    start = heard = time.monotonic()
    lines: list[str] = []
    rest = b""
    with selectors.DefaultSelector() as ready, process.stdout as stream:
        os.set_blocking(stream.fileno(), False)
        ready.register(stream, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            reason = "silent" if now - heard > silent_s else "late" if now - start > total_s else ""
            if reason:
                return Finished(-1, "\n".join([*lines, rest.decode(errors="replace")]), reason)
            if not ready.select(0.25):
                continue
            data = stream.read()
            if data is None:
                continue
            heard = time.monotonic()
            *whole, rest = (rest + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).split(b"\n")
            for raw in [*whole, *([rest] if not data else [])]:
                line = raw.decode(errors="replace").rstrip()
                if line:
                    lines.append(line)
                    _echo("  " + line)
                    on_line(line)
            if not data:
                break
    try:
        code = process.wait(10)
    except subprocess.TimeoutExpired:
        return Finished(-1, "\n".join(lines), "late")
    return Finished(code, "\n".join(lines))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def end_all() -> None:
    """Ends every tool still running, and lets no other begin, when a person pressed Ctrl-C."""
    _ended.set()
    with _running_lock:
        for pid in _running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
