"""What taking turns on one channel reaches, on the emulated air: the figures of docs/radio.md, in
fewer rounds.
"""

from __future__ import annotations

import pytest

from bench._radio_site import Case
from bench.radio import CASES, aloha, turns

ROUNDS = 20


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.homes} up to SF{case.most}")
@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_round_is_near_its_bound_and_delivers(case: Case, loss: float) -> None:
    found = turns(case, ROUNDS, loss, seed=1)
    print(found)
    assert found["cycle_over_bound"] <= 1.2
    assert found["delivered"] >= 0.999
    assert len(found["sf"]) == case.most - 6, "all spreading factors that it is about"
    # Whoever sends when he likes is heard far less.
    assert aloha(case, ROUNDS, loss, 1, found["cycle_s"]) < 0.8
