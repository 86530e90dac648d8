"""Reports of an area over a day or a month, from what the store keeps.

figures  the numbers, each with its definition;  sheet: as CSV;  paper: as PDF
"""

from pbal_hq.reports.figures import COLUMNS, Column, Report, Source, Values, make, period
from pbal_hq.reports.paper import paper
from pbal_hq.reports.sheet import sheet

__all__ = ["COLUMNS", "Column", "Report", "Source", "Values", "make", "paper", "period", "sheet"]
