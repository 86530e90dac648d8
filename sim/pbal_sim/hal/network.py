"""The part of the ESP32 port's `network` that the node's firmware uses, loaded where the simulated
board has Wi-Fi. Whether its network is in reach stands in the chip's page; datagrams go over the
computer's own sockets.
"""

import time

import _chip
import hwmap

STA_IF = 0

_JOIN_MS = 300
_name = "esp32"


def hostname(name=None):
    global _name
    if name is not None:
        if len(name) > 32:
            raise ValueError
        _name = name
    return _name


def _text(at):
    n = _chip.page[at]
    return bytes(memoryview(_chip.page)[at + 1 : at + 1 + n])


class WLAN:
    IF_STA = 0
    PM_NONE = 0
    PM_PERFORMANCE = 1

    def __init__(self, interface=STA_IF):
        self._active = False
        self._to = None
        self._since = 0

    def active(self, is_active=None):
        if is_active is not None:
            self._active = bool(is_active)
        return self._active

    def config(self, *names, **options):
        if names:
            raise ValueError("unknown config param")

    def connect(self, ssid=None, key=None, *, bssid=None):
        if not self._active or self._to is not None:
            raise OSError("Wifi Internal State Error")
        self._to = ssid.encode(), (key or "").encode()
        self._since = time.ticks_ms()

    def disconnect(self):
        self._to = None

    def isconnected(self):
        if (
            self._to is None
            or not _chip.page[hwmap.WIFI_REACH]
            or self._to != (_text(hwmap.WIFI_NAME), _text(hwmap.WIFI_KEY))
        ):
            self._since = time.ticks_ms()
            return False
        return time.ticks_diff(time.ticks_ms(), self._since) >= _JOIN_MS

    def status(self, param=None):
        return 1010 if self.isconnected() else 1001
