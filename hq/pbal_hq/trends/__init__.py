"""Long-range questions, answered from Druid where it is there, else from the lake by DuckDB.

ask      areas by month, from whoever answers
months   the figures of reports, from the lake's rows;  rollup: from Druid's
druid    what Druid takes in, and how it is asked;  correct: a day replaced by the lake's
"""

from pbal_hq.trends.ask import ask
from pbal_hq.trends.months import COLUMNS, LEVELS, Month, Placed, months, placed

__all__ = ["COLUMNS", "LEVELS", "Month", "Placed", "ask", "months", "placed"]
