"""Whether each transfer of a home has a reason: an order, the node's own word, or a way back."""

from collections import Counter
from collections.abc import Sequence

Step = tuple[int, int]
"""From phase and to phase, 1 to 3."""


def without_reason(
    steps: Sequence[Step], orders: Sequence[Step], own: Sequence[Step]
) -> int | None:
    """The first transfer that no account of all of them explains; None: each has its reason.

    steps : what the contacts did, in its order.
    orders : the controller's, in theirs. One moves a home once, and none comes after a later one.
    own : moves that the node told of, each once; from phase 0: it did not say where it was.

    A transfer that takes back the one before it needs no other reason. Which order or word belongs
    to which transfer is not known, so every assignment is tried.
    """
    kinds = sorted(Counter(own))
    none_left: set[tuple[int, int, tuple[int, ...]]] = set()
    furthest = 0

    def explained(i: int, order: int, told: tuple[int, ...]) -> bool:
        nonlocal furthest
        furthest = max(furthest, i)
        if i == len(steps):
            return True
        if (i, order, told) in none_left:
            return False
        step = steps[i]
        for later in range(order, len(orders)):
            if orders[later] == step and explained(i + 1, later + 1, told):
                return True
        for k, kind in enumerate(kinds):
            if kind in (step, (0, step[1])) and told[k]:
                fewer = (*told[:k], told[k] - 1, *told[k + 1 :])
                if explained(i + 1, order, fewer):
                    return True
        if i and step == steps[i - 1][::-1] and explained(i + 1, order, told):
            return True
        none_left.add((i, order, told))
        return False

    counts = Counter(own)
    if explained(0, 0, tuple(counts[kind] for kind in kinds)):
        return None
    return furthest
