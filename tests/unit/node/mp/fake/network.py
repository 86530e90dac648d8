"""A stand-in for the ESP32 port's `network`: one access point after another, in virtual time."""

import time

STA_IF = 0
PSK = {"mill lane": "correct horse", "open one": None}

made = []
name = ""


def hostname(text=None):
    global name
    if len(text) > 32:
        raise ValueError
    name = text
    return name


class WLAN:
    IF_STA = 0
    PM_NONE = 0

    def __init__(self, kind):
        assert kind == STA_IF
        made.append(self)
        self.reach = set()  # networks that are on the air
        self.joins_ms = 400
        self.calls = []
        self.options = {}
        self._on = False
        self._to = None
        self._since = 0

    def active(self, on=None):
        if on is not None:
            self._on = on
        return self._on

    def config(self, **options):
        self.options.update(options)

    def connect(self, ssid, key=None):
        assert self._on, "the interface is off"
        self.calls.append((time.ticks_ms(), ssid))
        if self._to is not None:
            raise OSError("Wifi Internal State Error")
        self._to = ssid, key
        self._since = time.ticks_ms()

    def disconnect(self):
        self._to = None

    def isconnected(self):
        if self._to is None or self._to[0] not in self.reach or PSK[self._to[0]] != self._to[1]:
            self._since = time.ticks_ms()
            return False
        return time.ticks_diff(time.ticks_ms(), self._since) >= self.joins_ms
