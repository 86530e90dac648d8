"""What else is on the channel of one radio: other sites, jammers, and beacons in its name."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from typing import Any

from pbal_controller.bearers.base import Traffic
from pbal_controller.bearers.lora.driver import Received
from pbal_controller.bearers.lora.jamming import Jamming
from pbal_controller.bearers.lora.neighbours import Neighbours, beacon_counter, is_command
from pbal_controller.bearers.lora.settings import RadioConfig

log = logging.getLogger(__name__)

# Own frames that may come back as an echo or a replay.
_OWN = 64


class Surroundings:
    """Of one bearer; logs what begins and what ends."""

    def __init__(self, name: str, config: RadioConfig, traffic: Traffic, guard_s: float) -> None:
        self.neighbours = Neighbours(
            config.sf, config.up[1], guard_s, config.give_way_s, random.random
        )
        self._name, self._config, self._traffic = name, config, traffic
        self._jamming = Jamming(config.up[1])
        self._own: deque[bytes] = deque(maxlen=_OWN)
        self._told = 0  # neighbours of which the log told
        self._forged = 0

    def sent(self, frame: bytes) -> None:
        """A frame of ours went out."""
        self._own.append(frame)

    def overhear(self, received: Received, now: float) -> None:
        """A frame that no node sent: what it says of other sites. Nothing of it is proven. `now`:
        the event loop's clock, s.
        """
        frame = received.frame
        counter = beacon_counter(frame)
        if counter is None:
            if is_command(frame):
                self.neighbours.command(received.end_s)
        elif frame in self._own:
            return  # its own, played back
        elif self._traffic.foreign_beacon(frame, now):
            self._forged += 1
            if self._forged == 1:
                why = (
                    "a node's keys are in wrong hands, a second controller has this site's, or "
                    "somebody plays old beacons back (docs/security.md, On the air)"
                )
                log.error("beacons of this site that the controller did not send",
                          extra={"bearer": self._name, "why": why})  # fmt: skip
        else:
            self.neighbours.beacon(counter, len(frame), received.end_s, received.rssi_dbm)

    def after_round(self, quietest_dbm: float | None, heard: float) -> None:
        """A round of ours is over: the least power in the channel, the share of homes heard."""
        if self._jamming.round(quietest_dbm, heard):
            told = {"bearer": self._name, "quietest_dbm": quietest_dbm}
            if self._jamming.jammed:
                log.error("radio jammed", extra=told | {"why": self._jamming.why()})
            else:
                log.info("radio no longer jammed", extra=told)
        near = len(self.neighbours.near(time.monotonic()))
        if near > self._told:
            channels = range(len(self._config.plan.up))
            others = [str(number) for number in channels if number != self._config.channel]
            log.warning("another site is heard on this channel: rounds take turns", extra={
                "bearer": self._name, "neighbours": near, "other_channels": ", ".join(others),
            })  # fmt: skip
        elif near < self._told:
            log.info("fewer sites on the channel", extra={"bearer": self._name, "neighbours": near})
        self._told = near

    def counts(self) -> dict[str, int]:
        """Since start; `neighbours` and `jammed` are now."""
        n = self.neighbours
        return {
            "neighbours": len(n.near(time.monotonic())),
            "overheard": n.overheard,
            "crowded": n.crowded,
            "gave_way_s": round(n.waited_s),
            "forged": self._forged,
            "jammed": int(self._jamming.jammed),
        }

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        now = time.monotonic()
        return {
            "quietest_dbm": self._jamming.quietest_dbm,
            "alarm": self._jamming.why(),
            "neighbours_heard": [
                {"rssi_dbm": each.rssi_dbm, "heard_s": round(now - each.heard_s, 1)}
                for each in self.neighbours.near(now)
            ],
        }
