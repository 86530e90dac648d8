"""The sealed conversation with one provisioned node, from a laptop instead of the controller.

It is the controller's own `Conversation`, with another host: nothing is commanded by itself, events
are left for the controller, and the clock is set only where the node has none.

Counters: a counter that was used once with a key may never be used again. They come from the
controller's journal where it is given, else from this commissioning's own record, well above the
floor that the node reports; and the conversation ends with a frame that the node has acknowledged,
so that the controller, which asks for the floor, continues above everything sent from here.
"""

import time
from collections.abc import Callable

from pbal_controller.config import HomeConfig
from pbal_controller.homes import Conversation, Home, Host, Session
from pbal_controller.keys import NodeKey
from pbal_protocol import config, records
from pbal_protocol.codec import Record

from ..errors import CheckFailed, PeerError, UnreachableError
from .medium import Medium, Reserve

_WITHOUT = 4  # frames without a reading: over a radio a home's news come by themselves
_TURNS = 6  # of a home, besides the patience
_GAP = 4096  # above the node's floor, for frames of the controller that never arrived
PATIENCE_S = 12.0
_PAUSE_S = 0.05


def nothing() -> None:
    """Nothing is done meanwhile."""


class _Told(Host):
    """Keeps what one node reports."""

    def __init__(self) -> None:
        self.got: list[Record] = []  # by the latest exchange
        self.results: dict[int, records.SwitchResult] = {}
        self.config: dict[int, records.ConfigValue] = {}
        self.acked = -1

    def record(self, home: Home, record: Record, now: float) -> None:
        self.got.append(record)
        if isinstance(record, records.SwitchResult):
            self.results[record.command_id] = record
        elif isinstance(record, records.ConfigValue):
            self.config[record.key] = record
        elif isinstance(record, records.Ack):
            self.acked = max(self.acked, record.counter)


class Talk:
    """One node: its last record of every kind, and what is to be sent to it."""

    def __init__(
        self, medium: Medium, site_id: int, key: NodeKey, reserve: Reserve, name: str = ""
    ) -> None:
        self.address = key.address
        self.eui = key.eui
        self.medium = medium
        self.session = Session(site_id, key.address, key.root, key.fingerprint)
        self.home = Home(HomeConfig(address=key.address, bus="line", name=name), self.session)
        self.refused = 0  # answers that were not authentic
        self._told = _Told()
        self.meanwhile: Callable[[], None] = nothing  # called now and then in each exchange
        self._conversation = Conversation(self.home, self._told, floor_skip=_GAP)
        medium.join(self._conversation, reserve)

    @property
    def hello(self) -> records.Hello | None:
        """Its latest Hello."""
        return self.home.hello

    @property
    def telemetry(self) -> records.Telemetry | None:
        """Its latest Telemetry."""
        return self.home.telemetry

    @property
    def health(self) -> records.Health | None:
        """Its latest Health."""
        return self.home.health

    @property
    def results(self) -> dict[int, records.SwitchResult]:
        """The results of commands, by their ids."""
        return self._told.results

    @property
    def config(self) -> dict[int, records.ConfigValue]:
        """Its settings as it reported them, by key."""
        return self._told.config

    # -- frames --------------------------------------------------------------------------

    def poll(self, *items: Record, tries: int = 3) -> list[Record]:
        """One exchange; the records that came, [] when the node stays silent.

        Repeats carry a new counter; a repeat must have no second effect (a Switch keeps its id).
        """
        for _ in range(min(tries, self.medium.most_tries)):
            for item in items:
                self.home.ask(item)
            got = self._exchange()
            if got:
                return got
            time.sleep(_PAUSE_S)
        return []

    def _exchange(self) -> list[Record]:
        if self._has_time():
            self.home.time_nonce = None
        self._told.got = []
        if self.medium.ask(self._conversation, self.meanwhile) is False:
            self.refused += 1
        return self._told.got

    def _has_time(self) -> bool:
        reading = self.telemetry
        return bool(reading and reading.time_s and not reading.flags & records.FLAG_UNSYNCED)

    def until(
        self, true: Callable[[], bool], what: str, *ask: Record, patience_s: float = PATIENCE_S
    ) -> None:
        """Polls until a condition holds; `ask` is sent again every second.

        Raises UnreachableError or PeerError for a node that is silent or not authentic, else
        CheckFailed naming `what` never came.
        """
        end = time.monotonic() + patience_s + _TURNS * self.medium.turn_s
        asked = 0.0
        heard = False
        refused = self.refused
        while not true():
            now = time.monotonic()
            if now > end:
                break
            if now - asked > max(1.0, self.medium.turn_s):
                asked = now
                heard = bool(self.poll(*ask)) or heard
            else:
                heard = bool(self.poll()) or heard
            time.sleep(_PAUSE_S)
        else:
            return
        if heard:
            raise CheckFailed(f"Home {self.address}: {what} did not come.", "Repeat the step.")
        if self.refused > refused:
            raise PeerError(
                f"Home {self.address}: what answers {self.medium.place(self.address)} holds "
                "another key.",
                f"Read the label; provision it anew: pbal provision add --address {self.address}",
            )
        raise UnreachableError(
            f"Home {self.address} does not answer {self.medium.place(self.address)}.",
            self.medium.remedy(),
        )

    # -- what the steps need -------------------------------------------------------------

    def contact(self, patience_s: float = PATIENCE_S) -> None:
        """Proves that the node is there now, is the one with our key, and has the time; waits for
        its first word so long.

        An answer alone proves little, it may be a recording: the acknowledgement of a frame sealed
        just now proves that the node is there. Raises as `until`.
        """
        self.until(lambda: self.telemetry is not None, "a reading", patience_s=patience_s)
        self.until(lambda: self.hello is not None, "its name")
        if self.session.sealed:
            self._told.acked = -1
        ask = records.StatusGet(what=records.WHAT_HELLO)
        self.until(lambda: self._told.acked > 0, "a fresh acknowledgement", ask)
        self.sync()

    def sync(self) -> None:
        """Sets the node's clock, if it has none: each Hello brings a nonce that is answered."""
        self.until(self._has_time, "the time", records.StatusGet(what=records.WHAT_HELLO))

    def reading(self) -> records.Telemetry:
        """A reading sealed just now. Raises UnreachableError."""
        for _ in range(_WITHOUT):
            got = self.poll(tries=8)
            for record in got:
                if isinstance(record, records.Telemetry):
                    return record
            if not got:
                break
        raise UnreachableError(
            f"Home {self.address} went silent.", f"{self.medium.remedy()} Then repeat."
        )

    def next_reading(self, meanwhile: Callable[[], None]) -> tuple[records.Telemetry, float]:
        """A reading that was not returned by the call before, and the unix time, s, at which it was
        measured. `meanwhile` is called now and then while it is waited for. Raises
        UnreachableError.
        """
        if self._has_time():
            self.home.time_nonce = None
        if not self.medium.next_reading(self._conversation, meanwhile):
            raise UnreachableError(
                f"Home {self.address} went silent.", f"{self.medium.remedy()} Then repeat."
            )
        reading = self.telemetry
        assert reading is not None
        return reading, self.sampled_s()

    def sampled_s(self) -> float:
        """The unix time, s, at which the latest reading was measured."""
        return time.time() - (time.monotonic() - self.home.sampled_at)

    def settings(self) -> dict[str, int]:
        """Every setting of the node by name."""
        self.config.clear()
        keys = {row[0] for row in config.KEYS}
        self.until(
            lambda: keys <= set(self.config), "its settings",
            records.ConfigGet(key=records.ALL_KEYS),
        )  # fmt: skip
        return {row[1]: self.config[row[0]].value for row in config.KEYS}

    def set(self, name: str, value: int) -> int:
        """Changes a setting and reads it back; returns what the node holds.

        Raises CheckFailed where that is not what was asked for.
        """
        key = config.entry(name)[0]
        config.check(name, value)
        self.config.pop(key, None)
        self.until(
            lambda: key in self.config and self.config[key].value == value,
            f"{name} = {value}", records.Config(key=key, value=value),
        )  # fmt: skip
        self.config.pop(key)
        self.until(lambda: key in self.config, name, records.ConfigGet(key=key))
        held = self.config[key].value
        if held != value:
            raise CheckFailed(
                f"Home {self.address}: {name} reads back as {held}, not {value}.",
                "Repeat; if it stays so, the node's flash is worn out.",
            )
        return held

    def finish(self, patience_s: float = PATIENCE_S) -> None:
        """Ends the conversation: one more acknowledged frame makes its counter the node's floor."""
        if self.session.sealed:
            last = self.session.sealed + 1  # at least: the counter of the frame that asks
            self.until(
                lambda: self._told.acked >= last, "the last acknowledgement",
                records.StatusGet(what=records.WHAT_HELLO), patience_s=patience_s,
            )  # fmt: skip
