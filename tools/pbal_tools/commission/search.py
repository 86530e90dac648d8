"""Finds the nodes that wait at unit 247: a search through the tree of EUI prefixes, as in DALI.

Each question is one broadcast, "whose EUI begins with these bits?". Silence, twice, means no node;
twice, because a node that is busy may miss a question. One good answer means one node, which is
placed at a unit of its own, and the same question is asked again, because a strong transmitter can
hide a weak one. Anything else on the line means several: the prefix is split.

The first bit of an answer cannot be lost in a collision: a node that begins alone is heard, and
nodes that begin together all drive the same start bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pbal_protocol import discovery, modbus

EUI_BITS = 64
_ANSWER = 15  # bytes of an answer: unit, function, op, length, EUI, unit, CRC
_SURE = 2  # this many silences in a row


@dataclass
class Findings:
    """What a search found and what it cost."""

    placed: dict[str, int] = field(default_factory=dict)  # EUI -> temporary unit
    unplaced: list[str] = field(default_factory=list)  # heard, but did not take a unit
    questions: int = 0
    collisions: int = 0
    complete: bool = True  # False: ran out of questions or units


def answers(heard: bytes, op: int) -> list[tuple[bytes, int]]:
    """The intact answers to `op` in what was heard: (EUI, unit)."""
    head = bytes((modbus.BROADCAST, modbus.PBAL, discovery.ANSWER | op, 9))
    found = []
    at = heard.find(head)
    while at >= 0:
        frame = heard[at : at + _ANSWER]
        if len(frame) == _ANSWER and modbus.crc16(frame, 13) == frame[13] | frame[14] << 8:
            found.append((frame[4:12], frame[12]))
            at = heard.find(head, at + _ANSWER)
        else:
            at = heard.find(head, at + 1)
    return found


class Search:
    """`ask(pdu)` broadcasts and returns what was heard; `units`: free units to place nodes at."""

    def __init__(
        self,
        ask: Callable[[bytes], bytes],
        units: list[int],
        limit: int = 4000,
        note: Callable[[str], None] = lambda words: None,
    ) -> None:
        self._ask = ask
        self._units = list(units)
        self._limit = limit
        self._note = note
        self.found = Findings()

    def run(self, restart: bool = True) -> Findings:
        """Searches everywhere. Ends when no node answers any more, or at the limit."""
        if restart:
            self._question(0, bytes(8), True)  # nodes that an earlier search placed wait again
        while self._more() and self._explore(0, 0):
            pass
        return self.found

    def _more(self) -> bool:
        if self.found.questions >= self._limit or not self._units:
            self.found.complete = False
            return False
        return True

    def _question(self, bits: int, prefix: bytes, restart: bool = False) -> bytes:
        self.found.questions += 1
        return self._ask(discovery.find_pdu(bits, prefix, restart))

    def _explore(self, value: int, bits: int) -> bool:
        """Finds all nodes under a prefix; True when there was one."""
        prefix = (value << EUI_BITS - bits).to_bytes(8, "big") if bits else bytes(8)
        somebody = False
        silent = 0
        while silent < _SURE and self._more():
            heard = self._question(bits, prefix)
            if not heard:
                silent += 1
                continue
            silent = 0
            somebody = True
            intact = answers(heard, discovery.OP_FIND)
            # A list, because every one of them is to be placed.
            if any([self._place(eui) for eui, _ in intact]):  # noqa: C419
                continue
            self.found.collisions += 1
            if bits == EUI_BITS:
                break  # damaged repeatedly with a single node: noise on the line
            self._note(f"several nodes under {prefix.hex()}/{bits}")
            left = self._explore(value << 1, bits + 1)
            right = self._explore(value << 1 | 1, bits + 1)
            if not (left or right):
                break  # it was noise: the caller repeats the question anyway
        return somebody

    def _place(self, eui: bytes) -> bool:
        """Gives a node a unit of its own. False where it does not take it."""
        name = eui.hex()
        if name in self.found.placed or not self._units:
            return False
        unit = self._units[0]
        for _ in range(3):
            self.found.questions += 1
            heard = self._ask(discovery.place_pdu(eui, unit))
            if (eui, unit) in answers(heard, discovery.OP_PLACE):
                self._units.pop(0)
                self.found.placed[name] = unit
                if name in self.found.unplaced:
                    self.found.unplaced.remove(name)
                self._note(f"node {name} found, unit {unit} for now")
                return True
        if name not in self.found.unplaced:
            self.found.unplaced.append(name)
        return False
