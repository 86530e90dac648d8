"""Long-range questions, answered from Druid where it is there, else from the lake by DuckDB.

ask      areas by month, from whoever answers
months   the figures of reports, from the lake's rows;  rollup: from Druid's
period   a report's day or month, from whoever answers;  course: hours or days of areas
druid    what Druid takes in, and how it is asked;  correct: a day replaced by the lake's
"""

from pbal_hq.registry import LEVELS
from pbal_hq.trends.ask import ask
from pbal_hq.trends.months import COLUMNS, Month, months, placed
from pbal_hq.trends.period import Elsewhere

__all__ = ["COLUMNS", "LEVELS", "Elsewhere", "Month", "ask", "months", "placed"]
