"""`pbal commission` without a bus: the search, the answers and the record."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbal_protocol import discovery, modbus
from pbal_tools.commission import search
from pbal_tools.commission.questions import Asker
from pbal_tools.commission.state import State
from pbal_tools.errors import InputError


class Bus:
    """Nodes that wait, as physics has it: those who begin together collide, later ones keep quiet.

    `capture`: how likely the stronger of two is heard as if it were alone; `deaf`: how likely a
    node misses a question.
    """

    slots = discovery.SLOTS

    def __init__(self, euis: list[bytes], seed: int, capture: float = 0.0, deaf: float = 0.0):
        self.units = dict.fromkeys(euis, modbus.UNPROVISIONED)
        self.rng = random.Random(seed)
        self.capture = capture
        self.deaf = deaf

    def ask(self, pdu: bytes) -> bytes:
        op, body = pdu[1], pdu[3:]
        hearing = [e for e in self.units if self.rng.random() >= self.deaf]
        if op == discovery.OP_PLACE:
            if body[:8] not in hearing:
                return b""
            self.units[body[:8]] = body[8]
            return self._frame(op, body[:8])
        if body[0] & discovery.FLAG_RESTART:
            self.units = dict.fromkeys(self.units, modbus.UNPROVISIONED)
        slots = {
            e: self.rng.randrange(self.slots) for e in hearing
            if self.units[e] == modbus.UNPROVISIONED
            and discovery.matches(e, body[1], bytes(body[2:]))
        }  # fmt: skip
        first = [e for e, slot in slots.items() if slot == min(slots.values())]
        if not first:
            return b""
        if len(first) == 1 or self.rng.random() < self.capture:
            return self._frame(op, self.rng.choice(first))
        return self.rng.randbytes(15)

    def _frame(self, op: int, eui: bytes) -> bytes:
        buf = bytearray(32)
        return bytes(buf[: discovery.answer_into(buf, op, eui, self.units[eui])])


EUIS = st.lists(
    st.one_of(
        st.binary(min_size=8, max_size=8),
        # One box of boards: they differ in the last bits only.
        st.integers(0, 63).map(lambda n: bytes.fromhex("24a160fffe0000") + bytes((n,))),
    ),
    unique=True, max_size=12,
)  # fmt: skip


@given(EUIS, st.integers(0, 2**32), st.sampled_from((0.0, 0.5, 1.0)))
@settings(max_examples=120, deadline=None)
def test_every_waiting_node_is_found_once(euis: list[bytes], seed: int, capture: float) -> None:
    bus = Bus(euis, seed, capture)
    found = search.Search(bus.ask, list(range(246, 0, -1))).run()
    assert set(found.placed) == {e.hex() for e in euis}
    assert len(set(found.placed.values())) == len(euis)
    assert {e.hex(): bus.units[e] for e in euis} == found.placed
    assert found.complete
    assert not found.unplaced
    # A bound that a linear scan of 2^64 EUIs or a careless tree would break.
    assert found.questions <= 6 + 8 * len(euis) + 2 * 64 * 3 * max(0, len(euis) - 1)


@given(EUIS, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_the_tree_alone_finds_them_where_all_answer_at_once(euis: list[bytes], seed: int) -> None:
    bus = Bus(euis, seed)
    bus.slots = 1
    found = search.Search(bus.ask, list(range(246, 0, -1))).run()
    assert set(found.placed) == {e.hex() for e in euis}
    assert found.complete
    assert found.questions <= 6 + 8 * len(euis) + 64 * 6 * max(0, len(euis) - 1)


def test_nodes_that_miss_questions_are_found_all_the_same() -> None:
    euis = [bytes.fromhex("24a160fffe0000") + bytes((n,)) for n in range(10)]
    for seed in range(40):
        found = search.Search(Bus(euis, seed, 0.2, deaf=0.1).ask, list(range(246, 0, -1))).run()
        assert len(found.placed) >= 9, seed


def test_a_noisy_line_ends_the_search_and_is_said() -> None:
    rng = random.Random(1)
    found = search.Search(lambda pdu: rng.randbytes(9), [200], limit=300).run()
    assert not found.complete
    assert found.questions <= 301
    assert not found.placed


def test_too_few_units_is_said() -> None:
    bus = Bus([bytes(7) + bytes((n,)) for n in range(3)], 1)
    found = search.Search(bus.ask, [246, 245]).run()
    assert len(found.placed) == 2
    assert not found.complete


# -- answers and record ------------------------------------------------------------------------


def test_answers(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[calibrate.12]\nva = 230.4\n[transfer]\nconsent = true\n")
    ask = Asker.load(tmp_path / "a.toml")
    assert ask.number("calibrate.12.va", "?", 80, 300) == 230.4
    assert ask.number("calibrate.12.vb", "?", 80, 300) is None
    assert ask.yes("transfer.consent", "?")
    assert ask.given("calibrate.12")
    assert not ask.given("calibrate.13")
    with pytest.raises(InputError, match="has no answer"):
        ask.yes("other", "?")
    with pytest.raises(InputError, match="not 80"):
        Asker({"x": 20}).number("x", "?", 80, 300)
    with pytest.raises(InputError, match="neither yes nor no"):
        Asker({"x": "perhaps"}).yes("x", "?")
    (tmp_path / "b.json").write_text("[1")
    with pytest.raises(InputError, match="broken"):
        Asker.load(tmp_path / "b.json")


def test_the_record_is_resumed_and_not_mixed_up(tmp_path: Path) -> None:
    state = State.open(tmp_path / "r", 7, "north")
    assert state.reserve(3, "k1", 100, 64) == 100
    state.home(3)["transfer"] = {"ok": True}
    state.step("scan", True)
    again = State.open(tmp_path / "r", 7, "north")
    assert again.done("scan")
    assert not again.done("contact")
    # No counter twice with one key, whatever is asked for; a new key begins anew.
    assert again.reserve(3, "k1", 5, 64) == 164
    assert again.reserve(3, "k2", 5, 64) == 5
    again.forget("contact")
    assert again.done("scan")
    assert "transfer" not in again.home(3)
    with pytest.raises(InputError, match="bus north"):
        State.open(tmp_path / "r", 7, "south")
    (tmp_path / "r" / "commission.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        State.open(tmp_path / "r", 7, "north")
