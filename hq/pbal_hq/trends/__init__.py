"""Long-range questions, answered from the data lake by DuckDB.

months  areas by month: the figures of reports, from the lake's rows
"""

from pbal_hq.trends.months import COLUMNS, LEVELS, Month, Placed, months, placed

__all__ = ["COLUMNS", "LEVELS", "Month", "Placed", "months", "placed"]
