"""Reports of an area over a day or a month, and the course of its figures over hours or days.

figures  the numbers, each with its definition;  sheet: as CSV;  pdf: on paper
course   the numbers of areas over hours or days, and as CSV;  areas: days of them, of feeders'
"""

from pbal_hq.reports.course import (
    FIGURES,
    LEVELS,
    QUANTILES,
    STEPS,
    TREND_COLUMNS,
    Course,
    CourseSource,
    Place,
    Point,
    Quantile,
    Question,
    make_course,
    table,
)
from pbal_hq.reports.figures import COLUMNS, Column, Report, Source, Values, make, period
from pbal_hq.reports.sheet import sheet

__all__ = [
    "COLUMNS",
    "FIGURES",
    "LEVELS",
    "QUANTILES",
    "STEPS",
    "TREND_COLUMNS",
    "Column",
    "Course",
    "CourseSource",
    "Place",
    "Point",
    "Quantile",
    "Question",
    "Report",
    "Source",
    "Values",
    "make",
    "make_course",
    "paper",
    "period",
    "sheet",
    "table",
]


def paper(report: Report) -> bytes:
    """A report as PDF."""
    from pbal_hq.reports import pdf  # reportlab: the portal starts without it

    return pdf.paper(report)
