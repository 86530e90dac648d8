"""HQ beside a street: a broker on loopback, and a subscriber that reports what it receives.

To the controller the subscriber is a separate program: it knows the broker, its certificate and
the declarations of pbal_uplink, and nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pbal_sim import hq
from pbal_sim.errors import BrokerError
from pbal_uplink import Event, Message, State, Summary, names

from .errors import MissingError

WINDOW_S = 10  # a street: 300
GROUP = "demo"
# For a street of a dozen homes: the name plate of a 50 kVA transformer, and some 60 m of line.
TRANSFORMER = {"rated_kva": 50.0, "load_loss_w": 1100.0, "line_ohm": 0.05}


def require_broker() -> None:
    """Raises MissingError where there is no Mosquitto."""
    if hq.program() is None:
        raise MissingError(
            "--uplink needs the broker Mosquitto.", "Debian and Ubuntu: sudo apt install mosquitto"
        )


class StreetUplink:
    """The broker and the subscriber. `say` gets a line for each message that HQ receives."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._seen: set[int] = set()
        self.counts = {"births": 0, "summaries": 0, "events": 0}
        self._broker: hq.Broker | None = None
        self._host: hq.Host | None = None
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> dict[str, dict[str, Any]]:
        """Start both; returns the tables that the controller's configuration needs."""
        self._folder.mkdir(mode=0o700)
        pki = hq.Pki(self._folder, "pbal demo")
        try:
            # Not on a thread: the broker ends with the thread that started it.
            self._broker = hq.Broker(self._folder, pki)
        except BrokerError as error:
            raise MissingError(f"No broker: {error}.", "Run it without --uplink.") from None
        self._host = hq.Host.of(pki, self._broker.port)
        self._host.heard = self._heard
        await self._stack.enter_async_context(self._host)
        certificate, key = pki.issue("site")
        table = {
            "kind": "sparkplug", "host": "localhost", "port": self._broker.port, "group": GROUP,
            "ca": str(pki.ca), "certificate": str(certificate), "key": str(key),
            "window_s": WINDOW_S, "spread_s": 0.0,
        }  # fmt: skip
        return {"uplink": table, "transformer": dict(TRANSFORMER)}

    async def stop(self) -> None:
        """End both."""
        await self._stack.aclose()
        if self._broker is not None:
            self._broker.kill()

    def result(self) -> dict[str, Any]:
        """For `--json`."""
        host = self._host
        stored = [] if host is None else list(host.store.values())
        last = [m for m in stored if isinstance(m, Summary)][-1:]
        return {**self.counts, "last_summary": last[0].as_dict() if last else None}

    def _heard(self, site: str, message: Message, historical: bool) -> None:
        token = hash(message)
        if token in self._seen:
            return  # sent again
        self._seen.add(token)
        late = ", sent later" if historical else ""
        if isinstance(message, State):
            self.counts["births"] += 1
            self._say(f"HQ: {site} is there: {message.homes} homes, {names.MODES[message.mode]}")
        elif isinstance(message, Summary):
            self.counts["summaries"] += 1
            self._say(f"HQ: {summary_line(message)}{late}")
        elif isinstance(message, Event):
            self.counts["events"] += 1
            self._say(f"HQ: {event_line(message)}{late}")


def _known(value: float | None, form: str) -> str:
    return "?" if value is None else form.format(value)


def summary_line(s: Summary) -> str:
    """One summary for a person."""
    volts = " / ".join(_known(v, "{:.0f}") for v in (s.va_mean_v, s.vb_mean_v, s.vc_mean_v))
    return (
        f"{s.length_s} s, mean A {s.ia_mean_a:.1f} B {s.ib_mean_a:.1f} C {s.ic_mean_a:.1f} "
        f"N {s.in_mean_a:.1f} A (at most {s.in_max_a:.1f}); {volts} V; "
        f"load {_known(s.load_mean_percent, '{:.0f} %')}, hot spot "
        f"{_known(s.hotspot_c, '{:.0f} degC')}; {s.homes_fresh} of {s.homes} homes fresh; "
        f"{s.confirmed} moved"
    )


def event_line(e: Event) -> str:
    """One event for a person."""
    what = names.KINDS[e.kind]
    if e.kind == names.KIND_SWITCHING:
        way = f"{names.PHASES[e.from_phase]} to {names.PHASES[e.to_phase]}"
        what = f"switching {way}, {names.OUTCOMES[e.outcome]}"
    elif e.kind == names.KIND_NODE:
        what = f"event {e.code} of a node"
    home = f"home {e.address}, " if e.address else ""
    return f"{names.SEVERITIES[e.severity]}: {home}{what}"
