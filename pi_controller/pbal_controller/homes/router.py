"""The paths to a home, in order of preference: which is used, and when the next one is.

A home is polled over the first of its paths that answers. The others rest, except those before it:
they are tried again with the back-off of a silent home, and take over when they answer.
"""

from __future__ import annotations

from typing import Protocol

from pbal_controller.bearers import Bearer, Keeps
from pbal_controller.homes.conversation import Conversation
from pbal_controller.homes.fleet import Home
from pbal_controller.homes.path import Path


class Polls(Protocol):
    """The rounds of polls over one bearer, as far as paths need them."""

    def join(self, talk: Conversation, path: Path) -> None:
        """Ask this home from now on."""

    def leave(self, address: int) -> None:
        """Ask it no more."""

    def expedite(self, address: int) -> None:
        """Ask it out of turn."""


class Router:
    """All paths of all homes."""

    def __init__(self) -> None:
        self._polls: dict[str, Polls] = {}
        self._bearers: dict[str, Bearer] = {}
        self._talks: dict[int, Conversation] = {}

    def add_bearer(self, name: str, polls: Polls, bearer: Bearer) -> None:
        """A bearer and the rounds over it."""
        self._polls[name] = polls
        self._bearers[name] = bearer

    def add_home(self, talk: Conversation) -> None:
        """A home whose bearers are known: all its paths are tried until one answers."""
        self._talks[talk.home.address] = talk
        for path in talk.home.paths:
            self._polls[path.bearer].join(talk, path)

    def heard(self, home: Home, path: Path, alive: bool) -> None:
        """A path answers, or does so no more."""
        path.alive = alive
        home.alive = alive or any(other.alive for other in home.paths)
        if len(home.paths) > 1:
            self._choose(home)

    def _choose(self, home: Home) -> None:
        better = False
        for path in home.paths:
            if path.resting != better:
                path.resting = better
                polls = self._polls[path.bearer]
                if better:
                    path.alive = False
                    polls.leave(home.address)
                else:
                    polls.join(self._talks[home.address], path)
                    self._bearers[path.bearer].wake()
            better = better or path.alive

    def expedite(self, home: Home) -> None:
        """Something waits to be sent to this home: poll it out of turn."""
        for path in home.paths:
            if not path.resting:
                self._polls[path.bearer].expedite(home.address)
                self._bearers[path.bearer].wake()

    def drop(self, home: Home) -> None:
        """Never ask this home again: its key was revoked."""
        home.session = None
        home.alive = False
        self._talks.pop(home.address, None)
        for path in home.paths:
            path.alive = False
            self._polls[path.bearer].leave(home.address)
            bearer = self._bearers[path.bearer]
            if isinstance(bearer, Keeps):
                bearer.drop(path.where)

    def renewed(self) -> None:
        """The group key has changed: homes that were dropped before follow nothing any more."""
        for bearer in self._bearers.values():
            if isinstance(bearer, Keeps):
                bearer.renewed()

    def why_unreached(self, path: Path) -> str:
        """As the path's bearer says; empty when the home can be reached."""
        return self._bearers[path.bearer].reaches(path.where)
