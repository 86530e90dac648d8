"""The output of a study: the report with its figures, JSON and tables.

`page` draws with matplotlib, an extra, and so is imported by itself.
"""

from .files import as_dict, check_folder, write_all
from .sentences import DOUBT, first_homes_text, headline, hosting_text, money_text, room_text

__all__ = [
    "DOUBT",
    "as_dict",
    "check_folder",
    "first_homes_text",
    "headline",
    "hosting_text",
    "money_text",
    "room_text",
    "write_all",
]
