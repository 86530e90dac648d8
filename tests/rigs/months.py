"""Whether two answers to a question of long ranges are the same."""

import pytest


def same(found, expected):
    """The same areas, months and figures, but for the rounding of 32-bit numbers."""
    assert [(m.area, m.month, m.transformers) for m in found] == [
        (m.area, m.month, m.transformers) for m in expected
    ]
    for one, other in zip(found, expected, strict=True):
        assert [v is None for v in one.values] == [v is None for v in other.values]
        assert [v for v in one.values if v is not None] == pytest.approx(
            [v for v in other.values if v is not None], rel=1e-6
        )
