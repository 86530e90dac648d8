"""The node as a Wi-Fi station: joins one of the networks it knows, and again after each loss.

`poll` is called twice a second and never blocks: the chip joins by itself meanwhile. When joining
a network fails the next one is tried, with pauses that grow up to a limit and are shortened at
random, so that the nodes of a street do not all join at once after a power cut. Names and keys of
networks are printed nowhere.
"""

import network
from micropython import const

from pbal_node.clock import randrange

_TRY_MS = const(15000)  # to join and get an address
_GIVEN_UP_MS = const(8000)  # after a loss the chip looks for the same network, any access point
_REST_MS = const(2000)  # between attempts at first, ...
_REST_MAX_MS = const(120000)  # ... and at most
_WIFI = const(73)  # a place of an error, see faults.py


class Station:
    """`networks`: [[name, key], ...], an empty key for an open one. `name`: the node's own in DHCP.

    Counters: joined, lost.
    """

    def __init__(self, networks, name: str, faults) -> None:
        self._networks = networks
        self._faults = faults
        try:
            network.hostname(name)
        except (OSError, ValueError) as e:
            faults.note(_WIFI, e)
        self._wlan = network.WLAN(network.STA_IF)
        self._wlan.active(True)
        try:
            # With power saving, asleep between beacons, it would answer up to 0.3 s later.
            self._wlan.config(pm=self._wlan.PM_NONE)
        except (AttributeError, OSError, ValueError):
            pass
        self._next = 0  # of the networks
        self._at_ms = 0
        self._rest_ms = _REST_MS
        self._trying = False
        self.up = False
        self.joined = 0
        self.lost = 0

    def poll(self, now_ms: int) -> bool:
        """Whether the node is on the network; else goes on joining one."""
        if self._wlan.isconnected():
            if not self.up:
                self.up = True
                self.joined += 1
                self._trying = False
                self._rest_ms = _REST_MS
            return True
        if self.up:
            self.up = False
            self.lost += 1
            self._at_ms = now_ms + _GIVEN_UP_MS
        if now_ms >= self._at_ms:
            if self._trying:
                self._give_up(now_ms)
            else:
                self._try(now_ms)
        return False

    def leave(self, now_ms: int) -> None:
        """The controller is not reached here: join again, another network where one is known."""
        self.up = False
        self._give_up(now_ms)

    def _try(self, now_ms: int) -> None:
        name, key = self._networks[self._next]
        self._trying = True
        self._at_ms = now_ms + _TRY_MS
        try:
            self._wlan.disconnect()  # an attempt that still runs
        except OSError:
            pass
        try:
            self._wlan.connect(name, key or None)
        except (OSError, ValueError, TypeError) as e:
            self._faults.note(_WIFI, e)

    def _give_up(self, now_ms: int) -> None:
        self._trying = False
        self._next = (self._next + 1) % len(self._networks)
        try:
            self._wlan.disconnect()
        except OSError:
            pass
        if self._next:
            self._at_ms = now_ms + 500
            return
        self._at_ms = now_ms + self._rest_ms // 2 + randrange(self._rest_ms // 2 + 1)
        self._rest_ms = min(2 * self._rest_ms, _REST_MAX_MS)
