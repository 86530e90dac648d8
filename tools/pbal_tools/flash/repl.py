"""Waits for MicroPython's prompt, also on a board whose program does not stop at Ctrl-C.

Only the first contact is made here, on the serial port itself; all else goes through mpremote.
"""

import contextlib
import re
import time
from collections.abc import Callable

import serial

from ..consolelock import REMEDY, Unlock, nobody
from ..errors import CliError, ConsoleLocked, NoRepl
from . import ports
from .run import still_wanted

_PROMPT = re.compile(rb"(^|[\r\n])>>> $")
_INTERRUPT = b"\r\x03\x03"
_FRIENDLY = b"\r\x02"
# What a locked node prints (firmware/boot.py, pbal_node/console.py).
_LOCKED = re.compile(rb"pbal: console locked, node ([0-9a-f]{12,16})\r?\n")
_WRONG = re.compile(rb"pbal: wrong secret(?:; the next in (\d+) s)?\r?\n")
_CHECKED_S = 15.0  # a running node checks a secret in parts, beside its work


def reach_prompt(
    port: str,
    within_s: float,
    note: Callable[[str], None] = lambda text: None,
    may_reset: bool = True,
    unlock: Unlock = nobody,
) -> str:
    """Interrupts whatever runs until MicroPython shows its prompt; returns its last output.

    Ports that come back only after a while (a re-plugged cable, a restarted emulator) are opened
    again. Where the port can, a board that does not answer Ctrl-C is reset and interrupted as it
    starts. `note` gets what a person could do meanwhile. A node that reports that it is locked is
    sent the secret that `unlock` has for it. Raises NoRepl with the likely cause, or ConsoleLocked.
    """
    deadline = time.monotonic() + within_s
    heard = b""
    problem: CliError | None = None
    resets = 0
    told = False
    start = time.monotonic()
    while time.monotonic() < deadline:
        still_wanted()
        try:
            line = _open(port, 0.1)
        except (OSError, ValueError) as exc:
            problem = ports.explain(port, exc)
            time.sleep(0.5)
            continue
        try:
            problem = None
            slice_end = min(time.monotonic() + (2.5 if resets == 0 else 6.0), deadline)
            got, more = _interrupt(line, slice_end, unlock)
            heard = (heard + more)[-8192:]
            if got:
                return _text(more)
            if may_reset and ports.has_control_lines(port) and resets < 6:
                resets += 1
                note("no prompt yet: resetting the board and interrupting its start")
                _pulse_reset(line)
                got, more = _interrupt(line, min(time.monotonic() + 6.0, deadline), unlock)
                heard = (heard + more)[-8192:]
                if got:
                    return _text(more)
            elif not told and time.monotonic() - start > 4:
                told = True
                note("waiting for the prompt: press the board's EN (reset) button now")
        except OSError as exc:
            problem = ports.explain(port, exc)
            time.sleep(0.3)
        finally:
            _let_go(line)
    if problem is not None:
        raise problem
    raise NoRepl(
        f"{port}: no MicroPython prompt within {within_s:.0f} s{_cause(heard)}.",
        _remedy(heard, port),
    )


def listen(port: str, for_s: float) -> str:
    """What the board prints by itself within `for_s`, without disturbing it. Never raises."""
    heard = b""
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        # The port of a chip with its own USB disappears while it restarts.
        try:
            line = _open(port, 0.2)
        except (OSError, ValueError):
            time.sleep(0.2)
            continue
        try:
            while time.monotonic() < end:
                heard += line.read(4096)
        except OSError:
            time.sleep(0.2)
        finally:
            _let_go(line)
    return _text(heard)


def _open(port: str, timeout_s: float) -> serial.SerialBase:
    # RFC 2217 knows no write timeout; elsewhere a stuck driver must not block us for ever.
    line = serial.serial_for_url(port, 115200, timeout=timeout_s, do_not_open=True)
    if not port.startswith("rfc2217://"):
        line.write_timeout = 5.0
    line.open()
    return line


def _interrupt(line: serial.SerialBase, end: float, unlock: Unlock) -> tuple[bool, bytes]:
    """Sends Ctrl-C until the prompt is stable; returns whether it was, and what was received.

    Stays beyond `end` for as long as a locked node needs to check the secret.
    """
    heard = b""
    locked: _Locked | None = None
    next_at = 0.0
    quiet_since: float | None = None
    while time.monotonic() < end:
        still_wanted()
        now = time.monotonic()
        said = _LOCKED.search(heard)
        if said:
            heard = heard[said.end() :]
            if locked is None:
                locked = _Locked(said[1].decode(), unlock)
            locked.tell(line)
            next_at = time.monotonic() + _CHECKED_S
            end = max(end, next_at)
        elif locked is not None and (wrong := _WRONG.search(heard)):
            heard = heard[wrong.end() :]
            wait_s = locked.refused(int(wrong[1] or 0))
            next_at = time.monotonic() + wait_s
            end = max(end, next_at + _CHECKED_S)
        if now >= next_at and quiet_since is None:
            line.write(_INTERRUPT if b"raw REPL" not in heard[-64:] else _FRIENDLY)
            # Often enough to hit a short window while the board starts.
            next_at = now + 0.2
        data = line.read(1024)
        if data:
            heard = (heard + data)[-8192:]
            quiet_since = None
        if _PROMPT.search(heard):
            if data or quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > 0.35:
                return True, heard
        elif quiet_since is not None:
            quiet_since = None
    return False, heard


class _Locked:
    """A locked node, and the secrets that are still to try."""

    def __init__(self, node: str, unlock: Unlock) -> None:
        self.eui = node[:6] + "fffe" + node[6:] if len(node) == 12 else node.rjust(16, "0")
        self._secrets = unlock(self.eui)
        self._n = 0

    def tell(self, line: serial.SerialBase) -> None:
        """Sends the secret."""
        line.write(b"\r" + self._secrets[self._n].encode() + b"\r")

    def refused(self, wait_s: int) -> float:
        """On to the next secret; how long the node accepts no secret, in seconds.

        Raises ConsoleLocked if that was the last.
        """
        self._n += 1
        if self._n >= len(self._secrets):
            raise ConsoleLocked(
                f"The console of node {self.eui} is locked, and the secret given is not its own.",
                REMEDY,
            )
        return wait_s + 0.5


def _pulse_reset(line: serial.SerialBase) -> None:
    # EN low through RTS with IO0 high: the program starts, not the boot loader.
    line.dtr = False
    line.rts = True
    time.sleep(0.12)
    line.rts = False


def _let_go(line: serial.SerialBase) -> None:
    # In this order no edge of a closing port resets the board.
    with contextlib.suppress(OSError, ValueError):
        line.rts = False
        line.dtr = False
    with contextlib.suppress(OSError):
        line.close()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _cause(heard: bytes) -> str:
    if b"invalid header" in heard:
        return ": its flash holds no program"
    if b"waiting for download" in heard or b"DOWNLOAD" in heard:
        return ": it is in the boot loader"
    if b"Brownout" in heard:
        return ": its supply voltage breaks down"
    if heard.count(b"rst:0x") > 2:
        return ": it resets over and over"
    if heard.count(b"Traceback") > 1:
        return ": its program fails and starts again"
    return ": it says nothing" if not heard.strip() else ""


def _remedy(heard: bytes, port: str) -> str:
    if b"Brownout" in heard:
        return "Use a short cable and a stronger USB port, or a powered hub."
    if b"waiting for download" in heard or b"DOWNLOAD" in heard:
        return "Release BOOT and press EN, then run the same command again: it goes on from here."
    if b"invalid header" in heard:
        return "Write the image first: run `pbal flash` without --app-only."
    if ports.has_control_lines(port):
        return (
            "Hold BOOT while the board starts, or write everything anew with --erase; then run "
            "the same command again."
        )
    return "Press EN on the board and run the same command again: it goes on from here."
