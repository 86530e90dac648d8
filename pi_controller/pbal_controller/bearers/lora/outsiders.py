"""Senders of whom nothing is taken: strangers, and homes whose key was revoked."""

from __future__ import annotations

import logging
from typing import Any

from pbal_controller.bearers.lora.driver import Received

log = logging.getLogger(__name__)

# Addresses that are no home of the site, or whose key is another: for crews.
_STRANGERS = 32


class Outsiders:
    """Of one bearer. `counts`: frames of both kinds, since start."""

    def __init__(self, name: str) -> None:
        self.counts = {"foreign": 0, "revoked": 0}
        self._name = name
        self._strangers: dict[int, Received] = {}
        self._gone: dict[int, int] = {}  # frames since, in the names of homes that were dropped

    def dropped(self, address: int) -> None:
        """From now on frames in this home's name are a revoked home's."""
        self._gone[address] = 0

    def accepted(self, address: int) -> None:
        """Its frame is authentic: a home of the site, perhaps provisioned anew."""
        self._strangers.pop(address, None)
        self._gone.pop(address, None)

    def unknown(self) -> None:
        """A frame that says of no home that it is its own."""
        self.counts["foreign"] += 1

    def refused(self, address: int, received: Received, heard_before: bool) -> None:
        """A frame in a home's name that is not authentic. `heard_before`: earlier ones were."""
        if address in self._gone:
            self._revoked(address)
            return
        self.counts["foreign"] += 1
        if not heard_before and len(self._strangers) < _STRANGERS:
            self._strangers[address] = received

    def _revoked(self, address: int) -> None:
        """A frame in the name of a home whose key is revoked: it is not opened."""
        self.counts["revoked"] += 1
        self._gone[address] += 1
        if self._gone[address] == 1:
            log.warning(
                "a revoked home is on the air, or somebody in its name: nothing of it is taken",
                extra={"bearer": self._name, "home": address},
            )

    def as_dict(self) -> dict[str, Any]:
        """For the status API: by address; powers in dBm, ratios in dB."""
        return {
            "strangers": [
                {"address": address, "rssi_dbm": each.rssi_dbm, "snr_db": each.snr_db}
                for address, each in self._strangers.items()
            ],
            "revoked_homes": [
                {"address": address, "frames": frames} for address, frames in self._gone.items()
            ],
        }
