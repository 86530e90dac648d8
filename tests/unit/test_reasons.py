"""The account of a home's transfers after a chaos run finds what has no reason, and no other."""

import pytest
from rigs.reasons import without_reason

# A home of a run (seed 616903245): it came back from two outages on other phases, then was moved.
STEPS = [(1, 3), (3, 1), (1, 3), (3, 2), (2, 3), (3, 1), (1, 2)]
ORDERS = [(1, 3), (1, 3), (1, 3), (3, 2), (3, 2), (3, 1), (1, 2), (2, 3), (2, 3)]
OWN = [(0, 1), (0, 1), (0, 1), (0, 1), (0, 1), (0, 3), (2, 3)]


def test_an_order_that_came_later_is_not_taken_for_the_nodes_own_way_back() -> None:
    assert without_reason(STEPS, ORDERS, OWN) is None


@pytest.mark.parametrize(
    ("steps", "orders", "own", "first"),
    [
        ([(1, 2)], [], [], 0),
        ([(1, 2)], [(1, 2)], [], None),
        ([(1, 2)], [], [(0, 2)], None),
        ([(1, 2)], [], [(1, 2)], None),
        ([(1, 2)], [(2, 1)], [(0, 1), (3, 2)], 0),
        # Back to where it was: a transfer that failed. Not twice.
        ([(1, 2), (2, 1)], [(1, 2)], [], None),
        ([(1, 2), (2, 3)], [(1, 2)], [], 1),
        # One order moves a home once.
        ([(1, 2), (2, 3), (3, 1), (1, 2)], [(1, 2), (2, 3), (3, 1)], [], 3),
        # Orders keep their order.
        ([(2, 3), (3, 1), (1, 2)], [(1, 2), (2, 3), (3, 1)], [], 2),
        # A word of the node counts once.
        ([(1, 2), (2, 3), (3, 1), (1, 2)], [(2, 3), (3, 1)], [(0, 2)], 3),
    ],
)
def test_what_has_a_reason(
    steps: list[tuple[int, int]],
    orders: list[tuple[int, int]],
    own: list[tuple[int, int]],
    first: int | None,
) -> None:
    assert without_reason(steps, orders, own) == first


def test_many_transfers_are_accounted_for_in_time() -> None:
    steps = [(1, 2), (2, 3), (3, 1)] * 20
    assert without_reason(steps, steps, [(0, 1)] * 20) is None
    assert without_reason([*steps, (1, 2)], steps, [(0, 3)] * 20) == len(steps)
