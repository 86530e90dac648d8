"""Which firmware the homes run: one that differs, or lacks a record, is logged once.

Nothing is decided here. A site may run mixed versions for a while, as during a rollout.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from pbal_controller.documents import load_json
from pbal_controller.homes import Fleet
from pbal_controller.naming import version_text

log = logging.getLogger(__name__)

LOOK_EVERY_S = 30.0


def released_since() -> dict[str, int]:
    """Since which firmware version (packed as in Hello) nodes have each record of the wire."""
    text = (resources.files("pbal_protocol") / "released.json").read_text(encoding="utf-8")
    return {name: _packed(version) for name, version in load_json(text)["since"].items()}


def _packed(version: str) -> int:
    major, minor, patch = map(int, version.split("."))
    return major << 16 | minor << 8 | patch


class Firmware:
    """Watches the versions in the homes' Hello records.

    `since`: packed version by record; `updating()`: whether a rollout is under way, which makes
    versions differ on purpose.
    """

    def __init__(
        self, fleet: Fleet, updating: Callable[[], bool], since: Mapping[str, int] | None = None
    ) -> None:
        self._fleet = fleet
        self._updating = updating
        self._since = released_since() if since is None else since
        self._said_differ = False
        self._said_lacking: set[int] = set()

    def versions(self) -> Counter[int]:
        """How many homes run each version, as far as they have reported."""
        return Counter(h.hello.fw_version for h in self._fleet if h.hello is not None)

    def differing(self) -> list[int]:
        """The addresses of homes that run another version than most; of two, the older one."""
        found = self.versions()
        if len(found) < 2:
            return []
        usual = max(found, key=lambda version: (found[version], version))
        return [
            h.address for h in self._fleet if h.hello is not None and h.hello.fw_version != usual
        ]

    def lacking(self) -> dict[int, list[str]]:
        """The records that a home's firmware is too old for, by address."""
        out = {}
        for home in self._fleet:
            if home.hello is not None:
                version = home.hello.fw_version
                names = [name for name, since in self._since.items() if version < since]
                if names:
                    out[home.address] = names
        return out

    def as_dict(self) -> dict[str, Any]:
        """For the status."""
        return {
            "versions": {version_text(v): count for v, count in sorted(self.versions().items())},
            "differing": self.differing(),
            "lacking": {str(address): names for address, names in self.lacking().items()},
        }

    def look(self) -> None:
        """Log what became true, and once when it is over."""
        if any(home.alive and home.hello is None for home in self._fleet):
            return  # after a start they report it one after the other
        lacking = self.lacking()
        new = lacking.keys() - self._said_lacking
        if new:
            log.warning(
                "homes with firmware older than records of this controller",
                extra={
                    "homes": sorted(new),
                    "records": sorted({name for address in new for name in lacking[address]}),
                    "remedy": "update them: docs/ota.md",
                },
            )
        self._said_lacking = set(lacking)
        if self._updating():
            return
        differing = self.differing()
        if differing and not self._said_differ:
            log.warning(
                "homes with another firmware than the others",
                extra={
                    "homes": differing,
                    "versions": self.as_dict()["versions"],
                    "remedy": "bring all to one version: docs/ota.md",
                },
            )
        elif self._said_differ and not differing:
            log.info("all homes run one firmware again")
        self._said_differ = bool(differing)

    async def run(self, beat: Callable[[], None]) -> None:
        """Look now and then."""
        while True:
            self.look()
            beat()
            await asyncio.sleep(LOOK_EVERY_S)
