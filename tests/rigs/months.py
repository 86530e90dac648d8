"""Whether two answers to a question of long ranges, or two reports, are the same."""

import pytest

from pbal_hq import reports
from pbal_hq.auth import Grant, Role, Who

ANYBODY = Who(1, "ana", "", 1, (Grant(Role.OFFICIAL, whole=True),))


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


async def report(db, text, now, source=None):
    """A report of the first state, for somebody who sees everything."""
    (area,) = await (await db.execute("SELECT min(id) FROM area WHERE level = 'state'")).fetchone()
    return await reports.make(db, ANYBODY, area, text, now, source)


def same_report(found, expected):
    """The same transformers and figures, but for the rounding of the store's 32-bit numbers."""
    assert [row[:2] for row in found.rows] == [row[:2] for row in expected.rows]
    pairs = [(one[2], other[2]) for one, other in zip(found.rows, expected.rows, strict=True)]
    for one, other in [*pairs, (found.totals, expected.totals)]:
        assert [v is None for v in one] == [v is None for v in other]
        assert [v for v in one if v is not None] == pytest.approx(
            [v for v in other if v is not None], rel=1e-5
        )
    assert any(value for _, _, values in found.rows for value in values)
