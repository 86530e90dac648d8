"""Reports of an area over a day or a month, and the course of its figures over hours or days.

figures  the numbers, each with its definition;  sheet: as CSV;  paper: as PDF
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
from pbal_hq.reports.paper import paper
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
