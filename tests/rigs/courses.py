"""Hours and days of areas from two that may answer, and the page that shows them."""

import contextlib
import csv
import io

import pytest

from pbal_hq import reports
from pbal_hq.auth import Grant, Role
from rigs import people
from rigs.months import ANYBODY

SUMS = len(reports.TREND_COLUMNS)  # what is behind them are quantiles


async def course(db, level, step, since, last, now, source=None):
    """Of all areas, for somebody who sees everything."""
    return await reports.make_course(db, ANYBODY, None, level, step, since, last, now, source)


def same_course(found, expected):
    """The same areas, hours and figures, but for the rounding of the store's 32-bit numbers."""
    key = [(p.area, p.at, p.transformers) for p in expected.points]
    assert [(p.area, p.at, p.transformers) for p in found.points] == key
    assert len(key) > 1
    for one, other in zip(found.points, expected.points, strict=True):
        here, there = one.values[:SUMS], other.values[:SUMS]
        assert [v is None for v in here] == [v is None for v in there], (one, other)
        assert [v for v in here if v is not None] == pytest.approx(
            [v for v in there if v is not None], rel=1e-5, abs=1e-6
        )


def quantile(points, name):
    """A quantile of each point."""
    n = [figure.name for figure in reports.FIGURES].index(name)
    return [point.values[n] for point in points]


@contextlib.asynccontextmanager
async def page(url):
    """A reader of the portal's page of trends: asks with a query, gets the page and its file.

    `source`: who is asked before the store.
    """
    async with people.connected(url) as conn, people.portal(url) as client:
        await people.person(conn, people.Fleet(), "reader", Grant(Role.OFFICIAL, whole=True))
        _, access = await people.who(conn, "reader")
        client.cookies.set("__Host-pbal", access)

        async def asked(query, source=None):
            client.desk.reported_by = source
            shown, file = [await client.get(f"{to}?{query}") for to in ("/trends", "/trends/file")]
            assert (shown.status_code, file.status_code) == (200, 200), shown.text
            return shown.text, list(csv.DictReader(io.StringIO(file.content.decode("utf-8-sig"))))

        yield asked


def same_files(found, expected, by):
    """The files hold the same numbers. `by`: who answered the one and the other."""
    names = [f"{c.name} ({c.unit})" if c.unit else c.name for c in reports.TREND_COLUMNS]
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert (one["answered by"], other["answered by"]) == by
        assert one["begin (UTC)"] == other["begin (UTC)"]
        for name in names:
            assert (one[name] == "") == (other[name] == ""), name
            if one[name]:
                # The last digit is a rounded one.
                assert float(one[name]) == pytest.approx(float(other[name]), abs=0.11), name
