"""A node stopped at its console, and what can be asked of it there."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pbal_protocol import config as settings
from pbal_protocol import events as kinds
from pbal_protocol.errors import PbalError

from ..consolelock import Unlock, nobody
from ..errors import CheckFailed, InputError, PeerError, RefusedError
from ..flash import device, ports
from ..provision.node import Node
from . import scripts


def allow_dark(dark: bool) -> None:
    """The console stops the program, and with it the home's supply: so it needs consent.

    Raises RefusedError.
    """
    if not dark:
        raise RefusedError(
            "The console stops the node's program: its contacts open and the home is dark until "
            "it runs again.",
            "Repeat with --dark if that is all right now; for a look without it use --controller.",
        )


@dataclass(frozen=True)
class Event:
    """One entry of a node's event log."""

    seq: int
    code: int
    name: str
    severity: str
    time_s: int
    arg0: int
    arg1: int
    acknowledged: bool


class Console:
    """A node on a serial port. Use as a context: it is restarted at the end in every case."""

    def __init__(self, port: str, note: Callable[[str], None], unlock: Unlock = nobody) -> None:
        ports.check(port)
        self.node = Node(port, note, unlock)
        self._stack = ExitStack()

    def __enter__(self) -> "Console":
        self._stack.enter_context(self.node.held())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The home gets its supply back even where the work failed.
        self._stack.__exit__(kind, exc, trace)

    def _ask(self, script: str, mark: str) -> list[str]:
        answers = device.marked(self.node.mp.script(script), mark)
        if not answers and mark != "@L":
            raise PeerError(
                f"{self.node.port}: the node gave no answer.", "Try again; else flash it anew."
            )
        return answers

    def status(self) -> dict[str, Any]:
        """The node's own data; no keys."""
        found: dict[str, Any] = device.answer(self._ask(scripts.STATUS, "@S")[0])
        return found

    def events(self) -> list[Event]:
        """The node's event log from flash, oldest first."""
        out = []
        for line in self._ask(scripts.EVENTS, "@L"):
            seq, code, severity, time_s, arg0, arg1, acked = device.answer(line)
            out.append(
                Event(
                    seq, code, kinds.word(code), kinds.severity(severity),
                    time_s, arg0, arg1, acked,
                )
            )  # fmt: skip
        return sorted(out, key=lambda event: event.seq)

    def config(self) -> dict[str, int]:
        """Every setting by name."""
        found: dict[str, int] = device.answer(self._ask(scripts.CONFIG_GET, "@C")[0])
        return found

    def set_config(self, want: dict[str, int]) -> dict[str, int]:
        """Stores settings and returns all of them as read back.

        Raises InputError (unknown name, illegal value; nothing is stored then) or CheckFailed.
        """
        check_settings(want)
        text = self.node.mp.script(scripts.config_set(want))
        refused = device.marked(text, "@R")
        told = device.marked(text, "@C")
        if not refused or not told:
            raise PeerError(f"{self.node.port}: the node gave no answer.", "Try again.")
        now: dict[str, int] = device.answer(told[0])
        wrong = sorted(
            {*device.answer(refused[0]), *(k for k, v in want.items() if now.get(k) != v)}
        )
        if wrong:
            raise CheckFailed(
                f"{self.node.port}: the node did not keep {', '.join(wrong)}.",
                "Its firmware may be older, or its flash full: see `pbal node status`.",
            )
        return now

    def clear_lockout(self) -> int:
        """Clears the lock-out; returns the phase that was locked, 0 if none. Raises CheckFailed."""
        was, now = device.answer(self._ask(scripts.CLEAR_LOCKOUT, "@K")[0])
        if now:
            raise CheckFailed(f"{self.node.port}: the lock-out did not clear.", "Try again.")
        return int(was)

    def scope(self, cycles: float, samples: int, hz: float) -> dict[str, Any]:
        """One record of the four voltage inputs: times in s, volts as the front end scales them."""
        span_us = int(cycles / hz * 1e6)
        text = self.node.mp.script(scripts.SCOPE.format(samples=samples, span_us=span_us))
        head, at = device.marked(text, "@H"), device.marked(text, "@A")
        if not head or not at:
            raise PeerError(f"{self.node.port}: the record was cut short.", "Try again.")
        scales, bias = device.answer(head[0])
        # The board file gives the scales in the order vout, va, vb, vc.
        scale = dict(zip(("vout", "va", "vb", "vc"), scales, strict=True))
        out: dict[str, Any] = {"t_s": [us / 1e6 for us in device.answer(at[0])], "volts": {}}
        for line in device.marked(text, "@W"):
            name, _, values = line.partition(" ")
            out["volts"][name] = [
                round((uv / 1e6 - bias) * scale[name], 2) for uv in device.answer(values)
            ]
        return out


def check_settings(want: dict[str, int]) -> None:
    """Checks settings against the protocol's table before anything is sent. Raises InputError."""
    if not want:
        raise InputError("There is no setting to store.", "Give NAME VALUE.")
    for name, value in want.items():
        try:
            settings.check(name, value)
        except PbalError as exc:
            known = ", ".join(row[1] for row in settings.KEYS)
            raise InputError(f"{name}: {exc}.", f"Settings: {known}.") from None
