"""What a bearer is: it carries sealed frames between us and nodes, and does not interpret them.

A bearer runs as one supervised loop. In its turn it asks the `Traffic` it was given for the next
frame, carries it, and hands back what came of it. So the bearer decides when its medium is free,
and the traffic decides what is then sent. docs/bearers.md is the recipe for a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from pbal_protocol.codec import Record

# Where a node is on one bearer: a Modbus unit, a host and port, a short radio address.
Where = Hashable
# Instead of a node's place: every node that receives on this bearer.
EVERYBODY = None


@dataclass(slots=True)
class Request:
    """One thing to carry.

    `frame` is one sealed frame, or empty: then the node is only asked for what it has to say.
    `sent` is called once the bytes have been handed to the medium, before any answer. `tag` is the
    sender's own and comes back with the answer.
    """

    to: Where | None  # EVERYBODY: a group frame, which no node answers
    frame: bytes = b""
    sent: Callable[[], None] | None = None
    tag: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `more` is the node's unsealed hint at more to send; never trusted."""

    frame: bytes
    more: bool = False


class Traffic(Protocol):
    """The user of a bearer. Calls are quick and never wait."""

    def next_request(self, now: float) -> Request | float:
        """The next thing to carry, or the loop time before which there is none."""

    def ask(self, where: Where, now: float, room: int, waiting: bool) -> Request | None:
        """What goes to one home now, out of the order, in a frame of at most `room` bytes; None
        where it is not asked over this bearer, is backed off, or, with `waiting`, has nothing that
        should not wait.
        """

    def handle(self, request: Request, answer: Answer | None, now: float) -> None:
        """The result of a request; None: silence, or nothing that can be read. Not for
        EVERYBODY."""

    def offered(self, request: Request, answer: Answer, now: float) -> bool:
        """As `handle`, on a medium where anybody may answer in a node's place: a frame that is not
        the node's own and new changes nothing, and the request stays open. Returns whether it was.
        """

    def unasked(self, where: Where, frame: bytes, now: float, more: bool = False) -> bool:
        """A frame that came without a request, as on a radio. Returns whether it is the node's own
        and new; otherwise nothing of it is trusted, its source included.
        """

    def unheard(self, where: Where, now: float) -> None:
        """A node sent nothing in its turn: it counts as an unanswered request."""

    def quality(self, where: Where, figures: dict[str, float]) -> None:
        """How well a node is heard on a radio, for people: rssi_dbm, snr_db, sf, airtime_share,
        and `round_s`, how long a round takes.
        """

    def beacon(self, record: Record) -> bytes:
        """A beacon, sealed for everybody on a radio; empty when none can be sealed now."""

    def foreign_beacon(self, frame: bytes, now: float) -> bool:
        """A beacon came that this bearer did not send. Returns whether somebody else has sealed it
        with this site's key, and takes the consequences then.
        """

    def tell(self, where: Where, record: Record) -> None:
        """A record of the medium itself for a node, in its next frame."""

    def lost(self) -> None:
        """The medium is lost: no node is reached until it is back."""


class Bearer(Protocol):
    """One medium with the nodes on it."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def room(self) -> int:
        """Bytes that one sealed frame may have."""

    @property
    def up(self) -> bool:
        """Whether it can carry anything now."""

    @property
    def reconnects(self) -> int:
        """How often the medium was lost and opened again."""

    def reaches(self, where: Where) -> str:
        """Why a node cannot be reached now; empty when it can, as far as is known."""

    def cost_s(self, size: int) -> float:
        """Time of the medium that a frame of `size` bytes takes with its answer, s."""

    def freshness_s(self, homes: int) -> float:
        """How old the readings of so many homes are at most, when all answer, s."""

    def wake(self) -> None:
        """Something new may be due: end the present wait."""

    async def run(self, beat: Callable[[], None]) -> None:
        """Carry until cancelled; `beat` is called after each thing done, and while idle."""

    def counts(self) -> dict[str, int]:
        """Exchanges since start, by outcome."""

    def as_dict(self) -> dict[str, Any]:
        """For the status API: at least `name`, and what else helps a person."""


@runtime_checkable
class Keeps(Protocol):
    """A bearer that keeps something for each node, e.g. its turn."""

    def drop(self, where: Where) -> None:
        """This node is never asked again: what was kept for it becomes free as soon as it cannot
        use it. Nothing changes for others. One that is not known is nothing.
        """

    def renewed(self) -> None:
        """The group key has changed: nodes that were dropped before read no group frame now."""


class Lease(Protocol):
    """The right to use a medium that another controller may use in our place (docs/standby.md)."""

    @property
    def serving(self) -> bool:
        """Whether the traffic's requests are carried; until then the medium is only heard."""

    def may_send(self) -> bool:
        """Asked directly before each byte that is sent; it renews the lease."""

    def sign_due(self, name: str) -> bool:
        """Whether this bearer must send a sign now to get or keep it."""

    def heard(self, name: str) -> None:
        """Somebody else sent something on this medium."""

    def opened(self, name: str) -> None:
        """This medium is listened to from now on."""

    def closed(self, name: str) -> None:
        """This medium is not heard any more."""


@runtime_checkable
class Leased(Protocol):
    """A bearer that keeps to a lease."""

    lease: Lease | None


@runtime_checkable
class Registers(Protocol):
    """A bearer, or a port, on whose wires ordinary Modbus devices stand too."""

    async def input_registers(self, unit: int, first: int, count: int) -> list[int]:
        """Input registers (function 04), 0-based as on the wire, 16 bits each.

        Raises BearerError when the unit is silent, refuses, or the port is closed.
        """

    async def holding_registers(self, unit: int, first: int, count: int) -> list[int]:
        """The same of holding registers (function 03): some devices have only these."""

    def close(self) -> None:
        """Close what was opened for this alone."""
