"""What a study leaves behind: the report with its figures, JSON and tables.

`page` draws with matplotlib, an extra, and so is imported by itself.
"""

from .files import as_dict, check_folder, write_all
from .sentences import headline

__all__ = ["as_dict", "check_folder", "headline", "write_all"]
