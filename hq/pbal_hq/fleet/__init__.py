"""The transformers' data for people: every query is limited to the user's scope.

overview      counts, savings, the tree;  transformers: the ranking, the map
transformer   one of them: now, its day, its switchings
dead_letters  what could not be taken;  utility_list: the utility's own list, taken over
"""

from pbal_hq.fleet import utility_list
from pbal_hq.fleet.dead import DeadLetter, dead_letters
from pbal_hq.fleet.one import Day, Event, Transformer, day, events, transformer
from pbal_hq.fleet.overview import Area, Counts, areas, counts
from pbal_hq.fleet.ranking import SORTS, Row, transformers
from pbal_hq.fleet.saved import sum_saved

__all__ = [
    "SORTS",
    "Area",
    "Counts",
    "Day",
    "DeadLetter",
    "Event",
    "Row",
    "Transformer",
    "areas",
    "counts",
    "day",
    "dead_letters",
    "events",
    "sum_saved",
    "transformer",
    "transformers",
    "utility_list",
]
