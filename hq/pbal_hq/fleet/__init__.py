"""The transformers' data for people: every query is limited to the user's scope.

overview      counts, savings, the tree;  transformers: the ranking, the map
feeders       how each feeder's transformers are now, added up beforehand for these and health
transformer   one of them: now, its day, its switchings
health        versions, links, certificates, rollouts;  homes: hours and homes of one transformer
prospects     where next, by `pbal study fleet`
dead_letters  what could not be taken;  utility_list: the utility's own list, taken over
"""

from pbal_hq.fleet import utility_list
from pbal_hq.fleet.dead import DeadLetter, dead_letters
from pbal_hq.fleet.feeders import sum_present
from pbal_hq.fleet.health import Health, Rollout, SiteNote, health, version_words
from pbal_hq.fleet.homes import Home, HourSum, homes, hours
from pbal_hq.fleet.one import Day, Event, Transformer, day, events, transformer
from pbal_hq.fleet.overview import Area, Counts, areas, counts
from pbal_hq.fleet.prospects import Prospect, prospects
from pbal_hq.fleet.prospects import take as take_study
from pbal_hq.fleet.ranking import SORTS, Row, transformers
from pbal_hq.fleet.saved import sum_saved

__all__ = [
    "SORTS",
    "Area",
    "Counts",
    "Day",
    "DeadLetter",
    "Event",
    "Health",
    "Home",
    "HourSum",
    "Prospect",
    "Rollout",
    "Row",
    "SiteNote",
    "Transformer",
    "areas",
    "counts",
    "day",
    "dead_letters",
    "events",
    "health",
    "homes",
    "hours",
    "prospects",
    "sum_present",
    "sum_saved",
    "take_study",
    "transformer",
    "transformers",
    "utility_list",
    "version_words",
]
