"""What carries a commissioning's conversations: a line that this computer masters, or a radio.

The steps and the sealed conversation (talk.py) are the same over both; they differ in how a home is
reached, how soon its turn comes, and how it is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pbal_controller.homes import Conversation

Reserve = Callable[[int, str, int, int], int]  # address, key, at least, count -> first


class Medium(Protocol):
    """One bus or radio of the site file."""

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done over it, in order."""

    @property
    def turn_s(self) -> float:
        """How long a home's turn may be away, s; 0 where it is asked at once."""

    @property
    def most_tries(self) -> int:
        """How often a home that stays silent is asked in one go, at most."""

    @property
    def words(self) -> str:
        """Where it is, for the report."""

    def place(self, address: int) -> str:
        """Where a home is on it, in words: "at unit 12"."""

    def remedy(self) -> str:
        """What to look at when a home is silent."""

    def join(self, talk: Conversation, reserve: Reserve) -> None:
        """A home to be talked to from now on; `reserve` gives counters for frames to it."""

    def ask(self, talk: Conversation, meanwhile: Callable[[], None]) -> bool | None:
        """One exchange: what waits for the home goes out, and what it says is taken in.
        `meanwhile` is called now and then where this takes a while.

        True when something authentic came, False when nothing of what came was, None for silence.
        """

    def next_reading(self, talk: Conversation, meanwhile: Callable[[], None]) -> bool:
        """Whether a reading came that was not there at the call before. `meanwhile` is called
        now and then where this takes a while.
        """
