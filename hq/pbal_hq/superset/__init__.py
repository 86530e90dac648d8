"""Dashboards in Apache Superset, and who sees which rows of them.

views.sql  what Superset's user of the database may read: figures of transformers, nobody's data
boards     the dashboards, declared once;  data: the views as Superset's datasets
bundle     them as the zip that `superset import-dashboards` takes
limits     rows by area: roles and the rule, through Superset's API
"""

from pbal_hq.superset.boards import BOARDS, Board, Chart
from pbal_hq.superset.bundle import bundle
from pbal_hq.superset.data import DATASETS, SCHEMA, Dataset, views
from pbal_hq.superset.limits import Limits, limit, role_of

__all__ = ["BOARDS", "DATASETS", "SCHEMA", "Board", "Chart", "Dataset", "Limits", "bundle", "limit",
           "role_of", "views"]  # fmt: skip
