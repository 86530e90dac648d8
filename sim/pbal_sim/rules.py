"""Faults and attacks on frames in flight, as data: lose, change, repeat, replace, delay.

A rule is a dict:
  way     "down" (towards nodes) or "up"
  unit    Modbus unit id of the frame, or absent for any
  body    True: only frames of function 100 that carry a sealed frame; False: only without
  min_len only frames of at least so many bytes
  skip    frames to let pass first (default 0)
  count   how often the rule works (default 1)
  do      "drop" | "replace" | "flip" | "truncate" | "repeat" | "delay"
  data    hex, for "replace"      bit    number of the bit, for "flip" (negative: random)
  keep    bytes, for "truncate"   delay_us for "delay" and "repeat"
  crc     True: the Modbus CRC is corrected after "flip" and "truncate", so that only
          the seal detects the change
"""

from __future__ import annotations

import random
from typing import Any

FUNCTION_SEALED = 100


def crc16(data: bytes) -> bytes:
    """Modbus CRC-16 (polynomial 0xA001 reflected, start 0xFFFF), low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return bytes((crc & 0xFF, crc >> 8))


def has_body(frame: bytes) -> bool:
    """True for a function-100 frame that carries a sealed frame."""
    return len(frame) > 6 and frame[1] == FUNCTION_SEALED and frame[3] > 0


class Rules:
    """The rules in force, in order; the first that fits a frame decides."""

    def __init__(self, rng: random.Random) -> None:
        self._rules: list[dict[str, Any]] = []
        self._rng = rng
        self.hits = 0

    def add(self, rule: dict[str, Any]) -> None:
        self._rules.append({"skip": 0, "count": 1, **rule})

    def clear(self) -> None:
        self._rules.clear()

    def apply(self, way: str, frame: bytes) -> list[tuple[bytes, float]]:
        """The frames that arrive instead of `frame`, each with its delay in microseconds."""
        for rule in self._rules:
            if not self._fits(rule, way, frame):
                continue
            if rule["skip"] > 0:
                rule["skip"] -= 1
                continue
            rule["count"] -= 1
            if rule["count"] <= 0:
                self._rules.remove(rule)
            self.hits += 1
            return self._do(rule, frame)
        return [(frame, 0.0)]

    @staticmethod
    def _fits(rule: dict[str, Any], way: str, frame: bytes) -> bool:
        if not frame or rule["way"] != way:
            return False
        if rule.get("unit") is not None and frame[0] != rule["unit"]:
            return False
        if len(frame) < rule.get("min_len", 0):
            return False
        return rule.get("body") is None or has_body(frame) == rule["body"]

    def _do(self, rule: dict[str, Any], frame: bytes) -> list[tuple[bytes, float]]:
        do = rule["do"]
        if do == "drop":
            return []
        if do == "replace":
            return [(bytes.fromhex(rule["data"]), 0.0)]
        if do == "delay":
            return [(frame, float(rule["delay_us"]))]
        if do == "repeat":
            return [(frame, 0.0), (frame, float(rule.get("delay_us", 30000)))]
        changed = bytearray(frame[:-2] if rule.get("crc") else frame)
        if do == "flip":
            bit = rule.get("bit", -1)
            if bit < 0:
                bit = self._rng.randrange(len(changed) * 8)
            changed[bit // 8] ^= 1 << bit % 8
        elif do == "truncate":
            del changed[rule["keep"] :]
            if rule.get("crc") and len(changed) > 4 and changed[1] == FUNCTION_SEALED:
                changed[3] = len(changed) - 4
        if rule.get("crc"):
            changed += crc16(bytes(changed))
        return [(bytes(changed), 0.0)]
